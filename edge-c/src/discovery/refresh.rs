//! The two loops that keep the node list and the health of nodes current by themselves.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use common::limits;
use common::mra::edge_config::KnownService;
use common::net::{Deployment, Host, HostPort};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::dns::SrvAnswer;
use super::health::Probe;
use super::node::address;
use super::{Discovery, Node, NodeKind, ServedDomain};
use crate::uds::{Uds, UdsError};

impl Discovery {
    /// Refreshes the node list and probes nodes, for ever; dropping the future ends both.
    pub async fn run(self: Arc<Self>, uds: Arc<Uds>) -> Infallible {
        // The probing loop never ends, so neither does this.
        let refresh = self.refresh_loop(&uds);
        let probes = self.probe_loop(&uds);
        tokio::select! {
            never = refresh => never,
            never = probes => never,
        }
    }

    /// Looks all services up again and asks one node of every cluster for its nodes.
    pub async fn refresh(&self, uds: &Uds) {
        let config = self.config.load_full();
        for domain in &config.domains {
            for service in KnownService::ALL {
                if let Ok(SrvAnswer::Records(servers)) = self.look_up(domain, service).await {
                    let nodes = servers
                        .into_iter()
                        .map(|server| HostPort {
                            host: server.address,
                            port: server.port,
                        })
                        .collect();
                    self.discovered(domain, service, nodes);
                }
            }
        }
        self.refresh_clusters(uds).await;
        self.publish(Instant::now());
    }

    fn discovered(&self, domain: &ServedDomain, service: KnownService, nodes: Vec<HostPort>) {
        let kind = match service {
            KnownService::CiscoPhoneTftp => NodeKind::Tftp,
            KnownService::CiscoUds => NodeKind::Ucm,
            KnownService::CupLogin => NodeKind::ImPresence,
        };
        let until = Instant::now() + limits::NODE_DISCOVERED_KEPT;
        let mut state = self.lock();
        for node in nodes {
            // The SRV port of TFTP is UDP; files come over the HTTP ports, which are the kind's own.
            let is_own = kind == NodeKind::Tftp || node.port == super::node::UDS_PORT;
            let port = (!is_own).then_some(node.port);
            let node = Node {
                kind,
                host: node.host,
                port,
                deployment: domain.deployment.clone(),
            };
            state.nodes.keep(node, until);
        }
    }

    /// Asks UCM nodes in turn until every known one is in a cluster that has said what its nodes are.
    async fn refresh_clusters(&self, uds: &Uds) {
        let mut asked: BTreeSet<(Deployment, Host)> = BTreeSet::new();
        let ucm: Vec<Node> = {
            let state = self.lock();
            let mut ucm: Vec<_> = state
                .nodes
                .all()
                .filter(|node| node.kind == NodeKind::Ucm)
                .cloned()
                .collect();
            ucm.sort_by_key(|node| !state.health.is_up(&address(node)));
            ucm
        };
        for node in ucm {
            let key = (node.deployment.clone(), node.host.clone());
            let address = address(&node);
            // Nodes that are down are probed by the other loop; waiting for them here would delay the others.
            if asked.contains(&key) || !self.is_up(&address) {
                continue;
            }
            let answer = uds.servers(&address, None).await;
            self.observe(&answer, &address);
            let Ok(servers) = answer else {
                continue;
            };
            let mut hosts: BTreeSet<_> = servers.into_iter().collect();
            hosts.insert(node.host);
            asked.extend(
                hosts
                    .iter()
                    .map(|host| (node.deployment.clone(), host.clone())),
            );
            self.learn_cluster(&hosts, address.port, &node.deployment);
        }
    }

    /// Notes what the outcome of a UDS request says of the node's health.
    pub fn observe<T>(&self, outcome: &Result<T, UdsError>, node: &HostPort) {
        match outcome {
            Ok(_) => self.report(node, Ok(())),
            Err(error) if error.is_node_failure() => {
                self.report(node, Err(error.reason.to_string()));
            }
            // It answered, if not as hoped.
            Err(_) => {}
        }
    }

    async fn refresh_loop(&self, uds: &Uds) -> Infallible {
        let mut tick = interval(limits::NODE_REFRESH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both are cancel safe: a notification stays stored, a tick stays due.
            tokio::select! {
                _ = tick.tick() => {}
                () = self.reconfigured.notified() => {}
            }
            self.refresh(uds).await;
            self.is_first_done.send_replace(true);
        }
    }

    async fn probe_loop(&self, uds: &Arc<Uds>) -> Infallible {
        let mut probes = JoinSet::new();
        loop {
            let next = {
                let mut state = self.lock();
                let now = Instant::now();
                while probes.len() < limits::NODE_PROBES_MAX
                    && let Some((node, kind)) = state.health.start_probe(now)
                {
                    probes.spawn(probe(Arc::clone(uds), node, kind));
                }
                state.health.next_probe()
            };
            let wake = next.unwrap_or_else(|| Instant::now() + limits::NODE_REFRESH_INTERVAL);
            let has_room = probes.len() < limits::NODE_PROBES_MAX;
            // All branches are cancel safe: results stay in the set, a notification stays stored.
            tokio::select! {
                Some(done) = probes.join_next() => match done {
                    Ok((node, outcome)) => self.report(&node, outcome),
                    Err(error) => tracing::error!(%error, "a probe ended without a result"),
                },
                () = sleep_until(wake), if has_room => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

async fn probe(uds: Arc<Uds>, node: HostPort, kind: Probe) -> (HostPort, Result<(), String>) {
    let attempt = async {
        match kind {
            Probe::Tcp => uds.touch(&node).await,
            Probe::Uds => uds.version(&node).await.map(drop),
        }
        .map_err(|error| error.reason.to_string())
    };
    let outcome = timeout(limits::NODE_PROBE_TIMEOUT, attempt)
        .await
        .unwrap_or_else(|_| Err("no answer to a probe in time".to_owned()));
    (node, outcome)
}
