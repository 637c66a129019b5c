//! The connections of a link that carry short exchanges, beside the pool.

use std::sync::Arc;
use std::time::Duration;

use common::limits;
use common::link::greeting::Purpose;
use common::link::preface;
use common::mra::access::Refusal;
use common::runtime::body::Body;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::exchange;
use http::{Request, Response};

use super::LinkClient;
use super::lines::Counted;

impl LinkClient {
    /// Keeps [`limits::EXCHANGE_CONNECTIONS`] as long as the control stream stands, where HTTPS takes the pool.
    pub(super) async fn keep_exchanges(self: &Arc<Self>, drain: &Signal) {
        if self.config.https != Purpose::HttpsPool {
            return std::future::pending().await;
        }
        let dialling = self.exchanges.keep(|dialling| {
            let client = Arc::clone(self);
            let drain = drain.clone();
            let connection = async move { client.exchange_connection(dialling, drain).await };
            self.workers.spawn(connection);
        });
        let tidying = async {
            loop {
                tokio::time::sleep(TIDY_INTERVAL).await;
                self.kept.tidy(clock::now());
            }
        };
        tokio::select! {
            () = dialling => {}
            () = tidying => {}
            // What is dialled during a drain would not be used any more.
            () = drain.draining() => std::future::pending().await,
        }
    }

    async fn exchange_connection(self: Arc<Self>, dialling: Counted, drain: Signal) {
        let mut losses = self.exchanges.losses();
        let stream = match self.dial(Purpose::HttpsExchange, None).await {
            Ok((stream, _)) => stream,
            Err(failed) => {
                // Whoever is told that this dial is over dials again: not at once.
                let wait = self.exchanges.note_failed(&failed, &self.config.edge);
                return tokio::time::sleep(wait).await;
            }
        };
        let _open = self.exchanges.count_open(&self.config.edge);
        drop(dialling);
        // The drain waits until the connection ends: that is when the last answer on it is sent.
        let _waited_for = drain.in_flight();
        let edge = Arc::new(self.config.edge.clone());
        let handler = |request| {
            let in_flight = self.short_requests.begin();
            let answer = Arc::clone(&self.streams).answer(Arc::clone(&edge), request);
            async move {
                // A long answer counts where it is fetched.
                let _in_flight = in_flight;
                answer.await
            }
        };
        let serving = exchange::serve(stream, handler, Arc::clone(&self.kept), drain.draining());
        let ended = tokio::select! {
            ended = Box::pin(serving) => ended,
            _ = losses.changed() => Ok(()),
        };
        let reason = ended.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
        tracing::debug!(side = "link", %edge, reason, "exchange connection ended");
    }

    /// The kept answer that a pooled request fetches, if it does.
    pub(super) fn kept<B>(&self, request: &mut Request<B>) -> Option<Response<Body>> {
        let token = preface::take_kept(request.headers_mut())?;
        Some(self.kept.take(token).unwrap_or_else(|| {
            tracing::info!(side = "link", edge = %self.config.edge, reason = "an answer was fetched too late",
                remedy = "none if rare: no link connection was free", "request refused");
            let refusal = Refusal::Overloaded {
                retry_after: limits::LINK_DOWN_RETRY_AFTER,
            };
            refusal.response(&self.streams.realm.load()).map(|()| Body::empty())
        }))
    }
}

const TIDY_INTERVAL: Duration = Duration::from_secs(limits::EXCHANGE_KEPT_FOR.as_secs() / 2);
