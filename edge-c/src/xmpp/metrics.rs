//! What edge-c counts of XMPP.

use common::telemetry::{self, ByLabel, ByLabels, Named};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

common::label! {
    /// How far a client's stream is.
    pub enum StreamState as "state" {
        /// It signs in.
        Login = "login",
        /// It has signed in.
        Open = "open",
    }
}

common::label! {
    /// How a sign-in ended.
    pub enum SignInOutcome as "outcome" {
        /// Too many wrong passwords of the user came from the client's address.
        Blocked = "blocked",
        /// The client went away.
        ClientGone = "client_gone",
        /// The user has no HTTPS session.
        Denied = "denied",
        /// The node refused the credentials; each attempt counts.
        Failed = "failed",
        /// The node closed the stream, or broke the protocol.
        NodeClosed = "node_closed",
        /// No node could be reached.
        NoNode = "no_node",
        /// TLS that ends here failed.
        NoTls = "no_tls",
        /// Signed in.
        Ok = "ok",
        /// The client broke the protocol or a limit, or asked for another domain.
        Refused = "refused",
        /// Too slow.
        TimedOut = "timed_out",
    }
}

common::label! {
    /// On whose side the reason is that a stream was closed.
    pub enum ClosedBy as "side" {
        /// The client's.
        Downstream = "downstream",
        /// The link between the edges.
        Link = "link",
        /// The edge's.
        Local = "local",
        /// The node's.
        Upstream = "upstream",
    }
}

common::label! {
    /// Why a stream was closed after its user had signed in.
    pub enum ClosedWhy as "reason" {
        /// edge-c stops.
        Draining = "draining",
        /// The peer ended its stream, or left.
        Ended = "ended",
        /// The session or token that let the user in is over.
        Expired = "expired",
        /// The connection broke.
        Lost = "lost",
        /// What came over the link makes no sense, or an element is too long for a WebSocket.
        Malformed = "malformed",
        /// The session was revoked.
        Revoked = "revoked",
    }
}

/// Everything that is counted of XMPP. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct XmppMetrics {
    /// Clients' streams. [`Named::of_both`] with [`StreamState`].
    pub streams: Named<Gauge>,
    /// Sign-ins.
    pub sign_ins: ByLabel<SignInOutcome, Counter>,
    /// Streams that were closed after their user had signed in.
    pub closed: ByLabels<ClosedBy, ClosedWhy, Counter>,
    /// Bytes of clients for nodes, from authentication on.
    pub bytes_to_nodes: Counter,
    /// Bytes of nodes for clients, from authentication on.
    pub bytes_to_clients: Counter,
    /// Moves of a login to another node: as nodes said, or to where the user was last.
    pub moves: Counter,
    /// Nodes: 1 if up.
    pub node_up: Named<Gauge>,
    /// Nodes that offer channel binding, which can't work through the edges: 1 if so.
    pub node_binds_channel: Named<Gauge>,
    /// Connections to nodes that failed, probes included.
    pub node_failures: Named<Counter>,
}

impl XmppMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let counter = telemetry::counter;
        Self {
            streams: Named::register(
                registry,
                "xmpp_streams",
                "XMPP streams of clients by domain and state",
                "domain",
            ),
            sign_ins: ByLabel::register(registry, "xmpp_sign_ins", "XMPP sign-ins by outcome"),
            closed: ByLabels::register(
                registry,
                "xmpp_streams_closed",
                "XMPP streams closed after signing in, by side and reason",
            ),
            bytes_to_nodes: counter(
                registry,
                "xmpp_bytes_to_nodes",
                "Bytes of XMPP clients for nodes",
            ),
            bytes_to_clients: counter(
                registry,
                "xmpp_bytes_to_clients",
                "Bytes of nodes for XMPP clients",
            ),
            moves: counter(
                registry,
                "xmpp_moves",
                "XMPP sign-ins that moved to another node",
            ),
            node_up: Named::register(
                registry,
                "xmpp_node_up",
                "Whether an XMPP node is up",
                "node",
            ),
            node_binds_channel: Named::register(
                registry,
                "xmpp_node_binds_channel",
                "Whether an XMPP node offers channel binding, which can't work through the edges",
                "node",
            ),
            node_failures: Named::register(
                registry,
                "xmpp_node_failures",
                "Connections to XMPP nodes that failed",
                "node",
            ),
        }
    }
}
