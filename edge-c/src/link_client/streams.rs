//! The connections of a link that carry client connections (SIP): a fixed number, dialled again whenever one is lost.
//!
//! They live on the thread that answers what arrives on them, so that a message wakes no other.

use std::sync::Arc;

use common::link::greeting::Purpose;
use common::net::Domain;
use common::runtime::drain::Signal;
use common::runtime::link_streams::{self, Arrived, Ended};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::lines::Counted;
use super::{LinkClient, Stream};

/// Who takes the streams that edge-e opens.
#[derive(Clone)]
pub struct StreamService {
    /// The thread that they live on.
    pub runtime: Handle,
    /// Gets every stream, with the edge that opened it; must not wait.
    pub take: Arc<TakeStream>,
}

/// Gets a stream, with the name of the edge that opened it.
pub type TakeStream = dyn Fn(&Domain, Arrived) + Send + Sync;

impl std::fmt::Debug for StreamService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamService").finish_non_exhaustive()
    }
}

impl LinkClient {
    /// Keeps [`common::limits::LINK_STREAM_CONNECTIONS`] as long as the control stream stands. Without a service there are none.
    pub(super) async fn keep_streams(self: &Arc<Self>, drain: &Signal) {
        let Some(service) = &self.stream_service else {
            return std::future::pending().await;
        };
        let dialling = self.lines.keep(|dialling| {
            let client = Arc::clone(self);
            let (service, drain) = (service.clone(), drain.clone());
            let runtime = service.runtime.clone();
            let connection =
                async move { client.stream_connection(dialling, service, drain).await };
            drop(runtime.spawn(connection));
        });
        tokio::select! {
            () = dialling => {}
            // What is dialled during a drain would not be used any more.
            () = drain.draining() => std::future::pending().await,
        }
    }

    async fn stream_connection(
        self: Arc<Self>,
        dialling: Counted,
        service: StreamService,
        drain: Signal,
    ) {
        let losses = self.lines.losses();
        let stream = match self.dial(Purpose::Streams, None).await {
            Ok((stream, _)) => stream,
            Err(failed) => {
                // Whoever is told that this dial is over dials again: not at once.
                let wait = self.lines.note_failed(&failed, &self.config.edge);
                return tokio::time::sleep(wait).await;
            }
        };
        let mut open = Some(self.lines.count_open(&self.config.edge));
        drop(dialling);
        // One that takes no new streams counts no more, however long the last ones on it go on.
        let is_retired = || drop(open.take());
        let ended = self.serve_streams(stream, losses, &service, is_retired, &drain);
        let ended = ended.await;
        let reason = ended.map_or_else(|| "given up".to_owned(), |ended| ended.to_string());
        tracing::debug!(side = "link", edge = %self.config.edge, reason, "stream connection ended");
    }

    async fn serve_streams(
        &self,
        stream: Stream,
        mut losses: watch::Receiver<u64>,
        service: &StreamService,
        is_retired: impl FnMut(),
        drain: &Signal,
    ) -> Option<Ended> {
        let edge = &self.config.edge;
        let take = |arrived| (service.take)(edge, arrived);
        let serving = link_streams::serve(stream, drain.draining(), is_retired, take);
        tokio::select! {
            ended = Box::pin(serving) => Some(ended),
            _ = losses.changed() => None,
            () = drain.over() => None,
        }
    }
}
