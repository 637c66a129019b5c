//! How speech sounds by what was measured: the E-model (ITU-T G.107) reduced to delay and loss.

use std::time::Duration;

/// A mean opinion score, in hundredths: 100 (bad) to 450 (as good as a telephone gets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mos(u16);

impl Mos {
    /// 1.0 to 4.5.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// How a codec takes loss (ITU-T G.113 appendix I).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Codec {
    /// Impairment without any loss (Ie).
    impairment: f64,
    /// Robustness against loss (Bpl).
    robustness: f64,
}

impl Codec {
    /// The codec of a payload type that RFC 3551 fixes; others are wideband codecs with concealment, about as robust as G.711.
    const fn of(payload_type: u8) -> Self {
        match payload_type {
            4 => Self {
                impairment: 15.0,
                robustness: 16.1,
            },
            18 => Self {
                impairment: 11.0,
                robustness: 19.0,
            },
            _ => Self {
                impairment: 0.0,
                robustness: 25.1,
            },
        }
    }
}

/// The score of a stream of which the share `loss` (0 to 1) was lost, whose round trip took `round_trip` and whose packets
/// were late by `jitter` on average.
#[must_use]
pub fn mos(payload_type: u8, loss: f64, round_trip: Duration, jitter: Duration) -> Mos {
    // A receiver waits for about twice the jitter; packing and playing take some 25 ms.
    let delay_ms = round_trip.as_secs_f64() * 500.0 + jitter.as_secs_f64() * 2000.0 + 25.0;
    let late = (delay_ms - 177.3).max(0.0);
    let delay_impairment = 0.024 * delay_ms + 0.11 * late;
    let codec = Codec::of(payload_type);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let loss_impairment =
        codec.impairment + (95.0 - codec.impairment) * percent / (percent + codec.robustness);
    let r = (93.2 - delay_impairment - loss_impairment).clamp(0.0, 100.0);
    // ITU-T G.107 annex B.
    let score = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 100..=450"
    )]
    let hundredths = (score * 100.0).round().clamp(100.0, 450.0) as u16;
    Mos(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_clean_call_is_as_good_as_a_telephone() {
        let score = mos(0, 0.0, ms(20), ms(1)).value();

        assert!((4.3..=4.5).contains(&score), "{score}");
    }

    #[test]
    fn loss_and_delay_each_make_it_worse() {
        let clean = mos(0, 0.0, ms(20), ms(1));
        let lossy = mos(0, 0.05, ms(20), ms(1));
        let slow = mos(0, 0.0, ms(800), ms(1));
        let jittery = mos(0, 0.0, ms(20), ms(200));

        assert!(lossy < clean && slow < clean && jittery < clean);
        assert!((3.0..4.0).contains(&lossy.value()), "{lossy:?}");
        assert!(mos(18, 0.0, ms(20), ms(1)) < clean);
    }

    #[test]
    fn the_score_stays_in_its_range_whatever_was_measured() {
        for loss in [-1.0, 0.0, 0.5, 1.0, 7.0] {
            for delay in [ms(0), ms(60_000)] {
                let score = mos(0, loss, delay, delay).value();
                assert!((1.0..=4.5).contains(&score), "{loss} {delay:?} {score}");
            }
        }
    }
}
