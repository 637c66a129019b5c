//! What one leg of a stream hears: loss, jitter, order, gaps (RFC 3550 appendix A), and the round trip by reports that pass.
//! Counts only what was authentic, or came from the address it should.

#![warn(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::mos::{Mos, mos};
use super::plan::ClockRates;
use super::rtcp::Reception;
use super::rtp::RtpHeader;

/// Sources followed at a time: speech has one, video one for each layer and repair stream.
const SOURCES: usize = 4;
/// A sequence number this far ahead is a new beginning, not a loss (RFC 3550 appendix A.1).
const DROPOUT_MAX: u16 = 3000;
/// Sender reports remembered, by which reception reports tell the round trip.
const SENT_REPORTS: usize = 4;

/// What was measured on one leg. Numbers are of RTP, unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Packets that came in.
    pub received: u64,
    /// Octets of these packets.
    pub received_octets: u64,
    /// Packets that went out.
    pub sent: u64,
    /// Octets of these packets.
    pub sent_octets: u64,
    /// Packets that should have come in and didn't.
    pub lost: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Mean deviation of the spacing of packets (RFC 3550 section 6.4.1), the highest it was.
    pub jitter_max: Duration,
    /// The same, at the end.
    pub jitter: Duration,
    /// From here to the peer and back, at last.
    pub round_trip: Option<Duration>,
    /// The longest time without a packet between two of them.
    pub longest_gap: Duration,
    /// Share of our packets that the peer said were lost, at worst.
    pub reported_loss_max: f64,
    /// How what came in sounds, if it is speech.
    pub mos: Option<Mos>,
}

impl Quality {
    /// Share of packets that were lost, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        share(self.lost, self.received.saturating_add(self.lost))
    }
}

/// Measures one leg.
#[derive(Debug)]
pub struct Leg {
    start: Instant,
    received: u64,
    received_octets: u64,
    sent: u64,
    sent_octets: u64,
    sources: SmallVec<[Source; SOURCES]>,
    /// Of sources that are followed no more.
    ended: Totals,
    last: Option<Instant>,
    longest_gap: Duration,
    jitter_max: Duration,
    jitter: Duration,
    payload_type: u8,
    reports: SmallVec<[(u32, Instant); SENT_REPORTS]>,
    round_trip: Option<Duration>,
    reported_loss_max: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    lost: u64,
    reordered: u64,
}

/// One source since its first packet.
#[derive(Clone, Debug)]
struct Source {
    ssrc: u32,
    first: u64,
    highest: u64,
    received: u64,
    reordered: u64,
    heard: Instant,
    payload_type: u8,
    timestamp: u32,
    /// Relative transit time of the last packet and mean deviation, in units of the clock; the latter times 16.
    transit: u32,
    deviation: u32,
}

impl Leg {
    /// A leg that has heard nothing.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            received: 0,
            received_octets: 0,
            sent: 0,
            sent_octets: 0,
            sources: SmallVec::new(),
            ended: Totals::default(),
            last: None,
            longest_gap: Duration::ZERO,
            jitter_max: Duration::ZERO,
            jitter: Duration::ZERO,
            payload_type: 0,
            reports: SmallVec::new(),
            round_trip: None,
            reported_loss_max: 0,
        }
    }

    /// An RTP packet of `octets` came in.
    pub fn handle_rtp(
        &mut self,
        header: &RtpHeader,
        octets: usize,
        clock_rates: &ClockRates,
        now: Instant,
    ) {
        self.received = self.received.saturating_add(1);
        self.received_octets = self.received_octets.saturating_add(octets as u64);
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now.saturating_duration_since(last));
        }
        let clock_rate = clock_rates.of(header.payload_type);
        let arrival = clock_rate.map(|rate| self.arrival(rate, now));
        let Some(at) = self.source(header, arrival, now) else {
            return;
        };
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        source.heard = now;
        if !source.count(header.sequence) {
            let ended = source.totals();
            let fresh = Source::new(header, arrival, now);
            *source = fresh;
            self.end(ended);
            return;
        }
        if let (Some(arrival), Some(rate)) = (arrival, clock_rate) {
            source.measure(header, arrival);
            let jitter = seconds(u64::from(source.deviation >> 4), rate);
            // Signals (RFC 4733) and other streams beside speech say nothing about it.
            self.jitter = jitter;
            self.jitter_max = self.jitter_max.max(jitter);
            self.payload_type = header.payload_type;
        }
    }

    /// A packet went out.
    pub const fn handle_sent(&mut self, octets: usize) {
        self.sent = self.sent.saturating_add(1);
        self.sent_octets = self.sent_octets.saturating_add(octets as u64);
    }

    /// A sender report went out to the peer of this leg.
    pub fn handle_report_sent(&mut self, ntp_middle: u32, now: Instant) {
        if self.reports.len() >= SENT_REPORTS {
            self.reports.remove(0);
        }
        self.reports.push((ntp_middle, now));
    }

    /// The peer of this leg says how it hears.
    pub fn handle_reception(&mut self, reception: &Reception, now: Instant) {
        self.reported_loss_max = self.reported_loss_max.max(reception.fraction_lost);
        let mut reports = self.reports.iter();
        let Some((_, sent)) = reports.find(|(middle, _)| *middle == reception.last_report) else {
            return;
        };
        if reception.last_report == 0 {
            return;
        }
        // RFC 3550 section 6.4.1, with the time when the report passed here in place of the time it names.
        let elapsed = now.saturating_duration_since(*sent);
        let held = seconds(u64::from(reception.delay), 0x1_0000);
        self.round_trip = Some(elapsed.saturating_sub(held));
    }

    /// What was measured until now; with a score if `is_speech`.
    #[must_use]
    pub fn quality(&self, is_speech: bool) -> Quality {
        let mut totals = self.ended;
        for source in &self.sources {
            totals.add(source.totals());
        }
        let mut quality = Quality {
            received: self.received,
            received_octets: self.received_octets,
            sent: self.sent,
            sent_octets: self.sent_octets,
            lost: totals.lost,
            reordered: totals.reordered,
            jitter_max: self.jitter_max,
            jitter: self.jitter,
            round_trip: self.round_trip,
            longest_gap: self.longest_gap,
            reported_loss_max: f64::from(self.reported_loss_max) / 256.0,
            mos: None,
        };
        if is_speech && self.received > 0 {
            let round_trip = self.round_trip.unwrap_or_default();
            quality.mos = Some(mos(
                self.payload_type,
                quality.loss(),
                round_trip,
                self.jitter,
            ));
        }
        quality
    }

    /// Arrival in units of the clock, in the 32 bits that timestamps have.
    fn arrival(&self, rate: u32, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.start);
        let rate = u64::from(rate);
        let units = elapsed.as_secs().wrapping_mul(rate);
        let part = u64::from(elapsed.subsec_nanos()).wrapping_mul(rate) / 1_000_000_000;
        u32::try_from(units.wrapping_add(part) & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// Where the packet's source stands; `None` if this is its first packet, which says nothing more.
    fn source(&mut self, header: &RtpHeader, arrival: Option<u32>, now: Instant) -> Option<usize> {
        let ssrc = header.ssrc;
        if let Some(at) = self.sources.iter().position(|source| source.ssrc == ssrc) {
            return Some(at);
        }
        if self.sources.len() >= SOURCES {
            let sources = self.sources.iter().enumerate();
            let oldest = sources.min_by_key(|(_, source)| source.heard);
            let oldest = oldest.map_or(0, |(at, _)| at);
            let ended = self.sources.swap_remove(oldest).totals();
            self.end(ended);
        }
        self.sources.push(Source::new(header, arrival, now));
        None
    }

    const fn end(&mut self, ended: Totals) {
        self.ended.add(ended);
    }
}

impl Totals {
    const fn add(&mut self, other: Self) {
        self.lost = self.lost.saturating_add(other.lost);
        self.reordered = self.reordered.saturating_add(other.reordered);
    }
}

impl Source {
    fn new(header: &RtpHeader, arrival: Option<u32>, now: Instant) -> Self {
        // One turn up, so that packets from before the first one have a number too.
        let first = u64::from(header.sequence).saturating_add(0x1_0000);
        Self {
            ssrc: header.ssrc,
            first,
            highest: first,
            received: 1,
            reordered: 0,
            heard: now,
            payload_type: header.payload_type,
            timestamp: header.timestamp,
            transit: arrival.map_or(0, |arrival| arrival.wrapping_sub(header.timestamp)),
            deviation: 0,
        }
    }

    /// Whether this sequence number goes on from those before; if not, the sender began anew.
    fn count(&mut self, sequence: u16) -> bool {
        let [.., high, low] = self.highest.to_be_bytes();
        let newest = u16::from_be_bytes([high, low]);
        let ahead = sequence.wrapping_sub(newest);
        let behind = newest.wrapping_sub(sequence);
        if ahead > 0 && ahead < DROPOUT_MAX {
            self.highest = self.highest.saturating_add(u64::from(ahead));
        } else if behind < DROPOUT_MAX {
            self.reordered = self.reordered.saturating_add(1);
            let number = self.highest.saturating_sub(u64::from(behind));
            self.first = self.first.min(number);
        } else {
            return false;
        }
        self.received = self.received.saturating_add(1);
        true
    }

    /// RFC 3550 appendix A.8. Packets of one frame share a timestamp and are sent in a burst: only the first counts.
    const fn measure(&mut self, header: &RtpHeader, arrival: u32) {
        let transit = arrival.wrapping_sub(header.timestamp);
        let is_same_kind = self.payload_type == header.payload_type;
        if is_same_kind && self.timestamp != header.timestamp {
            let forth = transit.wrapping_sub(self.transit);
            let back = self.transit.wrapping_sub(transit);
            let difference = if forth < back { forth } else { back };
            let rounded = self.deviation.saturating_add(8) >> 4;
            self.deviation = self
                .deviation
                .saturating_add(difference)
                .saturating_sub(rounded);
        }
        if self.timestamp != header.timestamp {
            self.transit = transit;
        }
        self.timestamp = header.timestamp;
        self.payload_type = header.payload_type;
    }

    const fn totals(&self) -> Totals {
        let expected = self.highest.saturating_sub(self.first).saturating_add(1);
        Totals {
            lost: expected.saturating_sub(self.received),
            reordered: self.reordered,
        }
    }
}

fn seconds(units: u64, rate: u32) -> Duration {
    let nanos = units.saturating_mul(1_000_000_000);
    Duration::from_nanos(nanos.checked_div(u64::from(rate)).unwrap_or_default())
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of packets needs no 53 bits"
    )]
    let share = part as f64 / whole as f64;
    share
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test itself"
)]
mod tests;
