use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::epoch;

type Side = Control<u32, u32>;

fn at(start: Instant, secs: u64) -> Now {
    Now {
        instant: start + Duration::from_secs(secs),
        unix_ms: 1_000_000 + secs * 1000,
    }
}

fn pair(now: Now) -> (Side, Side) {
    let mut left = Side::new(now.instant);
    let mut right = Side::new(now.instant);
    left.handle_connected(2, None, 1, now);
    right.handle_connected(1, None, 2, now);
    assert_eq!(left.poll_event(), Some(Event::PeerReset));
    assert_eq!(right.poll_event(), Some(Event::PeerReset));
    (left, right)
}

fn deliver(from: &mut Side, to: &mut Side, now: Now) {
    while let Some(bytes) = from.poll_transmit() {
        to.handle_bytes(&bytes, now).unwrap();
    }
}

fn applied(side: &mut Side) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(event) = side.poll_event() {
        if let Event::Applied(number) = event {
            numbers.push(number);
        }
    }
    numbers
}

#[test]
fn messages_arrive_in_order_and_are_acknowledged() {
    let now = at(epoch(), 0);
    let (mut left, mut right) = pair(now);
    left.send(&1).unwrap();
    left.send(&2).unwrap();

    deliver(&mut left, &mut right, now);
    deliver(&mut right, &mut left, now);

    assert_eq!(applied(&mut right), [1, 2]);
    assert!(left.is_settled());
}

#[test]
fn what_was_not_acknowledged_is_replayed_and_applied_once() {
    let now = at(epoch(), 0);
    let (mut left, mut right) = pair(now);
    left.send(&1).unwrap();
    deliver(&mut left, &mut right, now);
    left.send(&2).unwrap();
    left.handle_eof();
    right.handle_eof();

    left.handle_connected(
        2,
        None.or(Some(Resume {
            instance: 1,
            applied: 0,
        })),
        1,
        now,
    );
    right.handle_connected(1, left.resume(), 2, now);
    deliver(&mut left, &mut right, now);

    assert_eq!(applied(&mut right), [1, 2]);
}

#[test]
fn a_restarted_peer_is_told_the_whole_state() {
    let now = at(epoch(), 0);
    let (mut left, mut right) = pair(now);
    left.send(&1).unwrap();
    deliver(&mut left, &mut right, now);
    left.handle_eof();

    left.handle_connected(3, None, 1, now);

    assert_eq!(left.poll_event(), Some(Event::PeerReset));
    assert!(
        left.is_settled(),
        "the old state must not be sent beside the new one"
    );
}

#[test]
fn a_silent_peer_is_lost_after_three_keep_alives() {
    let start = epoch();
    let (mut left, _right) = pair(at(start, 0));
    let mut pings = 0;
    for second in 0..15 {
        left.handle_timeout(at(start, second));
        pings += std::iter::from_fn(|| left.poll_transmit()).count();
        assert_eq!(left.poll_event(), None, "after {second} s");
    }

    left.handle_timeout(at(start, 15));

    assert_eq!(pings, 3);
    assert_eq!(left.poll_event(), Some(Event::PeerLost));
    assert_eq!(left.poll_timeout(), None);
}

#[test]
fn a_clock_that_is_ahead_is_noticed() {
    let start = epoch();
    let (mut left, mut right) = pair(at(start, 0));
    left.handle_timeout(at(start, 1));
    let ahead = Now {
        unix_ms: at(start, 1).unix_ms + 5000,
        ..at(start, 1)
    };
    deliver(&mut left, &mut right, ahead);
    deliver(&mut right, &mut left, at(start, 1));

    let expected = Event::Pong {
        clock_offset_ms: 5000,
        round_trip: Duration::ZERO,
    };
    assert_eq!(left.poll_event(), Some(expected));
}

#[test]
fn a_peer_that_takes_nothing_is_sent_everything_anew() {
    let now = at(epoch(), 0);
    let (mut left, _right) = pair(now);
    for number in 0..limits::CONTROL_QUEUE_MAX {
        left.send(&u32::try_from(number).unwrap()).unwrap();
    }

    assert_eq!(left.send(&0), Err(Overflow));

    left.handle_eof();
    left.handle_connected(
        2,
        Some(Resume {
            instance: 1,
            applied: 0,
        }),
        1,
        now,
    );
    assert_eq!(left.poll_event(), Some(Event::PeerReset));
}

#[test]
fn malformed_frames_close_the_connection() {
    let now = at(epoch(), 0);
    for (bytes, error) in [
        (&[0xff, 0, 0, 0][..], ControlError::TooLong(0xff00_0000)),
        (&[0, 0, 0, 0], ControlError::Malformed(u8::MAX)),
        (&[0, 0, 0, 1, 9], ControlError::Malformed(9)),
        (
            &[0, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0],
            ControlError::Malformed(9),
        ),
        (
            &[0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 5],
            ControlError::Acknowledged(5),
        ),
    ] {
        let (mut left, _right) = pair(now);
        assert_eq!(left.handle_bytes(bytes, now), Err(error), "{bytes:?}");
    }
}

#[test]
fn a_message_of_a_later_version_is_passed_over() {
    let now = at(epoch(), 0);
    let (mut left, _right) = pair(now);
    let later = frame(MESSAGE, |w| w.u64(1).slice(br#"{"command":"later"}"#));

    left.handle_bytes(&later, now).unwrap();

    assert_eq!(left.poll_event(), Some(Event::Unknown));
}

#[test]
fn a_filter_key_never_shows_in_debug_output() {
    let message = message::Command::FilterKeys {
        keys: vec![message::FilterKeyMessage {
            generation: 1,
            key: crate::redact::Secret::new("c2VjcmV0".into()),
        }],
        also_of: Vec::new(),
    };

    assert!(!format!("{message:?}").contains("c2VjcmV0"));
    assert!(
        serde_json::to_string(&message)
            .unwrap()
            .contains("c2VjcmV0")
    );
}

#[test]
fn media_messages_read_back_and_a_later_reason_is_still_a_refusal() {
    use message::{Command, MediaCommand, MediaRefusal, MediaReport, Report};

    let latch = Command::Media(MediaCommand::Latch {
        alloc: crate::id::AllocId(7),
        component: crate::media::class::Component::Rtcp,
        slot: crate::media::class::Slot(2),
        generation: crate::media::class::Generation(9),
    });
    let text = serde_json::to_string(&latch).unwrap();
    let later = r#"{"report":"media","media":"refused","alloc":1,"reason":"tired"}"#;

    assert_eq!(
        text,
        r#"{"command":"media","media":"latch","alloc":7,"component":"rtcp","slot":2,"generation":9}"#
    );
    assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), latch);
    assert_eq!(
        serde_json::from_str::<Report>(later).unwrap(),
        Report::Media(MediaReport::Refused {
            alloc: crate::id::AllocId(1),
            reason: MediaRefusal::NotConfigured,
        })
    );
}

proptest! {
    #[test]
    fn each_message_is_applied_once_whatever_happens(steps: Vec<u8>) {
        fuzz::steps(&steps);
    }

    #[test]
    fn chunking_does_not_matter(bytes: Vec<u8>) {
        fuzz::frames(&bytes);
    }
}
