//! How one node is doing: what connects and probes found out. Nothing here is kept for longer than the next probe.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::limits;

/// Shared by all who use the node.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    is_known: AtomicBool,
    binds_channel: AtomicBool,
}

/// What a report has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was up or unknown, and is down.
    Down,
    /// Nothing.
    None,
    /// It was down or unknown, and is up.
    Up,
}

impl Health {
    /// Is it up, as far as is known? One that nobody has asked yet counts as up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < limits::XMPP_NODE_FAILURES
    }

    /// `None` until somebody has asked it.
    #[must_use]
    pub fn known(&self) -> Option<bool> {
        self.is_known.load(Ordering::Relaxed).then(|| self.is_up())
    }

    /// It could be used.
    pub fn succeeded(&self) -> Change {
        let was_down = self.failures.swap(0, Ordering::Relaxed) >= limits::XMPP_NODE_FAILURES;
        let was_known = self.is_known.swap(true, Ordering::Relaxed);
        if was_down || !was_known {
            Change::Up
        } else {
            Change::None
        }
    }

    /// It could not be used.
    pub fn failed(&self) -> Change {
        self.is_known.store(true, Ordering::Relaxed);
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) == limits::XMPP_NODE_FAILURES {
            Change::Down
        } else {
            Change::None
        }
    }

    /// Does it offer channel binding, which can't work through two TLS connections?
    #[must_use]
    pub fn binds_channel(&self) -> bool {
        self.binds_channel.load(Ordering::Relaxed)
    }

    /// Notes whether it offers channel binding. `true` if that is new.
    pub fn note_binding(&self, binds_channel: bool) -> bool {
        self.binds_channel.swap(binds_channel, Ordering::Relaxed) != binds_channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_two_failures_to_be_down_and_one_success_to_be_up() {
        let health = Health::default();
        assert_eq!((health.is_up(), health.known()), (true, None));

        assert_eq!(health.succeeded(), Change::Up);
        assert_eq!(health.failed(), Change::None);
        assert!(health.is_up());
        assert_eq!(health.failed(), Change::Down);
        assert_eq!(health.failed(), Change::None);
        assert_eq!(health.known(), Some(false));

        assert_eq!(health.succeeded(), Change::Up);
        assert_eq!(health.succeeded(), Change::None);
        assert!(health.is_up());
    }
}
