//! An anchor with ports for some calls, and two sides that send descriptions through it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::id::{AllocId, EdgeIndex};
use crate::media::anchor::{
    Anchor, AnchorSettings, Exchange, LegId, LegTerms, MediaPolicy, OfferMethod, Refusal, Side,
    Step, Verdict,
};
use crate::media::plan::{InnerPortId, PlanChange, StopReason, StreamPlan};
use crate::media::supply::{Family, InnerPort, OuterPort, Released, Wanted};
use crate::testing::epoch;

/// The base64 of a key of 30 octets, different for each number.
pub(super) fn key(number: u8) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([number; 30])
}

/// A description of one audio line.
pub(super) fn audio(address: &str, port: u16, profile: &str, rest: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} {profile} 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{rest}"
    )
}

/// What a client with SDES sends.
pub(super) fn client_audio(number: u8) -> String {
    let crypto = format!(
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n",
        key(number)
    );
    audio("192.0.2.7", 4000, "RTP/SAVP", &crypto)
}

/// What a desk phone sends.
pub(super) fn desk_audio(port: u16) -> String {
    audio("10.0.0.99", port, "RTP/AVP", "")
}

pub(super) struct Scene {
    pub(super) anchor: Anchor,
    pub(super) now: Instant,
    ports: u32,
    /// The last number of each leg, and that of its last INVITE.
    cseqs: BTreeMap<LegId, (u32, u32)>,
}

/// One leg of a [`Scene`].
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) leg: LegId,
    /// Who called.
    pub(super) caller: Side,
}

impl Scene {
    pub(super) fn new() -> Self {
        let settings = AnchorSettings {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            own: vec!["172.16.0.5".parse().unwrap()],
        };
        let mut next = 0_u8;
        let randomness = Box::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                next = next.wrapping_add(101);
                *byte = next;
            }
        });
        let mut scene = Self {
            anchor: Anchor::new(settings, randomness),
            now: epoch(),
            ports: 0,
            cseqs: BTreeMap::new(),
        };
        scene.anchor.supply().add_edge(EdgeIndex(0));
        scene.anchor.supply().add_family(Family::V4);
        scene.fill();
        scene
    }

    /// Makes every port that is wanted.
    pub(super) fn fill(&mut self) {
        let supply = self.anchor.supply();
        while let Some(wanted) = supply.poll_wanted() {
            self.ports += 1;
            let low = u16::try_from(self.ports * 2).unwrap();
            match wanted {
                Wanted::Outer(edge, class) => supply.offer_outer(
                    edge,
                    class,
                    OuterPort {
                        alloc: AllocId(self.ports),
                        addresses: SmallVec::from_slice(&[IpAddr::from([203, 0, 113, 10])]),
                        rtp: 36_000 + low,
                        rtcp: 36_001 + low,
                    },
                ),
                Wanted::Inner(_) => supply.offer_inner(InnerPort {
                    id: InnerPortId(self.ports),
                    rtp: format!("172.16.0.5:{}", 16_384 + low).parse().unwrap(),
                    rtcp: format!("172.16.0.5:{}", 16_385 + low).parse().unwrap(),
                }),
            }
        }
    }

    pub(super) fn call(&mut self, caller: Side, media: MediaPolicy) -> Call {
        let terms = LegTerms {
            edge: EdgeIndex(0),
            flow_address: "192.0.2.7".parse().unwrap(),
            inner_family: Family::V4,
            media,
        };
        let leg = self.anchor.open(terms).unwrap();
        Call { leg, caller }
    }

    /// Passes one message.
    pub(super) fn pass(&mut self, call: Call, message: Message<'_>) -> Verdict {
        let body = Bytes::from(message.body.to_owned());
        let exchange = Exchange {
            from: message.from,
            method: message.method,
            step: message.step,
            cseq: message.cseq,
            fork: message.fork.map(str::as_bytes),
            content_type: (!message.body.is_empty()).then_some(b"application/sdp".as_slice()),
            body: &body,
        };
        self.anchor.handle_body(call.leg, &exchange, self.now)
    }

    /// The first INVITE, and its description as it goes on.
    pub(super) fn invite(&mut self, call: Call, body: &str) -> Result<String, Refusal> {
        let message = Message {
            from: call.caller,
            method: OfferMethod::Invite,
            step: Step::Request,
            cseq: self.next_cseq(call, OfferMethod::Invite),
            fork: None,
            body,
        };
        text(self.pass(call, message))
    }

    /// A response to the last request of the other side.
    pub(super) fn respond(
        &mut self,
        call: Call,
        from: Side,
        method: OfferMethod,
        (code, is_reliable): (u16, bool),
        fork: &str,
        body: &str,
    ) -> Result<String, Refusal> {
        let message = Message {
            from,
            method,
            step: Step::Response { code, is_reliable },
            cseq: self.cseq(call, method),
            fork: Some(fork),
            body,
        };
        text(self.pass(call, message))
    }

    fn cseq(&self, call: Call, method: OfferMethod) -> u32 {
        let (last, invite) = self.cseqs.get(&call.leg).copied().unwrap_or_default();
        match method {
            OfferMethod::Ack | OfferMethod::Invite => invite,
            OfferMethod::Prack | OfferMethod::Update => last,
        }
    }

    /// The number of the next request.
    fn next_cseq(&mut self, call: Call, method: OfferMethod) -> u32 {
        let (last, invite) = self.cseqs.entry(call.leg).or_default();
        match method {
            OfferMethod::Ack => return *invite,
            OfferMethod::Invite => {
                *last += 1;
                *invite = *last;
            }
            OfferMethod::Prack | OfferMethod::Update => *last += 1,
        }
        *last
    }

    /// 200 OK of the called party to INVITE.
    pub(super) fn accept(&mut self, call: Call, fork: &str, body: &str) -> String {
        let from = call.caller.other();
        let response = (200, true);
        self.respond(call, from, OfferMethod::Invite, response, fork, body)
            .unwrap()
    }

    /// A request within the dialog.
    pub(super) fn request(
        &mut self,
        call: Call,
        from: Side,
        method: OfferMethod,
        body: &str,
    ) -> Result<String, Refusal> {
        let message = Message {
            from,
            method,
            step: Step::Request,
            cseq: self.next_cseq(call, method),
            fork: Some("b"),
            body,
        };
        text(self.pass(call, message))
    }

    pub(super) fn changes(&mut self) -> Vec<PlanChange> {
        std::iter::from_fn(|| self.anchor.poll_change()).collect()
    }

    /// The plan of the only change.
    pub(super) fn plan(&mut self) -> StreamPlan {
        let changes = self.changes();
        match changes.as_slice() {
            [PlanChange::Start(_, plan) | PlanChange::Change(_, plan)] => *plan.clone(),
            other => panic!("one plan was expected: {other:?}"),
        }
    }

    pub(super) fn released(&mut self) -> Vec<Released> {
        std::iter::from_fn(|| self.anchor.supply().poll_released()).collect()
    }

    pub(super) fn later(&mut self, by: Duration) {
        self.now += by;
    }

    /// An answered call of a client to a desk phone.
    pub(super) fn answered(&mut self) -> Call {
        let call = self.call(Side::Outer, MediaPolicy::Rtp);
        self.invite(call, &client_audio(1)).unwrap();
        self.accept(call, "b", &desk_audio(5000));
        self.changes();
        call
    }

    pub(super) fn hang_up(&mut self, call: Call) {
        self.anchor.close(call.leg, StopReason::Bye);
    }
}

/// One message of a [`Scene`].
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) from: Side,
    pub(super) method: OfferMethod,
    pub(super) step: Step,
    pub(super) cseq: u32,
    pub(super) fork: Option<&'a str>,
    pub(super) body: &'a str,
}

/// The body that goes on; empty if none does.
fn text(verdict: Verdict) -> Result<String, Refusal> {
    match verdict {
        Verdict::Pass | Verdict::Strip => Ok(String::new()),
        Verdict::Replace(body) => Ok(String::from_utf8_lossy(&body).into_owned()),
        Verdict::Refuse(refusal) => Err(refusal),
    }
}
