//! A relayed packet allocates nothing in the core of edge-e's media thread, in neither direction.

use std::time::Instant;

use common::id::{AllocId, CoreId};
use common::media::class::{Component, MediaClass};
use common::media::port_pool::PortPool;
use common::media::relay::{AllocKey, Downlink, Relay, Uplink, Via};
use common::media::trunk_frame::Head;

/// Counts every block of the process and says, when a test fails, where it was asked for. One test a file: its numbers
/// are those of all threads.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const KEY: AllocKey = AllocKey {
    core: CoreId(1),
    alloc: AllocId(7),
};

/// One packet each way; whether both were relayed.
fn relay_both_ways(relay: &mut Relay, now: Instant) -> bool {
    let Some(index) = relay.index(KEY) else {
        return false;
    };
    let client = ([192, 0, 2, 1], 5000).into();
    let up = relay.handle_client(index, Component::Rtp, client, Via(0), now);
    let head = Head::to_client(KEY.alloc, Component::Rtp).encode();
    let Ok((head, _)) = Head::decode(&head) else {
        return false;
    };
    let down = relay.handle_trunk(KEY.core, &head);
    matches!(up, Uplink::Forward { .. }) && matches!(down, Downlink::Send { .. })
}

#[test]
fn a_relayed_packet_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let now = common::testing::epoch();
    let mut relay = Relay::new();
    let ports = PortPool::new(&(36_000..=36_001)).take(0, now).unwrap();
    let index = relay.allocate(KEY, MediaClass::Audio, ports, None).unwrap();
    let client = ([192, 0, 2, 1], 5000).into();
    let first = relay.handle_client(index, Component::Rtp, client, Via(0), now);
    let Uplink::Forward { head, .. } = first else {
        panic!("the first packet is looked at: {first:?}");
    };
    relay.latch(KEY, Component::Rtp, head.slot, head.generation, now);

    let before = dhat::HeapStats::get();
    let relayed = (0..100)
        .filter(|_| relay_both_ways(&mut relay, now))
        .count();
    let after = dhat::HeapStats::get();

    dhat::assert_eq!(after.total_blocks - before.total_blocks, 0);
    assert_eq!(relayed, 100);
    assert!(before.total_blocks > 0, "blocks are counted");
}
