//! What the snapshot on disk does not have yet. Only ids: what is written is how things are when it is written.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::limits;
use common::mra::cookie::Tombstone;
use common::session::{Session, SessionId};

use super::super::snapshot::Snapshot;
use super::super::store::StoreError;

/// The snapshot, and how far behind it is. Without one, all of this does nothing.
#[derive(Debug)]
pub(super) struct Disk {
    snapshot: Option<Arc<Snapshot>>,
    pending: Mutex<Pending>,
    pending_max: usize,
}

#[derive(Debug, Default)]
struct Pending {
    sessions: BTreeSet<SessionId>,
    tombstones: BTreeSet<SessionId>,
    /// Revocations that the disk did not take: they go with whatever is written next.
    unburied: Vec<Tombstone>,
    unsaved_total: u64,
    failures_total: u64,
}

/// Numbers for metrics.
pub(super) struct DiskStats {
    pub(super) pending: usize,
    pub(super) unsaved_total: u64,
    pub(super) failures_total: u64,
}

impl Disk {
    pub(super) fn new(snapshot: Option<Arc<Snapshot>>, pending_max: usize) -> Self {
        Self {
            snapshot,
            pending: Mutex::default(),
            pending_max,
        }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Notes records that are on disk and should not be.
    pub(super) fn drop_stale(&self, sessions: Vec<SessionId>, tombstones: Vec<SessionId>) {
        let mut pending = self.pending();
        pending.sessions.extend(sessions);
        pending.tombstones.extend(tombstones);
    }

    /// Notes, after a change, that the snapshot is behind. A lost note costs a sign-in after a restart at most: revocations don't rely on it.
    pub(super) fn mark(&self, id: &SessionId) {
        if !self.is_there() {
            return;
        }
        let mut pending = self.pending();
        if pending.sessions.len() < self.pending_max {
            pending.sessions.insert(*id);
        } else {
            pending.unsaved_total += 1;
        }
    }

    /// Notes that a tombstone is not needed any more.
    pub(super) fn forget(&self, gone: &Tombstone) {
        if !self.is_there() {
            return;
        }
        let mut pending = self.pending();
        // One that stays on disk is dropped at the next start.
        if pending.tombstones.len() < self.pending_max {
            pending.tombstones.insert(gone.id);
        }
    }

    /// Puts revocations on disk, and those that failed before.
    pub(super) fn bury(&self, tombstones: &[Tombstone]) -> Result<(), StoreError> {
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

    /// Writes everything that waits, as `current` says it is.
    pub(super) fn flush(
        &self,
        current: impl Fn(&SessionId) -> Option<Arc<Session>>,
    ) -> Result<(), StoreError> {
        let Some(snapshot) = &self.snapshot else {
            return Ok(());
        };
        if let Err(error) = self.bury(&[]) {
            self.pending().failures_total += 1;
            return Err(error);
        }
        while let Some((sessions, tombstones)) = self.take_batch() {
            let written = snapshot.write(&sessions, &tombstones, &current);
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

    pub(super) fn stats(&self) -> DiskStats {
        let pending = self.pending();
        DiskStats {
            pending: pending.sessions.len() + pending.tombstones.len() + pending.unburied.len(),
            unsaved_total: pending.unsaved_total,
            failures_total: pending.failures_total,
        }
    }

    fn take_batch(&self) -> Option<(Vec<SessionId>, Vec<SessionId>)> {
        let mut pending = self.pending();
        let sessions = take(&mut pending.sessions, limits::SESSION_FLUSH_BATCH);
        let tombstones = take(&mut pending.tombstones, limits::SESSION_FLUSH_BATCH);
        (!sessions.is_empty() || !tombstones.is_empty()).then_some((sessions, tombstones))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(set: &mut BTreeSet<SessionId>, count: usize) -> Vec<SessionId> {
    std::iter::from_fn(|| set.pop_first()).take(count).collect()
}
