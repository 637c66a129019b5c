//! Metrics that both edges have, so that one dashboard fits both.

use std::io;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::label::Label;
use super::metric::{self, ByLabel, ByLabels, Named};
use crate::policy::allow_list::NodeKind;
use crate::time::UnixTime;

/// A registry whose metrics are called `edge_..` on both edges, with the product and its version in `edge_build_info`.
#[must_use]
pub fn registry(product: &'static str) -> Registry {
    let mut registry = Registry::with_prefix("edge");
    let version = env!("CARGO_PKG_VERSION");
    let build = Info::new([("product", product), ("version", version)]);
    registry.register("build", "What runs", build);
    registry
}

impl Label for NodeKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::ImPresence, Self::Tftp, Self::Ucm, Self::Unity];

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

crate::label! {
    /// What a request asks for.
    pub enum Route as "route" {
        /// `get_edge_config`.
        EdgeConfig = "get_edge_config",
        /// `get_edge_sso`.
        EdgeSso = "get_edge_sso",
        /// Anything else.
        Other = "other",
        /// A request for an inner server.
        Proxied = "proxied",
        /// A page or endpoint of an issuer of tokens.
        Sso = "sso",
    }
}

crate::label! {
    /// The status of an answer: those that mean something of their own, the rest by class.
    pub enum Status as "status" {
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirect = "3xx",
        /// 400: not a request that we understand.
        BadRequest = "400",
        /// 401: sign in again.
        Unauthorized = "401",
        /// 403: domain off, or not on the allow list.
        Forbidden = "403",
        /// 404: unknown resource.
        NotFound = "404",
        /// 429: too many sign-ins.
        TooMany = "429",
        /// Other 4xx.
        ClientError = "4xx",
        /// 502: the inner server could not be reached.
        BadGateway = "502",
        /// 503: no link, or draining.
        Unavailable = "503",
        /// 504: the inner server was too slow.
        GatewayTimeout = "504",
        /// Other 5xx.
        ServerError = "5xx",
        /// None: the connection ended first.
        None = "none",
    }
}

impl Status {
    /// The label of a status code.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            429 => Self::TooMany,
            502 => Self::BadGateway,
            503 => Self::Unavailable,
            504 => Self::GatewayTimeout,
            _ => match code / 100 {
                2 => Self::Success,
                3 => Self::Redirect,
                4 => Self::ClientError,
                5 => Self::ServerError,
                _ => Self::None,
            },
        }
    }
}

crate::label! {
    /// Which way bytes of bodies went.
    pub enum Direction as "direction" {
        /// From inside to the client.
        Down = "down",
        /// From the client inwards.
        Up = "up",
    }
}

crate::label! {
    /// How a TLS handshake ended.
    pub enum HandshakeOutcome as "outcome" {
        /// Done.
        Ok = "ok",
        /// The peer said no with an alert.
        Alert = "alert",
        /// The peer's certificate is not accepted.
        BadCertificate = "bad_certificate",
        /// The peer went away.
        Closed = "closed",
        /// No version, suite or group in common.
        Incompatible = "incompatible",
        /// What came is not TLS.
        NotTls = "not_tls",
        /// Another failure.
        Other = "other",
        /// It took too long.
        TimedOut = "timed_out",
    }
}

impl HandshakeOutcome {
    /// The label of what rustls said.
    pub fn of<T>(handshake: &io::Result<T>) -> Self {
        let Err(error) = handshake else {
            return Self::Ok;
        };
        let tls = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match (error.kind(), tls) {
            (io::ErrorKind::TimedOut, _) => Self::TimedOut,
            (_, Some(rustls::Error::AlertReceived(_))) => Self::Alert,
            (
                _,
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented),
            ) => Self::BadCertificate,
            (
                _,
                Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol),
            ) => Self::Incompatible,
            (
                _,
                Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. }),
            ) => Self::NotTls,
            (_, Some(_)) => Self::Other,
            (_, None) => Self::Closed,
        }
    }
}

crate::label! {
    /// What a connection of a link carries.
    pub enum LinkPurpose as "purpose" {
        /// Commands and events.
        Control = "control",
        /// HTTPS requests.
        Https = "https",
        /// Media frames over TCP.
        Media = "media",
        /// Client connections.
        Streams = "streams",
    }
}

crate::label! {
    /// Why a connection of a link was refused or could not be made.
    pub enum LinkRefusal as "reason" {
        /// The certificate is of nobody who may connect.
        NotAllowed = "not_allowed",
        /// Nobody listens, or no route.
        Refused = "refused",
        /// The name has no address.
        Resolve = "resolve",
        /// It took too long.
        TimedOut = "timed_out",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The two versions don't speak with one another.
        Version = "version",
        /// The greeting was not understood.
        Greeting = "greeting",
    }
}

crate::label! {
    /// What became of a control command.
    pub enum ControlOutcome as "outcome" {
        /// Done.
        Applied = "applied",
        /// Refused by whom it was sent to.
        Rejected = "rejected",
        /// Sent again after a re-dial.
        Replayed = "replayed",
    }
}

crate::label! {
    /// State of a pooled connection.
    pub enum PoolState as "state" {
        /// Carries a request.
        Busy = "busy",
        /// Waits for one.
        Idle = "idle",
    }
}

/// Requests of clients.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Answered, by what was asked and the status.
    pub answered: ByLabels<Route, Status, Counter>,
    /// From the head of the request until the head of the answer.
    pub seconds: ByLabel<Route, Histogram>,
    /// Being answered now.
    pub in_flight: Gauge,
    /// Bytes of bodies.
    pub body_bytes: ByLabel<Direction, Counter>,
}

impl Requests {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            answered: ByLabels::register(
                registry,
                "requests",
                "Requests answered, by what was asked and status",
            ),
            seconds: ByLabel::register_with(
                registry,
                "request_seconds",
                "From the head of a request to the head of its answer",
                metric::seconds,
            ),
            in_flight: metric::gauge(registry, "requests_in_flight", "Requests being answered"),
            body_bytes: ByLabel::register(registry, "body_bytes", "Bytes of bodies relayed"),
        }
    }
}

/// The link to the other edge.
#[derive(Clone, Debug)]
pub struct Link {
    /// Connections that are up, by the peer's name and purpose: [`Named::of_both`] with [`LinkPurpose`].
    pub connections: Named<Gauge>,
    /// Connections refused or not made.
    pub failures: ByLabel<LinkRefusal, Counter>,
    /// Connections of the HTTPS pool.
    pub pool: ByLabel<PoolState, Gauge>,
    /// Control commands.
    pub commands: ByLabel<ControlOutcome, Counter>,
    /// The peer's clock minus ours, in seconds.
    pub clock_skew: Named<Gauge<f64, AtomicU64>>,
    /// Round trip of the last keep-alive, in seconds.
    pub round_trip: Named<Gauge<f64, AtomicU64>>,
}

impl Link {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            connections: Named::register(
                registry,
                "link_connections",
                "Connections of a link that are up",
                "peer",
            ),
            failures: ByLabel::register(
                registry,
                "link_failures",
                "Connections of a link that were refused or could not be made",
            ),
            pool: ByLabel::register(
                registry,
                "link_pool_connections",
                "Connections of the HTTPS pool by state",
            ),
            commands: ByLabel::register(
                registry,
                "control_commands",
                "Control commands by outcome",
            ),
            clock_skew: Named::register(
                registry,
                "link_clock_skew_seconds",
                "The clock of the peer minus our own",
                "peer",
            ),
            round_trip: Named::register(
                registry,
                "link_round_trip_seconds",
                "Round trip of the last keep-alive",
                "peer",
            ),
        }
    }
}

/// Certificates in use, by the configuration key that names them.
#[derive(Clone, Debug)]
pub struct Certificates(Named<Gauge>);

impl Certificates {
    /// Registers the metric.
    pub fn register(registry: &mut Registry) -> Self {
        Self(Named::register(
            registry,
            "certificate_expiry_timestamp_seconds",
            "When a certificate in use expires, in seconds since 1970",
            "certificate",
        ))
    }

    /// These are in use from now on, and no others: the key that names each, and when it expires.
    pub fn replace(&self, in_use: &[(String, UnixTime)]) {
        self.0.clear();
        for (key, at) in in_use {
            self.expires(key, *at);
        }
    }

    /// Notes when the certificate that `key` names expires.
    pub fn expires(&self, key: &str, at: UnixTime) {
        let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
        self.0.of(key).set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_own_label_or_that_of_its_class() {
        for (code, label) in [
            (200, "2xx"),
            (302, "3xx"),
            (400, "400"),
            (401, "401"),
            (405, "4xx"),
            (429, "429"),
            (499, "4xx"),
            (500, "5xx"),
            (503, "503"),
            (599, "5xx"),
            (0, "none"),
            (600, "none"),
        ] {
            assert_eq!(Status::of(code).as_str(), label, "{code}");
        }
    }

    #[test]
    fn the_index_of_a_node_kind_is_its_place_in_the_list() {
        for (index, kind) in NodeKind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }

    #[test]
    fn an_expiry_beyond_all_numbers_is_far_away_and_not_past() {
        let mut registry = Registry::default();

        Certificates::register(&mut registry).expires("link.certificate", UnixTime(u64::MAX));

        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        assert!(page.contains("{certificate=\"link.certificate\"} 9223372036854775807\n"));
    }
}
