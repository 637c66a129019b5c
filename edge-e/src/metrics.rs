//! What edge-e counts. Everything with closed labels is resolved here once; see `common::telemetry`.

use common::link::stream_preface::ClientTransport;
use common::runtime::dns;
use common::telemetry::{self, ByLabel, ByLabels, Certificates, HandshakeOutcome, Link, Requests};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub mod media;
pub mod xmpp;

common::label! {
    /// Who is refused after failures.
    pub enum Jailed as "whom" {
        /// An address, with everybody behind it.
        Address = "address",
        /// One user at one address.
        User = "user",
    }
}

common::label! {
    /// Where a connection arrived.
    pub enum Listener as "listener" {
        /// From edge-c.
        Link = "link",
        /// From clients.
        Public = "public",
        /// From SIP clients.
        Sip = "sip",
        /// From XMPP clients.
        Xmpp = "xmpp",
    }
}

common::label! {
    /// What became of a connection that arrived.
    pub enum Admission as "outcome" {
        /// Goes on to the handshake.
        Admitted = "admitted",
        /// The address is blocked for a while.
        Jailed = "jailed",
        /// Too many connections of this address.
        OverAddress = "over_address",
        /// Too many new connections per second of this address.
        OverRate = "over_rate",
        /// Too many connections in all.
        OverTotal = "over_total",
    }
}

common::label! {
    /// Why edge-e refused a request by itself.
    pub enum Refusal as "reason" {
        /// The request is malformed or ambiguous.
        BadRequest = "bad_request",
        /// The path is not of the edge's grammar.
        BadPath = "bad_path",
        /// The cookie has expired.
        Expired = "expired_session",
        /// No edge-c is connected.
        NoLink = "no_link",
        /// No cookie.
        NoSession = "no_session",
        /// No such verb, or one that is switched off.
        NotFound = "not_found",
        /// Too many sign-in requests of this address.
        RateLimited = "rate_limited",
        /// The session was ended.
        Revoked = "revoked_session",
        /// CONNECT, an upgrade, or another method that is not relayed.
        UnsupportedMethod = "unsupported_method",
        /// A cookie that nobody issued.
        UnknownSession = "unknown_session",
        /// The domain is unknown or off.
        UnknownDomain = "unknown_domain",
    }
}

common::label! {
    /// What a SIP message is.
    pub enum SipClass as "class" {
        /// SUBSCRIBE, NOTIFY, PUBLISH.
        Event = "event",
        /// INVITE.
        Invite = "invite",
        /// MESSAGE.
        Message = "message",
        /// OPTIONS.
        Options = "options",
        /// Any other request.
        Other = "other",
        /// REGISTER.
        Register = "register",
        /// A response.
        Response = "response",
    }
}

common::label! {
    /// Why a SIP client's connection ended.
    pub enum SipClosed as "reason" {
        /// The client closed it.
        Client = "client",
        /// edge-c wanted it closed.
        Core = "core",
        /// This edge stops.
        Drained = "drained",
        /// It broke.
        Failed = "failed",
        /// The client guessed credentials.
        Jailed = "jailed",
        /// The link broke under it.
        Link = "link",
        /// What the client sent can't be read.
        Malformed = "malformed",
        /// The client was silent for too long.
        Silent = "silent",
        /// A message dripped in too slowly.
        SlowMessage = "slow_message",
        /// The client does not read.
        SlowReader = "slow_reader",
    }
}

common::label! {
    /// Which way a SIP message went.
    pub enum SipDirection as "direction" {
        /// To the client.
        Down = "down",
        /// From the client.
        Up = "up",
    }
}

common::label! {
    /// What keeps a SIP client's connection open.
    pub enum SipKeepAlive as "kind" {
        /// Line ends.
        Ping = "ping",
        /// STUN.
        Stun = "stun",
    }
}

common::label! {
    /// Why edge-e did not send a SIP message on.
    pub enum SipRefusal as "reason" {
        /// It can't be read.
        Malformed = "malformed",
        /// A method that clients have no business with.
        Method = "method",
        /// No edge-c is connected.
        NoLink = "no_link",
        /// The client has not registered.
        NotRegistered = "not_registered",
        /// The origin of a web page that may not open a WebSocket, or a request for one that is malformed.
        Origin = "origin",
        /// STUN that is no Binding request.
        Stun = "stun",
    }
}

common::label! {
    /// What a SIP client's connection is.
    pub enum SipTransport as "transport" {
        /// TLS.
        Tls = "tls",
        /// A WebSocket.
        Wss = "wss",
    }
}

impl From<ClientTransport> for SipTransport {
    fn from(transport: ClientTransport) -> Self {
        match transport {
            ClientTransport::Tls => Self::Tls,
            ClientTransport::Wss => Self::Wss,
        }
    }
}

/// What is counted of SIP.
#[derive(Clone, Debug)]
pub struct Sip {
    /// Client connections that are open.
    pub flows: ByLabel<SipTransport, Gauge>,
    /// Client connections that ended.
    pub closed: ByLabel<SipClosed, Counter>,
    /// Messages that were sent on.
    pub messages: ByLabels<SipDirection, SipClass, Counter>,
    /// Messages that were not.
    pub refusals: ByLabel<SipRefusal, Counter>,
    /// Keep-alives that were answered.
    pub keep_alives: ByLabel<SipKeepAlive, Counter>,
}

impl Sip {
    fn register(registry: &mut Registry) -> Self {
        Self {
            flows: ByLabel::register(
                registry,
                "sip_client_connections",
                "SIP clients that are connected",
            ),
            closed: ByLabel::register(
                registry,
                "sip_client_connections_closed",
                "Connections of SIP clients that ended, and why",
            ),
            messages: ByLabels::register(
                registry,
                "sip_client_messages",
                "SIP messages from and to clients that were sent on",
            ),
            refusals: ByLabel::register(
                registry,
                "sip_client_refusals",
                "SIP messages of clients that this edge refused by itself",
            ),
            keep_alives: ByLabel::register(
                registry,
                "sip_client_keep_alives",
                "Keep-alives of SIP clients that were answered",
            ),
        }
    }
}

/// Everything that edge-e counts. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections that arrived.
    pub connections: ByLabels<Listener, Admission, Counter>,
    /// Connections that are open.
    pub open: ByLabel<Listener, Gauge>,
    /// TLS handshakes.
    pub handshakes: ByLabels<Listener, HandshakeOutcome, Counter>,
    /// Requests of clients.
    pub requests: Requests,
    /// Requests refused here, without a word to edge-c.
    pub refusals: ByLabel<Refusal, Counter>,
    /// Addresses that are blocked now.
    pub jailed: Gauge,
    /// Users who are blocked at an address now.
    pub jailed_users: Gauge,
    /// Times that somebody was blocked.
    pub jailings: ByLabel<Jailed, Counter>,
    /// SIP clients.
    pub sip: Sip,
    /// XMPP clients.
    pub xmpp: xmpp::Xmpp,
    /// The link to edge-c.
    pub link: Link,
    /// Certificates in use.
    pub certificates: Certificates,
    /// Names that are served.
    pub dns: Names,
    /// Media of calls.
    pub media: media::MediaMetrics,
}

/// Names that are served.
#[derive(Clone, Debug)]
pub struct Names {
    /// What is asked.
    pub server: dns::Metrics,
    /// Records that lead clients to edges that are alive.
    pub edges_answered: Gauge,
}

impl Names {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            server: dns::Metrics::register(registry),
            edges_answered: telemetry::gauge(
                registry,
                "dns_edges_answered",
                "Edges that DNS answers lead to: alive, as far as this edge knows",
            ),
        }
    }
}

impl Metrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            connections: ByLabels::register(
                registry,
                "connections",
                "Connections that arrived, by listener and what became of them",
            ),
            open: ByLabel::register(registry, "connections_open", "Connections that are open"),
            handshakes: ByLabels::register(
                registry,
                "tls_handshakes",
                "TLS handshakes by listener and outcome",
            ),
            requests: Requests::register(registry),
            refusals: ByLabel::register(
                registry,
                "refusals",
                "Requests that this edge refused by itself",
            ),
            jailed: telemetry::gauge(registry, "jailed_addresses", "Addresses blocked now"),
            jailed_users: telemetry::gauge(
                registry,
                "jailed_users",
                "Users blocked at one address now",
            ),
            jailings: ByLabel::register(
                registry,
                "jailings",
                "Times that an address, or a user at an address, was blocked after failures",
            ),
            sip: Sip::register(registry),
            xmpp: xmpp::Xmpp::register(registry),
            link: Link::register(registry),
            certificates: Certificates::register(registry),
            dns: Names::register(registry),
            media: media::MediaMetrics::register(registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::telemetry::LinkPurpose;
    use common::time::UnixTime;
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_a_help_text() {
        let mut registry = telemetry::registry("edge-e");
        let metrics = Metrics::register(&mut registry);
        metrics
            .connections
            .of(Listener::Public, Admission::OverRate)
            .inc();

        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();

        let line = "edge_connections_total{listener=\"public\",outcome=\"over_rate\"} 1\n";
        assert!(page.contains(line), "{page}");
        let build = "edge_build_info{product=\"edge-e\",version=\"";
        assert!(page.contains(build), "{page}");
        let types = page.lines().filter(|line| line.starts_with("# TYPE "));
        let helps = page.lines().filter(|line| line.starts_with("# HELP edge_"));
        assert_eq!(types.count(), helps.count());
    }

    /// Names in the alerts that the other edge alone has, or that are there once they count something.
    const ELSEWHERE: &[&str] = &[
        "edge_dns_lookups_total",
        "edge_issuer_keys_age_seconds",
        "edge_node_up",
        "edge_sip_node_up",
        "edge_sign_ins_total",
        "edge_reloads_total",
        "edge_store_failures_total",
        "edge_store_read_only",
        "edge_store_up",
        "edge_task_panics_total",
        "edge_xmpp_node_binds_channel",
        "edge_xmpp_node_up",
    ];

    #[test]
    fn alerts_ask_for_metrics_that_exist() {
        let mut registry = telemetry::registry("edge-e");
        let metrics = Metrics::register(&mut registry);
        drop(
            metrics
                .link
                .connections
                .of_both("peer", LinkPurpose::Control),
        );
        drop(metrics.link.clock_skew.of("peer"));
        metrics
            .certificates
            .expires("link.certificate", UnixTime(0));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();

        let alerts = include_str!("../../deploy/prometheus-alerts.yml");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = alerts.split(|c| !is_name(c));
        let names = words.filter(|word| word.starts_with("edge_"));
        for name in names.filter(|name| !ELSEWHERE.contains(name)) {
            let name = name.strip_suffix("_total").unwrap_or(name);
            assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
