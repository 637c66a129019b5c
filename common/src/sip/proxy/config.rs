//! What a proxy core is told about itself, its edges and the registrars. Already valid; reads no file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::id::EdgeIndex;
use crate::net::{Deployment, Host, HostPort};
use crate::sip::digest::Algorithm;
use crate::sip::flow_token::FlowTokenKeys;

/// How a SIP message travels on one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP, towards registrars only; the one transport that needs retransmissions.
    Udp,
    /// TCP, towards registrars only.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// Secure WebSocket (RFC 7118), from clients only.
    Wss,
}

impl Transport {
    /// As it stands in `Via` (RFC 3261 section 20.42, RFC 7118 section 4).
    #[must_use]
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Wss => "WSS",
        }
    }

    /// As it stands in the `transport` parameter of a URI.
    #[must_use]
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Wss => "ws",
        }
    }

    /// Whether the transport delivers by itself, so that nothing is sent twice.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// Everything that a [`super::Proxy`] is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where registrars reach this edge-c.
    pub inner: InnerNames,
    /// Where clients reach each edge-e.
    pub edges: Vec<EdgeName>,
    /// The registrars, each with its nodes in the order of preference.
    pub registrars: Vec<Registrar>,
    /// Who may bind an AoR to a flow.
    pub identity: IdentityPolicy,
    /// Keys of flow tokens, shared by every edge-c that serves the same registrars.
    pub flow_token_keys: FlowTokenKeys,
    /// Drawn once per start of this process; a token of an earlier start names a flow that is gone.
    pub epoch: u32,
    /// Put as `Flow-Timer` into the answer to a REGISTER that uses outbound (RFC 5626 section 5.4).
    pub flow_timer: Duration,
}

/// The sent-by of this edge-c towards registrars, for each transport that it listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InnerNames {
    /// `udp:` of the configuration.
    pub udp: Option<HostPort>,
    /// `tcp:` of the configuration.
    pub tcp: Option<HostPort>,
    /// `tls:` of the configuration.
    pub tls: Option<HostPort>,
    /// Further names that a preloaded `Route` or a request from inside may use for this edge-c.
    pub aliases: Vec<Host>,
}

/// The public name of an edge-e: it stands in `Via` and `Record-Route` towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeName {
    /// Which edge-e.
    pub index: EdgeIndex,
    /// Name or address, and port, that clients dial.
    pub host: HostPort,
    /// What else they dial. One of these that is an address of a client's own family is what the client is told.
    pub others: Vec<HostPort>,
}

/// The number of a registrar node, unique among all registrars of a configuration and kept over reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One address of a registrar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// How it is reached.
    pub transport: Transport,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Its name, for TLS and to recognise it in `Route` and request URIs.
    pub host: Host,
}

/// A registrar: nodes that share the bindings of some AoRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// Hosts of the AoRs that it answers for.
    pub hosts: Vec<Host>,
    /// In the order of preference; at most [`crate::limits::SIP_NODES_MAX`] are used.
    pub nodes: Vec<Node>,
    /// How it finds its way back to a client.
    pub mode: RegistrarMode,
    /// What protects the media of the inner leg.
    pub media: MediaPolicy,
    /// Who challenges REGISTER.
    pub authentication: Authentication,
    /// Which domains and inner nodes belong together.
    pub deployment: Deployment,
}

/// How requests of a registrar reach the flow of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrarMode {
    /// `Path` (RFC 3327) if the client says `Supported: path`.
    Path,
    /// `Path` always; `Supported: path` is added for clients that do not say it.
    PathAlways,
    /// The `Contact` is replaced by one that names this edge-c, for registrars without `Path`.
    Contact,
}

/// What protects the media between edge-c and the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaPolicy {
    /// RTP in the clear.
    Rtp,
    /// SRTP with keys in SDP.
    Srtp,
    /// Whatever the inner side offers or accepts.
    AsOffered,
}

/// Who challenges REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The registrar; challenges and answers pass untouched.
    Registrar,
    /// edge-c by digest; the registrar trusts it and sees no credentials.
    Edge {
        /// The realm that clients see.
        realm: Arc<str>,
        /// What they are asked for, the preferred one first. Never empty.
        algorithms: Arc<[Algorithm]>,
    },
}

/// Whether SIP needs a live HTTPS session of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionGate {
    /// It does not.
    Off,
    /// The user must be signed in from anywhere. No proof of identity by itself.
    User,
    /// The user must be signed in from the address of the flow, which proves the identity as well.
    UserAndAddress,
}

/// Who may bind an AoR to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityPolicy {
    /// Whether a live session is needed.
    pub session_gate: SessionGate,
    /// Whether From may differ from To in a REGISTER.
    pub may_register_others: bool,
    /// Whose business Bearer tokens are.
    pub tokens: TokenPolicy,
}

/// Whose business the Bearer tokens of clients (RFC 8898) are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPolicy {
    /// The registrar's: they pass unread.
    Pass,
    /// edge-c verifies them first, and the registrar sees only good ones.
    Verify,
}
