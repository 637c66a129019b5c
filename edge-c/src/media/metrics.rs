//! What is counted about media.

use common::media::anchor::Refusal;
use common::media::class::MediaClass;
use common::media::plan::StopReason;
use common::media::session::{DropReason, Summary};
use common::media::stats::Quality;
use common::runtime::trunk::TrunkPath;
use common::telemetry::{self, ByLabel, ByLabels, Label as _, Named};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::table::Counts;

common::label! {
    /// Which way media goes.
    pub enum Way as "direction" {
        /// From the client to the inside.
        Inward = "inward",
        /// From the inside to the client.
        Outward = "outward",
    }
}

common::label! {
    /// One of the two sides of a stream.
    pub enum LegSide as "leg" {
        /// The client's.
        Client = "client",
        /// The inside's.
        Inside = "inside",
    }
}

common::label! {
    /// What edge-e was told about a source.
    pub enum LatchOutcome as "outcome" {
        /// It is the client.
        Latched = "latched",
        /// It is not.
        Rejected = "rejected",
    }
}

common::label! {
    /// What carries media to an edge-e.
    pub enum PathLabel as "path" {
        /// QUIC datagrams.
        Quic = "quic",
        /// A TCP connection.
        Tcp = "tcp",
    }
}

/// The numbers of media. Clones share them.
#[derive(Clone, Debug)]
pub struct MediaMetrics {
    packets: ByLabel<Way, Counter>,
    octets: ByLabel<Way, Counter>,
    drops: ByLabel<DropReason, Counter>,
    strays: Counter,
    unsent: Counter,
    latches: ByLabel<LatchOutcome, Counter>,
    streams: Gauge,
    ended: ByLabels<MediaClass, StopReason, Counter>,
    refusals: ByLabel<Refusal, Counter>,
    ports: ByLabel<LegSide, Gauge>,
    loss: ByLabel<LegSide, Histogram>,
    jitter: ByLabel<LegSide, Histogram>,
    round_trip: ByLabel<LegSide, Histogram>,
    mos: ByLabel<LegSide, Histogram>,
    trunks: Named<Gauge>,
}

impl MediaMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            packets: ByLabel::register(registry, "media_packets", "Media packets relayed"),
            octets: ByLabel::register(registry, "media_octets", "Octets of media packets relayed"),
            drops: ByLabel::register(
                registry,
                "media_packets_dropped",
                "Media packets of streams that were not relayed, by reason",
            ),
            strays: telemetry::counter(
                registry,
                "media_packets_stray",
                "Media packets that belong to no stream",
            ),
            unsent: telemetry::counter(
                registry,
                "media_packets_unsent",
                "Media packets that the system did not take",
            ),
            latches: ByLabel::register(
                registry,
                "media_sources",
                "Sources of public ports that were decided about, by outcome",
            ),
            streams: telemetry::gauge(registry, "media_streams", "Streams that are relayed"),
            ended: ByLabels::register(
                registry,
                "media_streams_ended",
                "Streams that ended, by class and reason",
            ),
            refusals: ByLabel::register(
                registry,
                "media_offers_refused",
                "Session descriptions that were refused, by reason",
            ),
            ports: ByLabel::register(registry, "media_ports", "Pairs of media ports in use"),
            loss: ByLabel::register_with(
                registry,
                "media_loss_ratio",
                "Share of packets lost on the way to edge-c, by stream",
                shares,
            ),
            jitter: ByLabel::register_with(
                registry,
                "media_jitter_seconds",
                "Jitter of packets on the way to edge-c, by stream",
                telemetry::seconds,
            ),
            round_trip: ByLabel::register_with(
                registry,
                "media_round_trip_seconds",
                "Round trip between edge-c and the peer, by stream",
                telemetry::seconds,
            ),
            mos: ByLabel::register_with(
                registry,
                "media_mos",
                "Mean opinion score of speech on the way to edge-c, by stream",
                scores,
            ),
            trunks: Named::register(
                registry,
                "media_trunk_up",
                "Whether the media trunk to an edge-e stands, by what carries it",
                "peer",
            ),
        }
    }

    pub(super) fn publish(&self, counts: &Counts) {
        for (way, (packets, octets)) in
            [(Way::Inward, counts.inward), (Way::Outward, counts.outward)]
        {
            self.packets.of(way).inc_by(packets);
            self.octets.of(way).inc_by(octets);
        }
        for (reason, count) in DropReason::ALL.iter().zip(counts.drops) {
            self.drops.of(*reason).inc_by(count);
        }
        self.strays.inc_by(counts.strays);
        self.unsent.inc_by(counts.unsent);
        self.latches
            .of(LatchOutcome::Latched)
            .inc_by(counts.latches);
        self.latches
            .of(LatchOutcome::Rejected)
            .inc_by(counts.rejects);
        self.streams
            .set(i64::try_from(counts.streams).unwrap_or(i64::MAX));
    }

    pub(super) fn set_path(&self, edge: &str, path: TrunkPath) {
        let up = match path {
            TrunkPath::Down => None,
            TrunkPath::Quic => Some(PathLabel::Quic),
            TrunkPath::Tcp => Some(PathLabel::Tcp),
        };
        for label in PathLabel::ALL {
            let is_up = up == Some(*label);
            self.trunks.of_both(edge, *label).set(i64::from(is_up));
        }
    }

    pub(super) fn set_ports(&self, (outer, inner): (usize, usize)) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.ports.of(LegSide::Client).set(number(outer));
        self.ports.of(LegSide::Inside).set(number(inner));
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refusals.of(refusal).inc();
    }

    pub(super) fn ended(&self, class: MediaClass, reason: StopReason, summary: &Summary) {
        self.ended.of(class, reason).inc();
        self.observe(LegSide::Client, &summary.outer);
        self.observe(LegSide::Inside, &summary.inner);
    }

    fn observe(&self, side: LegSide, quality: &Quality) {
        if quality.received == 0 {
            return;
        }
        self.loss.of(side).observe(quality.loss());
        self.jitter.of(side).observe(quality.jitter.as_secs_f64());
        if let Some(round_trip) = quality.round_trip {
            self.round_trip.of(side).observe(round_trip.as_secs_f64());
        }
        if let Some(mos) = quality.mos {
            self.mos.of(side).observe(mos.value());
        }
    }
}

fn shares() -> Histogram {
    Histogram::new([0.0001, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2])
}

fn scores() -> Histogram {
    Histogram::new([1.5, 2.0, 2.5, 3.0, 3.5, 3.8, 4.0, 4.2, 4.3, 4.4])
}
