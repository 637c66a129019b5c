//! What requests are routed by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use common::id::CoreId;
use common::limits;
use common::link::control::message::Policy;
use common::mra::access::Realm;
use common::net::Domain;

use super::{Core, NoRoute, lock};

/// What requests are routed by: made anew whenever a core says something.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) cores: BTreeMap<CoreId, Arc<Core>>,
    pub(super) domains: HashMap<Domain, DomainEntry>,
    pub(super) xmpp_domains: HashMap<Domain, Vec<Arc<Core>>>,
    pub(super) realm: Realm,
}

#[derive(Debug)]
pub(super) struct DomainEntry {
    pub(super) sso_document: Bytes,
    pub(super) is_sso_asked: bool,
    pub(super) is_sso_relayed: bool,
    pub(super) cores: Vec<Arc<Core>>,
}

pub(super) fn least_streams<'a>(
    cores: impl Iterator<Item = &'a Arc<Core>>,
) -> Option<&'a Arc<Core>> {
    let able = cores.filter(|core| core.is_available() && core.streams.connections() > 0);
    able.min_by_key(|core| core.streams.streams())
}

impl DomainEntry {
    pub(super) fn is_available(&self, id: CoreId) -> bool {
        self.cores
            .iter()
            .any(|core| core.id == id && core.is_available())
    }

    /// The least loaded of the cores that know the sessions of `issuer` too.
    pub(super) fn stand_in(&self, issuer: CoreId) -> Option<Arc<Core>> {
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
    pub(super) fn is_lost(&self, issuer: CoreId, now: Instant) -> bool {
        let core = self.cores.iter().find(|core| core.id == issuer);
        core.is_some_and(|core| core.is_gone(now))
            && self.cores.iter().any(|core| core.is_available())
    }
}

impl Table {
    pub(super) fn domain(&self, domain: &Domain) -> Result<&DomainEntry, NoRoute> {
        let entry = self.domains.get(domain);
        entry.ok_or_else(|| missing(self.domains.is_empty()))
    }

    pub(super) fn xmpp_domain(&self, domain: &Domain) -> Result<&[Arc<Core>], NoRoute> {
        let cores = self.xmpp_domains.get(domain);
        // A core that serves no XMPP has said so by its policy.
        let is_silent = self.domains.is_empty() && self.xmpp_domains.is_empty();
        cores.map(Vec::as_slice).ok_or_else(|| missing(is_silent))
    }

    pub(super) fn add(&mut self, core: &Arc<Core>, policy: &Policy) {
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

/// Why a domain is not there: before any core has said what it serves, nothing is called unknown.
const fn missing(is_silent: bool) -> NoRoute {
    if is_silent {
        NoRoute::LinkDown
    } else {
        NoRoute::DomainUnknown
    }
}
