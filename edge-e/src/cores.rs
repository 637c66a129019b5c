//! The edge-c that are linked to this edge: what each said, the connections to it, and who gets a request.
//!
//! Knows nothing of TLS or HTTP heads; `link_server` brings connections in, `listener::https` takes them out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use common::id::CoreId;
use common::limits;
use common::link::control::message::{Command, Report, read_filter_keys};
use common::link::pick;
use common::mra::access::Realm;
use common::mra::cookie::{Checked, Filter, FilterKeys, Refused};
use common::net::Domain;
use common::policy::jail::Ban;
use common::runtime::clock;
use common::telemetry::PoolState;
use common::time::UnixTime;
use http::HeaderMap;

use crate::admission::Admission;
use crate::listener::media::MediaHandle;
use crate::metrics::Metrics;

mod core;
mod table;

pub use self::core::{ControlSide, Core, CountedConnection};
use self::table::{Table, least_streams};

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
        admission.on_block(move |network, user, time| {
            if let Some(cores) = cores.upgrade() {
                let until = clock::unix_now().plus(time);
                cores.report_ban(Ban {
                    network,
                    user,
                    until,
                });
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
            Command::Ban { bans } | Command::BanUsers { bans } => {
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
        let candidates: Vec<_> = entry.cores.iter().map(|core| core.candidate()).collect();
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
            let report = match ban.user {
                None => Report::Banned(ban),
                Some(_) => Report::UserBanned(ban),
            };
            if core.reports.try_send(report).is_err() {
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
        for (state, count) in [(PoolState::Busy, busy), (PoolState::Idle, idle)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            metrics.link.pool.of(state).set(count);
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(filter: &RwLock<Filter>) -> std::sync::RwLockWriteGuard<'_, Filter> {
    filter.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
