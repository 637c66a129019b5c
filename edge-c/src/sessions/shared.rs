//! The store that several edge-c share: Redis or Valkey, inside. Every node keeps a copy of all of it in memory, which
//! answers requests; what changes goes to the store first and reaches the other copies within moments.
//!
//! ```text
//! issue, revoke ──script──▶ store ──news, numbered──▶ every node: memory (and snapshot) ──▶ links, SIP
//!                             │
//! after a lost connection: everything that was missed, or all anew; what the store has lost is given back to it
//! ```
//!
//! Revocations are never lost with the store: they are on this node's own disk before anything else happens, and are told to
//! a store that does not have them. The store holds nothing readable: see [`records`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::CoreId;
use common::limits;
use common::mra::cookie::Tombstone;
use common::net::Domain;
use common::runtime::clock;
use common::session::{Session, SessionId, UserName};
use common::time::UnixTime;
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;

use self::address::unavailable;
pub use self::address::{Dialer, StoreAddress, StoreAddressError, StoreWay};
pub use self::metrics::StoreMetrics;
use self::metrics::StoreOperation;
use self::records::Records;
use super::agreement::{Nodes, OwnNode};
use super::announce::Announce;
use super::bans::Bans;
use super::key_ring::KeyRing;
use super::memory::MemoryStore;
use super::named::{NamedNodes, NodeSink};
use super::random::Random;
use super::seal::{SealError, StateKey};
use super::store::{
    PageMark, Revoked, Selection, SessionStore, StoreError, StoreFuture, StoreStats,
};

mod address;
mod agree;
mod catch_up;
mod follow;
mod keys;
pub(crate) mod metrics;
mod name;
mod nodes;
mod records;
#[cfg(test)]
mod tests;

/// What the operator decides about the shared store.
#[derive(Clone, Debug)]
pub struct SharedConfig {
    /// The name of this node.
    pub name: Domain,
    /// The way to the store.
    pub dialer: Dialer,
    /// What is counted.
    pub metrics: StoreMetrics,
    /// Who hears of nodes inside that the others know.
    pub sink: NodeSink,
}

/// Sessions that all nodes know.
#[derive(Debug)]
pub(super) struct SharedStore {
    memory: Arc<MemoryStore>,
    records: Records,
    bans: Bans,
    named: NamedNodes,
    config: SharedConfig,
    me: Me,
    /// The connection for questions, while the store is up.
    client: watch::Sender<Option<MultiplexedConnection>>,
    /// The last number of the news that memory has.
    position: watch::Sender<u64>,
    heard: Mutex<Heard>,
    ring: watch::Sender<Option<KeyRing>>,
    /// What the ring is before the store has one.
    first_ring: Mutex<KeyRing>,
    nodes: watch::Sender<Arc<Nodes>>,
    own: watch::Sender<OwnNode>,
}

/// This node, as the others see it.
#[derive(Clone, Copy, Debug)]
struct Me {
    core: CoreId,
    lifetime: Duration,
}

#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    is_up: bool,
    trouble: Option<String>,
    /// Which process of the store memory agrees with.
    process: Option<String>,
}

/// What it takes to make a [`SharedStore`].
pub(super) struct Parts {
    pub(super) config: SharedConfig,
    pub(super) memory: Arc<MemoryStore>,
    pub(super) announce: Announce,
    pub(super) key: StateKey,
    pub(super) random: Arc<dyn Random>,
    pub(super) ring: KeyRing,
    pub(super) lifetime: Duration,
}

impl SharedStore {
    /// A store that nobody has connected to yet: [`SharedStore::live`] does.
    pub(super) fn new(parts: Parts) -> Result<Self, SealError> {
        let heard = Heard {
            at: clock::now(),
            is_up: false,
            trouble: None,
            process: None,
        };
        Ok(Self {
            records: Records::new(parts.key, parts.random)?,
            memory: parts.memory,
            bans: Bans::new(parts.announce),
            named: NamedNodes::default(),
            config: parts.config,
            me: Me {
                core: parts.ring.core(),
                lifetime: parts.lifetime,
            },
            client: watch::Sender::new(None),
            position: watch::Sender::new(0),
            heard: Mutex::new(heard),
            ring: watch::Sender::new(None),
            first_ring: Mutex::new(parts.ring),
            nodes: watch::Sender::default(),
            own: watch::Sender::default(),
        })
    }

    /// Why the store is not up, if it is not.
    pub(super) fn trouble(&self) -> Option<String> {
        let heard = self.heard();
        (!heard.is_up).then(|| {
            let why = heard.trouble.clone();
            why.unwrap_or_else(|| "not connected yet".to_owned())
        })
    }

    /// Resolves when the store is up.
    pub(super) async fn until_up(&self) {
        let mut client = self.client.subscribe();
        // The sender lives as long as the store.
        drop(client.wait_for(Option::is_some).await);
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<MultiplexedConnection, StoreError> {
        let client = self.client.borrow().clone();
        client.ok_or_else(|| {
            let why = self.trouble();
            unavailable(why.unwrap_or_else(|| "the connection is lost".to_owned()))
        })
    }

    /// Asks the store one thing, and counts how that went.
    async fn ask<T>(
        &self,
        operation: StoreOperation,
        question: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let began = clock::now();
        let answer = match self.client() {
            Ok(client) => {
                let asked = tokio::time::timeout(limits::STORE_ANSWER_TIMEOUT, question(client));
                let late = |_| Err(unavailable("no answer in time"));
                asked.await.unwrap_or_else(late)
            }
            Err(error) => Err(error),
        };
        self.config.metrics.note(operation, began, answer.is_ok());
        answer
    }

    async fn insert_now(&self, session: Arc<Session>) -> Result<(), StoreError> {
        let sealed = self.records.seal_session(&session)?;
        let (id, expires) = (session.id, session.expires);
        self.ask(StoreOperation::Insert, async |mut client| {
            let kept: i64 = keys::INSERT
                .key(keys::NEWS)
                .key(keys::TOMBSTONES)
                .key(keys::session(&id))
                .arg(limits::STORE_NEWS_MAX)
                .arg(id.0.as_slice())
                .arg(sealed.as_slice())
                .arg(expires.0)
                .invoke_async(&mut client)
                .await
                .map_err(address::failed)?;
            if kept == 1 {
                Ok(())
            } else {
                Err(unavailable("it does not take the session"))
            }
        })
        .await?;
        let evicted = self.memory.add(session);
        if !evicted.is_empty() {
            // The session stands whether or not the others hear at once which one had to go for it.
            if let Err(error) = self.evict_everywhere(&evicted).await {
                tracing::debug!(side = "upstream", reason = %error, "an evicted session stays in the store until it expires");
            }
        }
        Ok(())
    }

    async fn evict_everywhere(&self, ids: &[SessionId]) -> Result<(), StoreError> {
        let mut script = keys::EVICT.key(keys::NEWS);
        script.arg(limits::STORE_NEWS_MAX);
        for id in ids {
            script.key(keys::session(id)).arg(id.0.as_slice());
        }
        self.ask(StoreOperation::Insert, async |mut client| {
            script
                .invoke_async(&mut client)
                .await
                .map_err(address::failed)
        })
        .await
    }

    async fn find_now(&self, id: SessionId) -> Result<Option<Arc<Session>>, StoreError> {
        let sealed = self
            .ask(StoreOperation::Find, async |mut client| {
                let sealed: Option<Vec<u8>> = redis::cmd("GET")
                    .arg(keys::session(&id))
                    .query_async(&mut client)
                    .await
                    .map_err(address::failed)?;
                Ok(sealed)
            })
            .await?;
        let found = sealed.and_then(|sealed| self.records.open_session(id, &sealed));
        let Some(session) = found.filter(|_| !self.memory.is_revoked(&id)) else {
            return Ok(None);
        };
        // What was told before the session began comes first: the nodes that it needs.
        if let Err(error) = self.catch_up(StoreOperation::Find).await {
            tracing::debug!(side = "upstream", reason = %error, "a session is here before its nodes");
        }
        self.memory.add(Arc::clone(&session));
        Ok(Some(session))
    }

    /// Waits until memory has everything that the store had when this was called.
    async fn catch_up(&self, operation: StoreOperation) -> Result<(), StoreError> {
        let newest = self
            .ask(operation, async |mut client| {
                follow::newest(&mut client).await
            })
            .await?;
        let mut position = self.position.subscribe();
        let caught_up = position.wait_for(|position| *position >= newest);
        match tokio::time::timeout(limits::STORE_CATCH_UP_MAX, caught_up).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unavailable("its news do not arrive")),
        }
    }

    async fn revoke_now(self: Arc<Self>, which: Selection) -> Revoked {
        let caught_up = self.catch_up(StoreOperation::Revoke).await;
        let tombstones = self.memory.select(&which);
        let buried = self.bury(&tombstones).await;
        self.memory.end(&tombstones);
        let told = match caught_up {
            Ok(()) => self.tell_revoked(&tombstones).await,
            Err(error) => Err(error),
        };
        let not_shared = |error: StoreError| {
            let why = format!("{error}; other nodes are told as soon as it answers");
            StoreError::NotShared(why)
        };
        Revoked {
            count: tombstones.len(),
            is_durable: buried.and_then(|()| told.map_err(not_shared)),
        }
    }

    /// Puts revocations on this node's own disk.
    async fn bury(self: &Arc<Self>, tombstones: &[Tombstone]) -> Result<(), StoreError> {
        let (store, tombstones) = (Arc::clone(self), tombstones.to_vec());
        let burying = tokio::task::spawn_blocking(move || store.memory.bury(&tombstones));
        let failed = |error: tokio::task::JoinError| Err(StoreError::NotDurable(error.to_string()));
        burying.await.unwrap_or_else(failed)
    }

    async fn tell_revoked(&self, tombstones: &[Tombstone]) -> Result<(), StoreError> {
        for batch in tombstones.chunks(limits::STORE_BATCH) {
            self.ask(StoreOperation::Revoke, async |mut client| {
                catch_up::tell_revoked(&mut client, batch).await
            })
            .await?;
        }
        Ok(())
    }
}

impl SessionStore for SharedStore {
    fn look_up(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.memory.look_up(id)
    }

    fn find(&self, id: SessionId) -> StoreFuture<'_, Result<Option<Arc<Session>>, StoreError>> {
        Box::pin(self.find_now(id))
    }

    fn of_user(&self, user: &UserName) -> Vec<Arc<Session>> {
        self.memory.of_user(user)
    }

    fn insert(&self, session: Arc<Session>) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(self.insert_now(session))
    }

    fn revoke(self: Arc<Self>, which: Selection) -> StoreFuture<'static, Revoked> {
        Box::pin(self.revoke_now(which))
    }

    fn expire(&self, now: UnixTime) -> usize {
        self.memory.expire(now)
    }

    fn flush(self: Arc<Self>) -> StoreFuture<'static, Result<(), StoreError>> {
        Arc::clone(&self.memory).flush()
    }

    fn is_revoked(&self, id: &SessionId) -> bool {
        self.memory.is_revoked(id)
    }

    fn tombstones(&self) -> Vec<Tombstone> {
        self.memory.tombstones()
    }

    fn page(&self, after: Option<PageMark>, size: usize) -> Vec<Arc<Session>> {
        self.memory.page(after, size)
    }

    fn stats(&self) -> StoreStats {
        self.memory.stats()
    }
}
