//! Nodes of IM and Presence, and other XMPP servers inside: where they are, and a verified TLS connection to one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use common::limits;
use common::net::{Domain, Host, HostPort, HostPortError};
use common::runtime::lean_tls::{self, LeanTls};
use common::xmpp::node_opening::{NodeError, NodeOpening, Progress};
use rustls::ClientConfig;
use rustls_pki_types::{DnsName, ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::dial::{self, DialError};
use health::Health;

pub mod health;
pub mod probe;
mod proxy_header;
pub mod resolve;
pub mod table;
pub mod verify;

/// A connection to a node, with TLS.
pub type NodeStream = LeanTls<TcpStream>;

/// How TLS with a node begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Security {
    /// At once (XEP-0368).
    Direct,
    /// After a dialogue (RFC 6120 section 5).
    StartTls,
}

impl Security {
    /// The word in front of a node.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "tls",
            Self::StartTls => "starttls",
        }
    }
}

/// `starttls:host:port` or `tls:host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodePlace {
    /// How TLS begins.
    pub security: Security,
    /// Name or address, and port.
    pub place: HostPort,
}

/// Why a text names no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodePlaceError {
    /// The rest is no host and port.
    #[error(transparent)]
    Place(#[from] HostPortError),
    /// Nothing says how TLS begins.
    #[error("does not begin with starttls: or tls:")]
    Security,
}

impl FromStr for NodePlace {
    type Err = NodePlaceError;

    fn from_str(text: &str) -> Result<Self, NodePlaceError> {
        let (word, place) = text.split_once(':').ok_or(NodePlaceError::Security)?;
        let mut known = [Security::Direct, Security::StartTls].into_iter();
        let security = known
            .find(|one| one.as_str() == word)
            .ok_or(NodePlaceError::Security)?;
        Ok(Self {
            security,
            place: place.parse()?,
        })
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.security.as_str(), self.place)
    }
}

/// A node that is known. Who holds it sees its health; it stays the same over look-ups that find it again.
#[derive(Debug)]
pub struct Node {
    /// Where it is.
    pub place: NodePlace,
    /// Its addresses, never empty.
    pub addresses: Vec<IpAddr>,
    /// How it is verified.
    pub tls: Arc<ClientConfig>,
    /// Whether it is told the client's address in a PROXY header.
    pub is_told_clients: bool,
    /// How it is doing.
    pub health: Health,
}

/// Both ends of a client's connection, for nodes that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client.
    pub client: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
}

/// How nodes are connected to.
#[derive(Clone, Copy, Debug)]
pub struct Dialling {
    /// The local address to connect from.
    pub bind_address: Option<IpAddr>,
    /// Until TCP is up, and again until TLS is.
    pub timeout: Duration,
}

/// Why there is no connection to a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// TCP or TLS.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke before TLS.
    #[error("the connection broke before TLS: {0}")]
    Io(String),
    /// The dialogue before TLS.
    #[error(transparent)]
    Opening(#[from] NodeError),
    /// The dialogue before TLS took too long.
    #[error("the node was silent before TLS")]
    Silent,
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Connects to `node` for `domain`: TCP, TLS in the node's way, verified. Without `proxied` the connection is the edge's
/// own.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(
    node: &Node,
    domain: &Domain,
    proxied: Option<Proxied>,
    dialling: Dialling,
) -> Result<NodeStream, ConnectError> {
    let port = node.place.place.port;
    let mut stream = dial::connect(
        &node.addresses,
        port,
        dialling.bind_address,
        dialling.timeout,
    )
    .await?;
    watch_peer(&stream)?;
    if node.is_told_clients {
        stream.write_all(&proxy_header::header(proxied)).await?;
    }
    if node.place.security == Security::StartTls {
        let opening = Box::pin(open(&mut stream, domain));
        let opened = tokio::time::timeout(dialling.timeout, opening).await;
        opened.map_err(|_| ConnectError::Silent)??;
    }
    // The name of the domain in the hello: servers of several domains choose by it.
    let name = DnsName::try_from(domain.as_str().to_owned())
        .map(ServerName::DnsName)
        .map_err(|_| DialError::Name)?;
    let handshake = Box::pin(lean_tls::connect(stream, Arc::clone(&node.tls), name));
    match tokio::time::timeout(dialling.timeout, handshake).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) => Err(tls_error(&error).into()),
        Err(_) => Err(DialError::TlsTimeout.into()),
    }
}

fn tls_error(error: &io::Error) -> DialError {
    let cause = error.get_ref();
    let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => DialError::Certificate(error.to_string()),
        Some(_) | None => DialError::Tls(error.to_string()),
    }
}

async fn open(stream: &mut TcpStream, domain: &Domain) -> Result<(), ConnectError> {
    let mut opening = NodeOpening::new(domain);
    let mut buffer = BytesMut::with_capacity(limits::XMPP_READ_BYTES);
    loop {
        stream.write_all(opening.take_output().as_bytes()).await?;
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(NodeError::Closed("the connection ended".to_owned()).into());
        }
        if opening.handle_bytes(&buffer)? == Progress::StartTls {
            return Ok(());
        }
    }
}

/// A node that is gone without a word must not keep a client waiting.
fn watch_peer(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(limits::XMPP_NODE_KEEPALIVE_IDLE)
        .with_interval(limits::TCP_KEEPALIVE_INTERVAL)
        .with_retries(limits::TCP_KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(limits::XMPP_NODE_DEAD_AFTER))
}

/// Is it the node that `hint` means, as nodes name each other: a host, with a port or without?
#[must_use]
pub fn is_meant(node: &Node, hint: &str) -> bool {
    let place = &node.place.place;
    let host = |text: &str| Host::parse(text.trim_matches(['[', ']'])).ok();
    let is_host = |named: &Host| {
        *named == place.host
            || matches!(named, Host::Address(address) if node.addresses.contains(address))
    };
    if host(hint).is_some_and(|named| is_host(&named)) {
        return true;
    }
    hint.parse::<HostPort>()
        .is_ok_and(|named| is_host(&named.host) && named.port == place.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(place: &str, address: &str) -> Node {
        Node {
            place: place.parse().unwrap(),
            addresses: vec![address.parse().unwrap()],
            tls: crate::testing::client_tls(),
            is_told_clients: false,
            health: Health::default(),
        }
    }

    #[test]
    fn a_node_says_how_tls_begins() {
        let node: NodePlace = "starttls:imp1.example.com:5222".parse().unwrap();

        assert_eq!((node.security, node.place.port), (Security::StartTls, 5222));
        assert_eq!(node.to_string(), "starttls:imp1.example.com:5222");
        for wrong in ["imp1.example.com:5222", "tcp:imp1:5222", "tls:imp1"] {
            assert!(wrong.parse::<NodePlace>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_are_known_by_name_and_address_with_a_port_or_without() {
        let node = node("starttls:imp1.example.com:5222", "2001:db8::7");

        for hint in [
            "imp1.example.com",
            "IMP1.example.com:5222",
            "[2001:db8::7]:5222",
            "[2001:db8::7]",
        ] {
            assert!(is_meant(&node, hint), "{hint}");
        }
        for other in [
            "imp2.example.com",
            "imp1.example.com:5223",
            "",
            "[::1]:5222",
        ] {
            assert!(!is_meant(&node, other), "{other}");
        }
    }
}
