//! From the registrars of the configuration to nodes with addresses: names are looked up, SRV records followed, and each
//! node keeps its number over look-ups and reloads.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use common::limits;
use common::net::{Deployment, Domain, Host, HostPort, HostPortError};
use common::sip::proxy::{
    Authentication, MediaPolicy, Node, NodeId, Registrar, RegistrarMode, Transport,
};

use crate::discovery::dns::{Dns, DnsError};
use crate::discovery::srv::{self, Dice};

/// A registrar as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrarConfig {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// Hosts of the AoRs that it answers for.
    pub hosts: Vec<Host>,
    /// How its nodes are found.
    pub nodes: Nodes,
    /// How it finds its way back to a client.
    pub mode: RegistrarMode,
    /// What protects the media inside.
    pub media: MediaPolicy,
    /// Who challenges REGISTER.
    pub authentication: Authentication,
    /// Which domains and inner nodes belong together.
    pub deployment: Deployment,
}

/// How the nodes of a registrar are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// They are named, in the order of preference. Never empty.
    Named(Vec<NodePlace>),
    /// SRV records name them.
    Srv(SrvName),
}

/// `transport:host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodePlace {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Name or address, and port.
    pub place: HostPort,
}

/// The name of SRV records of SIP (RFC 3263 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvName {
    /// What service and protocol stand for.
    pub transport: Transport,
    /// The whole name.
    pub name: Domain,
}

/// Why a text names no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodePlaceError {
    /// No transport in front.
    #[error("does not begin with udp:, tcp: or tls:")]
    Transport,
    /// The rest is no host and port.
    #[error(transparent)]
    Place(#[from] HostPortError),
}

impl FromStr for NodePlace {
    type Err = NodePlaceError;

    fn from_str(text: &str) -> Result<Self, NodePlaceError> {
        let (transport, place) = split_transport(text).ok_or(NodePlaceError::Transport)?;
        Ok(Self {
            transport,
            place: place.parse()?,
        })
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.uri_name(), self.place)
    }
}

/// The transport in front of the first colon.
#[must_use]
pub fn split_transport(text: &str) -> Option<(Transport, &str)> {
    let (transport, rest) = text.split_once(':')?;
    let known = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let transport = known.into_iter().find(|one| one.uri_name() == transport)?;
    Some((transport, rest))
}

/// The text is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no SRV name of SIP")]
pub struct SrvNameError;

impl FromStr for SrvName {
    type Err = SrvNameError;

    fn from_str(text: &str) -> Result<Self, SrvNameError> {
        let name = Domain::parse(text).map_err(|_| SrvNameError)?;
        let services = [
            ("_sips._tcp.", Transport::Tls),
            ("_sip._tcp.", Transport::Tcp),
            ("_sip._udp.", Transport::Udp),
        ];
        let found = services
            .iter()
            .find(|(start, _)| name.as_str().starts_with(start));
        let (_, transport) = found.ok_or(SrvNameError)?;
        Ok(Self {
            transport: *transport,
            name,
        })
    }
}

/// Finds nodes, and remembers their numbers.
#[derive(Debug, Default)]
pub struct Resolver {
    numbers: BTreeMap<(Arc<str>, Transport, SocketAddr, Host), NodeId>,
    last: u32,
}

impl Resolver {
    /// Looks every registrar up. One whose nodes can't be found keeps those of `before`, and has none without.
    pub async fn resolve(
        &mut self,
        configured: &[RegistrarConfig],
        before: &[Registrar],
        dns: &Dns,
        dice: &mut Dice,
    ) -> Vec<Registrar> {
        let mut registrars = Vec::with_capacity(configured.len());
        for registrar in configured {
            let nodes = match self.nodes(registrar, dns, dice).await {
                Ok(nodes) => nodes,
                Err(error) => {
                    tracing::debug!(side = "upstream", registrar = %registrar.name, reason = %error,
                        "nodes of a registrar can't be looked up");
                    let known = before.iter().find(|one| one.name == registrar.name);
                    known.map(|one| one.nodes.clone()).unwrap_or_default()
                }
            };
            registrars.push(Registrar {
                name: Arc::clone(&registrar.name),
                hosts: registrar.hosts.clone(),
                nodes,
                mode: registrar.mode,
                media: registrar.media,
                authentication: registrar.authentication.clone(),
                deployment: registrar.deployment.clone(),
            });
        }
        self.forget(&registrars);
        registrars
    }

    async fn nodes(
        &mut self,
        registrar: &RegistrarConfig,
        dns: &Dns,
        dice: &mut Dice,
    ) -> Result<Vec<Node>, DnsError> {
        let places = match &registrar.nodes {
            Nodes::Named(places) => places.clone(),
            Nodes::Srv(srv) => srv_places(srv, dns, dice).await?,
        };
        let mut nodes: Vec<Node> = Vec::new();
        let mut failure = None;
        for NodePlace { transport, place } in places {
            let addresses = match dns.addresses(&place.host).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            for address in addresses {
                let address = SocketAddr::new(address, place.port);
                let is_new = |node: &Node| node.address != address || node.transport != transport;
                if nodes.iter().all(is_new) && nodes.len() < limits::SIP_NODES_MAX {
                    nodes.push(Node {
                        id: self.number(&registrar.name, transport, address, &place.host),
                        transport,
                        address,
                        host: place.host.clone(),
                    });
                }
            }
        }
        match failure {
            Some(error) if nodes.is_empty() => Err(error),
            Some(_) | None => Ok(nodes),
        }
    }

    fn number(
        &mut self,
        registrar: &Arc<str>,
        transport: Transport,
        address: SocketAddr,
        host: &Host,
    ) -> NodeId {
        let key = (Arc::clone(registrar), transport, address, host.clone());
        let last = &mut self.last;
        *self.numbers.entry(key).or_insert_with(|| {
            *last = last.wrapping_add(1);
            NodeId(*last)
        })
    }

    fn forget(&mut self, registrars: &[Registrar]) {
        let nodes = || registrars.iter().flat_map(|registrar| &registrar.nodes);
        self.numbers
            .retain(|_, id| nodes().any(|node| node.id == *id));
    }
}

async fn srv_places(srv: &SrvName, dns: &Dns, dice: &mut Dice) -> Result<Vec<NodePlace>, DnsError> {
    let servers = dns.srv(&srv.name).await?.into_servers();
    let ordered = srv::order(servers, dice).into_iter();
    let places = ordered.map(|server| NodePlace {
        transport: srv.transport,
        place: HostPort {
            host: server.address,
            port: server.port,
        },
    });
    Ok(places.collect())
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

    fn configured(name: &str, nodes: &[&str]) -> RegistrarConfig {
        RegistrarConfig {
            name: name.into(),
            hosts: Vec::new(),
            nodes: Nodes::Named(nodes.iter().map(|node| node.parse().unwrap()).collect()),
            mode: RegistrarMode::Path,
            media: MediaPolicy::Rtp,
            authentication: Authentication::Registrar,
            deployment: Deployment::standard(),
        }
    }

    #[test]
    fn nodes_and_srv_names_say_their_transport() {
        let node: NodePlace = "tls:cucm1.example.com:5061".parse().unwrap();
        assert_eq!((node.transport, node.place.port), (Transport::Tls, 5061));
        assert_eq!(
            "udp:[2001:db8::1]:5060"
                .parse::<NodePlace>()
                .unwrap()
                .to_string(),
            "udp:[2001:db8::1]:5060"
        );
        for wrong in ["cucm1.example.com:5061", "ws:a.b:80", "tcp:a.b"] {
            assert!(wrong.parse::<NodePlace>().is_err(), "{wrong}");
        }

        let transport = |text: &str| text.parse::<SrvName>().map(|srv| srv.transport);
        assert_eq!(transport("_sips._tcp.example.com"), Ok(Transport::Tls));
        assert_eq!(transport("_sip._tcp.example.com"), Ok(Transport::Tcp));
        assert_eq!(transport("_sip._udp.example.com"), Ok(Transport::Udp));
        assert_eq!(transport("_cisco-uds._tcp.example.com"), Err(SrvNameError));
    }

    #[tokio::test]
    async fn a_node_keeps_its_number_and_another_never_gets_it() {
        let mut resolver = Resolver::default();
        let mut dice = Dice::new(1);
        let both = [configured(
            "a",
            &["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"],
        )];
        let first = resolver.resolve(&both, &[], &dns(), &mut dice).await;
        let one = [configured(
            "a",
            &["tcp:192.0.2.1:5060", "udp:192.0.2.2:5060"],
        )];

        let second = resolver.resolve(&one, &first, &dns(), &mut dice).await;

        assert_eq!(second[0].nodes[0].id, first[0].nodes[1].id);
        assert!(
            first[0]
                .nodes
                .iter()
                .all(|node| node.id != second[0].nodes[1].id)
        );
    }

    #[tokio::test]
    async fn a_registrar_that_can_not_be_looked_up_keeps_what_was_known() {
        let mut resolver = Resolver::default();
        let mut dice = Dice::new(1);
        let named = [configured("a", &["udp:192.0.2.1:5060"])];
        let known = resolver.resolve(&named, &[], &dns(), &mut dice).await;
        let unknown = [configured("a", &["udp:cucm1.example.com:5060"])];

        let kept = resolver.resolve(&unknown, &known, &dns(), &mut dice).await;

        assert_eq!(kept[0].nodes, known[0].nodes);
        let none = Resolver::default()
            .resolve(&unknown, &[], &dns(), &mut dice)
            .await;
        assert!(none[0].nodes.is_empty());
    }
}
