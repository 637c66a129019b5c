//! The own names: how they are written into messages and how they are recognised in them.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::config::{EdgeName, InnerNames, Transport};
use crate::id::EdgeIndex;
use crate::net::HostPort;
use crate::sip::uri::{Scheme, Uri};

/// Whatever port is written, or none.
const ANY_PORT: u16 = 0;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// `host:port` by transport.
    inner: [Option<Box<str>>; 3],
    edges: HashMap<EdgeIndex, Box<str>>,
    /// Hosts in lower case with their ports.
    own: HashMap<Vec<u8>, SmallVec<[u16; 4]>>,
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
            names.edges.insert(edge.index, edge.host.to_string().into());
            names.add(&edge.host);
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

    /// `host:port` towards the clients of an edge.
    pub(super) fn edge(&self, index: EdgeIndex) -> &str {
        self.edges.get(&index).map_or("edge-e.invalid", |name| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Host;

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
        assert_eq!(names.edge(EdgeIndex(0)), "edge.example.com:5061");
    }
}
