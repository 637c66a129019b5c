//! Any messages in any order: what must hold for ports and plans whatever peers send.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Anchor, AnchorSettings, Exchange, LegId, LegTerms, MediaPolicy, OfferMethod, Side, Step,
    Verdict,
};
use crate::id::{AllocId, EdgeIndex};
use crate::limits;
use crate::media::plan::{InnerPortId, PlanChange, StopReason, StreamId, StreamKind, StreamPlan};
use crate::media::supply::{Family, InnerPort, OuterPort, Released, Wanted};
use crate::sdp::description::Description;
use crate::testing::epoch;

const BODIES: [&[u8]; 12] = [
    b"",
    include_bytes!("../../../../tests/vectors/sdp/baresip-client.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/five-lines.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/desk-phone.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/call-manager.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/browser-sdes.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/browser-dtls.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/fax.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/text.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/latin1.sdp"),
    include_bytes!("../../../../tests/vectors/sdp/secure-desk-phone.sdp"),
    b"v=0\r\nnonsense",
];
const FORKS: [Option<&[u8]>; 6] = [
    None,
    Some(b"a"),
    Some(b"b"),
    Some(b"c"),
    Some(b"d"),
    Some(b"e"),
];
const LEGS_MAX: usize = 4;

/// Plays steps of four bytes each: which call, who sends what, which description.
///
/// # Panics
/// If a port is lost or given back twice, if changes of a stream are out of order, if a plan has a stream without
/// protection towards the client or a destination where media may not go, or if m-lines change number or order.
pub fn steps(bytes: &[u8]) {
    let mut game = Game::new();
    for step in bytes.chunks_exact(4).take(256) {
        let &[who, what, number, body] = step else {
            return;
        };
        game.step(who, what, number, body);
        game.drain();
    }
    game.end();
}

struct Game {
    anchor: Anchor,
    legs: Vec<LegId>,
    ports: u32,
    now: std::time::Instant,
    running: BTreeMap<StreamId, StreamPlan>,
    stopped: BTreeSet<StreamId>,
    open: BTreeSet<Released>,
}

impl Game {
    fn new() -> Self {
        let networks = ["10.0.0.0/8", "192.0.2.0/24"];
        let settings = AnchorSettings {
            networks: networks.iter().filter_map(|net| net.parse().ok()).collect(),
            own: Vec::new(),
        };
        let mut next = 0_u8;
        let randomness = Box::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                next = next.wrapping_add(101);
                *byte = next;
            }
        });
        let mut anchor = Anchor::new(settings, randomness);
        anchor.supply().add_edge(EdgeIndex(0));
        anchor.supply().add_family(Family::V4);
        let mut game = Self {
            anchor,
            legs: Vec::new(),
            ports: 0,
            now: epoch(),
            running: BTreeMap::new(),
            stopped: BTreeSet::new(),
            open: BTreeSet::new(),
        };
        game.fill();
        game
    }

    fn step(&mut self, who: u8, what: u8, number: u8, body: u8) {
        match what >> 5 {
            0 => self.begin(who),
            1 => self.close(who),
            2 if number.is_multiple_of(2) => self.fill(),
            2 => self.now += limits::OFFER_AGE_MAX + Duration::from_secs(1),
            _ => self.message(who, what, number, body),
        }
    }

    fn begin(&mut self, who: u8) {
        let terms = LegTerms {
            edge: EdgeIndex(0),
            flow_address: IpAddr::from([192, 0, 2, who]),
            inner_family: Family::V4,
            media: match who % 3 {
                0 => MediaPolicy::Rtp,
                1 => MediaPolicy::Srtp,
                _ => MediaPolicy::AsOffered,
            },
        };
        if self.legs.len() < LEGS_MAX {
            self.legs.extend(self.anchor.open(terms).ok());
        }
    }

    fn close(&mut self, who: u8) {
        if let Some(at) = usize::from(who).checked_rem(self.legs.len()) {
            let leg = self.legs.remove(at);
            self.anchor.close(leg, StopReason::Bye);
        }
    }

    fn message(&mut self, who: u8, what: u8, number: u8, body: u8) {
        let Some(leg) = usize::from(who >> 1)
            .checked_rem(self.legs.len())
            .and_then(|at| self.legs.get(at))
        else {
            return;
        };
        let method = match what & 3 {
            0 => OfferMethod::Ack,
            1 => OfferMethod::Prack,
            2 => OfferMethod::Update,
            _ => OfferMethod::Invite,
        };
        let step = match (what >> 2) & 7 {
            0..=3 => Step::Request,
            4 => response(183, false),
            5 => response(183, true),
            6 => response(488, true),
            _ => response(200, true),
        };
        let text = BODIES.get(usize::from(body) % BODIES.len());
        let body = Bytes::from_static(text.copied().unwrap_or_default());
        let exchange = Exchange {
            from: if who.is_multiple_of(2) {
                Side::Outer
            } else {
                Side::Inner
            },
            method,
            step,
            cseq: u32::from(number / 16 % 4),
            fork: FORKS.get(usize::from(number % 16)).copied().flatten(),
            content_type: Some(b"application/sdp"),
            body: &body,
        };
        let verdict = self.anchor.handle_body(*leg, &exchange, self.now);
        check_verdict(&verdict, &body);
        let again = self.anchor.handle_body(*leg, &exchange, self.now);
        if matches!(verdict, Verdict::Replace(_)) && exchange.fork.is_some() {
            assert_eq!(again, verdict, "a retransmission got another verdict");
        }
    }

    /// Makes every port that is wanted.
    fn fill(&mut self) {
        let supply = self.anchor.supply();
        while let Some(wanted) = supply.poll_wanted() {
            self.ports += 1;
            let port = u16::try_from(self.ports % 10_000 * 2).unwrap_or(0) + 16_384;
            match wanted {
                Wanted::Outer(edge, class) => {
                    let alloc = AllocId(self.ports);
                    self.open.insert(Released::Outer(edge, alloc));
                    let port = OuterPort {
                        alloc,
                        addresses: SmallVec::from_slice(&[IpAddr::from([203, 0, 113, 10])]),
                        rtp: port,
                        rtcp: port + 1,
                    };
                    supply.offer_outer(edge, class, port);
                }
                Wanted::Inner(_) => {
                    let id = InnerPortId(self.ports);
                    self.open.insert(Released::Inner(id));
                    supply.offer_inner(InnerPort {
                        id,
                        rtp: ([10, 255, 0, 5], port).into(),
                        rtcp: ([10, 255, 0, 5], port + 1).into(),
                    });
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(change) = self.anchor.poll_change() {
            match change {
                PlanChange::Start(id, plan) => {
                    assert!(!self.stopped.contains(&id), "{id} starts after its end");
                    check_plan(&plan);
                    assert!(
                        self.running.insert(id, *plan).is_none(),
                        "{id} starts twice"
                    );
                }
                PlanChange::Change(id, plan) => {
                    check_plan(&plan);
                    let before = self.running.insert(id, *plan.clone());
                    let is_kept = before.as_ref().is_some_and(|before| {
                        before.outer.alloc == plan.outer.alloc
                            && before.inner.port == plan.inner.port
                            && *before != *plan
                    });
                    assert!(is_kept, "{id}: {before:?} -> {plan:?}");
                }
                PlanChange::Stop(id, _) => {
                    assert!(self.running.remove(&id).is_some(), "{id} stops unstarted");
                    self.stopped.insert(id);
                }
            }
        }
        while let Some(released) = self.anchor.supply().poll_released() {
            assert!(self.open.remove(&released), "{released:?} came back twice");
            let in_use = self.running.values().any(|plan| match released {
                Released::Outer(_, alloc) => plan.outer.alloc == alloc,
                Released::Inner(port) => plan.inner.port == port,
            });
            assert!(!in_use, "{released:?} came back in use");
        }
        let (outer, inner) = self.anchor.supply().taken();
        assert_eq!(outer, inner);
        let ports: BTreeSet<InnerPortId> =
            self.running.values().map(|plan| plan.inner.port).collect();
        assert_eq!(ports.len(), self.running.len(), "two streams on one port");
        assert!(self.running.len() <= outer);
        assert!(outer <= LEGS_MAX * limits::SDP_MEDIA_MAX * limits::ANCHORED_FORKS_MAX);
    }

    fn end(mut self) {
        for leg in std::mem::take(&mut self.legs) {
            self.anchor.close(leg, StopReason::Bye);
        }
        self.drain();
        assert!(self.running.is_empty());
        assert_eq!(self.anchor.supply().taken(), (0, 0));
        self.anchor.supply().remove_edge(EdgeIndex(0));
        self.drain();
        let is_inner = |port: &&Released| matches!(port, Released::Inner(_));
        let spare = self.anchor.supply().spare_inner(Family::V4);
        assert_eq!(self.open.len(), spare, "public ports are lost");
        assert_eq!(self.open.iter().filter(is_inner).count(), spare);
    }
}

const fn response(code: u16, is_reliable: bool) -> Step {
    Step::Response { code, is_reliable }
}

fn check_verdict(verdict: &Verdict, body: &Bytes) {
    match verdict {
        Verdict::Replace(after) => {
            let before = Description::parse(body).map(|text| kinds(&text));
            let after = Description::parse(after).map(|text| kinds(&text));
            assert!(before.is_ok());
            assert_eq!(before, after);
        }
        Verdict::Refuse(refusal) => assert!(refusal.status() >= 400),
        Verdict::Pass | Verdict::Strip => {}
    }
}

fn kinds(description: &Description<'_>) -> Vec<String> {
    let media = description.media();
    media.map(|media| media.fields().kind.to_owned()).collect()
}

fn check_plan(plan: &StreamPlan) {
    let is_rtp = matches!(plan.kind, StreamKind::Rtp { .. });
    assert_eq!(is_rtp, !plan.outer.receive.is_empty(), "{plan:?}");
    assert_eq!(is_rtp, plan.outer.send.is_some(), "{plan:?}");
    if let Some(protection) = &plan.inner.protection {
        assert!(is_rtp && !protection.receive.is_empty() && protection.send.is_some());
    }
    for remote in [plan.inner.remote, plan.inner.remote_rtcp]
        .into_iter()
        .flatten()
    {
        let is_allowed = match remote.ip() {
            IpAddr::V4(address) => matches!(address.octets(), [10, ..] | [192, 0, 2, _]),
            IpAddr::V6(_) => false,
        };
        assert!(is_allowed, "{remote}");
    }
}
