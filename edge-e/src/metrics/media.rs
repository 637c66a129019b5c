//! What the media thread counts, and hands over once a second.

use common::media::relay::DropReason;
use common::runtime::trunk::server::TrunkServer;
use common::runtime::trunk::{TrunkCounts, TrunkPath};
use common::telemetry::{self, ByLabel, Label as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

common::label! {
    /// Which way a packet goes.
    pub enum Direction as "direction" {
        /// To the client.
        Down = "down",
        /// From the client.
        Up = "up",
    }
}

common::label! {
    /// Why a packet went nowhere.
    pub enum MediaDrop as "reason" {
        /// A source that is not authenticated has used up its packets.
        CandidateRate = "candidate_rate",
        /// A connectivity check under a wrong password.
        Check = "check",
        /// The system dropped what arrived on the trunk because nobody read it in time.
        Kernel = "kernel",
        /// A frame on the trunk that is none.
        Malformed = "malformed",
        /// All places for sources that are not authenticated are taken.
        NoSlot = "no_slot",
        /// The system took no more for the client.
        NotSent = "not_sent",
        /// For a client that is not authenticated yet.
        NotLatched = "not_latched",
        /// An authenticated source that floods.
        SourceRate = "source_rate",
        /// Longer than any media packet.
        TooLong = "too_long",
        /// No trunk, or it took no more.
        Trunk = "trunk",
        /// For an allocation that is over.
        UnknownAllocation = "unknown_allocation",
    }
}

common::label! {
    /// What carries the frames of a core.
    pub enum Path as "path" {
        /// Nothing.
        Down = "down",
        /// QUIC datagrams.
        Quic = "quic",
        /// TCP, because UDP does not get through.
        Tcp = "tcp",
    }
}

const DROPS: usize = MediaDrop::ALL.len();

/// What has happened since the last publication. Plain numbers: the thread shares them with nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets from clients.
    pub up: u64,
    /// Their octets.
    pub up_bytes: u64,
    /// Packets to clients.
    pub down: u64,
    /// Their octets.
    pub down_bytes: u64,
    /// Packets that went nowhere, by [`MediaDrop`].
    pub drops: [u64; DROPS],
}

impl Tally {
    /// Counts a packet that the relay refused.
    pub fn note_drop(&mut self, reason: DropReason) {
        let reason = match reason {
            DropReason::CandidateRate => MediaDrop::CandidateRate,
            DropReason::NoSlot => MediaDrop::NoSlot,
            DropReason::NotLatched => MediaDrop::NotLatched,
            DropReason::SourceRate => MediaDrop::SourceRate,
            DropReason::UnknownAllocation => MediaDrop::UnknownAllocation,
        };
        self.note(reason);
    }

    /// Counts a packet that went nowhere.
    pub fn note(&mut self, reason: MediaDrop) {
        if let Some(count) = self.drops.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// Metrics of media. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct MediaMetrics {
    /// Packets relayed.
    pub packets: ByLabel<Direction, Counter>,
    /// Their octets.
    pub octets: ByLabel<Direction, Counter>,
    /// Packets that went nowhere.
    pub drops: ByLabel<MediaDrop, Counter>,
    /// Cores by what carries their media.
    pub trunks: ByLabel<Path, Gauge>,
    /// What the system dropped, of all processes.
    pub buffer_errors: Gauge,
    /// Pairs of ports that are open.
    pub allocations: Gauge,
    /// Sources that were latched.
    pub latches: Counter,
    /// Sources that were rejected.
    pub rejections: Counter,
    /// Allocations that were refused.
    pub refusals: Counter,
}

impl MediaMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            packets: ByLabel::register(registry, "media_packets", "Media packets relayed"),
            octets: ByLabel::register(registry, "media_octets", "Octets of media packets relayed"),
            drops: ByLabel::register(registry, "media_drops", "Media packets that went nowhere"),
            trunks: ByLabel::register(
                registry,
                "media_trunks",
                "edge-c by what carries their media",
            ),
            buffer_errors: telemetry::gauge(
                registry,
                "udp_receive_buffer_errors",
                "UDP packets that this machine dropped since its start because a socket's buffer was full",
            ),
            allocations: telemetry::gauge(
                registry,
                "media_allocations",
                "Pairs of public media ports in use",
            ),
            latches: telemetry::counter(
                registry,
                "media_latches",
                "Sources of media that were authenticated",
            ),
            rejections: telemetry::counter(
                registry,
                "media_rejections",
                "Sources of media that were not authentic",
            ),
            refusals: telemetry::counter(
                registry,
                "media_allocation_refusals",
                "Wishes for media ports that were refused",
            ),
        }
    }

    /// Adds what has happened.
    pub fn publish(&self, tally: &Tally) {
        self.packets.of(Direction::Up).inc_by(tally.up);
        self.packets.of(Direction::Down).inc_by(tally.down);
        self.octets.of(Direction::Up).inc_by(tally.up_bytes);
        self.octets.of(Direction::Down).inc_by(tally.down_bytes);
        for (reason, count) in MediaDrop::ALL.iter().zip(tally.drops) {
            self.drops.of(*reason).inc_by(count);
        }
        if let Some(errors) = buffer_errors() {
            self.buffer_errors.set(errors);
        }
    }

    /// Notes what carries whose media, and adds what trunks have dropped since `last`.
    pub fn publish_trunks(&self, trunk: &TrunkServer, last: &mut TrunkCounts) {
        let mut numbers = [0_i64; 3];
        for (_, path) in trunk.paths() {
            let at = match path {
                TrunkPath::Down => 0,
                TrunkPath::Quic => 1,
                TrunkPath::Tcp => 2,
            };
            if let Some(number) = numbers.get_mut(at) {
                *number += 1;
            }
        }
        for (path, number) in [Path::Down, Path::Quic, Path::Tcp].into_iter().zip(numbers) {
            self.trunks.of(path).set(number);
        }
        let counts = trunk.counts();
        let lost = |counts: &TrunkCounts| counts.dropped + counts.unsent;
        let since = lost(&counts).saturating_sub(lost(last));
        self.drops.of(MediaDrop::Trunk).inc_by(since);
        let since = counts.kernel_drops.saturating_sub(last.kernel_drops);
        self.drops.of(MediaDrop::Kernel).inc_by(since);
        *last = counts;
    }
}

/// `RcvbufErrors` of both families, as the system counts them (`/proc/net/snmp`, `/proc/net/snmp6`).
fn buffer_errors() -> Option<i64> {
    let v4 = std::fs::read_to_string("/proc/net/snmp").ok()?;
    let v6 = std::fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
    Some(errors_of_v4(&v4)? + errors_of_v6(&v6).unwrap_or(0))
}

fn errors_of_v4(text: &str) -> Option<i64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "RcvbufErrors")?;
    values.split(' ').nth(at)?.parse().ok()
}

fn errors_of_v6(text: &str) -> Option<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Udp6RcvbufErrors"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_counters_are_found_by_name() {
        let v4 = "Ip: A B\nIp: 1 2\nUdp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 5 7 9\nUdpLite: X\n";
        let v6 = "Udp6InDatagrams 1\nUdp6RcvbufErrors                \t3\n";

        assert_eq!((errors_of_v4(v4), errors_of_v6(v6)), (Some(7), Some(3)));
        assert_eq!((errors_of_v4(""), errors_of_v6("")), (None, None));
        assert!(buffer_errors().is_some());
    }
}
