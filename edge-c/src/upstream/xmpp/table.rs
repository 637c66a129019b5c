//! Which nodes serve which domain, and in which order a client tries them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use common::mra::edge_config::SrvServer;
use common::net::Domain;
use common::xmpp::features::FeaturePolicy;

use super::resolve::DomainConfig;
use super::{Node, NodePlace, is_meant};
use crate::discovery::srv::{self, Dice};

/// All domains.
#[derive(Debug, Default)]
pub struct Table {
    domains: BTreeMap<Domain, Arc<Served>>,
}

/// One domain.
#[derive(Debug)]
pub struct Served {
    /// What is hidden from its clients.
    pub features: FeaturePolicy,
    /// Its nodes, in the order of their priority.
    pub nodes: Vec<Ranked>,
}

/// A node with its rank, as SRV records have it.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// The node.
    pub node: Arc<Node>,
    /// The lower, the earlier.
    pub priority: u16,
    /// The chance among equals.
    pub weight: u16,
}

impl Table {
    pub(super) fn new(served: Vec<(Domain, Arc<Served>)>) -> Self {
        Self {
            domains: served.into_iter().collect(),
        }
    }

    /// The domains before anybody has looked for their nodes.
    #[must_use]
    pub fn without_nodes(configured: &[DomainConfig]) -> Self {
        let named = configured.iter().flat_map(|config| {
            let names = config.names.iter();
            names.map(|name| (name.clone(), config.features))
        });
        let served = named.map(|(name, features)| {
            let nodes = Vec::new();
            (name, Arc::new(Served { features, nodes }))
        });
        Self::new(served.collect())
    }

    /// Does the other have the same nodes?
    #[must_use]
    pub fn has_same_nodes(&self, other: &Self) -> bool {
        let nodes = |table: &Self| -> Vec<NodePlace> {
            let served = table.domains.values().flat_map(|served| &served.nodes);
            served.map(|ranked| ranked.node.place.clone()).collect()
        };
        nodes(self) == nodes(other)
    }

    /// The domain, if it is served.
    #[must_use]
    pub fn domain(&self, name: &Domain) -> Option<&Arc<Served>> {
        self.domains.get(name)
    }

    /// All domains by name.
    pub fn domains(&self) -> impl Iterator<Item = (&Domain, &Arc<Served>)> {
        self.domains.iter()
    }
}

impl Served {
    /// The nodes in the order in which `client` tries them: those that are down come last, for they may be back already.
    /// The same client gets the same order as long as the nodes are the same, so that it finds its streams again.
    #[must_use]
    pub fn candidates(&self, client: IpAddr) -> Vec<Arc<Node>> {
        let servers = self.nodes.iter().map(|ranked| SrvServer {
            priority: ranked.priority,
            weight: ranked.weight,
            port: ranked.node.place.place.port,
            address: ranked.node.place.place.host.clone(),
        });
        let ordered = srv::order(servers.collect(), &mut Dice::new(seed(client)));
        let mut candidates: Vec<Arc<Node>> = Vec::with_capacity(ordered.len());
        for server in ordered {
            let found = self.nodes.iter().map(|ranked| &ranked.node).find(|node| {
                let place = &node.place.place;
                place.port == server.port && place.host == server.address
            });
            candidates.extend(found.cloned());
        }
        candidates.sort_by_key(|node| !node.health.is_up());
        candidates
    }

    /// The node that another node means.
    #[must_use]
    pub fn meant(&self, hint: &str) -> Option<&Arc<Node>> {
        let mut nodes = self.nodes.iter().map(|ranked| &ranked.node);
        nodes.find(|node| is_meant(node, hint))
    }

    /// The node at this place.
    #[must_use]
    pub fn node_at(&self, place: &NodePlace) -> Option<Arc<Node>> {
        let mut nodes = self.nodes.iter().map(|ranked| &ranked.node);
        nodes.find(|node| node.place == *place).cloned()
    }
}

fn seed(client: IpAddr) -> u64 {
    let bits = match client {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        // A client's addresses within its network change by themselves.
        IpAddr::V6(v6) => v6.to_bits() >> 64,
    };
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::xmpp::health::Health;

    fn ranked(place: &str, priority: u16, weight: u16) -> Ranked {
        let place: NodePlace = place.parse().unwrap();
        let node = Node {
            place,
            addresses: vec!["192.0.2.1".parse().unwrap()],
            tls: crate::testing::client_tls(),
            is_told_clients: false,
            health: Health::default(),
        };
        Ranked {
            node: Arc::new(node),
            priority,
            weight,
        }
    }

    fn served(nodes: Vec<Ranked>) -> Served {
        Served {
            features: FeaturePolicy::default(),
            nodes,
        }
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn the_secondary_is_first_only_while_the_primary_is_down() {
        let served = served(vec![ranked("tls:a.b:1", 0, 0), ranked("tls:c.d:1", 1, 0)]);
        let first = || served.candidates(client(1))[0].place.to_string();
        assert_eq!(first(), "tls:a.b:1");

        served.nodes[0].node.health.failed();
        served.nodes[0].node.health.failed();
        assert_eq!(first(), "tls:c.d:1");
        assert_eq!(served.candidates(client(1)).len(), 2);

        served.nodes[0].node.health.succeeded();
        assert_eq!(first(), "tls:a.b:1");
    }

    #[test]
    fn clients_spread_by_weight_and_each_finds_its_node_again() {
        let served = served(vec![ranked("tls:a.b:1", 5, 60), ranked("tls:c.d:1", 5, 40)]);
        let mut on_first = 0;

        for last in 0..=255 {
            let one = served.candidates(client(last));
            assert_eq!(one[0].place, served.candidates(client(last))[0].place);
            on_first += usize::from(one[0].place.to_string() == "tls:a.b:1");
        }

        assert!((120..190).contains(&on_first), "{on_first} of 256");
    }
}
