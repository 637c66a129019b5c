//! Which registrar answers for whom, and which of its nodes can be used. Asks no DNS: the shell gives addresses.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::proxy::{Node, NodeId, NodeState, Registrar};
use super::uri::Uri;
use crate::limits;

/// Nodes to try, in order.
pub(super) type Candidates = SmallVec<[NodeId; 4]>;

/// Registrars and the health of their nodes.
#[derive(Debug, Default)]
pub(super) struct Location {
    registrars: Vec<Arc<Registrar>>,
    /// Hosts of AoRs in lower case.
    by_host: HashMap<Vec<u8>, usize>,
    nodes: HashMap<NodeId, Entry>,
    /// Hosts and addresses of nodes in lower case.
    by_node_host: HashMap<Vec<u8>, SmallVec<[NodeId; 2]>>,
    by_address: HashMap<SocketAddr, NodeId>,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    registrar: usize,
    is_down: bool,
    paused_until: Option<Instant>,
}

impl Location {
    pub(super) fn new(registrars: Vec<Registrar>) -> Self {
        let mut location = Self::default();
        location.replace(registrars);
        location
    }

    /// Keeps what is known about the health of nodes that stay.
    pub(super) fn replace(&mut self, registrars: Vec<Registrar>) {
        let mut old = std::mem::take(self);
        for registrar in registrars.into_iter().take(limits::SIP_REGISTRARS_MAX) {
            self.add(registrar, &mut old);
        }
    }

    fn add(&mut self, registrar: Registrar, old: &mut Self) {
        let number = self.registrars.len();
        for host in &registrar.hosts {
            self.by_host.entry(key(&host.to_string())).or_insert(number);
        }
        for node in registrar.nodes.iter().take(limits::SIP_NODES_MAX) {
            let known = old.nodes.remove(&node.id);
            let known = known.filter(|known| known.node == *node);
            let ip = crate::net::Host::Address(node.address.ip());
            for host in [node.host.to_string(), ip.to_string()] {
                let nodes = self.by_node_host.entry(key(&host)).or_default();
                if !nodes.contains(&node.id) {
                    nodes.push(node.id);
                }
            }
            self.by_address.entry(node.address).or_insert(node.id);
            let entry = Entry {
                node: node.clone(),
                registrar: number,
                is_down: known.as_ref().is_some_and(|known| known.is_down),
                paused_until: known.and_then(|known| known.paused_until),
            };
            self.nodes.insert(node.id, entry);
        }
        self.registrars.push(Arc::new(registrar));
    }

    /// The registrar that answers for AoRs of `host`.
    pub(super) fn registrar_for(&self, host: &[u8]) -> Option<&Arc<Registrar>> {
        let number = self.by_host.get(lower(host).as_slice())?;
        self.registrars.get(*number)
    }

    /// The registrar that has this node.
    pub(super) fn registrar_of(&self, node: NodeId) -> Option<&Arc<Registrar>> {
        self.registrars.get(self.nodes.get(&node)?.registrar)
    }

    /// The registrar of that name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Registrar>> {
        self.registrars.iter().find(|each| &*each.name == name)
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(|entry| &entry.node)
    }

    /// The node that has this address.
    pub(super) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.by_address.get(&address).copied()
    }

    /// The node that a URI names, by name or address; the port must agree if one is written.
    pub(super) fn node_named(&self, uri: &Uri<'_>) -> Option<NodeId> {
        let nodes = self.by_node_host.get(lower(uri.host()).as_slice())?;
        let fits = |id: &&NodeId| {
            let port = self.nodes.get(*id).map(|entry| entry.node.address.port());
            uri.port().is_none_or(|wanted| port == Some(wanted))
        };
        let transport = uri.transport().unwrap_or_default();
        let speaks = |id: &&NodeId| {
            let node = self.nodes.get(*id).map(|entry| entry.node.transport);
            node.is_some_and(|t| t.uri_name().as_bytes().eq_ignore_ascii_case(transport))
        };
        nodes
            .iter()
            .filter(fits)
            .find(speaks)
            .or_else(|| nodes.iter().find(fits))
            .copied()
    }

    /// Nodes to try: first the one that the client is used to, then the others in their order; those that failed lately
    /// only if there is no other.
    pub(super) fn candidates(
        &self,
        registrar: &Registrar,
        sticky: Option<NodeId>,
        now: Instant,
    ) -> Candidates {
        let known = |id: &NodeId| self.nodes.contains_key(id);
        let listed = registrar.nodes.iter().map(|node| node.id).filter(known);
        let sticky = sticky.filter(known);
        let all = sticky
            .into_iter()
            .chain(listed.filter(|id| Some(*id) != sticky));
        let (mut usable, failed): (Candidates, Candidates) =
            all.partition(|id| self.is_usable(*id, now));
        if usable.is_empty() {
            usable.extend(failed.into_iter().take(1));
        }
        usable.truncate(limits::SIP_FORKS_MAX);
        usable
    }

    fn is_usable(&self, id: NodeId, now: Instant) -> bool {
        self.nodes.get(&id).is_some_and(|entry| {
            !entry.is_down && entry.paused_until.is_none_or(|until| until <= now)
        })
    }

    /// A node failed: returns for how long it is left alone.
    pub(super) fn pause(
        &mut self,
        id: NodeId,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Duration {
        let pause = retry_after
            .unwrap_or(limits::SIP_NODE_PAUSE)
            .min(limits::SIP_NODE_PAUSE_MAX);
        if let Some(entry) = self.nodes.get_mut(&id) {
            entry.paused_until = now.checked_add(pause);
        }
        pause
    }

    /// A node answered: returns whether it had failed before.
    pub(super) fn recover(&mut self, id: NodeId, now: Instant) -> bool {
        let Some(entry) = self.nodes.get_mut(&id) else {
            return false;
        };
        // Within the pause it may be the very node that asked for rest.
        let is_over = entry.paused_until.is_some_and(|until| until <= now);
        if is_over {
            entry.paused_until = None;
        }
        is_over
    }

    pub(super) fn set_state(&mut self, id: NodeId, state: NodeState) {
        if let Some(entry) = self.nodes.get_mut(&id) {
            entry.is_down = state == NodeState::Down;
            if state == NodeState::Up {
                entry.paused_until = None;
            }
        }
    }
}

fn key(host: &str) -> Vec<u8> {
    host.to_ascii_lowercase().into_bytes()
}

fn lower(host: &[u8]) -> SmallVec<[u8; 64]> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    host.iter().map(u8::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Deployment, Host};
    use crate::sip::proxy::{Authentication, MediaPolicy, RegistrarMode, Transport};
    use crate::testing::epoch;

    fn location() -> Location {
        let node = |id: u32, address: &str| Node {
            id: NodeId(id),
            transport: Transport::Tcp,
            address: address.parse().unwrap(),
            host: Host::parse(&format!("node{id}.lab.test")).unwrap(),
        };
        Location::new(vec![Registrar {
            name: "lab".into(),
            hosts: vec![Host::parse("lab.test").unwrap()],
            nodes: vec![
                node(1, "192.0.2.1:5060"),
                node(2, "192.0.2.2:5060"),
                node(3, "192.0.2.3:5080"),
            ],
            mode: RegistrarMode::Path,
            media: MediaPolicy::Rtp,
            authentication: Authentication::Registrar,
            deployment: Deployment::standard(),
        }])
    }

    fn order(location: &Location, sticky: Option<u32>, now: Instant) -> Vec<u32> {
        let registrar = location.registrar_for(b"LAB.test").unwrap();
        let nodes = location.candidates(registrar, sticky.map(NodeId), now);
        nodes.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_node_that_a_client_is_used_to_comes_first() {
        let location = location();

        assert_eq!(order(&location, None, epoch()), [1, 2, 3]);
        assert_eq!(order(&location, Some(3), epoch()), [3, 1, 2]);
        assert_eq!(order(&location, Some(9), epoch()), [1, 2, 3]);
        assert!(location.registrar_for(b"other.test").is_none());
    }

    #[test]
    fn a_node_that_failed_rests_and_comes_back() {
        let mut location = location();
        let now = epoch();

        let pause = location.pause(NodeId(1), Some(Duration::from_secs(30)), now);

        assert_eq!(order(&location, Some(1), now), [2, 3]);
        assert!(!location.recover(NodeId(1), now));
        assert_eq!(order(&location, Some(1), now + pause), [1, 2, 3]);
        assert!(location.recover(NodeId(1), now + pause));
    }

    #[test]
    fn if_every_node_failed_one_is_tried_all_the_same() {
        let mut location = location();
        for id in 1..=3 {
            location.set_state(NodeId(id), NodeState::Down);
        }

        assert_eq!(order(&location, Some(2), epoch()), [2]);
    }

    #[test]
    fn a_node_is_known_by_name_and_address_and_its_port() {
        let location = location();
        let node = |text: &str| location.node_named(&Uri::parse(text.as_bytes()).unwrap());

        assert_eq!(node("sip:1001@192.0.2.2:5060"), Some(NodeId(2)));
        assert_eq!(node("sip:NODE3.lab.test;lr"), Some(NodeId(3)));
        assert_eq!(node("sip:192.0.2.3:5060"), None);
        assert_eq!(node("sip:198.51.100.1"), None);
    }

    #[test]
    fn a_new_configuration_keeps_what_is_known_of_nodes_that_stay() {
        let mut location = location();
        location.set_state(NodeId(1), NodeState::Down);
        let same = location.registrars[0].as_ref().clone();

        location.replace(vec![same]);

        assert_eq!(order(&location, None, epoch()), [2, 3]);
    }
}
