//! `get_edge_sso` by the word of the user's home cluster, where the configuration says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use common::limits;
use common::mra::access::{Refusal, SsoQuery};
use common::net::{Domain, HostPort};
use common::policy::rate_limit::{Quota, SlidingWindows, TooOften, network_of};
use common::runtime::clock;
use common::session::UserName;
use tokio::time::Instant;

use crate::config::{Config, Edge, ServiceDomain, Sso};
use crate::discovery::Discovery;
use crate::home_cluster::HomeClusters;
use crate::policy;
use crate::uds::{OnBehalf, Uds};

/// Asks home clusters whether their users have single sign-on.
#[derive(Debug)]
pub struct HomeSso {
    told: ArcSwap<Told>,
    discovery: Arc<Discovery>,
    uds: Arc<Uds>,
    homes: HomeClusters,
    limit: Mutex<SlidingWindows<IpAddr>>,
    /// What a node said lately; at most [`limits::NODES_MAX`].
    known: Mutex<BTreeMap<HostPort, (bool, Instant)>>,
}

/// What the answers are made of.
#[derive(Debug)]
struct Told {
    domains: Vec<ServiceDomain>,
    edges: Vec<Edge>,
}

impl Told {
    fn of(config: &Config) -> Self {
        Self {
            domains: config.domains.clone(),
            edges: config.edges.clone(),
        }
    }
}

impl HomeSso {
    /// Takes other domains and templates over.
    pub fn reconfigure(&self, config: &Config) {
        self.told.store(Arc::new(Told::of(config)));
    }

    /// The answer to `get_edge_sso` at an edge.
    ///
    /// # Errors
    /// What the client is told instead.
    pub async fn answer(
        &self,
        edge: &Domain,
        domain: &Domain,
        query: Option<&str>,
        on_behalf: &OnBehalf,
    ) -> Result<String, Refusal> {
        let told = self.told.load_full();
        let own = told.domains.iter().find(|one| one.name == *domain);
        let edge = told.edges.iter().find(|one| one.name == *edge);
        let (Some(own), Some(edge)) = (own, edge) else {
            return Err(Refusal::NotFound);
        };
        if !matches!(own.sso, Sso::Ask { .. }) {
            return Err(Refusal::NotFound);
        }
        let asked = self.is_enabled(domain, query, on_behalf).await;
        let is_enabled = asked.map_err(|too_often| Refusal::TooManySignIns {
            retry_after: too_often.retry_after,
        })?;
        policy::sso_answer(own, edge, is_enabled).map_err(|_| Refusal::NotFound)
    }

    /// Asks those that `discovery` knows, for the domains and edges of `config`.
    #[must_use]
    pub fn new(config: &Config, discovery: Arc<Discovery>, uds: Arc<Uds>) -> Self {
        let quota = Quota {
            count: NonZeroU32::new(limits::SSO_COUNT_DEFAULT).unwrap_or(NonZeroU32::MIN),
            window: limits::SSO_WINDOW_DEFAULT,
        };
        Self {
            told: ArcSwap::from_pointee(Told::of(config)),
            homes: HomeClusters::new(Arc::clone(&discovery), Arc::clone(&uds)),
            discovery,
            uds,
            limit: Mutex::new(SlidingWindows::new(quota, limits::SSO_ADDRESSES_MAX)),
            known: Mutex::default(),
        }
    }

    /// Whether the user that the query names has single sign-on. Nobody, a stranger, and a cluster that gives no answer: no.
    ///
    /// # Errors
    /// [`TooOften`] if the client's address has asked too often.
    pub async fn is_enabled(
        &self,
        domain: &Domain,
        query: Option<&str>,
        on_behalf: &OnBehalf,
    ) -> Result<bool, TooOften> {
        let address = network_of(on_behalf.client.0.ip());
        self.limit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(address, clock::now())?;
        let named = query.and_then(|query| SsoQuery::parse(query).ok());
        let login = named
            .and_then(|named| named.username.or(named.email))
            .and_then(|name| UserName::parse(name.reveal()).ok());
        let (Some(domain), Some(login)) = (self.discovery.domain(domain), login) else {
            return Ok(false);
        };
        let home = match self.homes.remembered(&domain, &login) {
            Some(home) => home,
            None => match self.homes.find(&domain, &login, on_behalf).await {
                Ok(home) => home,
                Err(error) => {
                    tracing::debug!(%error, "no home cluster to ask for single sign-on");
                    return Ok(false);
                }
            },
        };
        for node in self.homes.nodes_to_ask(&home) {
            if let Some(known) = self.ask(&node).await {
                return Ok(known);
            }
        }
        Ok(false)
    }

    async fn ask(&self, node: &HostPort) -> Option<bool> {
        let lately = self.known().get(node).copied();
        if let Some((is_enabled, asked)) = lately
            && asked.elapsed() < limits::SSO_STATE_AGE
        {
            return Some(is_enabled);
        }
        let answer = self.uds.single_sign_on(node).await;
        self.discovery.observe(&answer, node);
        match answer {
            Ok(is_enabled) => {
                let mut known = self.known();
                if known.len() >= limits::NODES_MAX {
                    known.clear();
                }
                known.insert(node.clone(), (is_enabled, Instant::now()));
                Some(is_enabled)
            }
            Err(error) => {
                tracing::debug!(%error, "no word on single sign-on");
                None
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostPort, (bool, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
