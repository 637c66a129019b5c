//! What a store of sessions does for edge-c. How it keeps them is its own affair; who may sign in is not decided here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use common::mra::cookie::Tombstone;
use common::session::{DeviceName, Session, SessionId, UserName};
use common::time::UnixTime;

/// What a store's slower operations return.
pub(super) type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is not on disk, so a restart would undo it.
    #[error("not written to the session snapshot: {0}")]
    NotDurable(String),
    /// The other edge-c do not know of it yet.
    #[error("not in the shared session store: {0}")]
    NotShared(String),
    /// The store that several edge-c share does not answer.
    #[error("the shared session store does not answer: {0}")]
    Unavailable(String),
}

/// Which sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// All that began on one device.
    Device(DeviceName),
    /// One.
    Session(SessionId),
    /// All of one user.
    User(UserName),
}

/// What a revocation did. Every edge-e has been told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revoked {
    /// How many sessions are over now.
    pub(super) count: usize,
    /// Whether it outlives this process. If not, it still holds for as long as the process runs.
    pub(super) is_durable: Result<(), StoreError>,
}

/// Where a listing goes on: behind this session, in the order of expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageMark {
    /// When the last one listed expires.
    pub expires: UnixTime,
    /// The last one listed.
    pub id: SessionId,
}

/// Numbers for metrics. Totals count from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Sessions kept now.
    pub sessions: usize,
    /// Revoked sessions that are remembered now.
    pub tombstones: usize,
    /// Changes that are not on disk yet.
    pub pending: usize,
    /// Sessions that had to go before their time, because the store or their user was full.
    pub evicted_total: u64,
    /// Sessions whose time was over.
    pub expired_total: u64,
    /// Sessions that somebody ended.
    pub revoked_total: u64,
    /// Changes that were never put on disk, because too many were waiting.
    pub unsaved_total: u64,
    /// Writes to disk that failed.
    pub flush_failures_total: u64,
}

/// Keeps sessions. Bounded: a full store drops the session that is soonest to expire and never grows.
///
/// The look-up is on the way of every request, so it is answered from this process's memory; a store that is shared keeps a
/// copy there. All else may wait for a disk or a network.
pub(super) trait SessionStore: fmt::Debug + Send + Sync {
    /// Finds a session in this process's memory, expired or not.
    fn look_up(&self, id: &SessionId) -> Option<Arc<Session>>;

    /// Finds a session wherever it is kept: one that another edge-c began this very moment may not be in memory yet.
    fn find(&self, id: SessionId) -> StoreFuture<'_, Result<Option<Arc<Session>>, StoreError>>;

    /// The sessions of a user, expired or not.
    fn of_user(&self, user: &UserName) -> Vec<Arc<Session>>;

    /// Keeps a session.
    fn insert(&self, session: Arc<Session>) -> StoreFuture<'_, Result<(), StoreError>>;

    /// Ends sessions before their time: the tombstones are durable first, then the sessions are gone and everybody is
    /// told. Goes on to its end even if nobody waits for it any more.
    fn revoke(self: Arc<Self>, which: Selection) -> StoreFuture<'static, Revoked>;

    /// Drops what has expired by `now`: sessions and tombstones. Returns how many sessions.
    fn expire(&self, now: UnixTime) -> usize;

    /// Writes what is not on disk yet.
    fn flush(self: Arc<Self>) -> StoreFuture<'static, Result<(), StoreError>>;

    /// Whether a session was revoked.
    fn is_revoked(&self, id: &SessionId) -> bool;

    /// The tombstones that have not expired, at most [`common::limits::TOMBSTONES_MAX`].
    fn tombstones(&self) -> Vec<Tombstone>;

    /// Up to `size` sessions behind `after`, in the order of expiry.
    fn page(&self, after: Option<PageMark>, size: usize) -> Vec<Arc<Session>>;

    /// Numbers for metrics.
    fn stats(&self) -> StoreStats;
}
