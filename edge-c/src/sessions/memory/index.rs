//! Which sessions there are, in the orders that they are asked for: by expiry and by user, and which were revoked. Ids only.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use common::mra::cookie::{Tombstone, Tombstones};
use common::session::{Session, SessionId, UserName};
use common::time::UnixTime;

use super::super::store::PageMark;

/// The orders, and what left them.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_time: BTreeSet<PageMark>,
    // In the order of sign-in.
    by_user: BTreeMap<UserName, Vec<SessionId>>,
    pub(super) tombstones: Tombstones,
    pub(super) evicted_total: u64,
    pub(super) expired_total: u64,
    pub(super) revoked_total: u64,
}

impl Index {
    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// The sessions of a user, the oldest first.
    pub(super) fn of_user(&self, user: &UserName) -> &[SessionId] {
        self.by_user.get(user).map_or(&[], Vec::as_slice)
    }

    /// The one that is the soonest to expire.
    pub(super) fn soonest(&self) -> Option<PageMark> {
        self.by_time.first().copied()
    }

    /// The ones behind `after`, in the order of expiry.
    pub(super) fn after(&self, after: Option<PageMark>) -> impl Iterator<Item = SessionId> + '_ {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let marks = self.by_time.range((from, Bound::Unbounded));
        marks.map(|mark| mark.id)
    }

    /// The one session that has to go before another one of `user` may come.
    pub(super) fn crowded_out(
        &self,
        user: &UserName,
        per_user_max: usize,
        sessions_max: usize,
    ) -> Option<SessionId> {
        let own = self.of_user(user);
        if own.len() >= per_user_max {
            return own.first().copied();
        }
        let soonest = self.soonest().map(|mark| mark.id);
        soonest.filter(|_| self.len() >= sessions_max)
    }

    pub(super) fn add(&mut self, session: &Session) {
        self.by_time.insert(mark_of(session));
        let of_user = self.by_user.entry(session.user.clone()).or_default();
        of_user.push(session.id);
    }

    pub(super) fn remove(&mut self, session: &Session) {
        self.by_time.remove(&mark_of(session));
        if let Some(ids) = self.by_user.get_mut(&session.user) {
            ids.retain(|known| *known != session.id);
            if ids.is_empty() {
                self.by_user.remove(&session.user);
            }
        }
    }

    /// Takes the mark of a session that has expired by `now` out.
    pub(super) fn take_expired(&mut self, now: UnixTime) -> Option<SessionId> {
        let first = self.soonest().filter(|first| first.expires <= now)?;
        self.by_time.remove(&first);
        Some(first.id)
    }

    /// Takes a tombstone out whose session would have expired by `now`.
    pub(super) fn take_old_tombstone(&mut self, now: UnixTime) -> Option<Tombstone> {
        self.tombstones.take_expired(now)
    }

    #[cfg(test)]
    pub(super) fn users(&self) -> impl Iterator<Item = usize> + '_ {
        self.by_user.values().map(Vec::len)
    }
}

pub(super) fn mark_of(session: &Session) -> PageMark {
    PageMark {
        expires: session.expires,
        id: session.id,
    }
}
