//! The edge-c that are linked to this edge: what each said, the connections to it, and who gets a request.
//!
//! Knows nothing of TLS or HTTP heads; `link_server` brings connections in, `listener::https` takes them out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use common::id::CoreId;
use common::limits;
use common::link::control::Control;
use common::link::control::message::{
    Command, EdgeState, MediaCommand, MediaRefusal, MediaReport, Policy, Report, read_filter_keys,
};
use common::link::pick::{self, Candidate};
use common::mra::access::Realm;
use common::mra::cookie::{Checked, Filter, FilterKeys, Refused};
use common::net::Domain;
use common::policy::jail::Ban;
use common::runtime::clock;
use common::runtime::exchange::Lines;
use common::runtime::http_pool::{Exhausted, Lease, Pool};
use common::runtime::link_streams::Opener;
use common::telemetry::PoolState;
use common::time::UnixTime;
use http::HeaderMap;
use tokio::sync::{Notify, mpsc, watch};

use crate::admission::Admission;
use crate::listener::media::MediaHandle;
use crate::metrics::Metrics;

/// All linked edge-c.
#[derive(Debug, Default)]
pub struct Cores {
    by_id: Mutex<BTreeMap<CoreId, Arc<Core>>>,
    table: ArcSwap<Table>,
    filter: RwLock<Filter>,
    /// Not set on an edge without media.
    media: OnceLock<MediaHandle>,
    /// Who blocks what other edges block. Not set in tests of something else.
    admission: OnceLock<Arc<Admission>>,
}

/// What requests are routed by: made anew whenever a core says something.
#[derive(Debug, Default)]
struct Table {
    cores: BTreeMap<CoreId, Arc<Core>>,
    domains: HashMap<Domain, DomainEntry>,
    xmpp_domains: HashMap<Domain, Vec<Arc<Core>>>,
    realm: Realm,
}

#[derive(Debug)]
struct DomainEntry {
    sso_document: Bytes,
    is_sso_asked: bool,
    is_sso_relayed: bool,
    cores: Vec<Arc<Core>>,
}

/// One edge-c.
#[derive(Debug)]
pub struct Core {
    id: CoreId,
    name: Domain,
    pool: Arc<Pool>,
    exchanges: Lines,
    streams: Opener,
    connections: AtomicUsize,
    control: tokio::sync::Mutex<ControlSide>,
    superseded: Notify,
    /// Counts the times that everything it had open was given up.
    losses: watch::Sender<u64>,
    reports: mpsc::Sender<Report>,
    policy: Mutex<Option<Policy>>,
    /// What it says of the edges of the cluster.
    edges: Mutex<Vec<EdgeState>>,
    is_connected: AtomicBool,
    /// When it was last connected, while it is not.
    last_seen: Mutex<Instant>,
    is_draining: AtomicBool,
}

/// The control stream of a core, and what waits to be reported to it.
#[derive(Debug)]
pub struct ControlSide {
    /// The machine; outlives connections.
    pub machine: Control<Report, Command>,
    /// What to say next.
    pub reports: mpsc::Receiver<Report>,
}

/// Why a core may not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("core_id {id} is in use by {holder}")]
pub struct Conflict {
    id: CoreId,
    holder: Domain,
}

/// Why there is no core for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No linked core serves the domain, and at least one has said which it serves.
    DomainUnknown,
    /// Nobody is there to ask, or the one who issued the session is away and may come back.
    LinkDown,
    /// The one who issued the session has been away for long, and another one could issue a new one.
    SessionLost,
}

impl Cores {
    /// The core of this number and name, known from before or new.
    ///
    /// # Errors
    /// [`Conflict`] if another core with that number is connected.
    pub fn join(&self, id: CoreId, name: &Domain) -> Result<Arc<Core>, Conflict> {
        let mut by_id = lock(&self.by_id);
        if let Some(known) = by_id.get(&id) {
            if known.name == *name {
                return Ok(Arc::clone(known));
            }
            if known.is_connected() {
                return Err(Conflict {
                    id,
                    holder: known.name.clone(),
                });
            }
        }
        let core = Arc::new(Core::new(id, name.clone()));
        by_id.insert(id, Arc::clone(&core));
        drop(by_id);
        self.rebuild();
        Ok(core)
    }

    /// Commands about media go there; of effect the first time.
    pub fn set_media(&self, media: MediaHandle) {
        self.media.get_or_init(|| media);
    }

    /// Addresses that other edges block are blocked there, and what is blocked there is told to every core; of effect the
    /// first time.
    pub fn share_blocks(self: &Arc<Self>, admission: &Arc<Admission>) {
        self.admission.get_or_init(|| Arc::clone(admission));
        let cores = Arc::downgrade(self);
        admission.on_block(move |network, time| {
            if let Some(cores) = cores.upgrade() {
                let until = clock::unix_now().plus(time);
                cores.report_ban(Ban { network, until });
            }
        });
    }

    /// The media of this edge, if it has any.
    pub fn media(&self) -> Option<&MediaHandle> {
        self.media.get()
    }

    /// Does what a core commands; `false` if it makes no sense.
    pub fn apply(&self, core: &Core, command: Command) -> bool {
        match command {
            Command::Drain => core.is_draining.store(true, Ordering::Relaxed),
            Command::Ban { bans } => {
                if let Some(admission) = self.admission.get() {
                    admission.block(&bans, clock::now(), clock::unix_now());
                }
            }
            Command::Edges { mut edges } => {
                edges.truncate(limits::CLUSTER_EDGES_MAX);
                *lock(&core.edges) = edges;
            }
            Command::FilterKeys { keys, also_of } => match read_filter_keys(core.id, &keys) {
                Some(keys) => self.set_keys(keys, also_of),
                None => {
                    tracing::warn!(side = "link", core = %core.name, reason = "no usable filter key",
                    remedy = "upgrade the older of the two edges", "a command was not understood");
                    return false;
                }
            },
            Command::Media(command) => {
                return match self.media.get() {
                    Some(media) => media.command(core.id, command),
                    None => core.refuse_media(&command),
                };
            }
            Command::Policy(policy) => {
                *lock(&core.policy) = Some(policy);
                core.is_draining.store(false, Ordering::Relaxed);
                self.rebuild();
            }
            Command::Revoke { sessions } => {
                let mut filter = write(&self.filter);
                for tombstone in sessions {
                    filter.revoke(tombstone);
                }
            }
        }
        true
    }

    /// Decides about the session cookie of a request.
    ///
    /// # Errors
    /// [`Refused`] if no cookie of it passes.
    pub fn check_session(&self, fields: &HeaderMap, now: UnixTime) -> Result<Checked, Refused> {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        filter
            .check_request(fields, now)
            .map(|(checked, _)| checked)
    }

    /// Forgets sessions that have expired, and connections that are too old.
    pub fn tidy(&self, now: UnixTime) {
        write(&self.filter).expire(now);
        for core in self.all() {
            core.pool
                .trim(limits::LINK_IDLE_MAX, limits::LINK_IDLE_KEPT);
        }
    }

    /// Whether the request has a cookie of a core that has not been here since this process began.
    #[must_use]
    pub fn is_of_absent_core(&self, fields: &HeaderMap) -> bool {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        filter.is_of_unknown_core(fields)
    }

    /// The core that a request for `domain` goes to.
    ///
    /// # Errors
    /// [`NoRoute`] if there is none.
    pub fn route(
        &self,
        domain: &Domain,
        session: Option<CoreId>,
        now: Instant,
    ) -> Result<Arc<Core>, NoRoute> {
        let table = self.table.load();
        let entry = table.domain(domain)?;
        let candidates: Vec<Candidate> = entry.cores.iter().map(|core| core.candidate()).collect();
        // A session of a core that is away or going is served by any other that has it too.
        let stand_in = session
            .filter(|issuer| !entry.is_available(*issuer))
            .and_then(|issuer| entry.stand_in(issuer));
        if let Some(core) = stand_in {
            return Ok(core);
        }
        if session.is_some_and(|issuer| entry.is_lost(issuer, now)) {
            return Err(NoRoute::SessionLost);
        }
        let id = pick::pick(&candidates, session).ok_or(NoRoute::LinkDown)?;
        table.cores.get(&id).cloned().ok_or(NoRoute::LinkDown)
    }

    /// The core that a new stream of a client goes to: one that serves `domain` if any does, else any; of these the one
    /// with the fewest streams. None that drains or has no connection for streams.
    ///
    /// # Errors
    /// [`NoRoute::LinkDown`] if there is none.
    pub fn streams(&self, domain: Option<&Domain>) -> Result<Arc<Core>, NoRoute> {
        let table = self.table.load();
        let serving = domain.and_then(|domain| table.domains.get(domain));
        let serving = serving.map(|entry| least_streams(entry.cores.iter()));
        let chosen = serving.unwrap_or_else(|| least_streams(table.cores.values()));
        chosen.map(Arc::clone).ok_or(NoRoute::LinkDown)
    }

    /// The core that a new XMPP stream for `domain` goes to: of those that serve it, the one with the fewest streams. None
    /// that drains or has no connection for streams.
    ///
    /// # Errors
    /// [`NoRoute`] if there is none.
    pub fn xmpp_streams(&self, domain: &Domain) -> Result<Arc<Core>, NoRoute> {
        let table = self.table.load();
        let chosen = least_streams(table.xmpp_domain(domain)?.iter());
        chosen.map(Arc::clone).ok_or(NoRoute::LinkDown)
    }

    /// Whether any core serves the XMPP domain.
    ///
    /// # Errors
    /// [`NoRoute`] if none does.
    pub fn check_xmpp_domain(&self, domain: &Domain) -> Result<(), NoRoute> {
        self.table.load().xmpp_domain(domain).map(|_| ())
    }

    /// What `get_edge_sso` answers for `domain`.
    ///
    /// # Errors
    /// [`NoRoute`] if no core serves the domain.
    pub fn sso_document(&self, domain: &Domain) -> Result<Bytes, NoRoute> {
        self.table
            .load()
            .domain(domain)
            .map(|entry| entry.sso_document.clone())
    }

    /// Whether `get_edge_sso` of a domain is the core's to answer.
    #[must_use]
    pub fn asks_for_sso(&self, domain: &Domain) -> bool {
        let table = self.table.load();
        table.domain(domain).is_ok_and(|entry| entry.is_sso_asked)
    }

    /// Whether pages of an issuer of tokens are relayed for a domain.
    #[must_use]
    pub fn relays_sso(&self, domain: &Domain) -> bool {
        let table = self.table.load();
        table.domain(domain).is_ok_and(|entry| entry.is_sso_relayed)
    }

    /// Whether the domain is served; costs less than [`Self::route`].
    ///
    /// # Errors
    /// [`NoRoute`] if it is not.
    pub fn check_domain(&self, domain: &Domain) -> Result<(), NoRoute> {
        self.table.load().domain(domain).map(|_| ())
    }

    /// The realm that refusals name.
    #[must_use]
    pub fn realm(&self) -> Realm {
        self.table.load().realm.clone()
    }

    /// Every core that ever joined.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Core>> {
        self.table.load().cores.values().cloned().collect()
    }

    /// Ends every connection of the cores that are not `allowed` any more.
    pub fn keep_only(&self, allowed: &[Domain]) {
        let gone = self.all().into_iter();
        for core in gone.filter(|core| core.connections() > 0 && !allowed.contains(core.name())) {
            tracing::warn!(
                side = "link",
                core = %core.name(),
                reason = "it is no longer in allowed_cores",
                remedy = "stop that edge-c, or add its name again",
                "connections of a core closed"
            );
            core.dismiss();
        }
    }

    /// Whether any core can be asked.
    #[must_use]
    pub fn is_any_available(&self) -> bool {
        self.table
            .load()
            .cores
            .values()
            .any(|core| core.is_available())
    }

    /// The edges of the cluster that are out of use: some core that is connected knows of them, and none as live.
    #[must_use]
    pub fn edges_gone(&self) -> BTreeSet<Domain> {
        let (mut gone, mut live) = (BTreeSet::new(), BTreeSet::new());
        for core in self.all().iter().filter(|core| core.is_connected()) {
            for edge in lock(&core.edges).iter() {
                let set = if edge.is_live { &mut live } else { &mut gone };
                set.insert(edge.name.clone());
            }
        }
        &gone - &live
    }

    /// Tells every core that this edge goes away.
    pub fn report_draining(&self) {
        for core in self.all() {
            if core.reports.try_send(Report::Draining).is_err() {
                tracing::debug!(core = %core.name, "the core is not told that this edge drains");
            }
        }
    }

    fn report_ban(&self, ban: Ban) {
        for core in self.all().iter().filter(|core| core.is_connected()) {
            if core.reports.try_send(Report::Banned(ban)).is_err() {
                tracing::debug!(core = %core.name, "the core is not told of a blocked address");
            }
        }
    }

    /// Keys of cores that are away are taken from those that share them; of itself each core knows best.
    fn set_keys(&self, keys: FilterKeys, also_of: Vec<CoreId>) {
        let others: Vec<CoreId> = {
            let by_id = lock(&self.by_id);
            let is_away = |id: &CoreId| !by_id.get(id).is_some_and(|core| core.is_connected());
            also_of.into_iter().filter(is_away).collect()
        };
        let mut filter = write(&self.filter);
        for core in others.into_iter().filter(|core| *core != keys.core) {
            filter.set_keys(FilterKeys {
                core,
                ..keys.clone()
            });
        }
        filter.set_keys(keys);
    }

    /// Sets the gauges of the link.
    pub fn count(&self, metrics: &Metrics) {
        let (mut busy, mut idle) = (0, 0);
        for core in self.all() {
            busy += core.pool.busy() + core.exchanges.busy();
            idle += core.pool.idle();
        }
        metrics
            .link
            .pool
            .of(PoolState::Busy)
            .set(i64::try_from(busy).unwrap_or(i64::MAX));
        metrics
            .link
            .pool
            .of(PoolState::Idle)
            .set(i64::try_from(idle).unwrap_or(i64::MAX));
    }

    fn rebuild(&self) {
        let by_id = lock(&self.by_id);
        let mut table = Table {
            cores: by_id.clone(),
            ..Table::default()
        };
        for core in by_id.values() {
            if let Some(policy) = lock(&core.policy).as_ref() {
                table.add(core, policy);
            }
        }
        self.table.store(Arc::new(table));
    }
}

fn least_streams<'a>(cores: impl Iterator<Item = &'a Arc<Core>>) -> Option<&'a Arc<Core>> {
    let able = cores.filter(|core| core.is_available() && core.streams.connections() > 0);
    able.min_by_key(|core| core.streams.streams())
}

impl DomainEntry {
    fn is_available(&self, id: CoreId) -> bool {
        self.cores
            .iter()
            .any(|core| core.id == id && core.is_available())
    }

    /// The least loaded of the cores that know the sessions of `issuer` too.
    fn stand_in(&self, issuer: CoreId) -> Option<Arc<Core>> {
        let serves = |core: &&Arc<Core>| {
            let policy = lock(&core.policy);
            let of = policy.as_ref().map(|policy| &policy.serves_sessions_of);
            of.is_some_and(|of| of.contains(&issuer))
        };
        let able = self.cores.iter().filter(|core| core.is_available());
        let able = able.filter(serves);
        able.min_by_key(|core| core.candidate().load)
            .map(Arc::clone)
    }

    /// Whether the sessions of a core are better given up: it does not come back, and there is another one.
    fn is_lost(&self, issuer: CoreId, now: Instant) -> bool {
        let core = self.cores.iter().find(|core| core.id == issuer);
        core.is_some_and(|core| core.is_gone(now))
            && self.cores.iter().any(|core| core.is_available())
    }
}

impl Table {
    fn domain(&self, domain: &Domain) -> Result<&DomainEntry, NoRoute> {
        let missing = if self.domains.is_empty() {
            NoRoute::LinkDown
        } else {
            NoRoute::DomainUnknown
        };
        self.domains.get(domain).ok_or(missing)
    }

    fn xmpp_domain(&self, domain: &Domain) -> Result<&[Arc<Core>], NoRoute> {
        // A core that serves no XMPP has said so by its policy.
        let missing = if self.domains.is_empty() && self.xmpp_domains.is_empty() {
            NoRoute::LinkDown
        } else {
            NoRoute::DomainUnknown
        };
        let cores = self.xmpp_domains.get(domain).ok_or(missing)?;
        Ok(cores)
    }

    fn add(&mut self, core: &Arc<Core>, policy: &Policy) {
        for domain in policy.xmpp_domains.iter().take(limits::DOMAINS_MAX) {
            let cores = self.xmpp_domains.entry(domain.clone()).or_default();
            cores.push(Arc::clone(core));
        }
        if let Ok(realm) = Realm::parse(&policy.realm) {
            self.realm = realm;
        }
        for domain in policy.domains.iter().take(limits::DOMAINS_MAX) {
            let entry = self
                .domains
                .entry(domain.name.clone())
                .or_insert_with(|| DomainEntry {
                    sso_document: domain.sso_document.clone().into(),
                    is_sso_asked: domain.is_sso_asked,
                    is_sso_relayed: domain.is_sso_relayed,
                    cores: Vec::new(),
                });
            entry.cores.push(Arc::clone(core));
        }
    }
}

impl Core {
    fn new(id: CoreId, name: Domain) -> Self {
        let (reports, waiting) = mpsc::channel(limits::CONTROL_CHANNEL_MAX);
        let control = ControlSide {
            machine: Control::new(clock::now()),
            reports: waiting,
        };
        Self {
            id,
            name,
            pool: Pool::new(),
            exchanges: Lines::default(),
            streams: Opener::new(),
            connections: AtomicUsize::new(0),
            control: tokio::sync::Mutex::new(control),
            superseded: Notify::new(),
            losses: watch::Sender::new(0),
            reports,
            policy: Mutex::new(None),
            edges: Mutex::default(),
            is_connected: AtomicBool::new(false),
            last_seen: Mutex::new(clock::now()),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Its number, which stands in its cookies.
    pub const fn id(&self) -> CoreId {
        self.id
    }

    /// Its name, which its certificate has.
    pub const fn name(&self) -> &Domain {
        &self.name
    }

    /// The connections it dialled for HTTPS requests.
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The connections it dialled for short exchanges.
    pub const fn exchanges(&self) -> &Lines {
        &self.exchanges
    }

    /// The connections it dialled for client connections.
    pub const fn streams(&self) -> &Opener {
        &self.streams
    }

    /// Link connections of any purpose.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a link connection until the guard is dropped.
    pub fn count_connection(&self) -> CountedConnection<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        CountedConnection(&self.connections)
    }

    /// What is told to the core on its control stream.
    pub const fn reports(&self) -> &mpsc::Sender<Report> {
        &self.reports
    }

    /// Takes the control stream over from the connection that drives it now.
    pub async fn take_control(&self) -> tokio::sync::MutexGuard<'_, ControlSide> {
        self.superseded.notify_waiters();
        self.control.lock().await
    }

    /// Resolves when a newer connection wants the control stream.
    pub async fn superseded(&self) {
        self.superseded.notified().await;
    }

    /// Ends every connection, the control stream too.
    fn dismiss(&self) {
        self.give_up_connections();
        self.superseded.notify_waiters();
    }

    /// Gives up every connection, with the requests and streams on it: the other end is gone without a word.
    pub fn give_up_connections(&self) {
        self.pool.clear();
        self.exchanges.clear();
        self.streams.clear();
        self.losses
            .send_modify(|losses| *losses = losses.wrapping_add(1));
    }

    /// Changes when the connections that are open now are given up.
    pub fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// A connection to send a request on.
    ///
    /// # Errors
    /// [`Exhausted`] at once if the core is away or going, else after a short wait.
    pub async fn lease(&self) -> Result<Lease, Exhausted> {
        if let Some(lease) = self.pool.try_lease() {
            return Ok(lease);
        }
        // Nobody dials any more: waiting would only put the answer off.
        if !self.is_available() {
            return Err(Exhausted);
        }
        self.pool
            .lease(limits::LINK_LEASE_TIMEOUT, limits::LINK_WAITING_MAX)
            .await
    }

    /// Answers a command about media on an edge that has none; `false` if it makes no sense there.
    fn refuse_media(&self, command: &MediaCommand) -> bool {
        let MediaCommand::Allocate { alloc, .. } = command else {
            return false;
        };
        let refused = MediaReport::Refused {
            alloc: *alloc,
            reason: MediaRefusal::NotConfigured,
        };
        self.reports.try_send(Report::Media(refused)).is_ok()
    }

    /// Whether its control stream stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Whether it has said that it goes away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Notes that the control stream stands, or doesn't any more.
    pub fn set_connected(&self, is_connected: bool, now: Instant) {
        *lock(&self.last_seen) = now;
        self.is_connected.store(is_connected, Ordering::Relaxed);
    }

    fn is_gone(&self, now: Instant) -> bool {
        let away = now.saturating_duration_since(*lock(&self.last_seen));
        !self.is_connected() && away >= limits::CORE_GONE_AFTER
    }

    fn is_available(&self) -> bool {
        self.is_connected() && !self.is_draining()
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            core: self.id,
            load: self.pool.busy().saturating_add(self.exchanges.busy()),
            is_available: self.is_available(),
        }
    }
}

/// A link connection that counts until this is dropped.
#[derive(Debug)]
pub struct CountedConnection<'a>(&'a AtomicUsize);

impl Drop for CountedConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(filter: &RwLock<Filter>) -> std::sync::RwLockWriteGuard<'_, Filter> {
    filter.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::link::control::message::DomainPolicy;
    use common::mra::cookie::{CookieValue, FilterKey, KeyId};

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn policy(names: &[&str]) -> Command {
        let domains = names.iter().map(|name| DomainPolicy {
            name: domain(name),
            sso_document: format!("<sso>{name}</sso>"),
            is_sso_asked: false,
            is_sso_relayed: false,
        });
        Command::Policy(Policy {
            realm: "Cisco-Edge".into(),
            domains: domains.collect(),
            xmpp_domains: Vec::new(),
            serves_sessions_of: Vec::new(),
        })
    }

    fn join(cores: &Cores, id: u8, domains: &[&str]) -> Arc<Core> {
        let core = cores
            .join(CoreId(id), &domain(&format!("c{id}.link")))
            .unwrap();
        core.set_connected(true, clock::now());
        cores.apply(&core, policy(domains));
        core
    }

    #[test]
    fn before_any_core_said_what_it_serves_nothing_is_called_unknown() {
        let cores = Cores::default();

        assert_eq!(
            cores.check_domain(&domain("a.test")),
            Err(NoRoute::LinkDown)
        );

        join(&cores, 1, &["b.test"]);
        assert_eq!(
            cores.check_domain(&domain("a.test")),
            Err(NoRoute::DomainUnknown)
        );
        assert_eq!(cores.check_domain(&domain("b.test")), Ok(()));
    }

    #[test]
    fn a_domain_goes_to_the_cores_that_serve_it() {
        let cores = Cores::default();
        join(&cores, 1, &["a.test"]);
        join(&cores, 2, &["b.test"]);

        assert_eq!(
            cores
                .route(&domain("b.test"), None, clock::now())
                .unwrap()
                .id(),
            CoreId(2)
        );
        assert_eq!(
            cores
                .route(&domain("b.test"), Some(CoreId(1)), clock::now())
                .map(|_| ()),
            Err(NoRoute::LinkDown)
        );
    }

    #[test]
    fn an_xmpp_domain_is_known_if_a_core_serves_it_as_one() {
        let cores = Cores::default();
        let (chat, mail) = (domain("chat.test"), domain("a.test"));
        assert_eq!(cores.check_xmpp_domain(&chat), Err(NoRoute::LinkDown));

        let core = join(&cores, 1, &["a.test"]);
        let policy = Policy {
            realm: "Cisco-Edge".into(),
            domains: vec![DomainPolicy {
                name: mail.clone(),
                sso_document: String::new(),
                is_sso_asked: false,
                is_sso_relayed: false,
            }],
            xmpp_domains: vec![chat.clone()],
            serves_sessions_of: Vec::new(),
        };
        cores.apply(&core, Command::Policy(policy));

        assert_eq!(cores.check_xmpp_domain(&chat), Ok(()));
        assert_eq!(cores.check_xmpp_domain(&mail), Err(NoRoute::DomainUnknown));
        let route = cores.xmpp_streams(&chat).map(|_| ());
        assert_eq!(route, Err(NoRoute::LinkDown), "no connection for streams");
    }

    #[test]
    fn a_core_that_drains_or_is_away_gets_no_new_sign_in_but_its_sessions() {
        let cores = Cores::default();
        let core = join(&cores, 1, &["a.test"]);
        cores.apply(&core, Command::Drain);

        assert_eq!(
            cores
                .route(&domain("a.test"), None, clock::now())
                .map(|_| ()),
            Err(NoRoute::LinkDown)
        );
        assert!(
            cores
                .route(&domain("a.test"), Some(CoreId(1)), clock::now())
                .is_ok()
        );
    }

    #[test]
    fn sessions_of_a_core_that_stays_away_are_given_up_if_another_can_take_them() {
        let cores = Cores::default();
        let (a, first) = (domain("a.test"), Some(CoreId(1)));
        let core = join(&cores, 1, &["a.test"]);
        let start = clock::now();
        core.set_connected(false, start);
        let soon = start + limits::CORE_GONE_AFTER / 2;
        let late = start + limits::CORE_GONE_AFTER;

        assert!(cores.route(&a, first, late).is_ok(), "nobody else is there");

        join(&cores, 2, &["a.test"]);
        assert!(cores.route(&a, first, soon).is_ok(), "it may be restarting");
        assert_eq!(
            cores.route(&a, first, late).map(|_| ()),
            Err(NoRoute::SessionLost)
        );

        core.set_connected(true, late);
        assert!(cores.route(&a, first, late).is_ok());
    }

    #[test]
    fn a_core_that_shares_sessions_stands_in_at_once_for_one_that_is_away_or_drains() {
        let cores = Cores::default();
        let (a, first) = (domain("a.test"), Some(CoreId(1)));
        let core = join(&cores, 1, &["a.test"]);
        join(&cores, 3, &["a.test"]);
        let other = join(&cores, 2, &["a.test"]);
        let Command::Policy(mut shared) = policy(&["a.test"]) else {
            panic!("not a policy");
        };
        shared.serves_sessions_of = vec![CoreId(1)];
        cores.apply(&other, Command::Policy(shared));
        let serving = || cores.route(&a, first, clock::now()).map(|core| core.id());

        assert_eq!(serving(), Ok(CoreId(1)));
        cores.apply(&core, Command::Drain);
        assert_eq!(serving(), Ok(CoreId(2)));
        cores.apply(&core, policy(&["a.test"]));
        assert_eq!(serving(), Ok(CoreId(1)));
        core.set_connected(false, clock::now());
        assert_eq!(serving(), Ok(CoreId(2)));
        other.set_connected(false, clock::now());
        assert_eq!(serving(), Ok(CoreId(1)), "nobody knows the session now");
    }

    #[test]
    fn keys_of_a_core_that_is_away_are_taken_from_who_shares_them_and_no_others() {
        let cores = Cores::default();
        let first = join(&cores, 1, &["a.test"]);
        let second = join(&cores, 2, &["a.test"]);
        let keys = |octet: u8| FilterKeys {
            core: CoreId(0),
            latest: (7, FilterKey::new([octet; 32])),
            earlier: None,
        };
        let cookie = |octet: u8| {
            let key_id = KeyId {
                core: CoreId(1),
                generation: 7,
            };
            let key = FilterKey::new([octet; 32]);
            let cookie = CookieValue::issue(&key, key_id, UnixTime(9), [0; 18]);
            let field = format!("X-Auth={}", cookie.text());
            HeaderMap::from_iter([(http::header::COOKIE, field.parse().unwrap())])
        };
        let passes = |octet| cores.check_session(&cookie(octet), UnixTime(1)).is_ok();

        cores.apply(&first, Command::filter_keys(&keys(1), Vec::new()));
        cores.apply(&second, Command::filter_keys(&keys(2), vec![CoreId(1)]));
        assert!(passes(1) && !passes(2), "it speaks for itself");

        first.set_connected(false, clock::now());
        cores.apply(&second, Command::filter_keys(&keys(2), vec![CoreId(1)]));
        assert!(passes(2) && !passes(1));
    }

    #[test]
    fn two_connected_cores_can_not_share_a_number() {
        let cores = Cores::default();
        let first = join(&cores, 1, &["a.test"]);

        assert!(cores.join(CoreId(1), &domain("other.link")).is_err());

        first.set_connected(false, clock::now());
        assert!(cores.join(CoreId(1), &domain("other.link")).is_ok());
    }
}
