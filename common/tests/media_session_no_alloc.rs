//! Proves that a relayed packet allocates nothing: opened and protected, in both directions, in every suite.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; a failure ends the test that called them"
)]

use common::id::{AllocId, EdgeIndex};
use common::media::class::{Component, Generation, MediaClass, Slot};
use common::media::latch::Candidate;
use common::media::plan::{
    ClockRates, Direction, InnerLeg, InnerPortId, OuterLeg, Protection, SrtpKeys, SrtpSuite,
    StreamKind, StreamPlan,
};
use common::media::rtp::RtpHeader;
use common::media::session::{Origin, Session, ToInner, ToOuter};
use common::media::srtp::Sender;
use common::testing::epoch;

/// Counts every block of the process and says, when a test fails, where it was asked for. One test a file: its numbers
/// are those of all threads.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PACKETS: u16 = 1000;

fn keys(suite: SrtpSuite, seed: u8) -> SrtpKeys {
    SrtpKeys::new(suite, &vec![seed; suite.material_bytes()], None).unwrap()
}

fn plan(suite: SrtpSuite, is_protected: bool) -> StreamPlan {
    let mut clock_rates = ClockRates::default();
    clock_rates.insert(0, 8000);
    StreamPlan {
        outer: OuterLeg {
            edge: EdgeIndex(0),
            alloc: AllocId(1),
            flow_address: None,
            rtcp_mux: true,
            // Two keys, as before an answer: the trial of the wrong one must not allocate either.
            receive: [keys(suite, 9), keys(suite, 1)].into_iter().collect(),
            send: Some(keys(suite, 2)),
            ice: None,
        },
        inner: InnerLeg {
            port: InnerPortId(1),
            rtcp_mux: false,
            remote: Some(([10, 0, 0, 1], 4000).into()),
            remote_rtcp: None,
            protection: is_protected.then(|| Protection {
                receive: [keys(suite, 3)].into_iter().collect(),
                send: Some(keys(suite, 4)),
            }),
        },
        class: MediaClass::Audio,
        kind: StreamKind::Rtp { clock_rates },
        direction: Direction::Both,
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend([7; 160]);
    packet
}

/// Packets as they come from the network, each in a buffer with room.
fn packets(sender: Option<SrtpKeys>) -> Vec<(Vec<u8>, usize)> {
    let mut sender = sender.map(|keys| Sender::new(&keys).unwrap());
    let one = |sequence| {
        let packet = rtp(sequence);
        let mut buffer = packet.clone();
        buffer.resize(packet.len() + 64, 0);
        let len = match &mut sender {
            None => packet.len(),
            Some(sender) => {
                let header = RtpHeader::decode(&packet).unwrap();
                sender.seal_rtp(&mut buffer, packet.len(), &header).unwrap()
            }
        };
        (buffer, len)
    };
    (0..PACKETS).map(one).collect()
}

#[test]
fn a_relayed_packet_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for suite in SrtpSuite::OFFERED {
        for is_protected in [false, true] {
            let plan = plan(suite, is_protected);
            let mut inward = packets(Some(keys(suite, 1)));
            let mut outward = packets(is_protected.then(|| keys(suite, 3)));
            let now = epoch();
            let mut session = Session::new(plan, now).unwrap();
            let origin = |slot| Origin {
                component: Component::Rtp,
                source: Candidate {
                    slot: Slot(slot),
                    generation: Generation(1),
                },
            };
            let phone = ([10, 0, 0, 1], 4000).into();
            // The first packet of each source makes a place for it.
            let mut relay = |packets: std::ops::Range<usize>| {
                for at in packets {
                    let (buffer, len) = &mut inward[at];
                    let slot = u8::from(at == 0);
                    let verdict = session.handle_outer(origin(slot), buffer, *len, now);
                    assert!(matches!(verdict.packet, ToInner::Forward { .. }));
                    let (buffer, len) = &mut outward[at];
                    let verdict = session.handle_inner(Component::Rtp, phone, buffer, *len, now);
                    assert!(matches!(verdict, ToOuter::Forward { .. }));
                }
            };
            relay(0..1);

            let before = dhat::HeapStats::get();
            relay(1..PACKETS.into());
            let after = dhat::HeapStats::get();

            dhat::assert_eq!(
                after.total_blocks - before.total_blocks,
                0,
                "{suite:?}, protected inside: {is_protected}"
            );
            assert!(before.total_blocks > 0, "blocks are counted");
        }
    }
}
