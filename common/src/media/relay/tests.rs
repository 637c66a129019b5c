use proptest::prelude::*;

use super::*;
use crate::media::port_pool::PortPool;
use crate::testing::epoch;

const KEY: AllocKey = AllocKey {
    core: CoreId(1),
    alloc: AllocId(0x1234_5678),
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ports() -> PortPair {
    PortPool::new(&(36_000..=36_001)).take(0, epoch()).unwrap()
}

/// A relay with one allocation, whose client's SIP flow comes from 198.51.100.7.
fn relay() -> (Relay, AllocIndex) {
    let mut relay = Relay::new();
    let flow = "198.51.100.7".parse().unwrap();
    let index = relay
        .allocate(KEY, MediaClass::Audio, ports(), Some(flow))
        .unwrap();
    (relay, index)
}

fn from(relay: &mut Relay, index: AllocIndex, source: SocketAddr, now: Instant) -> Uplink {
    relay.handle_client(index, Component::Rtp, source, Via(0), now)
}

/// Where a packet passed, if it did.
fn passed(decision: Uplink) -> Option<(Slot, Generation)> {
    match decision {
        Uplink::Forward { head, .. } => Some((head.slot, head.generation)),
        Uplink::Drop(_) => None,
    }
}

fn destination(relay: &Relay) -> Option<SocketAddr> {
    let head = Head::to_client(KEY.alloc, Component::Rtp);
    match relay.handle_trunk(KEY.core, &head) {
        Downlink::Send { to, .. } => Some(to),
        Downlink::Drop(_) => None,
    }
}

fn latch(relay: &mut Relay, (slot, generation): (Slot, Generation), now: Instant) -> Latch {
    relay.latch(KEY, Component::Rtp, slot, generation, now)
}

#[test]
fn nothing_is_sent_before_a_source_is_latched_and_then_only_there() {
    let now = epoch();
    let (mut relay, index) = relay();
    let client = address("198.51.100.7:5000");
    let place = passed(from(&mut relay, index, client, now)).unwrap();
    assert_eq!(destination(&relay), None);

    assert_eq!(latch(&mut relay, place, now), Latch::Latched(client));

    assert_eq!(destination(&relay), Some(client));
    let next = passed(from(&mut relay, index, client, now));
    assert_eq!(next, Some((Slot::LATCHED, place.1)));
}

#[test]
fn a_command_that_comes_twice_does_what_it_does_once() {
    let now = epoch();
    let (mut relay, index) = relay();
    let client = address("198.51.100.7:5000");
    let place = passed(from(&mut relay, index, client, now)).unwrap();
    latch(&mut relay, place, now);

    assert_eq!(latch(&mut relay, place, now), Latch::Unchanged);
    assert!(!relay.reject(KEY, Component::Rtp, place.0, place.1, now));
    assert_eq!(destination(&relay), Some(client));

    let again = relay.allocate(KEY, MediaClass::Audio, ports(), None);
    assert_eq!(again, Ok(index));
    assert_eq!(relay.release(KEY), Some((index, ports())));
    assert_eq!(relay.release(KEY), None);
    assert_eq!(latch(&mut relay, place, now), Latch::Unknown);
    assert_eq!(destination(&relay), None);
}

#[test]
fn a_client_that_moves_is_latched_anew_and_its_old_address_gets_nothing() {
    let now = epoch();
    let (mut relay, index) = relay();
    let (home, mobile) = (address("198.51.100.7:5000"), address("203.0.113.9:6000"));
    let place = passed(from(&mut relay, index, home, now)).unwrap();
    latch(&mut relay, place, now);

    let place = passed(from(&mut relay, index, mobile, now)).unwrap();
    assert_eq!(destination(&relay), Some(home), "not before the latch");
    latch(&mut relay, place, now);

    assert_eq!(destination(&relay), Some(mobile));
    let (slot, _) = passed(from(&mut relay, index, home, now)).unwrap();
    assert_ne!(slot, Slot::LATCHED);
}

#[test]
fn a_candidate_passes_ten_packets_a_second_and_a_latched_source_all_of_a_call() {
    let start = epoch();
    let (mut relay, index) = relay();
    let client = address("198.51.100.7:5000");
    let packets = |relay: &mut Relay, from_ms: u64| {
        (0..500_u64)
            .map(|n| start + Duration::from_millis(from_ms + n * 20))
            .filter_map(|now| passed(from(relay, index, client, now)))
            .collect::<Vec<_>>()
    };

    let before = packets(&mut relay, 0);
    assert!((100..=110).contains(&before.len()), "{}", before.len());

    let later = start + Duration::from_secs(10);
    latch(&mut relay, before[0], later);
    assert_eq!(packets(&mut relay, 10_000).len(), 500);
}

#[test]
fn a_latched_source_that_floods_is_held_back() {
    let now = epoch();
    let (mut relay, index) = relay();
    let client = address("198.51.100.7:5000");
    let place = passed(from(&mut relay, index, client, now)).unwrap();
    latch(&mut relay, place, now);

    let flood = (0..10_000).filter(|_| passed(from(&mut relay, index, client, now)).is_some());

    assert_eq!(flood.count(), 1001);
    let refused = from(&mut relay, index, client, now);
    assert_eq!(refused, Uplink::Drop(DropReason::SourceRate));
}

#[test]
fn a_rejected_source_makes_room_and_does_not_come_back_at_once() {
    let now = epoch();
    let (mut relay, index) = relay();
    let strangers: Vec<SocketAddr> = (1..=4)
        .map(|n| address(&format!("192.0.2.{n}:9")))
        .collect();
    let places: Vec<_> = strangers
        .iter()
        .map(|source| passed(from(&mut relay, index, *source, now)))
        .collect();
    assert_eq!(
        places.iter().flatten().count(),
        3,
        "one place is the flow's"
    );

    let (slot, generation) = places[0].unwrap();
    assert!(relay.reject(KEY, Component::Rtp, slot, generation, now));

    assert_eq!(
        from(&mut relay, index, strangers[0], now),
        Uplink::Drop(DropReason::NoSlot)
    );
    assert!(passed(from(&mut relay, index, strangers[3], now)).is_some());
}

#[test]
fn rtp_and_rtcp_are_latched_apart() {
    let now = epoch();
    let (mut relay, index) = relay();
    let client = address("198.51.100.7:5000");
    let place = passed(from(&mut relay, index, client, now)).unwrap();
    latch(&mut relay, place, now);

    let rtcp = Head::to_client(KEY.alloc, Component::Rtcp);

    let decision = relay.handle_trunk(KEY.core, &rtcp);
    assert_eq!(decision, Downlink::Drop(DropReason::NotLatched));
}

#[test]
fn another_core_can_not_send_through_an_allocation() {
    let now = epoch();
    let (mut relay, index) = relay();
    let place = passed(from(&mut relay, index, address("198.51.100.7:1"), now)).unwrap();
    latch(&mut relay, place, now);

    let head = Head::to_client(KEY.alloc, Component::Rtp);

    let decision = relay.handle_trunk(CoreId(2), &head);
    assert_eq!(decision, Downlink::Drop(DropReason::UnknownAllocation));
}

#[test]
fn allocations_wait_for_a_lost_core_but_not_for_ever() {
    let now = epoch();
    let (mut relay, _) = relay();
    relay.handle_core_lost(KEY.core, now);
    let (at, _) = relay.poll_timeout().unwrap();
    assert_eq!(at, now + limits::MEDIA_ORPHANS_KEPT);
    let almost = at.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(relay.orphan(almost), None);

    relay.handle_core_linked(KEY.core);
    assert_eq!(relay.orphan(at), None);

    relay.handle_core_lost(KEY.core, now);
    assert_eq!(relay.orphan(at), Some(KEY));
    relay.release(KEY);
    assert_eq!((relay.orphan(at), relay.poll_timeout()), (None, None));
}

#[test]
fn what_a_core_does_not_keep_is_found() {
    let (mut relay, _) = relay();
    let other = AllocKey {
        alloc: AllocId(9),
        ..KEY
    };
    relay
        .allocate(other, MediaClass::Video, ports(), None)
        .unwrap();

    assert_eq!(relay.stale(KEY.core, &[AllocId(9), KEY.alloc]), None);
    assert_eq!(relay.stale(KEY.core, &[AllocId(9)]), Some(KEY));
    assert_eq!(relay.stale(CoreId(2), &[]), None);
}

fn stranger() -> impl Strategy<Value = SocketAddr> {
    (any::<[u8; 2]>(), any::<u16>()).prop_map(|([a, b], port)| {
        let host = IpAddr::from([203, 0, a, b]);
        SocketAddr::new(host, port)
    })
}

proptest! {
    #[test]
    fn packets_go_only_where_edge_c_saw_and_latched_them(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        fuzz::steps(&bytes);
    }

    #[test]
    fn a_spray_never_gets_a_packet_and_never_keeps_the_client_out(
        spray in proptest::collection::vec((stranger(), 0..5_u64), 0..2000),
        is_before_latch: bool,
    ) {
        let mut now = epoch();
        let (mut relay, index) = relay();
        let client = address("198.51.100.7:5000");
        if !is_before_latch {
            let place = passed(from(&mut relay, index, client, now)).unwrap();
            latch(&mut relay, place, now);
        }

        for (source, wait_ms) in spray {
            now += Duration::from_millis(wait_ms);
            let slot = passed(from(&mut relay, index, source, now)).map(|(slot, _)| slot);
            prop_assert!(slot.is_none_or(|slot| slot.0 > 1));
            prop_assert_ne!(destination(&relay), Some(source));
        }

        let (slot, generation) = passed(from(&mut relay, index, client, now)).unwrap();
        if is_before_latch {
            prop_assert_eq!(slot, Slot(1));
            latch(&mut relay, (slot, generation), now);
        } else {
            prop_assert_eq!(slot, Slot::LATCHED);
        }
        prop_assert_eq!(destination(&relay), Some(client));
    }
}
