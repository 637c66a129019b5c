//! The own names: how they are written into messages and how they are recognised in them.

use std::collections::HashMap;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::FlowPeer;
use super::config::{EdgeName, InnerNames, Transport};
use crate::id::EdgeIndex;
use crate::net::{Host, HostPort};
use crate::sip::uri::{Scheme, Uri};

/// Whatever port is written, or none.
const ANY_PORT: u16 = 0;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// `host:port` by transport.
    inner: [Option<Box<str>>; 3],
    edges: HashMap<EdgeIndex, Edge>,
    /// Hosts in lower case with their ports.
    own: HashMap<Vec<u8>, SmallVec<[u16; 4]>>,
}

/// What the clients of an edge are told.
#[derive(Debug)]
struct Edge {
    /// `host:port` for those over IPv4, and over IPv6.
    families: [Box<str>; 2],
}

impl Edge {
    fn new(name: &EdgeName) -> Self {
        let all = || std::iter::once(&name.host).chain(&name.others);
        let told = |is_ipv6: bool| {
            let mut of_family = all().filter(|one| match &one.host {
                Host::Address(address) => address.is_ipv6() == is_ipv6,
                Host::Name(_) => false,
            });
            let is_name = matches!(name.host.host, Host::Name(_));
            let own = of_family.next().filter(|_| !is_name);
            own.unwrap_or(&name.host).to_string().into()
        };
        Self {
            families: [told(false), told(true)],
        }
    }
}

impl Names {
    pub(super) fn new(inner: &InnerNames, edges: &[EdgeName]) -> Self {
        let mut names = Self::default();
        let listed = [&inner.udp, &inner.tcp, &inner.tls];
        for (slot, name) in names.inner.iter_mut().zip(listed) {
            *slot = name.as_ref().map(|name| name.to_string().into());
        }
        for name in listed.into_iter().flatten() {
            names.add(name);
        }
        for alias in &inner.aliases {
            let key = alias.to_string().to_ascii_lowercase().into_bytes();
            names.own.entry(key).or_default().push(ANY_PORT);
        }
        for edge in edges {
            names.edges.insert(edge.index, Edge::new(edge));
            names.add(&edge.host);
            for other in &edge.others {
                names.add(other);
            }
        }
        names
    }

    fn add(&mut self, name: &HostPort) {
        let key = name.host.to_string().to_ascii_lowercase().into_bytes();
        self.own.entry(key).or_default().push(name.port);
    }

    /// Whether a URI names this pair; its user part has no say.
    pub(super) fn is_own(&self, uri: &Uri<'_>) -> bool {
        let host: SmallVec<[u8; 64]> = uri.host().iter().map(u8::to_ascii_lowercase).collect();
        let Some(ports) = self.own.get(host.as_slice()) else {
            return false;
        };
        let is_secure = uri.scheme() == Scheme::Sips
            || uri
                .transport()
                .is_some_and(|t| t.eq_ignore_ascii_case(b"tls"));
        let port = uri.port().unwrap_or(if is_secure { 5061 } else { 5060 });
        ports.iter().any(|own| *own == port || *own == ANY_PORT)
    }

    /// `host:port` towards the inside; of another transport if there is none of this one.
    pub(super) fn inner(&self, transport: Transport) -> &str {
        let wanted = match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls | Transport::Wss => 2,
        };
        let exact = self.inner.get(wanted).and_then(Option::as_deref);
        exact
            .or_else(|| self.inner.iter().flatten().next().map(|name| &**name))
            .unwrap_or("edge-c.invalid")
    }

    /// `host:port` towards a client: an address that it can reach, if edges have addresses and no names.
    pub(super) fn edge(&self, peer: &FlowPeer) -> &str {
        let [v4, v6] = match self.edges.get(&peer.edge) {
            Some(edge) => edge.families.each_ref(),
            None => return "edge-e.invalid",
        };
        match peer.client.0.ip().to_canonical() {
            IpAddr::V4(_) => v4,
            IpAddr::V6(_) => v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TrackingId;
    use crate::net::ClientAddr;

    #[test]
    fn a_uri_is_ours_by_host_and_port() {
        let inner = InnerNames {
            tcp: Some("10.0.0.5:5060".parse().unwrap()),
            aliases: vec![Host::parse("192.168.2.100").unwrap()],
            ..InnerNames::default()
        };
        let edges = [EdgeName {
            index: EdgeIndex(0),
            host: "edge.example.com:5061".parse().unwrap(),
            others: vec!["[2001:db8::11]:5061".parse().unwrap()],
        }];
        let names = Names::new(&inner, &edges);
        let is_own = |text: &str| names.is_own(&Uri::parse(text.as_bytes()).unwrap());

        assert!(is_own("sip:token@10.0.0.5:5060;transport=tcp;lr"));
        assert!(is_own("sip:10.0.0.5"));
        assert!(is_own("sip:EDGE.example.com;transport=tls;lr"));
        assert!(is_own("sips:edge.example.com"));
        assert!(is_own(
            "sip:192.168.2.100:5061;transport=tls;zone-id=3;directed;lr"
        ));
        assert!(!is_own("sip:10.0.0.5:5080"));
        assert!(!is_own("sip:edge.example.com"));
        assert!(!is_own("sip:10.0.0.6"));
        assert_eq!(names.inner(Transport::Udp), "10.0.0.5:5060");
        assert!(is_own("sip:[2001:db8::11]:5061;transport=tls;lr"));
        assert_eq!(
            names.edge(&peer("[2001:db8::1]:9")),
            "edge.example.com:5061"
        );
    }

    #[test]
    fn a_client_is_told_the_address_of_its_own_family() {
        let edges = [EdgeName {
            index: EdgeIndex(0),
            host: "203.0.113.11:5061".parse().unwrap(),
            others: vec!["[2001:db8::11]:5061".parse().unwrap()],
        }];

        let names = Names::new(&InnerNames::default(), &edges);

        assert_eq!(names.edge(&peer("198.51.100.7:9")), "203.0.113.11:5061");
        assert_eq!(
            names.edge(&peer("[::ffff:198.51.100.7]:9")),
            "203.0.113.11:5061"
        );
        assert_eq!(names.edge(&peer("[2001:db8::1]:9")), "[2001:db8::11]:5061");
    }

    fn peer(client: &str) -> FlowPeer {
        FlowPeer {
            edge: EdgeIndex(0),
            client: ClientAddr(client.parse().unwrap()),
            transport: Transport::Tls,
            server_name: None,
            tracking: TrackingId::new([7; 16]),
        }
    }
}
