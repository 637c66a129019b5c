//! The store of a single edge-c: everything in memory, with an optional snapshot on disk.
//!
//! Look-ups touch one shard's read lock only. Whatever changes the set takes the index first, then the shard, so the two
//! agree whenever the index is free.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use common::limits;
use common::mra::cookie::{Tombstone, Tombstones};
use common::session::{Session, SessionId, UserName};
use common::time::UnixTime;

use super::snapshot::{Loaded, Snapshot};
use super::store::{
    PageMark, Revoked, Selection, SessionStore, StoreError, StoreFuture, StoreStats,
};

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
    pending: Mutex<Pending>,
    snapshot: Option<Arc<Snapshot>>,
    bounds: Bounds,
}

type Shard = RwLock<HashMap<SessionId, Arc<Session>>>;

#[derive(Debug, Default)]
struct Index {
    by_time: BTreeSet<PageMark>,
    // In the order of sign-in.
    by_user: BTreeMap<UserName, Vec<SessionId>>,
    tombstones: Tombstones,
    evicted_total: u64,
    expired_total: u64,
    revoked_total: u64,
}

/// What differs from the snapshot. Only ids: what is written is how things are when it is written.
#[derive(Debug, Default)]
struct Pending {
    sessions: BTreeSet<SessionId>,
    tombstones: BTreeSet<SessionId>,
    /// Revocations that the disk did not take: they go with whatever is written next.
    unburied: Vec<Tombstone>,
    unsaved_total: u64,
    failures_total: u64,
}

impl MemoryStore {
    /// Starts with what a snapshot held, or empty.
    pub(super) fn new(bounds: Bounds, snapshot: Option<Arc<Snapshot>>, loaded: Loaded) -> Self {
        let store = Self {
            shards: Default::default(),
            index: Mutex::default(),
            pending: Mutex::default(),
            snapshot,
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
                store.mark(&session.id);
            } else {
                store.add(&mut index, Arc::new(session));
            }
        }
        drop(index);
        let mut pending = store.pending();
        pending.sessions.extend(loaded.stale_sessions);
        pending.tombstones.extend(loaded.stale_tombstones);
        drop(pending);
        store
    }

    fn add(&self, index: &mut Index, session: Arc<Session>) {
        while let Some(oldest) = index
            .by_user
            .get(&session.user)
            .filter(|ids| ids.len() >= self.bounds.per_user_max)
            .and_then(|ids| ids.first().copied())
        {
            self.evict(index, &oldest);
        }
        while index.by_time.len() >= self.bounds.sessions_max
            && let Some(soonest) = index.by_time.first().copied()
        {
            self.evict(index, &soonest.id);
        }
        index.by_time.insert(mark_of(&session));
        index
            .by_user
            .entry(session.user.clone())
            .or_default()
            .push(session.id);
        write(self.shard(&session.id)).insert(session.id, session);
    }

    fn evict(&self, index: &mut Index, id: &SessionId) {
        index.evicted_total += 1;
        self.remove(index, id);
    }

    fn remove(&self, index: &mut Index, id: &SessionId) -> Option<Arc<Session>> {
        let removed = write(self.shard(id)).remove(id)?;
        self.mark(id);
        index.by_time.remove(&mark_of(&removed));
        if let Some(ids) = index.by_user.get_mut(&removed.user) {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                index.by_user.remove(&removed.user);
            }
        }
        Some(removed)
    }

    /// Notes, after a change, that the snapshot is behind. A lost note costs a sign-in after a restart at most: revocations don't rely on it.
    fn mark(&self, id: &SessionId) {
        if self.snapshot.is_none() {
            return;
        }
        let mut pending = self.pending();
        if pending.sessions.len() < self.bounds.pending_max {
            pending.sessions.insert(*id);
        } else {
            pending.unsaved_total += 1;
        }
    }

    fn select(&self, which: &Selection) -> Vec<Tombstone> {
        let index = self.index();
        let ids: Vec<SessionId> = match which {
            Selection::Session(id) => vec![*id],
            Selection::User(user) => index.by_user.get(user).cloned().unwrap_or_default(),
            Selection::Device(_) => index.by_time.iter().map(|mark| mark.id).collect(),
        };
        ids.iter()
            .filter_map(|id| self.look_up(id))
            .filter(|session| match which {
                Selection::Session(_) | Selection::User(_) => true,
                Selection::Device(device) => session.device.as_ref() == Some(device),
            })
            .map(|session| Tombstone {
                id: session.id,
                until: session.expires,
            })
            .collect()
    }

    fn revoke_now(&self, which: &Selection) -> Revoked {
        let tombstones = self.select(which);
        let is_durable = self.bury(&tombstones);
        let mut index = self.index();
        for tombstone in &tombstones {
            if self.remove(&mut index, &tombstone.id).is_some() {
                index.revoked_total += 1;
            }
            if let Some(dropped) = index.tombstones.insert(*tombstone) {
                self.forget(&dropped);
            }
        }
        drop(index);
        Revoked {
            tombstones,
            is_durable,
        }
    }

    /// Puts revocations on disk, and those that failed before.
    fn bury(&self, tombstones: &[Tombstone]) -> Result<(), StoreError> {
        let Some(snapshot) = &self.snapshot else {
            return Ok(());
        };
        let mut all = std::mem::take(&mut self.pending().unburied);
        all.extend_from_slice(tombstones);
        if all.is_empty() {
            return Ok(());
        }
        let buried = snapshot.bury(&all);
        if buried.is_err() {
            all.truncate(limits::TOMBSTONES_MAX);
            self.pending().unburied.append(&mut all);
        }
        buried
    }

    fn forget(&self, gone: &Tombstone) {
        if self.snapshot.is_some() {
            let mut pending = self.pending();
            // One that stays on disk is dropped at the next start.
            if pending.tombstones.len() < self.bounds.pending_max {
                pending.tombstones.insert(gone.id);
            }
        }
    }

    fn flush_now(&self) -> Result<(), StoreError> {
        let Some(snapshot) = &self.snapshot else {
            return Ok(());
        };
        if let Err(error) = self.bury(&[]) {
            self.pending().failures_total += 1;
            return Err(error);
        }
        while let Some((sessions, tombstones)) = self.take_batch() {
            let written = snapshot.write(&sessions, &tombstones, |id| self.look_up(id));
            if let Err(error) = written {
                let mut pending = self.pending();
                pending.failures_total += 1;
                pending.sessions.extend(sessions);
                pending.tombstones.extend(tombstones);
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_batch(&self) -> Option<(Vec<SessionId>, Vec<SessionId>)> {
        let mut pending = self.pending();
        let sessions = take(&mut pending.sessions, limits::SESSION_FLUSH_BATCH);
        let tombstones = take(&mut pending.tombstones, limits::SESSION_FLUSH_BATCH);
        (!sessions.is_empty() || !tombstones.is_empty()).then_some((sessions, tombstones))
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

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn of_user(&self, user: &UserName) -> Vec<Arc<Session>> {
        let index = self.index();
        let ids = index
            .by_user
            .get(user)
            .map(Vec::as_slice)
            .unwrap_or_default();
        ids.iter().filter_map(|id| self.look_up(id)).collect()
    }

    fn insert(&self, session: Arc<Session>) -> StoreFuture<'_, Result<(), StoreError>> {
        let id = session.id;
        self.add(&mut self.index(), session);
        self.mark(&id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn revoke(self: Arc<Self>, which: Selection) -> StoreFuture<'static, Revoked> {
        if self.snapshot.is_none() {
            return Box::pin(std::future::ready(self.revoke_now(&which)));
        }
        // A blocking task runs to its end also when this future is dropped.
        let task = tokio::task::spawn_blocking(move || self.revoke_now(&which));
        Box::pin(async move {
            task.await.unwrap_or_else(|error| Revoked {
                tombstones: Vec::new(),
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
                && let Some(first) = index.by_time.first().copied()
                && first.expires <= now
            {
                index.by_time.remove(&first);
                self.remove(&mut index, &first.id);
                index.expired_total += 1;
                expired += 1;
            }
            if expired == before {
                while let Some(gone) = index.tombstones.take_expired(now) {
                    self.forget(&gone);
                }
                return expired;
            }
        }
    }

    fn flush(self: Arc<Self>) -> StoreFuture<'static, Result<(), StoreError>> {
        if self.snapshot.is_none() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let task = tokio::task::spawn_blocking(move || self.flush_now());
        Box::pin(async move {
            task.await
                .unwrap_or_else(|error| Err(StoreError::NotDurable(error.to_string())))
        })
    }

    fn tombstones(&self) -> Vec<Tombstone> {
        self.index().tombstones.iter().collect()
    }

    fn page(&self, after: Option<PageMark>, size: usize) -> Vec<Arc<Session>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.index()
            .by_time
            .range((from, Bound::Unbounded))
            .take(size)
            .filter_map(|mark| self.look_up(&mark.id))
            .collect()
    }

    fn stats(&self) -> StoreStats {
        let index = self.index();
        let (sessions, tombstones) = (index.by_time.len(), index.tombstones.len());
        let (evicted_total, expired_total, revoked_total) = (
            index.evicted_total,
            index.expired_total,
            index.revoked_total,
        );
        drop(index);
        let pending = self.pending();
        StoreStats {
            sessions,
            tombstones,
            pending: pending.sessions.len() + pending.tombstones.len() + pending.unburied.len(),
            evicted_total,
            expired_total,
            revoked_total,
            unsaved_total: pending.unsaved_total,
            flush_failures_total: pending.failures_total,
        }
    }
}

fn mark_of(session: &Session) -> PageMark {
    PageMark {
        expires: session.expires,
        id: session.id,
    }
}

fn write(shard: &Shard) -> std::sync::RwLockWriteGuard<'_, HashMap<SessionId, Arc<Session>>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

fn take(set: &mut BTreeSet<SessionId>, count: usize) -> Vec<SessionId> {
    std::iter::from_fn(|| set.pop_first()).take(count).collect()
}

/// Enough that a sign-in seldom meets a look-up.
const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use common::net::{ClientAddr, Deployment, Domain, Host};
    use common::session::{HomeCluster, Method};
    use proptest::prelude::*;

    fn session(id: u8, user: &str, expires: u64) -> Arc<Session> {
        let host = Host::parse("cucm.example.com").unwrap();
        Arc::new(Session {
            id: SessionId([id; 32]),
            user: UserName::parse(user).unwrap(),
            domain: Domain::parse("example.com").unwrap(),
            deployment: Deployment::standard(),
            home: HomeCluster {
                host,
                nodes: Vec::new(),
            },
            method: Method::Token,
            device: None,
            client: ClientAddr("192.0.2.1:1".parse().unwrap()),
            created: UnixTime(0),
            expires: UnixTime(expires),
            nodes: Vec::new(),
            credential: None,
        })
    }

    fn store(sessions_max: usize, per_user_max: usize) -> MemoryStore {
        let bounds = Bounds {
            sessions_max,
            per_user_max,
            pending_max: 10,
        };
        MemoryStore::new(bounds, None, Loaded::default())
    }

    fn insert(store: &MemoryStore, session: Arc<Session>) {
        store.add(&mut store.index(), session);
    }

    fn kept(store: &MemoryStore) -> Vec<u8> {
        let mut ids: Vec<u8> = store.page(None, 1_000).iter().map(|s| s.id.0[0]).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_full_store_drops_the_soonest_to_expire() {
        let store = store(3, 10);
        for (id, user, expires) in [(1, "a", 30), (2, "b", 10), (3, "c", 20), (4, "d", 40)] {
            insert(&store, session(id, user, expires));
        }

        assert_eq!(kept(&store), [1, 3, 4]);
        assert!(store.look_up(&SessionId([2; 32])).is_none());
        assert_eq!(store.stats().evicted_total, 1);
    }

    #[test]
    fn a_user_with_too_many_sessions_loses_the_oldest_and_nobody_else_does() {
        let store = store(10, 2);
        insert(&store, session(9, "bob", 1));
        for id in 1..=4 {
            insert(
                &store,
                session(id, if id % 2 == 0 { "alice" } else { "ALICE" }, 50),
            );
        }

        assert_eq!(kept(&store), [3, 4, 9]);
    }

    #[test]
    fn pages_go_on_where_they_ended_although_sessions_come_and_go() {
        let store = store(10, 10);
        for id in 1..=5 {
            insert(&store, session(id, "alice", 10 * u64::from(id)));
        }
        let page = store.page(None, 2);
        let after = mark_of(page.last().unwrap());
        store.expire(UnixTime(20));
        insert(&store, session(6, "alice", 5));

        let rest: Vec<_> = store
            .page(Some(after), 10)
            .iter()
            .map(|s| s.id.0[0])
            .collect();

        assert_eq!(rest, [3, 4, 5]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Expire(u64),
        Insert(u8, u8, u64),
        Revoke(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..100).prop_map(Step::Expire),
            (any::<u8>(), 0_u8..4, 1_u64..100)
                .prop_map(|(id, user, at)| Step::Insert(id, user, at)),
            (0_u8..4).prop_map(Step::Revoke),
        ]
    }

    proptest! {
        #[test]
        fn the_sets_agree_and_never_grow_over_their_bounds(steps in proptest::collection::vec(step(), 0..80)) {
            let store = store(8, 3);
            let mut used = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Expire(now) => {
                        store.expire(UnixTime(now));
                        prop_assert!(store.page(None, 100).iter().all(|s| !s.has_expired(UnixTime(now))));
                    }
                    Step::Insert(id, user, at) => {
                        // Ids are random in life: one is never used twice.
                        if used.insert(id) {
                            insert(&store, session(id, &format!("u{user}"), at));
                            prop_assert!(store.look_up(&SessionId([id; 32])).is_some());
                        }
                    }
                    Step::Revoke(user) => {
                        let user = UserName::parse(&format!("u{user}")).unwrap();
                        store.revoke_now(&Selection::User(user.clone()));
                        prop_assert!(store.page(None, 100).iter().all(|s| s.user != user));
                    }
                }
                let index = store.index();
                let in_shards: usize = store.shards.iter().map(|s| s.read().unwrap().len()).sum();
                let by_user: usize = index.by_user.values().map(Vec::len).sum();
                prop_assert!(in_shards <= 8);
                prop_assert_eq!(in_shards, index.by_time.len());
                prop_assert_eq!(in_shards, by_user);
                prop_assert!(index.by_user.values().all(|ids| (1..=3).contains(&ids.len())));
            }
        }
    }
}
