//! What a name server counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::dns::{self, Answered, Transport};
use crate::telemetry::{self, ByLabel, ByLabels};

crate::label! {
    /// How a query came.
    pub enum Over as "transport" {
        /// Over TCP.
        Tcp = "tcp",
        /// Over UDP.
        Udp = "udp",
    }
}

crate::label! {
    /// What a query came to.
    pub enum Outcome as "outcome" {
        /// It was no query.
        Ignored = "ignored",
        /// It can't be read.
        Malformed = "malformed",
        /// The name exists without such a record.
        NoData = "no_data",
        /// The name does not exist.
        NxDomain = "nxdomain",
        /// Records.
        Records = "records",
        /// Not for this server, or not for anybody.
        Refused = "refused",
    }
}

crate::label! {
    /// What became of an answer over the rate.
    pub enum Limited as "how" {
        /// It was not sent.
        Dropped = "dropped",
        /// It was sent without records, so that the client asks over TCP.
        Slipped = "slipped",
    }
}

/// Counters of a name server. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Queries, and what they came to.
    pub queries: ByLabels<Over, Outcome, Counter>,
    /// Answers that did not fit.
    pub truncated: Counter,
    /// Packets that the system had no room for.
    pub drops: Counter,
    /// Answers over the rate.
    pub limited: ByLabel<Limited, Counter>,
    /// TCP connections that are open.
    pub connections: Gauge,
    /// TCP connections that were closed at once, because there are too many.
    pub refused: Counter,
    /// When the first signature of a signed zone ends, in Unix time; 0 without signatures.
    pub signatures_expire: Gauge,
}

impl Metrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            queries: ByLabels::register(
                registry,
                "dns_queries",
                "DNS queries of clients, and what they came to",
            ),
            truncated: telemetry::counter(
                registry,
                "dns_answers_truncated",
                "DNS answers that were longer than the client takes over UDP",
            ),
            drops: telemetry::counter(
                registry,
                "dns_packets_dropped",
                "DNS packets that the system had no room for",
            ),
            limited: ByLabel::register(
                registry,
                "dns_answers_limited",
                "DNS answers held back because the same was asked too often",
            ),
            connections: telemetry::gauge(
                registry,
                "dns_connections_open",
                "TCP connections for DNS that are open",
            ),
            refused: telemetry::counter(
                registry,
                "dns_connections_refused",
                "TCP connections for DNS closed at once, because there were too many",
            ),
            signatures_expire: telemetry::gauge(
                registry,
                "dns_signatures_expire_timestamp_seconds",
                "When the first signature of a signed zone ends; 0 without signatures",
            ),
        }
    }

    pub(super) fn count(&self, transport: Transport, answered: Option<&Answered>) {
        let outcome = answered.map_or(Outcome::Ignored, |answered| match answered.outcome {
            dns::Outcome::Malformed => Outcome::Malformed,
            dns::Outcome::NoData => Outcome::NoData,
            dns::Outcome::NxDomain => Outcome::NxDomain,
            dns::Outcome::Records => Outcome::Records,
            dns::Outcome::Refused => Outcome::Refused,
        });
        let over = match transport {
            Transport::Tcp => Over::Tcp,
            Transport::Udp => Over::Udp,
        };
        self.queries.of(over, outcome).inc();
        if answered.is_some_and(|answered| answered.is_truncated) {
            self.truncated.inc();
        }
    }

    pub(super) fn note_drops(&self, packets: u32) {
        if packets > 0 {
            self.drops.inc_by(u64::from(packets));
        }
    }
}
