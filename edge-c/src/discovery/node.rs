//! The inner nodes that are known, how long each is remembered, and which of them form a cluster.

use std::collections::{BTreeMap, BTreeSet};

use common::limits;
use common::net::{Host, HostPort};
use common::policy::allow_list::automatic::{Node, NodeKind};
use tokio::time::Instant;

use super::health::Probe;

/// Where a node's HTTPS service listens.
#[must_use]
pub fn address(node: &Node) -> HostPort {
    HostPort {
        host: node.host.clone(),
        port: node.port.unwrap_or(match node.kind {
            NodeKind::ImPresence | NodeKind::Ucm => UDS_PORT,
            NodeKind::Tftp => TFTP_HTTP_PORT,
            NodeKind::Unity => HTTPS_PORT,
        }),
    }
}

/// How a node is probed; a TFTP server's port may be UDP, so it isn't.
const fn probe(kind: NodeKind) -> Option<Probe> {
    match kind {
        NodeKind::ImPresence | NodeKind::Unity => Some(Probe::Tcp),
        NodeKind::Tftp => None,
        NodeKind::Ucm => Some(Probe::Uds),
    }
}

/// The known nodes: those of the configuration for ever, the others until nobody has named them for a while.
#[derive(Debug)]
pub(super) struct Nodes {
    fixed: BTreeSet<Node>,
    found: BTreeMap<Node, Instant>,
    /// The first node by name of the cluster that a host belongs to.
    clusters: BTreeMap<Host, Host>,
}

impl Nodes {
    pub(super) fn new(fixed: impl IntoIterator<Item = Node>) -> Self {
        Self {
            fixed: fixed.into_iter().take(limits::NODES_MAX).collect(),
            found: BTreeMap::new(),
            clusters: BTreeMap::new(),
        }
    }

    /// Takes these for the configured ones from now on.
    pub(super) fn fix(&mut self, fixed: impl IntoIterator<Item = Node>) {
        self.fixed = fixed.into_iter().take(limits::NODES_MAX).collect();
        self.found.retain(|node, _| !self.fixed.contains(node));
    }

    /// Remembers `node` until `until` at least.
    pub(super) fn keep(&mut self, node: Node, until: Instant) {
        if self.fixed.contains(&node) {
            return;
        }
        if let Some(known) = self.found.get_mut(&node) {
            *known = until.max(*known);
            return;
        }
        let known = self.fixed.len().saturating_add(self.found.len());
        if known >= limits::NODES_MAX {
            tracing::warn!(host = %node.host, "too many inner nodes; one more is not taken in");
            return;
        }
        self.found.insert(node, until);
    }

    /// Forgets what nobody has named for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        self.found.retain(|_, until| now < *until);
        let hosts: BTreeSet<_> = self.all().map(|node| node.host.clone()).collect();
        self.clusters.retain(|host, _| hosts.contains(host));
    }

    /// All nodes in a fixed order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Node> {
        self.fixed.iter().chain(self.found.keys())
    }

    /// Those that are not configured, and until when they are kept; in a fixed order.
    pub(super) fn found(&self) -> impl Iterator<Item = (&Node, Instant)> {
        self.found.iter().map(|(node, until)| (node, *until))
    }

    /// Notes that `hosts` are the nodes of one cluster.
    pub(super) fn cluster(&mut self, hosts: &BTreeSet<Host>) {
        let Some(first) = hosts.first() else {
            return;
        };
        self.clusters
            .retain(|host, cluster| !hosts.contains(host) && !hosts.contains(cluster));
        for host in hosts.iter().take(limits::UDS_SERVERS_MAX) {
            if self.clusters.len() < limits::NODES_MAX {
                self.clusters.insert(host.clone(), first.clone());
            }
        }
    }

    /// The cluster that `host` belongs to; a host of which nothing is known is a cluster of its own.
    pub(super) fn cluster_of<'a>(&'a self, host: &'a Host) -> &'a Host {
        self.clusters.get(host).unwrap_or(host)
    }

    /// The hosts of the cluster that `host` belongs to, as far as they are known.
    pub(super) fn hosts_with(&self, host: &Host) -> Vec<Host> {
        let cluster = self.cluster_of(host);
        self.clusters
            .iter()
            .filter(|(_, of)| *of == cluster)
            .map(|(host, _)| host.clone())
            .collect()
    }

    /// What is to be watched for its health.
    pub(super) fn targets(&self) -> BTreeMap<HostPort, Probe> {
        self.all()
            .filter_map(|node| Some((address(node), probe(node.kind)?)))
            .collect()
    }
}

/// The port of UDS and of the SOAP services of IM and Presence.
pub(crate) const UDS_PORT: u16 = 8443;
const TFTP_HTTP_PORT: u16 = 6970;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::net::Deployment;

    use super::*;

    #[test]
    fn a_found_node_is_kept_until_the_latest_time_and_a_configured_one_for_ever() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut nodes = Nodes::new([ucm("fixed")]);
        nodes.keep(ucm("found"), now + 2 * second);
        nodes.keep(ucm("found"), now + second);

        nodes.expire(now + second);
        assert_eq!(names(&nodes), ["fixed", "found"]);
        nodes.expire(now + 2 * second);
        assert_eq!(names(&nodes), ["fixed"]);
    }

    #[test]
    fn other_configured_nodes_replace_the_former_and_leave_what_was_found() {
        let now = Instant::now();
        let mut nodes = Nodes::new([ucm("old")]);
        nodes.keep(ucm("found"), now);
        nodes.keep(ucm("twice"), now);

        nodes.fix([ucm("new"), ucm("twice")]);

        assert_eq!(names(&nodes), ["new", "twice", "found"]);
    }

    #[test]
    fn the_number_of_nodes_has_a_bound() {
        let now = Instant::now();
        let mut nodes = Nodes::new([ucm("fixed")]);

        for i in 0..limits::NODES_MAX * 2 {
            nodes.keep(ucm(&format!("n{i}")), now);
        }

        assert_eq!(nodes.all().count(), limits::NODES_MAX);
    }

    #[test]
    fn a_cluster_is_what_its_nodes_say_last() {
        let host = |name: &str| Host::parse(name).unwrap();
        let mut nodes = Nodes::new([]);
        nodes.cluster(&BTreeSet::from([host("b"), host("a")]));
        assert_eq!(nodes.cluster_of(&host("b")), &host("a"));
        assert_eq!(nodes.cluster_of(&host("x")), &host("x"));

        nodes.cluster(&BTreeSet::from([host("b"), host("c")]));

        assert_eq!(nodes.cluster_of(&host("c")), nodes.cluster_of(&host("b")));
        assert_ne!(nodes.cluster_of(&host("a")), nodes.cluster_of(&host("b")));
    }

    #[test]
    fn servers_that_may_speak_udp_are_not_probed() {
        let mut tftp = ucm("tftp");
        tftp.kind = NodeKind::Tftp;
        let nodes = Nodes::new([ucm("cucm"), tftp]);

        assert_eq!(
            nodes.targets().into_iter().collect::<Vec<_>>(),
            [("cucm:8443".parse().unwrap(), Probe::Uds)]
        );
    }

    fn ucm(name: &str) -> Node {
        Node {
            kind: NodeKind::Ucm,
            host: Host::parse(name).unwrap(),
            port: None,
            deployment: Deployment::standard(),
        }
    }

    fn names(nodes: &Nodes) -> Vec<String> {
        nodes.all().map(|node| node.host.to_string()).collect()
    }
}
