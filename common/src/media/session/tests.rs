use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::{AllocId, EdgeIndex};
use crate::media::class::Generation;
use crate::media::plan::{
    Direction, InnerLeg, InnerPortId, OuterLeg, Protection, SrtpKeys, SrtpSuite,
};
use crate::testing::epoch;

const PHONE: &str = "10.0.0.20:20000";
const PHONE_RTCP: &str = "10.0.0.20:20001";

fn keys(seed: u8) -> SrtpKeys {
    SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &[seed; 30], None).unwrap()
}

fn plan() -> StreamPlan {
    let mut clock_rates = ClockRates::default();
    clock_rates.insert(0, 8000);
    StreamPlan {
        outer: OuterLeg {
            edge: EdgeIndex(0),
            alloc: AllocId(1),
            flow_address: Some("198.51.100.7".parse().unwrap()),
            rtcp_mux: false,
            receive: [keys(1)].into_iter().collect(),
            send: Some(keys(2)),
            ice: None,
        },
        inner: InnerLeg {
            port: InnerPortId(1),
            rtcp_mux: false,
            remote: Some(PHONE.parse().unwrap()),
            remote_rtcp: Some(PHONE_RTCP.parse().unwrap()),
            protection: None,
        },
        class: MediaClass::Audio,
        kind: StreamKind::Rtp { clock_rates },
        direction: Direction::Both,
    }
}

fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(9_u32.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A sender report that is named by `middle`, or a reception report on one.
fn sender_report(middle: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, 9, 0, 0];
    packet.extend(middle.to_be_bytes());
    packet.extend([0; 14]);
    packet
}

fn reception_report(middle: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    packet.extend([0; 16]);
    packet.extend(middle.to_be_bytes());
    packet.extend([0; 4]);
    packet
}

/// A client outside, a phone inside, and the session between them.
struct World {
    session: Session,
    client: Client,
    now: Instant,
}

struct Client {
    send: Sender,
    receive: Receiver,
}

impl Client {
    fn of(plan: &StreamPlan) -> Self {
        Self {
            send: Sender::new(&plan.outer.receive[0]).unwrap(),
            receive: Receiver::new(&[plan.outer.send.clone().unwrap()]).unwrap(),
        }
    }

    fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 40, 0);
        let len = if packet_kind(packet) == PacketKind::Rtcp {
            self.send.seal_rtcp(&mut buffer, packet.len())
        } else {
            let header = RtpHeader::decode(packet).unwrap();
            self.send.seal_rtp(&mut buffer, packet.len(), &header)
        };
        buffer.truncate(len.unwrap());
        buffer
    }
}

const fn from(component: Component, slot: u8, generation: u8) -> Origin {
    Origin {
        component,
        source: Candidate {
            slot: Slot(slot),
            generation: Generation(generation),
        },
    }
}

const CANDIDATE: Origin = from(Component::Rtp, 1, 1);

impl World {
    fn new() -> Self {
        Self::of(plan())
    }

    fn of(plan: StreamPlan) -> Self {
        let now = epoch();
        Self {
            client: Client::of(&plan),
            session: Session::new(plan, now).unwrap(),
            now,
        }
    }

    /// The client sends `packet`; what reaches the inside.
    fn outer(&mut self, origin: Origin, packet: &[u8]) -> (OuterVerdict, Vec<u8>) {
        let protected = self.client.protect(packet);
        self.outer_raw(origin, &protected)
    }

    fn outer_raw(&mut self, origin: Origin, packet: &[u8]) -> (OuterVerdict, Vec<u8>) {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 60, 0);
        let verdict = self
            .session
            .handle_outer(origin, &mut buffer, packet.len(), self.now);
        let len = match verdict.packet {
            ToInner::Forward { len, .. } => len,
            ToInner::Drop(_) => 0,
        };
        buffer.truncate(len);
        (verdict, buffer)
    }

    /// Somebody inside sends `packet`; what goes to the client, as it stands on the wire.
    fn inner(&mut self, component: Component, source: &str, packet: &[u8]) -> (ToOuter, Vec<u8>) {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 60, 0);
        let source = source.parse().unwrap();
        let verdict =
            self.session
                .handle_inner(component, source, &mut buffer, packet.len(), self.now);
        let len = match verdict {
            ToOuter::Forward { len, .. } => len,
            ToOuter::Drop(_) => 0,
        };
        buffer.truncate(len);
        (verdict, buffer)
    }

    fn latched() -> Self {
        let mut world = Self::new();
        let (verdict, _) = world.outer(CANDIDATE, &rtp(1, b"first"));
        assert!(matches!(verdict.source, Some(LatchDecision::Latch(_))));
        world
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }
}

#[test]
fn the_clients_first_packet_reaches_the_phone_and_latches_its_source() {
    let mut world = World::new();

    let (verdict, inside) = world.outer(CANDIDATE, &rtp(1, b"hello"));

    assert_eq!(
        verdict.packet,
        ToInner::Forward {
            component: Component::Rtp,
            to: PHONE.parse().unwrap(),
            len: 17
        }
    );
    assert_eq!(verdict.source, Some(LatchDecision::Latch(CANDIDATE.source)));
    assert_eq!(inside, rtp(1, b"hello"));
}

#[test]
fn nothing_goes_to_the_client_before_it_has_proved_itself() {
    let mut world = World::new();
    let before = world.inner(Component::Rtp, PHONE, &rtp(1, b"x")).0;

    let _ = world.outer(CANDIDATE, &rtp(1, b"hello"));
    let (after, outside) = world.inner(Component::Rtp, PHONE, &rtp(2, b"answer"));
    let rtcp = world.inner(Component::Rtcp, PHONE, &sender_report(1)).0;

    assert_eq!(before, ToOuter::Drop(DropReason::NotLatched));
    assert!(matches!(
        after,
        ToOuter::Forward {
            component: Component::Rtp,
            ..
        }
    ));
    assert_eq!(
        rtcp,
        ToOuter::Drop(DropReason::NotLatched),
        "a port of its own"
    );
    let mut outside = outside;
    let header = RtpHeader::decode(&outside).unwrap();
    let len = world
        .client
        .receive
        .open_rtp(&mut outside, &header)
        .unwrap();
    assert_eq!(outside[..len], rtp(2, b"answer"));
}

#[test]
fn a_phone_that_wrapped_around_before_the_latch_is_understood_after_it() {
    let mut world = World::new();
    for sequence in [65_534, 65_535, 0x4fff] {
        let _ = world.inner(Component::Rtp, PHONE, &rtp(sequence, b"x"));
    }
    let _ = world.outer(CANDIDATE, &rtp(1, b"hello"));

    let (_, mut outside) = world.inner(Component::Rtp, PHONE, &rtp(0x5000, b"answer"));

    let header = RtpHeader::decode(&outside).unwrap();
    assert!(world.client.receive.open_rtp(&mut outside, &header).is_ok());
}

#[test]
fn a_wrong_key_never_latches_and_never_reaches_inside() {
    let mut world = World::new();
    let mut stranger_plan = plan();
    stranger_plan.outer.receive = [keys(77)].into_iter().collect();
    let mut stranger = Client::of(&stranger_plan);
    let mut rejected = 0;
    for sequence in 0..100 {
        let forged = stranger.protect(&rtp(sequence, b"evil"));
        let slot = 2 + u8::try_from(sequence % 3).unwrap();
        let (verdict, _) = world.outer_raw(from(Component::Rtp, slot, slot), &forged);
        assert_eq!(verdict.packet, ToInner::Drop(DropReason::Authentication));
        assert!(!matches!(verdict.source, Some(LatchDecision::Latch(_))));
        rejected += u32::from(verdict.source.is_some());
    }

    let (verdict, _) = world.outer(CANDIDATE, &rtp(1, b"hello"));

    assert!(rejected > 30);
    assert_eq!(verdict.source, Some(LatchDecision::Latch(CANDIDATE.source)));
    let summary = world.session.summary();
    assert_eq!(summary.drops.of(DropReason::Authentication), 100);
    assert_eq!((summary.latches, summary.rejects), (1, rejected));
    assert_eq!(summary.outer.received, 1);
}

#[test]
fn a_spray_of_junk_latches_nothing_and_counts_as_no_activity() {
    let mut world = World::new();
    world.pass(299_000);
    for first in 0..=255 {
        let junk = [first; 60];
        let (verdict, _) = world.outer_raw(from(Component::Rtp, 2, first), &junk);
        assert!(matches!(verdict.packet, ToInner::Drop(_)));
        assert!(!matches!(verdict.source, Some(LatchDecision::Latch(_))));
    }

    world.pass(1000);

    assert!(world.session.is_over(limits::MEDIA_SILENCE_MAX, world.now));
}

#[test]
fn a_replay_from_elsewhere_is_dropped_and_does_not_latch() {
    let mut world = World::latched();
    let packet = world.client.protect(&rtp(2, b"once"));
    let _ = world.outer_raw(from(Component::Rtp, 0, 1), &packet);

    let replays: Vec<_> = (0..3)
        .map(|_| world.outer_raw(from(Component::Rtp, 3, 5), &packet).0)
        .collect();

    assert!(
        replays
            .iter()
            .all(|v| v.packet == ToInner::Drop(DropReason::Replayed))
    );
    let stranger = from(Component::Rtp, 3, 5).source;
    assert_eq!(replays[2].source, Some(LatchDecision::Reject(stranger)));
}

#[test]
fn a_client_whose_address_changes_is_latched_at_once_and_then_every_two_seconds() {
    let mut world = World::latched();

    let moves = [
        (100, 2, true),
        (200, 3, false),
        (1700, 3, false),
        (300, 3, true),
        (1999, 4, false),
        (1, 4, true),
    ];
    for (sequence, (ms, generation, is_latched)) in (2..).zip(moves) {
        world.pass(ms);
        let origin = from(Component::Rtp, 2, generation);
        let (verdict, inside) = world.outer(origin, &rtp(sequence, b"moved"));

        assert_eq!(
            inside,
            rtp(sequence, b"moved"),
            "the voice goes on meanwhile"
        );
        let expected = is_latched.then_some(LatchDecision::Latch(origin.source));
        assert_eq!(verdict.source, expected, "generation {generation}");
    }
}

#[test]
fn rtcp_goes_both_ways_and_tells_the_round_trip() {
    let mut world = World::latched();
    let (verdict, inside) = world.outer(from(Component::Rtcp, 1, 1), &sender_report(7));
    assert_eq!(
        verdict.packet,
        ToInner::Forward {
            component: Component::Rtcp,
            to: PHONE_RTCP.parse().unwrap(),
            len: 28
        }
    );
    assert_eq!(inside, sender_report(7));
    world.pass(12);
    let (_, mut outside) = world.inner(Component::Rtcp, PHONE_RTCP, &reception_report(7));
    let len = world.client.receive.open_rtcp(&mut outside).unwrap();
    assert_eq!(outside[..len], reception_report(7));

    let _ = world.inner(Component::Rtcp, PHONE_RTCP, &sender_report(8));
    world.pass(80);
    let _ = world.outer(from(Component::Rtcp, 0, 1), &reception_report(8));

    let summary = world.session.summary();
    assert_eq!(summary.inner.round_trip, Some(Duration::from_millis(12)));
    assert_eq!(summary.outer.round_trip, Some(Duration::from_millis(80)));
}

#[test]
fn with_one_port_for_both_rtcp_takes_the_port_of_rtp() {
    let mut plan = plan();
    plan.outer.rtcp_mux = true;
    let mut world = World::of(plan);
    let _ = world.outer(CANDIDATE, &rtp(1, b"x"));

    let (outward, _) = world.inner(Component::Rtcp, PHONE_RTCP, &sender_report(1));
    let (inward, _) = world.outer(from(Component::Rtp, 0, 1), &sender_report(2));

    assert!(matches!(
        outward,
        ToOuter::Forward {
            component: Component::Rtp,
            ..
        }
    ));
    assert!(matches!(
        inward.packet,
        ToInner::Forward {
            component: Component::Rtcp,
            ..
        }
    ));
}

#[test]
fn rtcp_in_the_clear_is_counted_and_reaches_nobody() {
    let mut world = World::latched();
    let mut goodbye = vec![0x81, 203, 0, 6, 0, 0, 0, 9];
    goodbye.extend([0; 20]);

    let (verdict, _) = world.outer_raw(from(Component::Rtcp, 1, 1), &goodbye);

    assert_eq!(verdict.packet, ToInner::Drop(DropReason::Unencrypted));
}

#[test]
fn on_hold_only_rtcp_passes_and_the_client_still_latches() {
    let mut plan = plan();
    plan.direction = Direction::Neither;
    let mut world = World::of(plan.clone());

    let (inward, _) = world.outer(CANDIDATE, &rtp(1, b"x"));
    let (outward, _) = world.inner(Component::Rtp, PHONE, &rtp(1, b"x"));
    let (report, _) = world.outer(from(Component::Rtcp, 1, 1), &sender_report(1));
    plan.direction = Direction::Outward;
    world.session.change(plan).unwrap();
    let (music, _) = world.inner(Component::Rtp, PHONE, &rtp(2, b"x"));

    assert_eq!(inward.packet, ToInner::Drop(DropReason::Direction));
    assert_eq!(inward.source, Some(LatchDecision::Latch(CANDIDATE.source)));
    assert_eq!(outward, ToOuter::Drop(DropReason::Direction));
    assert!(matches!(report.packet, ToInner::Forward { .. }));
    assert!(matches!(music, ToOuter::Forward { .. }));
}

#[test]
fn only_the_phone_is_heard_from_inside() {
    let mut world = World::latched();

    let (stranger, _) = world.inner(Component::Rtp, "10.0.0.66:20000", &rtp(1, b"x"));
    let (other_port, _) = world.inner(Component::Rtp, "10.0.0.20:9", &rtp(1, b"x"));
    let (stun, _) = world.inner(Component::Rtp, PHONE, &[0, 1, 0, 0]);

    assert_eq!(stranger, ToOuter::Drop(DropReason::Source));
    assert!(matches!(other_port, ToOuter::Forward { .. }));
    assert_eq!(stun, ToOuter::Drop(DropReason::Unexpected));
}

#[test]
fn srtp_inside_is_checked_and_made_anew() {
    let mut plan = plan();
    let gcm = |seed| SrtpKeys::new(SrtpSuite::AeadAes256Gcm, &[seed; 44], None).unwrap();
    plan.inner.protection = Some(Protection {
        receive: [gcm(3)].into_iter().collect(),
        send: Some(gcm(4)),
    });
    let mut world = World::of(plan);
    let mut phone = Client {
        send: Sender::new(&gcm(3)).unwrap(),
        receive: Receiver::new(&[gcm(4)]).unwrap(),
    };

    let (_, mut inside) = world.outer(CANDIDATE, &rtp(1, b"hello"));
    let header = RtpHeader::decode(&inside).unwrap();
    let len = phone.receive.open_rtp(&mut inside, &header).unwrap();
    let protected = phone.protect(&rtp(5, b"answer"));
    let (answer, _) = world.inner(Component::Rtp, "10.0.0.99:1", &protected);
    let (replay, _) = world.inner(Component::Rtp, PHONE, &protected);
    let (plain, _) = world.inner(Component::Rtp, PHONE, &rtp(6, b"plain text of some length"));

    assert_eq!(inside[..len], rtp(1, b"hello"));
    assert!(matches!(answer, ToOuter::Forward { .. }));
    assert_eq!(replay, ToOuter::Drop(DropReason::Replayed));
    assert_eq!(plain, ToOuter::Drop(DropReason::Authentication));
}

#[test]
fn before_the_answer_packets_are_dropped_and_nobody_is_blamed() {
    let mut early = plan();
    early.outer.receive.clear();
    early.outer.send = None;
    early.inner.remote = None;
    let mut world = World::new();
    world.session.change(early).unwrap();

    for sequence in 0..50 {
        let (verdict, _) = world.outer(CANDIDATE, &rtp(sequence, b"early"));
        assert_eq!(verdict.packet, ToInner::Drop(DropReason::NoKey));
        assert_eq!(verdict.source, None);
    }
    world.session.change(plan()).unwrap();

    let (verdict, _) = world.outer(CANDIDATE, &rtp(50, b"hello"));
    assert!(matches!(verdict.packet, ToInner::Forward { .. }));
}

#[test]
fn a_plan_anew_with_the_same_keys_keeps_what_was_heard() {
    let mut world = World::latched();
    let packet = world.client.protect(&rtp(2, b"once"));
    let _ = world.outer_raw(from(Component::Rtp, 0, 1), &packet);

    world.session.change(plan()).unwrap();

    let (replay, _) = world.outer_raw(from(Component::Rtp, 0, 1), &packet);
    assert_eq!(replay.packet, ToInner::Drop(DropReason::Replayed));
    let again = world.inner(Component::Rtp, PHONE, &rtp(3, b"x")).0;
    assert!(matches!(again, ToOuter::Forward { .. }));
}

#[test]
fn an_unread_stream_is_taken_from_the_address_of_the_signalling_only() {
    let mut plan = plan();
    plan.kind = StreamKind::Opaque;
    plan.class = MediaClass::Bfcp;
    let mut world = World::of(plan);

    let (stranger, _) = world.outer_raw(from(Component::Rtp, 2, 1), b"\x20bfcp");
    let (client, inside) = world.outer_raw(CANDIDATE, b"\x20bfcp");
    let (answer, outside) = world.inner(Component::Rtp, PHONE, b"\x20answer");

    assert_eq!(stranger.packet, ToInner::Drop(DropReason::Source));
    assert_eq!(client.source, Some(LatchDecision::Latch(CANDIDATE.source)));
    assert_eq!(
        (inside, outside),
        (b"\x20bfcp".to_vec(), b"\x20answer".to_vec())
    );
    assert!(matches!(answer, ToOuter::Forward { .. }));
}

#[test]
fn a_silent_client_ends_the_stream_unless_it_is_on_hold() {
    let mut world = World::latched();
    world.pass(limits::MEDIA_SILENCE_MAX.as_millis().try_into().unwrap());
    let is_over = world.session.is_over(limits::MEDIA_SILENCE_MAX, world.now);
    let mut held = plan();
    held.direction = Direction::Neither;
    world.session.change(held).unwrap();

    assert!(is_over);
    assert!(!world.session.is_over(limits::MEDIA_SILENCE_MAX, world.now));
    world.pass(limits::MEDIA_HELD_MAX.as_millis().try_into().unwrap());
    assert!(world.session.is_over(limits::MEDIA_SILENCE_MAX, world.now));
}

proptest! {
    #[test]
    fn no_order_of_packets_and_plans_breaks_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::steps(&bytes);
    }
}
