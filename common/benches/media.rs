//! What a packet of a call costs edge-c: opened and passed on, and the other way round. One item is one packet.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark of known values"
)]

use std::time::Instant;

use common::id::{AllocId, EdgeIndex};
use common::media::class::{Component, Generation, MediaClass, Slot};
use common::media::latch::Candidate;
use common::media::plan::{
    ClockRates, Direction, InnerLeg, InnerPortId, OuterLeg, SrtpKeys, SrtpSuite, StreamKind,
    StreamPlan,
};
use common::media::rtp::RtpHeader;
use common::media::session::{Origin, Session, ToInner, ToOuter};
use common::media::srtp::Sender;
use common::testing::epoch;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const SUITES: [SrtpSuite; 3] = [
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AeadAes256Gcm,
];
/// A packet of speech (G.711, 20 ms), and one of video.
const PAYLOADS: [usize; 2] = [160, 1100];
const PACKETS: u16 = 1000;

const ORIGIN: Origin = Origin {
    component: Component::Rtp,
    source: Candidate {
        slot: Slot::FLOW,
        generation: Generation(1),
    },
};

fn keys(suite: SrtpSuite, seed: u8) -> SrtpKeys {
    SrtpKeys::new(suite, &vec![seed; suite.material_bytes()], None).unwrap()
}

fn session(suite: SrtpSuite, now: Instant) -> Session {
    let mut clock_rates = ClockRates::default();
    clock_rates.insert(0, 8000);
    let plan = StreamPlan {
        outer: OuterLeg {
            edge: EdgeIndex(0),
            alloc: AllocId(1),
            flow_address: None,
            rtcp_mux: true,
            receive: [keys(suite, 1)].into_iter().collect(),
            send: Some(keys(suite, 2)),
            ice: None,
        },
        inner: InnerLeg {
            port: InnerPortId(1),
            rtcp_mux: false,
            remote: Some(([10, 0, 0, 1], 4000).into()),
            remote_rtcp: None,
            protection: None,
        },
        class: MediaClass::Audio,
        kind: StreamKind::Rtp { clock_rates },
        direction: Direction::Both,
    };
    Session::new(plan, now).unwrap()
}

/// Packets with room behind, and their lengths.
fn packets(payload: usize, sender: Option<SrtpKeys>) -> Vec<(Vec<u8>, usize)> {
    let mut sender = sender.map(|keys| Sender::new(&keys).unwrap());
    let one = |sequence: u16| {
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.resize(12 + payload, 7);
        let len = packet.len();
        let header = RtpHeader::decode(&packet).unwrap();
        packet.resize(len + 64, 0);
        let len = match &mut sender {
            None => len,
            Some(sender) => sender.seal_rtp(&mut packet, len, &header).unwrap(),
        };
        (packet, len)
    };
    (0..PACKETS).map(one).collect()
}

#[divan::bench(args = PAYLOADS, consts = [0, 1, 2])]
fn srtp_to_rtp<const SUITE: usize>(bencher: Bencher<'_, '_>, payload: usize) {
    let suite = *SUITES.get(SUITE).expect("a suite");
    let now = epoch();
    bencher
        .counter(ItemsCount::new(PACKETS))
        .with_inputs(|| (session(suite, now), packets(payload, Some(keys(suite, 1)))))
        .bench_local_values(|(mut session, mut packets)| {
            for (buffer, len) in &mut packets {
                let verdict = session.handle_outer(ORIGIN, buffer, *len, now);
                assert!(matches!(verdict.packet, ToInner::Forward { .. }));
            }
            (session, packets)
        });
}

#[divan::bench(args = PAYLOADS, consts = [0, 1, 2])]
fn rtp_to_srtp<const SUITE: usize>(bencher: Bencher<'_, '_>, payload: usize) {
    let suite = *SUITES.get(SUITE).expect("a suite");
    let now = epoch();
    let phone = ([10, 0, 0, 1], 4000).into();
    bencher
        .counter(ItemsCount::new(PACKETS))
        .with_inputs(|| {
            let mut session = session(suite, now);
            let mut first = packets(payload, Some(keys(suite, 1)));
            if let Some((buffer, len)) = first.first_mut() {
                session.handle_outer(ORIGIN, buffer, *len, now);
            }
            (session, packets(payload, None))
        })
        .bench_local_values(|(mut session, mut packets)| {
            for (buffer, len) in &mut packets {
                let verdict = session.handle_inner(Component::Rtp, phone, buffer, *len, now);
                assert!(matches!(verdict, ToOuter::Forward { .. }));
            }
            (session, packets)
        });
}
