//! The inner servers of each domain: found in inside DNS or configured, their health, and the list of all of them.
//!
//! Who is at home where is `home_cluster`; what a client is told of the servers is `sign_in`.

pub mod dns;
pub mod health;
pub mod node;
mod refresh;
pub mod remembered;
pub mod srv;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use common::limits;
use common::mra::edge_config::{KnownService, ServiceAnswer, SrvServer};
use common::net::{Deployment, Domain, Host, HostPort};
pub use common::policy::allow_list::automatic::{Node, NodeKind};
use common::time::UnixTime;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::sessions::NamedNode;
use dns::{Dns, DnsError, SrvAnswer};
use health::{Health, NodeState};
use node::Nodes;
use srv::Dice;

/// Where the inner servers are looked for.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domains that users sign in to.
    pub domains: Vec<ServedDomain>,
    /// Nodes named by the administrator, beside or instead of DNS.
    pub nodes: Vec<Node>,
    /// Whether `_cisco-uds._tcp.cisco-internal.<domain>` is asked too.
    pub has_pinpoint_zone: bool,
}

/// A domain that users sign in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedDomain {
    /// Its name.
    pub name: Domain,
    /// The deployment whose nodes serve it.
    pub deployment: Deployment,
    /// The domain whose SRV records are asked for, where it isn't the domain itself.
    pub voice_services_domain: Option<Domain>,
}

/// Why there is no node to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Neither DNS nor the configuration names a UCM node.
    #[error("no UCM node is known: no SRV record and none configured")]
    NoNodes,
    /// DNS could not be asked, and no node is configured.
    #[error("no UCM node is known: {0}")]
    Unanswered(DnsError),
}

/// What is known of the inner servers.
#[derive(Debug)]
pub struct Discovery {
    config: ArcSwap<Config>,
    dns: Arc<Dns>,
    state: Mutex<State>,
    nodes: watch::Sender<Arc<[Node]>>,
    health: watch::Sender<Arc<BTreeMap<HostPort, NodeState>>>,
    is_first_done: watch::Sender<bool>,
    /// A node was added or went down: the probing loop counts its next wait anew.
    changed: Notify,
    /// The configuration changed: the refreshing loop looks everything up at once.
    reconfigured: Notify,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    health: Health,
    nodes: Nodes,
}

impl Discovery {
    /// Knows the configured nodes from the start; `dice` chooses among nodes of equal rank.
    #[must_use]
    pub fn new(config: Config, dns: Arc<Dns>, dice: Dice) -> Self {
        let state = State {
            dice,
            health: Health::default(),
            nodes: Nodes::new(config.nodes.iter().cloned()),
        };
        let discovery = Self {
            config: ArcSwap::from_pointee(config),
            dns,
            state: Mutex::new(state),
            nodes: watch::Sender::new(Arc::default()),
            health: watch::Sender::new(Arc::default()),
            is_first_done: watch::Sender::new(false),
            changed: Notify::new(),
            reconfigured: Notify::new(),
        };
        discovery.publish(Instant::now());
        discovery
    }

    /// Serves other domains and configured nodes from now on; what was found by itself is kept until it expires.
    pub fn reconfigure(&self, config: Config) {
        let now = Instant::now();
        self.lock().nodes.fix(config.nodes.iter().cloned());
        self.config.store(Arc::new(config));
        self.publish(now);
        self.reconfigured.notify_one();
    }

    /// The domain of that name, if it is served.
    #[must_use]
    pub fn domain(&self, name: &Domain) -> Option<ServedDomain> {
        self.config
            .load()
            .domains
            .iter()
            .find(|served| served.name == *name)
            .cloned()
    }

    /// All nodes, each time they change: what automatic allow-list rules are made of.
    #[must_use]
    pub fn nodes(&self) -> watch::Receiver<Arc<[Node]>> {
        self.nodes.subscribe()
    }

    /// Resolves once every service has been looked up for the first time, found or not.
    pub async fn first_done(&self) {
        let mut is_done = self.is_first_done.subscribe();
        // The sender lives as long as this does.
        drop(is_done.wait_for(|is_done| *is_done).await);
    }

    /// What runs at `place`, if it is a node that is known.
    #[must_use]
    pub fn kind_of(&self, place: &HostPort) -> Option<NodeKind> {
        let nodes = Arc::clone(&self.nodes.borrow());
        let same = nodes.iter().find(|node| node::address(node) == *place);
        let at_host = || nodes.iter().find(|node| node.host == place.host);
        same.or_else(at_host).map(|node| node.kind)
    }

    /// The health of the watched nodes, each time it changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Arc<BTreeMap<HostPort, NodeState>>> {
        self.health.subscribe()
    }

    /// What a client of `domain` is told of `service`: nodes known to be down are left out if at least one is not.
    ///
    /// `_cisco-uds` and `_cuplogin` that DNS doesn't have are made up from the configured nodes, without which no client
    /// can sign in.
    pub async fn service(&self, domain: &ServedDomain, service: KnownService) -> ServiceAnswer {
        let (servers, otherwise) = match self.look_up(domain, service).await {
            Ok(SrvAnswer::Records(servers)) => (servers, ServiceAnswer::NameError),
            Ok(SrvAnswer::Absent | SrvAnswer::Withdrawn) => {
                (self.configured(domain, service), ServiceAnswer::NameError)
            }
            Err(_) => (
                self.configured(domain, service),
                ServiceAnswer::ServerFailure,
            ),
        };
        if servers.is_empty() {
            otherwise
        } else {
            ServiceAnswer::Servers(self.live_servers(servers))
        }
    }

    /// The UCM nodes of `domain` in the order in which they are tried: SRV targets in the order of RFC 2782, then
    /// configured nodes; those that are down come last.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is none.
    pub async fn ucm_nodes(&self, domain: &ServedDomain) -> Result<Vec<HostPort>, DiscoveryError> {
        let looked_up = self.look_up(domain, KnownService::CiscoUds).await;
        let configured = self.configured(domain, KnownService::CiscoUds);
        let mut state = self.lock();
        let (found, failure) = match looked_up {
            Ok(SrvAnswer::Records(servers)) => (srv::order(servers, &mut state.dice), None),
            Ok(SrvAnswer::Absent | SrvAnswer::Withdrawn) => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let configured = srv::order(configured, &mut state.dice);
        let mut nodes: Vec<HostPort> = Vec::new();
        for server in found.into_iter().chain(configured) {
            let node = HostPort {
                host: server.address,
                port: server.port,
            };
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        if nodes.is_empty() {
            return Err(failure.map_or(DiscoveryError::NoNodes, DiscoveryError::Unanswered));
        }
        nodes.sort_by_key(|node| !state.health.is_up(node));
        Ok(nodes)
    }

    /// The configured TFTP servers of a deployment.
    #[must_use]
    pub fn tftp_servers(&self, deployment: &Deployment) -> Vec<Host> {
        self.configured_hosts(NodeKind::Tftp, deployment)
    }

    /// The configured voicemail servers of a deployment.
    #[must_use]
    pub fn unity_nodes(&self, deployment: &Deployment) -> Vec<Host> {
        self.configured_hosts(NodeKind::Unity, deployment)
    }

    /// Brings `nodes` into a random order in which those that are down come last.
    #[must_use]
    pub fn shuffled(&self, nodes: Vec<HostPort>) -> Vec<HostPort> {
        let mut state = self.lock();
        let servers = nodes.into_iter().map(|node| even(node.host, node.port));
        let mut nodes: Vec<_> = srv::order(servers.collect(), &mut state.dice)
            .into_iter()
            .map(|server| HostPort {
                host: server.address,
                port: server.port,
            })
            .collect();
        nodes.sort_by_key(|node| !state.health.is_up(node));
        nodes
    }

    /// Whether `node` can be reached as far as is known.
    #[must_use]
    pub fn is_up(&self, node: &HostPort) -> bool {
        self.lock().health.is_up(node)
    }

    /// Whether two hosts are known to be nodes of one cluster.
    #[must_use]
    pub fn is_same_cluster(&self, one: &Host, other: &Host) -> bool {
        let state = self.lock();
        state.nodes.cluster_of(one) == state.nodes.cluster_of(other)
    }

    /// The hosts of the cluster that `host` belongs to, as far as they are known.
    #[must_use]
    pub fn cluster_hosts(&self, host: &Host) -> Vec<Host> {
        self.lock().nodes.hosts_with(host)
    }

    /// Notes what a request to `node` found out: `Ok` if it could be reached, else why not.
    pub fn report(&self, node: &HostPort, outcome: Result<(), String>) {
        let now = Instant::now();
        let mut state = self.lock();
        let has_changed = match outcome {
            Ok(()) => {
                let has_come_back = state.health.succeeded(node, now);
                if has_come_back {
                    tracing::info!(%node, "inner node is up again");
                }
                has_come_back
            }
            Err(reason) => {
                let has_gone = state.health.failed(node, reason.clone(), now);
                if has_gone {
                    tracing::warn!(%node, reason, "inner node is down");
                }
                has_gone
            }
        };
        if has_changed {
            self.health.send_replace(Arc::new(state.health.snapshot()));
            self.changed.notify_one();
        }
    }

    /// Remembers nodes that a user's sign-in named.
    pub fn learn(&self, nodes: impl IntoIterator<Item = Node>) {
        let now = Instant::now();
        {
            let mut state = self.lock();
            for node in nodes {
                state.nodes.keep(node, now + limits::NODE_LEARNED_KEPT);
            }
        }
        self.publish(now);
    }

    /// Remembers nodes that sign-ins named before this process began, or at another edge-c; `now` is the same moment as the
    /// clock's.
    pub fn learn_until(&self, named: impl IntoIterator<Item = NamedNode>, now: UnixTime) {
        let at = Instant::now();
        {
            let mut state = self.lock();
            for NamedNode { node, until } in named {
                let left = until.since(now).min(limits::NODE_LEARNED_KEPT);
                if !left.is_zero() {
                    state.nodes.keep(node, at + left);
                }
            }
        }
        self.publish(at);
    }

    /// The nodes that are known because something inside named them, and until when; `now` is the same moment as the
    /// clock's. In a fixed order.
    #[must_use]
    pub fn learned(&self, now: UnixTime) -> Vec<NamedNode> {
        let at = Instant::now();
        let state = self.lock();
        let found = state.nodes.found();
        let left = |until: Instant| now.plus(until.saturating_duration_since(at));
        found
            .map(|(node, until)| NamedNode {
                node: node.clone(),
                until: left(until),
            })
            .collect()
    }

    /// Remembers that `hosts` are the UCM nodes of one cluster.
    pub fn learn_cluster(&self, hosts: &BTreeSet<Host>, port: u16, deployment: &Deployment) {
        let now = Instant::now();
        {
            let mut state = self.lock();
            state.nodes.cluster(hosts);
            for host in hosts {
                let node = Node {
                    kind: NodeKind::Ucm,
                    host: host.clone(),
                    port: (port != node::UDS_PORT).then_some(port),
                    deployment: deployment.clone(),
                };
                state.nodes.keep(node, now + limits::NODE_DISCOVERED_KEPT);
            }
        }
        self.publish(now);
    }

    fn live_servers(&self, servers: Vec<SrvServer>) -> Vec<SrvServer> {
        let state = self.lock();
        let (live, dead): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| {
            state.health.is_up(&HostPort {
                host: server.address.clone(),
                port: server.port,
            })
        });
        // A list of dead nodes is better than none: without any, clients give up for good.
        let mut servers = if live.is_empty() { dead } else { live };
        servers.sort();
        servers
    }

    fn configured_hosts(&self, kind: NodeKind, deployment: &Deployment) -> Vec<Host> {
        self.config
            .load()
            .nodes
            .iter()
            .filter(|node| node.kind == kind && node.deployment == *deployment)
            .map(|node| node.host.clone())
            .collect()
    }

    fn configured(&self, domain: &ServedDomain, service: KnownService) -> Vec<SrvServer> {
        let kind = match service {
            // The port of TFTP is not one that configured nodes have.
            KnownService::CiscoPhoneTftp => return Vec::new(),
            KnownService::CiscoUds => NodeKind::Ucm,
            KnownService::CupLogin => NodeKind::ImPresence,
        };
        self.config
            .load()
            .nodes
            .iter()
            .filter(|node| node.kind == kind && node.deployment == domain.deployment)
            .map(|node| {
                let address = node::address(node);
                even(address.host, address.port)
            })
            .collect()
    }

    /// Asks DNS: the domain's own zone first, then its pinpoint zone.
    async fn look_up(
        &self,
        domain: &ServedDomain,
        service: KnownService,
    ) -> Result<SrvAnswer, DnsError> {
        let zone = domain
            .voice_services_domain
            .as_ref()
            .unwrap_or(&domain.name);
        let own = self.dns.service(service, zone.as_str()).await;
        let has_pinpoint = match service {
            KnownService::CiscoPhoneTftp => false,
            KnownService::CiscoUds | KnownService::CupLogin => self.config.load().has_pinpoint_zone,
        };
        if !has_pinpoint || matches!(own, Ok(SrvAnswer::Records(_) | SrvAnswer::Withdrawn)) {
            return own;
        }
        let pinpoint = format!("{PINPOINT_LABEL}.{zone}");
        match self.dns.service(service, &pinpoint).await {
            Ok(SrvAnswer::Records(servers)) => Ok(SrvAnswer::Records(servers)),
            Ok(SrvAnswer::Absent | SrvAnswer::Withdrawn) => own,
            Err(error) => own.and(Err(error)),
        }
    }

    /// Hands the current node list and health to those who watch them, if something changed.
    fn publish(&self, now: Instant) {
        let mut state = self.lock();
        state.nodes.expire(now);
        let nodes: Arc<[Node]> = state.nodes.all().cloned().collect();
        let targets = state.nodes.targets();
        state.health.watch(&targets, now);
        let health = state.health.snapshot();
        let has_changed = self.nodes.send_if_modified(|published| {
            let has_changed = **published != *nodes;
            *published = nodes;
            has_changed
        });
        if has_changed {
            self.health.send_replace(Arc::new(health));
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn even(address: Host, port: u16) -> SrvServer {
    SrvServer {
        priority: 0,
        weight: 1,
        port,
        address,
    }
}

/// The subdomain of older clients' fallback zone.
const PINPOINT_LABEL: &str = "cisco-internal";

#[cfg(test)]
mod tests;
