//! The connections of a link that carry client connections (SIP): a fixed number, dialled again whenever one is lost.
//!
//! They live on the thread that answers what arrives on them, so that a message wakes no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use common::limits;
use common::link::greeting::Purpose;
use common::net::Domain;
use common::runtime::drain::Signal;
use common::runtime::link_streams::{self, Arrived, Ended};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::dial::NotDialled;
use super::{LinkClient, Stream, back_off};

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

/// The connections there are.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: AtomicUsize,
    dialling: AtomicUsize,
    /// Dials that failed since the last one that did not.
    failures: AtomicU32,
    /// A connection has gone.
    changed: Notify,
    /// Counts the times that all of them were given up.
    losses: watch::Sender<u64>,
}

impl Lines {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Gives up every connection, with the streams on it: nobody would tell of a peer that fell silent.
    pub(super) fn give_up(&self) {
        self.losses
            .send_modify(|losses| *losses = losses.wrapping_add(1));
    }

    fn missing(&self) -> usize {
        let there = self
            .open()
            .saturating_add(self.dialling.load(Ordering::Relaxed));
        limits::LINK_STREAM_CONNECTIONS.saturating_sub(there)
    }
}

impl LinkClient {
    /// Keeps [`limits::LINK_STREAM_CONNECTIONS`] as long as the control stream stands. Without a service there are none.
    pub(super) async fn keep_streams(self: &Arc<Self>, drain: &Signal) {
        let Some(service) = &self.stream_service else {
            return std::future::pending().await;
        };
        let dialling = async {
            loop {
                let changed = self.lines.changed.notified();
                for _ in 0..self.lines.missing() {
                    let dialling = Counted::one(&self.lines, |lines| &lines.dialling);
                    let client = Arc::clone(self);
                    let (service, drain) = (service.clone(), drain.clone());
                    let runtime = service.runtime.clone();
                    let connection =
                        async move { client.stream_connection(dialling, service, drain).await };
                    drop(runtime.spawn(connection));
                }
                changed.await;
            }
        };
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
        let losses = self.lines.losses.subscribe();
        let stream = match self.dial(Purpose::Streams, None).await {
            Ok((stream, _)) => stream,
            Err(failed) => {
                // Whoever is told that this dial is over dials again: not at once.
                let wait = self.note_no_line(&failed);
                return tokio::time::sleep(wait).await;
            }
        };
        if self.lines.failures.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(edge = %self.config.edge, "stream connections can be opened again");
        }
        let mut open = Some(Counted::one(&self.lines, |lines| &lines.open));
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

    fn note_no_line(&self, failed: &NotDialled) -> Duration {
        let failures = self.lines.failures.fetch_add(1, Ordering::Relaxed);
        let reason = format!("{:#}", failed.error);
        let edge = &self.config.edge;
        if failures == 0 {
            let remedy = failed.remedy();
            tracing::warn!(side = "link", %edge, reason, remedy, "can't open a stream connection");
        } else {
            tracing::debug!(side = "link", %edge, reason, failures, "still can't open a stream connection");
        }
        back_off(failures)
    }
}

/// One connection in a count, until it is dropped; whoever keeps the number is told then.
struct Counted {
    lines: Arc<Lines>,
    count: fn(&Lines) -> &AtomicUsize,
}

impl Counted {
    fn one(lines: &Arc<Lines>, count: fn(&Lines) -> &AtomicUsize) -> Self {
        count(lines).fetch_add(1, Ordering::Relaxed);
        Self {
            lines: Arc::clone(lines),
            count,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.lines).fetch_sub(1, Ordering::Relaxed);
        self.lines.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_ends_is_missing_and_its_keeper_is_told() {
        let lines = Arc::<Lines>::default();
        let open = Counted::one(&lines, |lines| &lines.open);
        let dialling = Counted::one(&lines, |lines| &lines.dialling);
        assert_eq!(lines.missing(), limits::LINK_STREAM_CONNECTIONS - 2);

        drop(open);
        lines.changed.notified().await;

        assert_eq!(lines.missing(), limits::LINK_STREAM_CONNECTIONS - 1);
        drop(dialling);
    }
}
