//! The sessions in this process's memory, with an optional snapshot on disk: all there is on a single edge-c, and the copy
//! that is asked where several share a store.
//!
//! Look-ups touch one shard's read lock only. Whatever changes the set takes the index first, then the shard, so the two
//! agree whenever the index is free.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use common::limits;
use common::mra::cookie::Tombstone;
use common::session::{Session, SessionId, UserName};
use common::time::UnixTime;

use self::disk::Disk;
use self::index::Index;
use super::announce::Announce;
use super::snapshot::{Loaded, Snapshot};
use super::store::{
    PageMark, Revoked, Selection, SessionStore, StoreError, StoreFuture, StoreStats,
};

mod disk;
mod index;
#[cfg(test)]
mod tests;

/// How much a [`MemoryStore`] keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Sessions in all.
    pub(super) sessions_max: usize,
    /// Sessions of one user.
    pub(super) per_user_max: usize,
    /// Changes that wait for the disk.
    pub(super) pending_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sessions_max: limits::SESSIONS_MAX,
            per_user_max: limits::SESSIONS_PER_USER_MAX,
            pending_max: limits::SESSION_FLUSH_QUEUE_MAX,
        }
    }
}

/// Sessions in this process's memory.
#[derive(Debug)]
pub(super) struct MemoryStore {
    shards: [Shard; SHARDS],
    index: Mutex<Index>,
    disk: Disk,
    announce: Announce,
    bounds: Bounds,
}

type Shard = RwLock<HashMap<SessionId, Arc<Session>>>;

impl MemoryStore {
    /// Starts with what a snapshot held, or empty.
    pub(super) fn new(
        bounds: Bounds,
        snapshot: Option<Arc<Snapshot>>,
        loaded: Loaded,
        announce: Announce,
    ) -> Self {
        let store = Self {
            shards: Default::default(),
            index: Mutex::default(),
            disk: Disk::new(snapshot, bounds.pending_max),
            announce,
            bounds,
        };
        let mut index = store.index();
        for tombstone in loaded.tombstones {
            index.tombstones.insert(tombstone);
        }
        let mut sessions = loaded.sessions;
        sessions.sort_by_key(|session| session.created);
        for session in sessions {
            // A kill between a revocation and the next flush may leave both.
            if index.tombstones.contains(&session.id) {
                store.disk.mark(&session.id);
            } else {
                store.place(&mut index, Arc::new(session));
            }
        }
        drop(index);
        store
            .disk
            .drop_stale(loaded.stale_sessions, loaded.stale_tombstones);
        store
    }

    /// Keeps a session unless it is known or was revoked; gives those that had to go for it.
    pub(super) fn add(&self, session: Arc<Session>) -> Vec<SessionId> {
        let id = session.id;
        let mut index = self.index();
        if index.tombstones.contains(&id) || self.look_up(&id).is_some() {
            return Vec::new();
        }
        let evicted = self.place(&mut index, session);
        drop(index);
        self.disk.mark(&id);
        evicted
    }

    /// Drops sessions that another node had to drop.
    pub(super) fn evict(&self, ids: &[SessionId]) {
        let mut index = self.index();
        for id in ids {
            if self.remove(&mut index, id).is_some() {
                index.evicted_total += 1;
            }
        }
    }

    /// Which sessions are meant, as tombstones.
    pub(super) fn select(&self, which: &Selection) -> Vec<Tombstone> {
        let index = self.index();
        let ids: Vec<SessionId> = match which {
            Selection::Session(id) => vec![*id],
            Selection::User(user) => index.of_user(user).to_vec(),
            Selection::All | Selection::Device(_) => index.after(None).collect(),
        };
        drop(index);
        ids.iter()
            .filter_map(|id| self.look_up(id))
            .filter(|session| match which {
                Selection::All | Selection::Session(_) | Selection::User(_) => true,
                Selection::Device(device) => session.device.as_ref() == Some(device),
            })
            .map(|session| Tombstone {
                id: session.id,
                until: session.expires,
            })
            .collect()
    }

    /// Puts revocations on disk; waits for it.
    pub(super) fn bury(&self, tombstones: &[Tombstone]) -> Result<(), StoreError> {
        self.disk.bury(tombstones)
    }

    /// Ends these sessions, and tells every edge-e of those that it did not know as revoked.
    pub(super) fn end(&self, tombstones: &[Tombstone]) {
        let mut index = self.index();
        let mut news = Vec::new();
        for tombstone in tombstones {
            if self.remove(&mut index, &tombstone.id).is_some() {
                index.revoked_total += 1;
            }
            if !index.tombstones.contains(&tombstone.id) {
                news.push(*tombstone);
            }
            if let Some(dropped) = index.tombstones.insert(*tombstone) {
                self.disk.forget(&dropped);
            }
        }
        drop(index);
        for tombstone in news {
            self.announce.tombstone(tombstone);
        }
    }

    fn place(&self, index: &mut Index, session: Arc<Session>) -> Vec<SessionId> {
        let mut evicted = Vec::new();
        let Bounds {
            sessions_max,
            per_user_max,
            ..
        } = self.bounds;
        while let Some(id) = index.crowded_out(&session.user, per_user_max, sessions_max) {
            index.evicted_total += 1;
            self.remove(index, &id);
            evicted.push(id);
        }
        index.add(&session);
        write(self.shard(&session.id)).insert(session.id, session);
        evicted
    }

    fn remove(&self, index: &mut Index, id: &SessionId) -> Option<Arc<Session>> {
        let removed = write(self.shard(id)).remove(id)?;
        self.disk.mark(id);
        index.remove(&removed);
        Some(removed)
    }

    fn revoke_now(&self, which: &Selection) -> Revoked {
        let tombstones = self.select(which);
        let is_durable = self.bury(&tombstones);
        self.end(&tombstones);
        Revoked {
            count: tombstones.len(),
            is_durable,
        }
    }

    fn shard(&self, id: &SessionId) -> &Shard {
        // The id is a hash: its first octet spreads evenly.
        let SessionId([first, ..]) = id;
        let [default, ..] = &self.shards;
        self.shards
            .get(usize::from(*first) % SHARDS)
            .unwrap_or(default)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic while it was held leaves at worst an entry too many in one of the sets.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for MemoryStore {
    fn look_up(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.shard(id)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .map(Arc::clone)
    }

    fn find(&self, id: SessionId) -> StoreFuture<'_, Result<Option<Arc<Session>>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.look_up(&id))))
    }

    fn of_user(&self, user: &UserName) -> Vec<Arc<Session>> {
        let index = self.index();
        let ids = index.of_user(user);
        ids.iter().filter_map(|id| self.look_up(id)).collect()
    }

    fn insert(&self, session: Arc<Session>) -> StoreFuture<'_, Result<(), StoreError>> {
        self.add(session);
        Box::pin(std::future::ready(Ok(())))
    }

    fn revoke(self: Arc<Self>, which: Selection) -> StoreFuture<'static, Revoked> {
        if !self.disk.is_there() {
            return Box::pin(std::future::ready(self.revoke_now(&which)));
        }
        // A blocking task runs to its end also when this future is dropped.
        let task = tokio::task::spawn_blocking(move || self.revoke_now(&which));
        Box::pin(async move {
            task.await.unwrap_or_else(|error| Revoked {
                count: 0,
                is_durable: Err(StoreError::NotDurable(error.to_string())),
            })
        })
    }

    fn expire(&self, now: UnixTime) -> usize {
        let mut expired = 0;
        // In batches, so that a sign-in doesn't wait for all of them.
        loop {
            let mut index = self.index();
            let before = expired;
            while expired - before < limits::SESSION_FLUSH_BATCH
                && let Some(id) = index.take_expired(now)
            {
                self.remove(&mut index, &id);
                index.expired_total += 1;
                expired += 1;
            }
            if expired == before {
                while let Some(gone) = index.take_old_tombstone(now) {
                    self.disk.forget(&gone);
                }
                return expired;
            }
        }
    }

    fn flush(self: Arc<Self>) -> StoreFuture<'static, Result<(), StoreError>> {
        if !self.disk.is_there() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let task = tokio::task::spawn_blocking(move || self.disk.flush(|id| self.look_up(id)));
        Box::pin(async move {
            task.await
                .unwrap_or_else(|error| Err(StoreError::NotDurable(error.to_string())))
        })
    }

    fn is_revoked(&self, id: &SessionId) -> bool {
        self.index().tombstones.contains(id)
    }

    fn tombstones(&self) -> Vec<Tombstone> {
        self.index().tombstones.iter().collect()
    }

    fn page(&self, after: Option<PageMark>, size: usize) -> Vec<Arc<Session>> {
        let index = self.index();
        let ids = index.after(after).take(size);
        ids.filter_map(|id| self.look_up(&id)).collect()
    }

    fn stats(&self) -> StoreStats {
        let disk = self.disk.stats();
        let index = self.index();
        StoreStats {
            sessions: index.len(),
            tombstones: index.tombstones.len(),
            pending: disk.pending,
            evicted_total: index.evicted_total,
            expired_total: index.expired_total,
            revoked_total: index.revoked_total,
            unsaved_total: disk.unsaved_total,
            flush_failures_total: disk.failures_total,
        }
    }
}

fn write(shard: &Shard) -> std::sync::RwLockWriteGuard<'_, HashMap<SessionId, Arc<Session>>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// Enough that a sign-in seldom meets a look-up.
const SHARDS: usize = 16;
