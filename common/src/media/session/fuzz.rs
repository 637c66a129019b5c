//! What the `media_session` fuzz target drives: a client, strangers, a phone and a change of plans, in any order.
//!
//! Its promises: what reaches the inside is what the client sent, once; a source is latched only for such a packet; what
//! goes to the client is what the phone sent, goes only after a latch, and the client can open it.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fuzz target reports by panicking"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Candidate, Component, Instant, LatchDecision, MediaClass, Origin, Receiver, RtpHeader, Sender,
    Session, Slot, ToInner, ToOuter,
};
use crate::id::{AllocId, EdgeIndex};
use crate::media::class::Generation;
use crate::media::plan::{
    ClockRates, Direction, InnerLeg, InnerPortId, OuterLeg, Protection, SrtpKeys, SrtpSuite,
    StreamKind, StreamPlan,
};
use crate::media::rtcp;

const SUITES: [SrtpSuite; 4] = [
    SrtpSuite::AeadAes256Gcm,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
];

fn keys(suite: u8, seed: u8) -> SrtpKeys {
    let suite = SUITES[usize::from(suite % 4)];
    let material = vec![seed; suite.material_bytes()];
    SrtpKeys::new(suite, &material, None).expect("of the suite's length")
}

fn plan(setup: u8) -> StreamPlan {
    let mut clock_rates = ClockRates::default();
    clock_rates.insert(0, 8000);
    let is_protected = setup & 4 != 0;
    StreamPlan {
        outer: OuterLeg {
            edge: EdgeIndex(0),
            alloc: AllocId(1),
            flow_address: None,
            rtcp_mux: setup & 8 != 0,
            receive: [keys(setup, 9), keys(setup, 1)].into_iter().collect(),
            send: Some(keys(setup, 2)),
            ice: None,
        },
        inner: InnerLeg {
            port: InnerPortId(1),
            rtcp_mux: setup & 16 != 0,
            remote: Some(([10, 0, 0, 1], 4000).into()),
            remote_rtcp: Some(([10, 0, 0, 1], 4001).into()),
            protection: is_protected.then(|| Protection {
                receive: [keys(setup + 1, 3)].into_iter().collect(),
                send: Some(keys(setup + 1, 4)),
            }),
        },
        class: MediaClass::Audio,
        kind: StreamKind::Rtp { clock_rates },
        direction: Direction::Both,
    }
}

struct World {
    session: Session,
    now: Instant,
    client: (Sender, Receiver),
    phone: Option<(Sender, Receiver)>,
    /// Packets that the client has sent and that have not reached the inside.
    sent: BTreeSet<Vec<u8>>,
    last: Vec<u8>,
    number: u16,
}

/// Drives the steps that `bytes` say, four octets each, and checks the promises.
///
/// # Panics
/// If one of them is broken.
pub fn steps(bytes: &[u8]) {
    let Some((setup, rest)) = bytes.split_first() else {
        return;
    };
    let setup = setup & 0x1f;
    let now = crate::testing::epoch();
    let plan = plan(setup);
    let ends = |send: &SrtpKeys, receive: &SrtpKeys| {
        let sender = Sender::new(send).expect("usable keys");
        let receiver = Receiver::new(std::slice::from_ref(receive)).expect("usable keys");
        (sender, receiver)
    };
    let protection = plan.inner.protection.clone();
    let mut world = World {
        client: ends(&keys(setup, 1), &keys(setup, 2)),
        phone: protection.map(|_| ends(&keys(setup + 1, 3), &keys(setup + 1, 4))),
        session: Session::new(plan, now).expect("usable keys"),
        now,
        sent: BTreeSet::new(),
        last: Vec::new(),
        number: 65_500,
    };
    for step in rest.chunks(4).take(200) {
        world.step(step, rest);
    }
    let summary = world.session.summary();
    assert!(summary.outer.loss() <= 1.0, "a share above one");
}

impl World {
    fn step(&mut self, step: &[u8], junk: &[u8]) {
        let at = |index: usize| step.get(index).copied().unwrap_or_default();
        let origin = Origin {
            component: [Component::Rtp, Component::Rtcp][usize::from(at(1) >> 7)],
            source: Candidate {
                slot: Slot(at(1) & 7),
                generation: Generation(at(2)),
            },
        };
        match at(0) % 9 {
            0 | 1 => {
                let packet = self.next_packet(at(3));
                let protected = protect(&mut self.client.0, &packet);
                self.sent.insert(packet);
                self.last.clone_from(&protected);
                self.outside_sends(origin, &protected);
            }
            // The last packet again, with one bit turned or none.
            2 => {
                let mut packet = self.last.clone();
                let len = packet.len().max(1);
                if let Some(octet) = packet.get_mut(usize::from(at(3)) % len) {
                    *octet ^= at(2) & 0x81;
                }
                self.outside_sends(origin, &packet);
            }
            3 => {
                let from = usize::from(at(2)).min(junk.len());
                self.outside_sends(origin, &junk[from..]);
            }
            4 | 5 => self.phone_sends(at(3)),
            6 => {
                let from = usize::from(at(2)).min(junk.len());
                self.stranger_sends(origin.component, &junk[from..]);
            }
            7 => self.now += Duration::from_millis(u64::from(at(2)) * 40),
            _ => self.replan(at(2)),
        }
    }

    /// An RTP packet, or now and then a report.
    fn next_packet(&mut self, kind: u8) -> Vec<u8> {
        self.number = self.number.wrapping_add(1 + u16::from(kind % 7));
        let [a, b] = self.number.to_be_bytes();
        if kind.is_multiple_of(5) {
            return vec![0x80, 200, 0, 6, 0, 0, 0, kind % 3, a, b, 0, 0, 0, 0, 0, 0];
        }
        let mut packet = vec![0x80, 0, a, b, 0, 0, a, b, 0, 0, 0, kind % 3];
        packet.extend(std::iter::repeat_n(kind, usize::from(kind)));
        packet
    }

    fn outside_sends(&mut self, origin: Origin, packet: &[u8]) {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 64, 0);
        let verdict = self
            .session
            .handle_outer(origin, &mut buffer, packet.len(), self.now);
        if let ToInner::Forward { len, to, .. } = verdict.packet {
            assert_eq!(to.ip(), std::net::IpAddr::from([10, 0, 0, 1]));
            let plain = match &mut self.phone {
                None => buffer[..len].to_vec(),
                Some((_, receiver)) => open(receiver, &buffer[..len]),
            };
            assert!(self.sent.remove(&plain), "not of the client, or twice");
        }
        if let Some(LatchDecision::Latch(_)) = verdict.source {
            let is_of_client = packet == self.last;
            assert!(
                is_of_client,
                "latched for a packet that the client did not send"
            );
        }
    }

    fn phone_sends(&mut self, kind: u8) {
        let packet = self.next_packet(kind);
        let protected = match &mut self.phone {
            None => packet.clone(),
            Some((sender, _)) => protect(sender, &packet),
        };
        if let Some(outside) = self.inside_sends(component_of(&packet), &protected) {
            self.client_hears(&packet, &outside);
        }
    }

    /// Somebody inside who has the phone's address, but not its keys if it has any.
    fn stranger_sends(&mut self, component: Component, packet: &[u8]) {
        if let Some(outside) = self.inside_sends(component, packet) {
            assert!(self.phone.is_none(), "nobody but the phone has its keys");
            self.client_hears(packet, &outside);
        }
    }

    /// Every packet, as the numbers of those that are missing say how often they have begun again.
    fn client_hears(&mut self, packet: &[u8], outside: &[u8]) {
        let opened = open(&mut self.client.1, outside);
        assert_eq!(opened, packet, "the client hears something else");
    }

    fn inside_sends(&mut self, component: Component, packet: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 64, 0);
        let source = ([10, 0, 0, 1], 4000).into();
        let len = packet.len();
        let verdict = self
            .session
            .handle_inner(component, source, &mut buffer, len, self.now);
        let ToOuter::Forward { component, len } = verdict else {
            return None;
        };
        assert!(self.session.is_latched(component), "nobody is there");
        Some(buffer[..len].to_vec())
    }

    fn replan(&mut self, how: u8) {
        let mut plan = self.session.plan().clone();
        plan.direction = Direction::of(how & 1 == 0, how & 2 == 0);
        if how & 4 != 0 {
            plan.inner.remote = plan.inner.remote_rtcp;
        }
        self.session.change(plan).expect("usable keys");
    }
}

fn component_of(packet: &[u8]) -> Component {
    match packet.get(1) {
        Some(192..=223) => Component::Rtcp,
        _ => Component::Rtp,
    }
}

fn protect(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + 64, 0);
    let len = match component_of(packet) {
        Component::Rtcp => sender.seal_rtcp(&mut buffer, packet.len()),
        Component::Rtp => {
            let header = RtpHeader::decode(packet).expect("a packet of our own");
            sender.seal_rtp(&mut buffer, packet.len(), &header)
        }
    };
    buffer.truncate(len.expect("a packet that is new"));
    buffer
}

fn open(receiver: &mut Receiver, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let len = match component_of(&packet) {
        Component::Rtcp => {
            rtcp::sender(&packet).expect("a report");
            receiver.open_rtcp(&mut packet)
        }
        Component::Rtp => {
            let header = RtpHeader::decode(&packet).expect("an RTP packet");
            receiver.open_rtp(&mut packet, &header)
        }
    };
    match len {
        Ok(len) => packet.truncate(len),
        Err(error) => panic!("what was protected can't be opened: {error}"),
    }
    packet
}
