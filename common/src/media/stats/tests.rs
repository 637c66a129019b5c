use super::*;
use crate::testing::epoch;

fn rates() -> ClockRates {
    let mut rates = ClockRates::default();
    rates.insert(0, 8000);
    rates
}

fn header(sequence: u16) -> RtpHeader {
    RtpHeader {
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence).wrapping_mul(160),
        ssrc: 7,
        len: 12,
    }
}

/// Hears these sequence numbers, 20 ms apart.
fn hear(leg: &mut Leg, start: Instant, sequences: &[u16]) {
    for (at, sequence) in (0_u32..).zip(sequences) {
        let now = start + Duration::from_millis(20) * at;
        leg.handle_rtp(&header(*sequence), 172, &rates(), now);
    }
}

#[test]
fn loss_is_what_is_missing_between_the_first_and_the_highest() {
    let start = epoch();
    let mut leg = Leg::new(start);

    hear(&mut leg, start, &[65534, 65535, 1, 2, 5]);

    let quality = leg.quality(true);
    assert_eq!((quality.received, quality.lost), (5, 3));
    assert_eq!(quality.received_octets, 5 * 172);
    assert!((quality.loss() - 0.375).abs() < 1e-9);
    assert!(quality.mos.unwrap().value() < 2.5);
}

#[test]
fn a_late_packet_is_reordered_and_not_lost() {
    let start = epoch();
    let mut leg = Leg::new(start);

    hear(&mut leg, start, &[10, 12, 11, 13, 9]);

    let quality = leg.quality(false);
    assert_eq!((quality.lost, quality.reordered), (0, 2));
    assert_eq!(quality.mos, None);
}

#[test]
fn a_sender_that_begins_anew_does_not_count_as_loss() {
    let start = epoch();
    let mut leg = Leg::new(start);

    hear(&mut leg, start, &[1, 3, 30_000, 30_001]);

    assert_eq!(leg.quality(false).lost, 1);
}

#[test]
fn sources_beyond_those_followed_keep_their_losses() {
    let start = epoch();
    let mut leg = Leg::new(start);
    for ssrc in 0..20 {
        for sequence in [1, 3] {
            let header = RtpHeader {
                ssrc,
                ..header(sequence)
            };
            leg.handle_rtp(&header, 10, &rates(), start);
        }
    }

    assert_eq!(leg.quality(false).lost, 20);
    assert!(!leg.sources.spilled());
}

#[test]
fn even_spacing_has_no_jitter_and_uneven_spacing_has() {
    let start = epoch();
    let mut even = Leg::new(start);
    let mut uneven = Leg::new(start);
    let sequences: Vec<u16> = (0..500).collect();

    hear(&mut even, start, &sequences);
    for sequence in sequences {
        let shift = u64::from(sequence % 2) * 10;
        let now = start + Duration::from_millis(u64::from(sequence) * 20 + shift);
        uneven.handle_rtp(&header(sequence), 172, &rates(), now);
    }

    assert_eq!(even.quality(false).jitter_max, Duration::ZERO);
    let jitter = uneven.quality(false).jitter.as_millis();
    assert!((8..=11).contains(&jitter), "{jitter} ms");
    assert_eq!(even.quality(false).longest_gap, Duration::from_millis(20));
}

#[test]
fn the_round_trip_is_the_time_until_a_report_comes_back_less_what_the_peer_held_it() {
    let start = epoch();
    let mut leg = Leg::new(start);
    for middle in [5, 6, 7, 8, 9] {
        leg.handle_report_sent(middle, start + Duration::from_secs(u64::from(middle)));
    }
    let reception = |last_report| Reception {
        ssrc: 1,
        fraction_lost: 64,
        lost: 3,
        jitter: 0,
        last_report,
        delay: 0x8000,
    };

    leg.handle_reception(&reception(5), start + Duration::from_secs(10));
    assert_eq!(leg.quality(false).round_trip, None);
    leg.handle_reception(&reception(9), start + Duration::from_millis(9530));

    let quality = leg.quality(false);
    assert_eq!(quality.round_trip, Some(Duration::from_millis(30)));
    assert!((quality.reported_loss_max - 0.25).abs() < 1e-9);
}
