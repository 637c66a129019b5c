//! The HTTPS connections of the link: as many as are in use and some to spare, dialled again when they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use common::limits;
use common::link::greeting::Purpose;
use common::runtime::body::Body;
use common::runtime::drain::Signal;
use common::runtime::http_server::{self, Timeouts, Version};
use common::runtime::progress::Counters;
use http::Request;
use hyper::body::Incoming;
use tokio::sync::{Notify, watch};

use super::{LinkClient, Stream, back_off};

/// The HTTPS connections of the link.
#[derive(Debug, Default)]
pub(super) struct Https {
    pub(super) open: AtomicUsize,
    dialling: AtomicUsize,
    /// Dials that failed since the last one that did not.
    failures: AtomicU32,
    /// Requests on all of them.
    pub(super) requests: Arc<Counters>,
    /// A request has come or a connection has gone.
    changed: Notify,
    /// Counts the times that all of them were given up.
    pub(super) losses: watch::Sender<u64>,
}

/// edge-e closes what it does not need; it is the client on these connections.
const TIMEOUTS: Timeouts = Timeouts {
    head: limits::LINK_HEAD_TIMEOUT,
    idle: limits::LINK_HTTPS_IDLE_TIMEOUT,
    stall: limits::HTTP_STALL_TIMEOUT,
};

impl LinkClient {
    /// Keeps enough HTTPS connections: some spare ones, and more the more are in use.
    pub(super) async fn keep_https(self: &Arc<Self>, drain: &Signal) {
        let dialling = async {
            loop {
                let changed = self.https.changed.notified();
                for _ in 0..self.missing() {
                    let dialling = Counted::one(&self.https, |https| &https.dialling);
                    let client = Arc::clone(self);
                    let drain = drain.clone();
                    let connection = async move { client.https_connection(dialling, drain).await };
                    self.workers.spawn(connection);
                }
                changed.await;
            }
        };
        tokio::select! {
            () = dialling => {}
            // A connection that is dialled during a drain closes at once, and so would the next one and the next.
            () = drain.draining() => std::future::pending().await,
        }
    }

    fn missing(&self) -> usize {
        let https = &self.https;
        let wanted = match self.config.https {
            Purpose::HttpsShared => self.config.shared_connections,
            Purpose::HttpsPool
            | Purpose::HttpsExchange
            | Purpose::Control
            | Purpose::Media
            | Purpose::Streams => {
                let busy = https.requests.in_flight();
                let spare = limits::LINK_POOL_SPARE.max(busy / 4);
                busy.saturating_add(spare).min(limits::LINK_POOL_MAX)
            }
        };
        let has_failed = https.failures.load(Ordering::Relaxed) > 0;
        let dialling = https.dialling.load(Ordering::Relaxed);
        dials(
            wanted,
            https.open.load(Ordering::Relaxed),
            dialling,
            has_failed,
        )
    }

    async fn https_connection(self: Arc<Self>, dialling: Counted, drain: Signal) {
        let losses = self.https.losses.subscribe();
        let dialled = self.dial(self.config.https, None).await;
        let stream = match dialled {
            Ok((stream, _)) => stream,
            Err(failed) => {
                let failures = self.https.failures.fetch_add(1, Ordering::Relaxed);
                let wait = back_off(failures);
                let reason = format!("{:#}", failed.error);
                if failures == 0 {
                    tracing::warn!(
                        side = "link",
                        reason,
                        remedy = failed.remedy(),
                        "can't open an HTTPS connection"
                    );
                } else {
                    tracing::debug!(
                        side = "link",
                        reason,
                        failures,
                        "still can't open an HTTPS connection"
                    );
                }
                // Whoever is told that this dial is over dials again: not at once.
                tokio::time::sleep(wait).await;
                return;
            }
        };
        if self.https.failures.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!("HTTPS connections can be opened again");
        }
        let _open = Counted::one(&self.https, |https| &https.open);
        drop(dialling);
        self.serve_https(stream, losses, &drain).await;
    }

    async fn serve_https(&self, stream: Stream, mut losses: watch::Receiver<u64>, drain: &Signal) {
        let version = match self.config.https {
            Purpose::HttpsShared => Version::LinkHttp2,
            Purpose::HttpsPool
            | Purpose::HttpsExchange
            | Purpose::Control
            | Purpose::Media
            | Purpose::Streams => Version::Http1,
        };
        let edge = Arc::new(self.config.edge.clone());
        // The drain waits until the connection ends: that is when the last body on it is sent.
        let _waited_for = drain.in_flight();
        let handler = |mut request: Request<Incoming>| {
            let kept = self.kept(&mut request);
            let in_flight = self.https.requests.begin();
            if self.missing() > 0 {
                self.https.changed.notify_one();
            }
            let answer =
                Arc::clone(&self.streams).answer(Arc::clone(&edge), request.map(Body::stream));
            async move {
                let answer = match kept {
                    Some(kept) => kept,
                    None => answer.await,
                };
                answer.map(|body| body.with_in_flight(in_flight))
            }
        };
        // Requests under way are finished after the drain has begun; what is left when it is over ends with the workers.
        let serving = http_server::serve(
            stream,
            version,
            handler,
            Arc::default(),
            TIMEOUTS,
            drain.draining(),
        );
        let edge = &self.config.edge;
        tokio::select! {
            ended = Box::pin(serving) => tracing::debug!(%edge, reason = %ended, "HTTPS connection ended"),
            // The client lives as long as this connection, so this is a loss and not the end of the sender.
            _ = losses.changed() => tracing::debug!(%edge, reason = "the edge fell silent", "HTTPS connection given up"),
        }
    }
}

/// One connection in a count, until it is dropped; whoever keeps the number is told then.
struct Counted {
    https: Arc<Https>,
    count: fn(&Https) -> &AtomicUsize,
}

impl Counted {
    fn one(https: &Arc<Https>, count: fn(&Https) -> &AtomicUsize) -> Self {
        count(https).fetch_add(1, Ordering::Relaxed);
        Self {
            https: Arc::clone(https),
            count,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.https).fetch_sub(1, Ordering::Relaxed);
        self.https.changed.notify_one();
    }
}

/// How many more connections to dial: one at a time while dials fail.
fn dials(wanted: usize, open: usize, dialling: usize, has_failed: bool) -> usize {
    let at_a_time = if has_failed {
        1
    } else {
        limits::LINK_DIALS_MAX
    };
    let missing = wanted.saturating_sub(open).saturating_sub(dialling);
    missing.min(at_a_time.saturating_sub(dialling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_that_fail_are_repeated_one_at_a_time() {
        assert_eq!(dials(8, 0, 0, false), 8);
        assert_eq!(dials(100, 0, 0, false), limits::LINK_DIALS_MAX);
        assert_eq!(dials(100, 0, limits::LINK_DIALS_MAX, false), 0);
        assert_eq!(dials(8, 5, 2, false), 1);
        assert_eq!(dials(8, 9, 0, false), 0);

        assert_eq!(dials(8, 0, 0, true), 1);
        assert_eq!(dials(8, 0, 1, true), 0);
        assert_eq!(dials(8, 8, 0, true), 0);
    }

    #[tokio::test]
    async fn whatever_ends_a_connection_it_is_counted_no_more_and_the_keeper_is_told() {
        let https = Arc::<Https>::default();
        let open = Counted::one(&https, |https| &https.open);
        assert_eq!(https.open.load(Ordering::Relaxed), 1);

        let cut = tokio::spawn(async move {
            let _open = open;
            std::future::pending::<()>().await;
        });
        cut.abort();
        https.changed.notified().await;

        assert_eq!(https.open.load(Ordering::Relaxed), 0);
    }
}
