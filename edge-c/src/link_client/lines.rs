//! A fixed number of link connections for one purpose, dialled again whenever one is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use common::net::Domain;
use tokio::sync::{Notify, watch};

use super::back_off;
use super::dial::NotDialled;

/// The connections there are.
#[derive(Debug)]
pub(super) struct Lines {
    /// What they are for, in logs.
    purpose: &'static str,
    wanted: usize,
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
    /// None yet.
    pub(super) fn new(purpose: &'static str, wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            purpose,
            wanted,
            open: AtomicUsize::new(0),
            dialling: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            changed: Notify::new(),
            losses: watch::Sender::new(0),
        })
    }

    /// Has as many dialled as are missing, again and again. `dial` gets one that counts as being dialled.
    pub(super) async fn keep(self: &Arc<Self>, dial: impl Fn(Counted)) {
        loop {
            let changed = self.changed.notified();
            for _ in 0..self.missing() {
                dial(Counted::one(self, |lines| &lines.dialling));
            }
            changed.await;
        }
    }

    /// Counts a connection that stands.
    pub(super) fn count_open(self: &Arc<Self>, edge: &Domain) -> Counted {
        if self.failures.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(%edge, purpose = self.purpose, "connections can be opened again");
        }
        Counted::one(self, |lines| &lines.open)
    }

    /// Changes when the connections that are open now are given up.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// Notes a dial that failed; how long to wait before the next.
    pub(super) fn note_failed(&self, failed: &NotDialled, edge: &Domain) -> Duration {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let reason = format!("{:#}", failed.error);
        let purpose = self.purpose;
        if failures == 0 {
            let remedy = failed.remedy();
            tracing::warn!(side = "link", %edge, purpose, reason, remedy, "can't open a connection");
        } else {
            tracing::debug!(side = "link", %edge, purpose, reason, failures, "still can't open a connection");
        }
        back_off(failures)
    }

    /// How many stand.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Gives up every connection, with what is on it: nobody would tell of a peer that fell silent.
    pub(super) fn give_up(&self) {
        self.losses
            .send_modify(|losses| *losses = losses.wrapping_add(1));
    }

    fn missing(&self) -> usize {
        let there = self
            .open()
            .saturating_add(self.dialling.load(Ordering::Relaxed));
        self.wanted.saturating_sub(there)
    }
}

/// One connection in a count, until it is dropped; whoever keeps the number is told then.
pub(super) struct Counted {
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
        let lines = Lines::new("test", 4);
        let open = Counted::one(&lines, |lines| &lines.open);
        let dialling = Counted::one(&lines, |lines| &lines.dialling);
        assert_eq!(lines.missing(), 2);

        drop(open);
        lines.changed.notified().await;

        assert_eq!(lines.missing(), 3);
        drop(dialling);
    }
}
