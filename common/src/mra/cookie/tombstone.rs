//! Revoked sessions, remembered until they would have expired. Knows ids only, nobody's name.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::SessionId;
use crate::limits;
use crate::time::UnixTime;

/// A session that was revoked before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The session.
    pub id: SessionId,
    /// When it would have expired: from then on the cookie itself says no.
    pub until: UnixTime,
}

/// A set of tombstones that only grows until they expire, and never over
/// [`limits::TOMBSTONES_MAX`].
#[derive(Clone, Debug)]
pub struct Tombstones {
    by_id: HashMap<SessionId, UnixTime>,
    by_time: BTreeSet<(UnixTime, SessionId)>,
    tombstones_max: usize,
}

impl Default for Tombstones {
    fn default() -> Self {
        Self::bounded(limits::TOMBSTONES_MAX)
    }
}

impl Tombstones {
    /// An empty set that keeps at most `tombstones_max`.
    #[must_use]
    pub fn bounded(tombstones_max: usize) -> Self {
        Self {
            by_id: HashMap::new(),
            by_time: BTreeSet::new(),
            tombstones_max,
        }
    }

    /// Remembers one; of two for the same session the later counts. Returns what had to go for it.
    pub fn insert(&mut self, tombstone: Tombstone) -> Option<Tombstone> {
        let Tombstone { id, until } = tombstone;
        match self.by_id.get(&id) {
            Some(known) if *known >= until => return None,
            Some(known) => {
                self.by_time.remove(&(*known, id));
            }
            None => {}
        }
        self.by_id.insert(id, until);
        self.by_time.insert((until, id));
        if self.by_id.len() > self.tombstones_max {
            return self.take_first();
        }
        None
    }

    /// Whether the session was revoked.
    #[must_use]
    pub fn contains(&self, id: &SessionId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Takes one whose session has expired by `now`.
    pub fn take_expired(&mut self, now: UnixTime) -> Option<Tombstone> {
        let (until, _) = self.by_time.first()?;
        if *until > now {
            return None;
        }
        self.take_first()
    }

    /// All of them, the soonest to expire first.
    pub fn iter(&self) -> impl Iterator<Item = Tombstone> + '_ {
        self.by_time.iter().map(|(until, id)| Tombstone {
            id: *id,
            until: *until,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn take_first(&mut self) -> Option<Tombstone> {
        let (until, id) = self.by_time.pop_first()?;
        self.by_id.remove(&id);
        Some(Tombstone { id, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(id: u8, until: u64) -> Tombstone {
        Tombstone {
            id: SessionId([id; 32]),
            until: UnixTime(until),
        }
    }

    #[test]
    fn a_tombstone_stays_until_its_session_would_have_expired() {
        let mut set = Tombstones::default();
        set.insert(tombstone(1, 100));
        set.insert(tombstone(2, 200));

        assert_eq!(set.take_expired(UnixTime(99)), None);
        assert_eq!(set.take_expired(UnixTime(100)), Some(tombstone(1, 100)));
        assert_eq!(set.take_expired(UnixTime(100)), None);
        assert!(set.contains(&SessionId([2; 32])));
        assert!(!set.contains(&SessionId([1; 32])));
    }

    #[test]
    fn the_later_of_two_for_one_session_counts_in_either_order() {
        let mut set = Tombstones::default();
        set.insert(tombstone(1, 100));
        set.insert(tombstone(1, 300));
        set.insert(tombstone(1, 200));

        assert_eq!(set.len(), 1);
        assert_eq!(set.iter().next(), Some(tombstone(1, 300)));
        assert_eq!(set.take_expired(UnixTime(299)), None);
    }

    #[test]
    fn a_full_set_drops_the_soonest_to_expire() {
        let mut set = Tombstones::bounded(2);
        set.insert(tombstone(1, 300));
        set.insert(tombstone(2, 100));

        assert_eq!(set.insert(tombstone(3, 200)), Some(tombstone(2, 100)));
        assert_eq!(set.len(), 2);
    }
}
