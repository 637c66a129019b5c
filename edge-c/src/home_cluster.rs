//! At which cluster a user is at home: asked on the client's behalf, by user name and by mail address.
//!
//! Proves nothing: whoever is at home somewhere may still have the wrong password.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::limits;
use common::net::{Domain, Host, HostPort};
use common::policy::fading::Fading;
use common::redact::Redacted;
use common::runtime::clock;
use common::session::UserName;
use common::telemetry::ByLabel;
use prometheus_client::metrics::counter::Counter;

use crate::discovery::{Discovery, DiscoveryError, ServedDomain};
use crate::metrics::ClusterOutcome;
use crate::uds::answer::{ClusterUser, FoundUser};
use crate::uds::{OnBehalf, Uds, UdsError, UserQuery};

/// Where a user is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The user id, in the letter case of UCM.
    pub user: UserName,
    /// The node that the look-up named.
    pub node: HostPort,
    /// All nodes of the home cluster, the home node first.
    pub nodes: Vec<Host>,
}

/// Why a user's home is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// There is no node to ask.
    #[error(transparent)]
    Nodes(#[from] DiscoveryError),
    /// No cluster that could be asked knows the user, and this one could not be asked.
    #[error("a cluster could not be asked: {0}")]
    Unreachable(UdsError),
    /// No cluster knows the user.
    #[error("no cluster knows the user")]
    Unknown,
}

/// Finds and remembers home clusters.
#[derive(Debug)]
pub struct HomeClusters {
    discovery: Arc<Discovery>,
    uds: Arc<Uds>,
    known: Mutex<Fading<(Domain, UserName), Arc<Home>>>,
    lookups: Option<ByLabel<ClusterOutcome, Counter>>,
}

impl HomeClusters {
    /// Asks the nodes that `discovery` knows through `uds`.
    #[must_use]
    pub fn new(discovery: Arc<Discovery>, uds: Arc<Uds>) -> Self {
        Self {
            discovery,
            uds,
            known: Mutex::new(Fading::new(limits::SIGN_IN_USERS_MAX)),
            lookups: None,
        }
    }

    /// Counts look-ups from now on.
    #[must_use]
    pub fn counting(mut self, lookups: ByLabel<ClusterOutcome, Counter>) -> Self {
        self.lookups = Some(lookups);
        self
    }

    fn count(&self, outcome: ClusterOutcome) {
        if let Some(lookups) = &self.lookups {
            lookups.of(outcome).inc();
        }
    }

    /// The remembered home of a user, if the look-up is recent.
    #[must_use]
    pub fn remembered(&self, domain: &ServedDomain, login: &UserName) -> Option<Arc<Home>> {
        let key = (domain.name.clone(), login.clone());
        let known = self.lock();
        let home = known.get(&key, clock::now());
        let home = home.map(|(_, home)| Arc::clone(home));
        drop(known);
        if home.is_some() {
            self.count(ClusterOutcome::Cached);
        }
        home
    }

    /// Asks for the home of whoever signs in as `login`, and remembers it.
    ///
    /// One node of each cluster is asked; a node that fails is replaced by the next.
    ///
    /// # Errors
    /// [`HomeError`] if no cluster knows the user, or one that might could not be asked.
    pub async fn find(
        &self,
        domain: &ServedDomain,
        login: &UserName,
        on_behalf: &OnBehalf,
    ) -> Result<Arc<Home>, HomeError> {
        let found = self.look_up(domain, login, on_behalf).await;
        self.count(match &found {
            Ok(_) => ClusterOutcome::Found,
            Err(HomeError::Nodes(_) | HomeError::Unreachable(_)) => ClusterOutcome::Failed,
            Err(HomeError::Unknown) => ClusterOutcome::NotFound,
        });
        found
    }

    async fn look_up(
        &self,
        domain: &ServedDomain,
        login: &UserName,
        on_behalf: &OnBehalf,
    ) -> Result<Arc<Home>, HomeError> {
        let queries = Queries::of(login.as_str(), &domain.name);
        let nodes = self.discovery.ucm_nodes(domain).await?;
        let mut unaware: Vec<Host> = Vec::new();
        let mut failures: Vec<UdsError> = Vec::new();
        let has_answered = |unaware: &[Host], host: &Host| {
            unaware
                .iter()
                .any(|other| self.discovery.is_same_cluster(other, host))
        };
        for node in nodes.into_iter().take(limits::HOME_NODES_ASKED_MAX) {
            if has_answered(&unaware, &node.host) {
                continue;
            }
            match self.ask(&node, &queries, on_behalf).await {
                Ok(Some((found, asked))) => {
                    let home = self
                        .complete(domain, &node, found, asked, on_behalf)
                        .await?;
                    self.remember(domain, login, &home);
                    return Ok(home);
                }
                Ok(None) => unaware.push(node.host),
                Err(error) => {
                    tracing::debug!(%error, tracking = %on_behalf.tracking, "a home look-up failed");
                    failures.push(error);
                }
            }
        }
        // Where a cluster has answered through another node, it doesn't matter that one of its nodes failed.
        let unasked = failures
            .into_iter()
            .find(|error| !has_answered(&unaware, &error.node.host));
        Err(unasked.map_or(HomeError::Unknown, HomeError::Unreachable))
    }

    /// Forgets the home of a user.
    pub fn forget(&self, domain: &ServedDomain, login: &UserName) {
        self.lock().remove(&(domain.name.clone(), login.clone()));
    }

    /// The nodes of a home cluster in the order in which they are asked: the home node, then the others at random, those
    /// that are down last.
    #[must_use]
    pub fn nodes_to_ask(&self, home: &Home) -> Vec<HostPort> {
        self.in_order(&home.node, &home.nodes)
    }

    /// Asks one node by name and by mail address at once; the first in rank that is found counts.
    async fn ask<'a>(
        &self,
        node: &HostPort,
        queries: &'a Queries<'_>,
        on_behalf: &OnBehalf,
    ) -> Result<Option<(FoundUser, &'a str)>, UdsError> {
        let (first, second, third) = tokio::join!(
            self.ask_one(node, Some(queries.first()), on_behalf),
            self.ask_one(node, Some(queries.second()), on_behalf),
            self.ask_one(node, queries.third(), on_behalf),
        );
        // In rank order: a failed question of a higher rank might have found somebody else.
        for answer in [first, second, third] {
            if let Some(found) = answer? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn ask_one<'a>(
        &self,
        node: &HostPort,
        query: Option<UserQuery<'a>>,
        on_behalf: &OnBehalf,
    ) -> Result<Option<(FoundUser, &'a str)>, UdsError> {
        let Some(query) = query else {
            return Ok(None);
        };
        let answer = self.uds.cluster_user(node, query, Some(on_behalf)).await;
        self.discovery.observe(&answer, node);
        let (UserQuery::Email(asked) | UserQuery::UserName(asked)) = query;
        let asked = *asked.reveal();
        Ok(match answer? {
            ClusterUser::Found(found) => Some((found, asked)),
            ClusterUser::Unknown => None,
        })
    }

    /// Asks the home cluster for its nodes.
    async fn complete(
        &self,
        domain: &ServedDomain,
        asked_node: &HostPort,
        found: FoundUser,
        asked: &str,
        on_behalf: &OnBehalf,
    ) -> Result<Arc<Home>, HomeError> {
        let node = HostPort {
            host: found.home,
            port: found.port.unwrap_or(asked_node.port),
        };
        let id = found.user_id.as_ref().map_or(asked, |id| id.reveal());
        // An id that can't be one is as good as no user.
        let user = UserName::parse(id).map_err(|_| HomeError::Unknown)?;
        let mut nodes = vec![node.host.clone()];
        for host in self.cluster_nodes(&node, on_behalf).await {
            if !nodes.contains(&host) {
                nodes.push(host);
            }
        }
        nodes.truncate(limits::SESSION_NODES_MAX);
        let hosts: BTreeSet<_> = nodes.iter().cloned().collect();
        self.discovery
            .learn_cluster(&hosts, node.port, &domain.deployment);
        Ok(Arc::new(Home { user, node, nodes }))
    }

    /// The nodes of the cluster of `home`, asked at the first of them that answers.
    async fn cluster_nodes(&self, home: &HostPort, on_behalf: &OnBehalf) -> Vec<Host> {
        let known = self.discovery.cluster_hosts(&home.host);
        let candidates = self.in_order(home, &known);
        for node in candidates.iter().take(limits::HOME_SERVERS_ASKED_MAX) {
            let servers = self.uds.servers(node, Some(on_behalf)).await;
            self.discovery.observe(&servers, node);
            match servers {
                Ok(servers) => return servers,
                Err(error) => tracing::debug!(%error, "no list of nodes from a home cluster"),
            }
        }
        // What is known of the cluster has to do.
        known
    }

    /// `home`, then `others` at random, those that are down last.
    fn in_order(&self, home: &HostPort, others: &[Host]) -> Vec<HostPort> {
        let others = others
            .iter()
            .filter(|host| **host != home.host)
            .map(|host| HostPort {
                host: host.clone(),
                port: home.port,
            });
        let mut nodes = self.discovery.shuffled(others.collect());
        nodes.insert(0, home.clone());
        nodes.sort_by_key(|node| !self.discovery.is_up(node));
        nodes
    }

    fn remember(&self, domain: &ServedDomain, login: &UserName, home: &Arc<Home>) {
        let (now, key) = (clock::now(), (domain.name.clone(), login.clone()));
        let end = now + limits::HOME_CACHE_TTL;
        self.lock().renew(key, end, Arc::clone(home), now);
    }

    fn lock(&self) -> MutexGuard<'_, Fading<(Domain, UserName), Arc<Home>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a sign-in name may mean, in rank order: organisations differ in whether the user id is a name or an address.
struct Queries<'a> {
    login: &'a str,
    /// The mail address, whether written or made of name and domain.
    email: String,
    /// What stands before `@<domain>`, if the login is an address in the domain.
    local_part: Option<&'a str>,
}

impl<'a> Queries<'a> {
    fn of(login: &'a str, domain: &Domain) -> Self {
        let Some((local_part, host)) = login.rsplit_once('@') else {
            return Self {
                login,
                email: format!("{login}@{domain}"),
                local_part: None,
            };
        };
        let is_own = host.eq_ignore_ascii_case(domain.as_str()) && !local_part.is_empty();
        Self {
            login,
            email: login.to_owned(),
            local_part: is_own.then_some(local_part),
        }
    }

    const fn first(&self) -> UserQuery<'_> {
        UserQuery::UserName(Redacted::new(self.login))
    }

    const fn second(&self) -> UserQuery<'_> {
        UserQuery::Email(Redacted::new(self.email.as_str()))
    }

    fn third(&self) -> Option<UserQuery<'_>> {
        self.local_part
            .map(|name| UserQuery::UserName(Redacted::new(name)))
    }
}

#[cfg(test)]
mod tests;
