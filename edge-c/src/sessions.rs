//! Sessions: issuing them, finding them again, ending them. The authority for `X-Auth`, whatever edge-e thinks of a cookie.
//!
//! It doesn't prove anybody's password or token: that is done before a session is asked for.
//!
//! ```text
//! sign-in ──issue──▶ Sessions ──▶ SessionStore (memory) ──every second──▶ Snapshot (sealed, on disk)
//! request ──find───▶    │                                └─revocations, at once─▶
//!                       └─ FilterFeed: keys, tombstones, bans ──▶ link ──▶ every edge-e
//! ```

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::limits;
use common::mra::cookie::{CookieValue, FilterKeys, RANDOM_BYTES, cookie_domain, set_cookie};
use common::net::Domain;
use common::policy::jail::{Ban, UserTag};
use common::policy::rate_limit::network_of;
use common::redact::{Redacted, Secret};
use common::session::{Session, SessionId, UserName};
use common::time::UnixTime;
use tokio::sync::watch;

use self::agreement::{Agreement, Alone, OwnNode};
pub use self::agreement::{Nodes, StoreState};
use self::announce::Announce;
use self::database::{MakeDatabase, make_database};
pub use self::flight::{Flight, Turn, TurnError};
use self::key_ring::KeyRing;
pub(crate) use self::logins::CountedLogin;
use self::memory::{Bounds, MemoryStore};
pub(crate) use self::named::NodeEntry;
pub use self::named::{NamedNode, NodeSink};
pub use self::random::{Random, RandomError, SystemRandom};
pub use self::seal::SealError;
use self::seal::StateKey;
pub use self::sealed_file::{SealedFile, SealedFileError};
use self::shared::SharedStore;
pub use self::shared::{
    Dialer, SharedConfig, StoreAddress, StoreAddressError, StoreMetrics, StoreWay,
};
use self::snapshot::{Loaded, Snapshot};
pub use self::state_file::StateError;
pub use self::store::{PageMark, Selection, StoreError, StoreStats};
use self::store::{Revoked, SessionStore};
pub use self::types::{
    Config, FilterFeed, FilterState, IssueError, Issued, Listed, NewSession, Page, RevokeError,
    State,
};

mod agreement;
mod announce;
mod bans;
mod database;
mod flight;
mod key_ring;
mod logins;
mod memory;
mod named;
pub mod random;
mod seal;
mod sealed_file;
mod shared;
mod snapshot;
mod state_file;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;

/// All sessions of this edge-c. Clones share them.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lifetime: Duration,
    cookie_domain: Option<Domain>,
    state_key: StateKey,
    store: Arc<dyn SessionStore>,
    agreement: Arc<dyn Agreement>,
    /// The same once more, where there is one.
    shared: Option<Arc<SharedStore>>,
    snapshot: Option<Arc<Snapshot>>,
    ring: Mutex<KeyRing>,
    keys: watch::Sender<FilterKeys>,
    announce: Announce,
    random: Arc<dyn Random>,
}

impl Sessions {
    /// Opens what an earlier process left, or begins with nothing. Reads and writes files: call it at start, or from a
    /// blocking task.
    ///
    /// # Errors
    /// [`StateError`] if the state can't be used. A useless snapshot is no error: it is moved aside.
    pub fn open(
        config: Config,
        random: Arc<dyn Random>,
        now: UnixTime,
    ) -> Result<Self, StateError> {
        Self::open_with(config, random, now, make_database)
    }

    fn open_with(
        config: Config,
        random: Arc<dyn Random>,
        now: UnixTime,
        make: MakeDatabase,
    ) -> Result<Self, StateError> {
        let (state_key, snapshot, mut loaded) = open_state(&config.state, &random, now, make)?;
        let ring = match loaded.ring.take() {
            Some(ring) if ring.core() == config.core => ring,
            Some(_) | None => KeyRing::start(config.core, now, random.as_ref())?,
        };
        let (keys, _) = watch::channel(ring.filter_keys());
        let announce = Announce::default();
        let lifetime = config.lifetime.min(limits::SESSION_LIFETIME_MAX);
        let memory = Arc::new(MemoryStore::new(
            Bounds::default(),
            snapshot.clone(),
            loaded,
            announce.clone(),
        ));
        let shared = match config.shared {
            Some(config) => Some(Arc::new(SharedStore::new(shared::Parts {
                config,
                memory: Arc::clone(&memory),
                announce: announce.clone(),
                key: state_key.clone(),
                random: Arc::clone(&random),
                ring: ring.clone(),
                lifetime,
            })?)),
            None => None,
        };
        let (store, agreement): (Arc<dyn SessionStore>, Arc<dyn Agreement>) = match &shared {
            Some(shared) => (
                Arc::<SharedStore>::clone(shared),
                Arc::<SharedStore>::clone(shared),
            ),
            None => (memory, Arc::new(Alone::new(announce.clone()))),
        };
        let sessions = Self(Arc::new(Inner {
            lifetime,
            cookie_domain: config.cookie_domain,
            state_key,
            store,
            agreement,
            shared,
            snapshot,
            ring: Mutex::new(ring.clone()),
            keys,
            announce,
            random,
        }));
        sessions.keep_ring(&ring);
        if sessions.0.shared.is_none() {
            sessions.roll_at_start(now);
        }
        Ok(sessions)
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`IssueError`]; there is no session then.
    pub async fn issue(&self, new: NewSession, now: UnixTime) -> Result<Issued, IssueError> {
        check_size(&new)?;
        let random: [u8; RANDOM_BYTES] =
            random::draw(self.0.random.as_ref()).map_err(SealError::from)?;
        let expires = now.plus(self.0.lifetime);
        let expires = new.until.map_or(expires, |until| until.min(expires));
        let cookie = {
            let ring = self.ring();
            let (key_id, key) = ring.issuing(now);
            CookieValue::issue(key, key_id, expires, random)
        };
        let credential = new
            .credential
            .map(|credential| {
                self.0
                    .state_key
                    .seal_credential(&cookie, &credential, self.0.random.as_ref())
            })
            .transpose()?;
        let domain = match &self.0.cookie_domain {
            Some(domain) => domain.clone(),
            None => cookie_domain(&new.edge_name),
        };
        let session = Arc::new(Session {
            id: cookie.session_id(),
            user: new.user,
            domain: new.domain,
            deployment: new.deployment,
            home: new.home,
            method: new.method,
            device: new.device,
            client: new.client,
            created: now,
            expires,
            nodes: new.nodes,
            credential,
        });
        self.0.store.insert(Arc::clone(&session)).await?;
        Ok(Issued {
            set_cookie: set_cookie(&cookie, &domain),
            cookie,
            session,
        })
    }

    /// Finds the session of a cookie as a client sent it. `None` stands for malformed, unknown, expired and revoked alike.
    ///
    /// The cookie's tag and expiry are edge-e's business and not looked at: a stranger who makes both still has no
    /// record here.
    #[must_use]
    pub fn look_up(&self, cookie_text: &str, now: UnixTime) -> Option<Arc<Session>> {
        let cookie = CookieValue::parse(cookie_text).ok()?;
        self.0
            .store
            .look_up(&cookie.session_id())
            .filter(|session| !session.has_expired(now) && self.may_rely())
    }

    /// Finds the session of a cookie wherever it is kept, as another edge-c may have begun it this very moment.
    ///
    /// # Errors
    /// [`StoreError`] if the cookie is one of ours and nobody can say whether its session still lives.
    pub async fn find(
        &self,
        cookie_text: &str,
        now: UnixTime,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let Ok(cookie) = CookieValue::parse(cookie_text) else {
            return Ok(None);
        };
        let is_live = |session: &Arc<Session>| !session.has_expired(now);
        let id = cookie.session_id();
        let state = self.0.agreement.state();
        if let Some(session) = self.0.store.look_up(&id).filter(is_live) {
            return match state {
                StoreState::ReadOnly | StoreState::Up => Ok(Some(session)),
                StoreState::Away => Err(StoreError::Unavailable(SILENT.to_owned())),
            };
        }
        // Nobody but an edge makes the tag, so that nobody else makes this node ask the store; an old one needs no answer.
        let is_ours = cookie.expiry() > now && self.has_tagged(&cookie);
        if !is_ours || self.is_revoked(&id) {
            return Ok(None);
        }
        Ok(self.0.store.find(id).await?.filter(is_live))
    }

    /// Whether a user has a live session; with `address`, one that was begun from there.
    #[must_use]
    pub fn is_signed_in(&self, user: &UserName, address: Option<IpAddr>, now: UnixTime) -> bool {
        let sessions = self.0.store.of_user(user);
        let mut live = sessions.iter().filter(|session| !session.has_expired(now));
        self.may_rely()
            && live.any(|session| address.is_none_or(|address| session.client.0.ip() == address))
    }

    /// Until when a user is signed in, by the session that lasts longest; `None` without any. As far as this node knows: see
    /// [`Self::store_state`].
    #[must_use]
    pub fn signed_in_until(&self, user: &UserName, now: UnixTime) -> Option<UnixTime> {
        let sessions = self.0.store.of_user(user);
        let live = sessions.iter().filter(|session| !session.has_expired(now));
        live.map(|session| session.expires).max()
    }

    /// When a session that begins now ends at the latest.
    #[must_use]
    pub fn latest_end(&self, now: UnixTime) -> UnixTime {
        now.plus(self.0.lifetime)
    }

    /// A key for another purpose, derived from the state key: the same after every start, unless the state is in memory.
    ///
    /// # Errors
    /// [`SealError`] if the crypto library refuses, which it never should.
    pub fn derived_key(&self, label: &'static [u8]) -> Result<[u8; 32], SealError> {
        self.0.state_key.derived(label)
    }

    /// Opens the credential of a session, if one was kept. Ask only when it is about to be sent, and only for a host that
    /// [`Session::may_send_credential_to`] allows.
    ///
    /// # Errors
    /// [`SealError`] if the cookie is another session's, or the record was altered.
    pub fn credential(
        &self,
        cookie_text: &str,
        session: &Session,
    ) -> Result<Option<Secret<String>>, SealError> {
        let Some(sealed) = &session.credential else {
            return Ok(None);
        };
        let cookie = CookieValue::parse(cookie_text).map_err(|_| SealError::Cookie)?;
        self.0
            .state_key
            .open_credential(&cookie, &session.id, sealed)
            .map(Some)
    }

    /// Ends sessions before their time and tells every edge-e. When it returns, that outlives this process, and every node
    /// that shares the store knows. Goes on to its end even if nobody waits for it. Returns how many sessions there were.
    ///
    /// # Errors
    /// [`RevokeError`] if it may not outlive the process, or other nodes don't know yet.
    pub async fn revoke(&self, which: Selection) -> Result<usize, RevokeError> {
        let store = Arc::clone(&self.0.store);
        let task = tokio::spawn(async move { store.revoke(which).await });
        let revoked = task.await.unwrap_or_else(|error| Revoked {
            count: 0,
            is_durable: Err(StoreError::NotDurable(error.to_string())),
        });
        let Revoked { count, is_durable } = revoked;
        tracing::info!(count, durable = is_durable.is_ok(), "sessions revoked");
        match is_durable {
            Ok(()) => Ok(count),
            Err(why) => Err(RevokeError { count, why }),
        }
    }

    /// One page of all sessions, the soonest to expire first.
    #[must_use]
    pub fn list(&self, after: Option<PageMark>) -> Page {
        let sessions = self.0.store.page(after, limits::SESSION_PAGE_MAX);
        let next = (sessions.len() == limits::SESSION_PAGE_MAX)
            .then(|| sessions.last())
            .flatten()
            .map(|session| PageMark {
                expires: session.expires,
                id: session.id,
            });
        Page {
            sessions: sessions.iter().map(|session| listed(session)).collect(),
            next,
        }
    }

    /// What an edge-e that joins must know. Take the [`FilterFeed`] first: so nothing falls in between.
    #[must_use]
    pub fn filter_state(&self) -> FilterState {
        FilterState {
            keys: self.filter_keys(),
            tombstones: self.0.store.tombstones(),
            bans: self.0.agreement.bans(),
        }
    }

    /// The filter keys that edges check cookies of this core with.
    #[must_use]
    pub fn filter_keys(&self) -> FilterKeys {
        self.ring().filter_keys()
    }

    /// What changes from now on.
    #[must_use]
    pub fn filter_feed(&self) -> FilterFeed {
        FilterFeed {
            keys: self.0.keys.subscribe(),
            tombstones: self.0.announce.tombstones(),
            bans: self.0.announce.bans(),
            nodes: self.0.agreement.nodes(),
        }
    }

    /// Has an address, or a user there, refused by every edge-e, as one of them does; not for longer than
    /// [`limits::BAN_SHARED_MAX`].
    pub async fn ban(&self, ban: Ban, now: UnixTime) {
        let ban = Ban {
            network: network_of(ban.network),
            until: ban.until.min(now.plus(limits::BAN_SHARED_MAX)),
            ..ban
        };
        if let Err(error) = self.0.agreement.ban(ban).await {
            tracing::debug!(side = "upstream", reason = %error, "a refused address is not told to other nodes");
        }
    }

    /// Whether an edge-e refuses this user at an address, or everybody there.
    #[must_use]
    pub fn is_banned(&self, address: IpAddr, user: UserTag, now: UnixTime) -> bool {
        let network = network_of(address);
        let mut whom = [None, Some(user)].into_iter();
        whom.any(|user| self.0.agreement.is_banned(network, user, now))
    }

    /// The other nodes that share the store, and the edges that they see.
    #[must_use]
    pub fn nodes(&self) -> watch::Receiver<Arc<Nodes>> {
        self.0.agreement.nodes()
    }

    /// Tells the other nodes which edges are linked to this one.
    pub fn tell_edges(&self, edges: BTreeSet<Domain>) {
        self.0.agreement.tell(OwnNode { edges });
    }

    /// Whether other edge-c share these sessions.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.shared.is_some()
    }

    /// Has every other edge-c know these nodes, as far as they don't yet. To be called before a session begins that needs
    /// them.
    pub async fn name_nodes(&self, named: Vec<NamedNode>) {
        if let Err(error) = self.0.agreement.name_nodes(named).await {
            tracing::debug!(side = "upstream", reason = %error, "nodes inside are not told to other nodes yet");
        }
    }

    /// Whether the shared store answers; without one it always does.
    #[must_use]
    pub fn store_state(&self) -> StoreState {
        self.0.agreement.state()
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.0.store.stats()
    }

    /// Keeps the copy of the shared store up to date for as long as it is polled; without such a store, does nothing.
    pub async fn follow_store(&self) -> Infallible {
        match &self.0.shared {
            Some(shared) => Arc::clone(shared).live().await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when the shared store answers and this node knows what is in it.
    pub async fn until_store_is_up(&self) {
        if let Some(shared) = &self.0.shared {
            shared.until_up().await;
        }
    }

    /// Why the shared store is not available, if it is not.
    #[must_use]
    pub fn store_trouble(&self) -> Option<String> {
        self.0.shared.as_ref().and_then(|shared| shared.trouble())
    }

    /// What is known is good for nothing once the store has been silent for too long.
    fn may_rely(&self) -> bool {
        self.0.agreement.state() != StoreState::Away
    }

    /// Keys that the nodes have agreed on count from the moment they are heard of, even if this node does not use them yet.
    fn has_tagged(&self, cookie: &CookieValue) -> bool {
        let agreed = self.0.agreement.ring();
        let is_agreed = agreed
            .borrow()
            .as_ref()
            .is_some_and(|ring| ring.has_tagged(cookie));
        is_agreed || self.ring().has_tagged(cookie)
    }

    fn is_revoked(&self, id: &SessionId) -> bool {
        self.0.store.is_revoked(id)
    }

    fn ring(&self) -> MutexGuard<'_, KeyRing> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Opened = (StateKey, Option<Arc<Snapshot>>, Loaded);

fn open_state(
    state: &State,
    random: &Arc<dyn Random>,
    now: UnixTime,
    make: MakeDatabase,
) -> Result<Opened, StateError> {
    let (path, key_file) = match state {
        State::Memory => {
            let key = StateKey::new(random::draw(random.as_ref())?);
            return Ok((key, None, Loaded::default()));
        }
        State::Directory { path, key_file } => (path, key_file),
    };
    state_file::prepare_directory(path)?;
    let key_path = key_file.clone().unwrap_or_else(|| path.join(KEY_FILE));
    let key = state_file::read_or_create_key(&key_path, random.as_ref())?;
    let path = path.join(SNAPSHOT_FILE);
    let (snapshot, loaded) = Snapshot::open(&path, &key, random, now, make)?;
    tracing::info!(
        sessions = loaded.sessions.len(),
        tombstones = loaded.tombstones.len(),
        unreadable = loaded.stale_sessions.len(),
        "session snapshot opened"
    );
    Ok((key, Some(Arc::new(snapshot)), loaded))
}

fn check_size(new: &NewSession) -> Result<(), IssueError> {
    let credential_bytes = new
        .credential
        .as_ref()
        .map_or(0, |text| text.reveal().len());
    if new.nodes.len() > limits::SESSION_NODES_MAX
        || new.home.nodes.len() > limits::SESSION_NODES_MAX
        || credential_bytes > limits::SESSION_CREDENTIAL_BYTES_MAX
    {
        return Err(IssueError::TooLarge);
    }
    Ok(())
}

fn listed(session: &Session) -> Listed {
    Listed {
        id: session.id,
        user: Redacted::new(session.user.as_str().to_owned()),
        domain: session.domain.clone(),
        method: session.method,
        device: session.device.clone(),
        created: session.created,
        expires: session.expires,
    }
}

const SILENT: &str = "it has been silent for too long";
const KEY_FILE: &str = "state.key";
const SNAPSHOT_FILE: &str = "sessions.redb";
