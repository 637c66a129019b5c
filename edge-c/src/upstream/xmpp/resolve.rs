//! From the domains of the configuration to nodes with addresses, in the order in which they are preferred.

use std::sync::Arc;

use common::limits;
use common::mra::edge_config::SrvServer;
use common::net::{Domain, Host, HostPort};
use rustls::RootCertStore;

use super::health::Health;
use super::table::{Ranked, Served, Table};
use super::{Node, NodePlace, Security, verify};
use crate::discovery::dns::{Dns, DnsError};
use common::xmpp::features::FeaturePolicy;

/// `[[xmpp.domain]]`: domains that the same nodes serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// The part of JIDs after the @. Never empty.
    pub names: Vec<Domain>,
    /// How their nodes are found.
    pub nodes: Nodes,
    /// The names that a node's certificate may have; empty for the domain and the node's own.
    pub certificate_names: Vec<Host>,
    /// What is hidden from clients.
    pub features: FeaturePolicy,
    /// Whether nodes are told the client's address.
    pub is_told_clients: bool,
}

/// How nodes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// They are named, in the order of preference. Never empty.
    Named(Vec<NodePlace>),
    /// SRV records of this zone name them, or of each domain's own.
    Zone(Option<Domain>),
}

/// Looks all domains up. One whose nodes can't be found keeps those of `before`; a node that is found again stays the same.
pub async fn resolve(
    configured: &[DomainConfig],
    anchors: &Arc<RootCertStore>,
    before: &Table,
    dns: &Dns,
) -> Table {
    let mut served = Vec::new();
    for config in configured {
        for name in &config.names {
            let nodes = match nodes_of(config, name, anchors, before, dns).await {
                Ok(nodes) => nodes,
                Err(error) => {
                    tracing::debug!(side = "upstream", domain = %name, reason = %error,
                        "nodes of a domain can't be looked up");
                    let known = before.domain(name);
                    known.map(|known| known.nodes.clone()).unwrap_or_default()
                }
            };
            let domain = Served {
                features: config.features,
                nodes,
            };
            served.push((name.clone(), Arc::new(domain)));
        }
    }
    Table::new(served)
}

async fn nodes_of(
    config: &DomainConfig,
    domain: &Domain,
    anchors: &Arc<RootCertStore>,
    before: &Table,
    dns: &Dns,
) -> Result<Vec<Ranked>, DnsError> {
    let places = match &config.nodes {
        Nodes::Named(places) => named(places),
        Nodes::Zone(zone) => found(zone.as_ref().unwrap_or(domain), dns).await?,
    };
    let mut nodes: Vec<Ranked> = Vec::new();
    let mut failure = None;
    for (place, priority, weight) in places.into_iter().take(limits::XMPP_NODES_MAX) {
        let addresses = match dns.addresses(&place.place.host).await {
            Ok(addresses) => addresses,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        if nodes.iter().any(|known| known.node.place == place) {
            continue;
        }
        let known = before
            .domain(domain)
            .and_then(|known| known.node_at(&place));
        let is_same = |node: &Arc<Node>| {
            node.addresses == addresses && node.is_told_clients == config.is_told_clients
        };
        let node = match known.filter(is_same) {
            Some(node) => node,
            None => match new_node(config, domain, place, addresses, anchors) {
                Ok(node) => Arc::new(node),
                Err(reason) => {
                    tracing::warn!(side = "local", %domain, reason, remedy = "look at [[xmpp.domain]]",
                        "a node can't be used");
                    continue;
                }
            },
        };
        nodes.push(Ranked {
            node,
            priority,
            weight,
        });
    }
    match failure {
        Some(error) if nodes.is_empty() => Err(error),
        Some(_) | None => Ok(nodes),
    }
}

fn named(places: &[NodePlace]) -> Vec<(NodePlace, u16, u16)> {
    let ranks = 0..u16::MAX;
    let ranked = places.iter().zip(ranks);
    ranked
        .map(|(place, rank)| (place.clone(), rank, 0))
        .collect()
}

/// Both kinds of XMPP records are one list (XEP-0368 section 5); without any, IM and Presence's own record names its
/// nodes, where XMPP is at its usual port.
async fn found(zone: &Domain, dns: &Dns) -> Result<Vec<(NodePlace, u16, u16)>, DnsError> {
    let mut places = Vec::new();
    for (service, security) in [
        ("_xmpps-client", Security::Direct),
        ("_xmpp-client", Security::StartTls),
    ] {
        let servers = servers(service, zone, dns).await?;
        places.extend(servers.into_iter().map(|server| place(server, security)));
    }
    if places.is_empty() {
        let servers = servers("_cuplogin", zone, dns).await?;
        places.extend(servers.into_iter().map(|server| {
            let at_port = SrvServer {
                port: limits::PUBLIC_XMPP_PORT,
                ..server
            };
            place(at_port, Security::StartTls)
        }));
    }
    places.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    Ok(places)
}

async fn servers(service: &str, zone: &Domain, dns: &Dns) -> Result<Vec<SrvServer>, DnsError> {
    let Ok(name) = Domain::parse(&format!("{service}._tcp.{zone}")) else {
        return Ok(Vec::new());
    };
    Ok(dns.srv(&name).await?.into_servers())
}

fn place(server: SrvServer, security: Security) -> (NodePlace, u16, u16) {
    let place = HostPort {
        host: server.address,
        port: server.port,
    };
    (
        NodePlace { security, place },
        server.priority,
        server.weight,
    )
}

fn new_node(
    config: &DomainConfig,
    domain: &Domain,
    place: NodePlace,
    addresses: Vec<std::net::IpAddr>,
    anchors: &Arc<RootCertStore>,
) -> Result<Node, String> {
    let own = [Host::Name(domain.clone()), place.place.host.clone()];
    let names = if config.certificate_names.is_empty() {
        &own[..]
    } else {
        &config.certificate_names
    };
    let tls = verify::client(anchors, names, place.security == Security::Direct)?;
    Ok(Node {
        place,
        addresses,
        tls: Arc::new(tls),
        is_told_clients: config.is_told_clients,
        health: Health::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::dns::DnsConfig;

    fn dns() -> Dns {
        let config = DnsConfig {
            servers: Vec::new(),
            timeout: std::time::Duration::from_secs(1),
        };
        Dns::new(&config).unwrap()
    }

    fn config(nodes: &[&str]) -> DomainConfig {
        DomainConfig {
            names: vec![Domain::parse("example.com").unwrap()],
            nodes: Nodes::Named(nodes.iter().map(|node| node.parse().unwrap()).collect()),
            certificate_names: Vec::new(),
            features: FeaturePolicy::default(),
            is_told_clients: false,
        }
    }

    #[tokio::test]
    async fn a_node_that_is_found_again_stays_the_same_and_keeps_its_health() {
        let anchors = crate::testing::anchors();
        let domain = Domain::parse("example.com").unwrap();
        let both = [config(&["starttls:192.0.2.1:5222", "tls:192.0.2.2:5223"])];
        let before = resolve(&both, &anchors, &Table::default(), &dns()).await;
        let second = Arc::clone(&before.domain(&domain).unwrap().nodes[1].node);
        second.health.failed();
        let one = [config(&["tls:192.0.2.2:5223"])];

        let after = resolve(&one, &anchors, &before, &dns()).await;

        let nodes = &after.domain(&domain).unwrap().nodes;
        assert_eq!(nodes.len(), 1);
        assert!(Arc::ptr_eq(&nodes[0].node, &second));
    }

    #[tokio::test]
    async fn a_domain_that_can_not_be_looked_up_keeps_its_nodes() {
        let anchors = crate::testing::anchors();
        let domain = Domain::parse("example.com").unwrap();
        let named = [config(&["starttls:192.0.2.1:5222"])];
        let before = resolve(&named, &anchors, &Table::default(), &dns()).await;
        let unknown = [config(&["starttls:imp1.example.com:5222"])];

        let after = resolve(&unknown, &anchors, &before, &dns()).await;

        assert_eq!(after.domain(&domain).unwrap().nodes.len(), 1);
    }
}
