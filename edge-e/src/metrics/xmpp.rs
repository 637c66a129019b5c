//! What is counted of XMPP clients.

use common::telemetry::ByLabel;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

common::label! {
    /// Why an XMPP client's stream ended.
    pub enum XmppClosed as "reason" {
        /// The client closed it.
        Client = "client",
        /// edge-c wanted it closed.
        Core = "core",
        /// This edge stops.
        Drained = "drained",
        /// The connection broke.
        Failed = "failed",
        /// The client guessed credentials.
        Jailed = "jailed",
        /// The link broke under it.
        Link = "link",
        /// Authentication took too long.
        TimedOut = "timed_out",
        /// More octets than anybody needs before authentication.
        TooMuch = "too_much",
    }
}

common::label! {
    /// Which way octets of XMPP streams went.
    pub enum XmppDirection as "direction" {
        /// To the client.
        Down = "down",
        /// From the client.
        Up = "up",
    }
}

common::label! {
    /// Why an XMPP client got no stream to a core.
    pub enum XmppRefusal as "reason" {
        /// It broke the protocol: no XML stream, too long, or something else than STARTTLS before TLS.
        BadStream = "bad_stream",
        /// No edge-c is connected, or it takes no more.
        NoLink = "no_link",
        /// The origin of a web page that may not open a WebSocket, or a request for one that is malformed.
        Origin = "origin",
        /// Too many unauthenticated clients of this address.
        OverAddress = "over_address",
        /// Too many unauthenticated clients in all.
        OverTotal = "over_total",
        /// It took too long.
        TimedOut = "timed_out",
        /// Not a domain that any edge-c serves.
        UnknownDomain = "unknown_domain",
    }
}

common::label! {
    /// How far an XMPP client is.
    pub enum XmppState as "state" {
        /// It has a stream to a core and is not authenticated.
        Authenticating = "authenticating",
        /// It is authenticated.
        Open = "open",
        /// Before its stream to a core.
        Opening = "opening",
    }
}

common::label! {
    /// How an XMPP client came to TLS.
    pub enum XmppTransport as "transport" {
        /// It began with TLS (XEP-0368).
        Direct = "direct_tls",
        /// It asked for TLS (RFC 6120 section 5).
        StartTls = "starttls",
        /// A WebSocket (RFC 7395).
        Wss = "wss",
    }
}

/// What is counted of XMPP.
#[derive(Clone, Debug)]
pub struct Xmpp {
    /// Clients that are connected.
    pub clients: ByLabel<XmppState, Gauge>,
    /// Clients that got a stream to a core.
    pub streams: ByLabel<XmppTransport, Counter>,
    /// Streams that ended.
    pub closed: ByLabel<XmppClosed, Counter>,
    /// Clients that got none.
    pub refusals: ByLabel<XmppRefusal, Counter>,
    /// Octets of streams, without TLS.
    pub bytes: ByLabel<XmppDirection, Counter>,
}

impl Xmpp {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            clients: ByLabel::register(
                registry,
                "xmpp_clients",
                "XMPP clients that are connected, and how far they are",
            ),
            streams: ByLabel::register(
                registry,
                "xmpp_client_streams",
                "XMPP clients that got a stream to an edge-c",
            ),
            closed: ByLabel::register(
                registry,
                "xmpp_client_streams_closed",
                "Streams of XMPP clients that ended, and why",
            ),
            refusals: ByLabel::register(
                registry,
                "xmpp_client_refusals",
                "XMPP clients that this edge refused by itself",
            ),
            bytes: ByLabel::register(
                registry,
                "xmpp_client_bytes",
                "Octets from and to XMPP clients, without TLS",
            ),
        }
    }
}
