//! Who is told what changes: every link, SIP and XMPP. Keeps nothing: whoever joins asks for the whole state.

use common::limits;
use common::mra::cookie::Tombstone;
use common::policy::jail::Ban;
use tokio::sync::broadcast;

/// Where changes are called out.
#[derive(Clone, Debug)]
pub(super) struct Announce {
    tombstones: broadcast::Sender<Tombstone>,
    bans: broadcast::Sender<Ban>,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            tombstones: broadcast::Sender::new(limits::TOMBSTONE_QUEUE_MAX),
            bans: broadcast::Sender::new(limits::BAN_QUEUE_MAX),
        }
    }
}

impl Announce {
    /// A session is over before its time.
    pub(super) fn tombstone(&self, tombstone: Tombstone) {
        // Nobody listens while no link is up: whoever joins fetches the state.
        drop(self.tombstones.send(tombstone));
    }

    /// An address, or a user there, is refused for a while.
    pub(super) fn ban(&self, ban: Ban) {
        // As above.
        drop(self.bans.send(ban));
    }

    pub(super) fn tombstones(&self) -> broadcast::Receiver<Tombstone> {
        self.tombstones.subscribe()
    }

    pub(super) fn bans(&self) -> broadcast::Receiver<Ban> {
        self.bans.subscribe()
    }
}
