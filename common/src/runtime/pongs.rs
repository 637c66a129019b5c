//! What keep-alives on a control stream tell: how far the peer is, and whether its clock agrees with ours.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::limits;
use crate::telemetry::Link;

/// The answers of one peer to our pings.
#[derive(Debug)]
pub struct Pongs {
    peer: String,
    skew: Gauge<f64, AtomicU64>,
    round_trip: Gauge<f64, AtomicU64>,
    is_skewed: bool,
}

impl Pongs {
    /// None yet of `peer`.
    #[must_use]
    pub fn new(metrics: &Link, peer: &str) -> Self {
        Self {
            peer: peer.to_owned(),
            skew: metrics.clock_skew.of(peer),
            round_trip: metrics.round_trip.of(peer),
            is_skewed: false,
        }
    }

    /// One more; says once when the clocks begin to differ and once when they agree again.
    pub fn note(&mut self, clock_offset_ms: i64, round_trip: Duration) {
        let skew = Duration::from_millis(clock_offset_ms.unsigned_abs());
        let sign = if clock_offset_ms < 0 { -1.0 } else { 1.0 };
        self.skew.set(skew.as_secs_f64() * sign);
        self.round_trip.set(round_trip.as_secs_f64());
        if !self.is_skewed && skew > limits::CLOCK_SKEW_ALARM {
            self.is_skewed = true;
            tracing::warn!(
                side = "link",
                peer = self.peer,
                clock_offset_ms,
                reason = "the clocks of the two edges differ",
                remedy = "run NTP on both machines",
                "clock skew"
            );
        }
        // Well below the alarm, or one that hovers around it would be told of again and again.
        if self.is_skewed && skew < limits::CLOCK_SKEW_ALARM / 2 {
            self.is_skewed = false;
            tracing::info!(
                peer = self.peer,
                clock_offset_ms,
                "the clocks of the two edges agree again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_raised_once_and_ends_well_below_its_limit() {
        let metrics = Link::register(&mut prometheus_client::registry::Registry::default());
        let mut pongs = Pongs::new(&metrics, "edge1");
        let mut note = |ms| {
            pongs.note(ms, Duration::from_millis(7));
            pongs.is_skewed
        };

        assert!(!note(1900));
        assert!(note(-2100));
        assert!(note(1900));
        assert!(!note(900));
        assert!((metrics.clock_skew.of("edge1").get() - 0.9).abs() < 1e-9);
        assert!((metrics.round_trip.of("edge1").get() - 0.007).abs() < 1e-9);
    }
}
