//! What the description of an INVITE costs: finding its lines, rewriting it, and a whole leg of offer, answer and end.
#![expect(clippy::unwrap_used, reason = "a benchmark of known values")]

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use common::id::{AllocId, EdgeIndex};
use common::media::anchor::{
    Anchor, AnchorSettings, Exchange, LegTerms, MediaPolicy, OfferMethod, Side, Step,
};
use common::media::plan::{InnerPortId, StopReason};
use common::media::supply::{Family, InnerPort, OuterPort, Wanted};
use common::sdp::crypto::{SrtpKeys, SrtpSuite};
use common::sdp::description::Description;
use common::sdp::profile::{Protected, RtpProfile};
use common::sdp::rewrite::{MediaEdit, Place, RtpEdit, SessionEdit, rewrite};
use common::testing::epoch;
use divan::{Bencher, black_box};
use smallvec::smallvec;

fn main() {
    divan::main();
}

const PHONE: &[u8] = include_bytes!("../../tests/vectors/sdp/baresip-client.sdp");
const FIVE: &[u8] = include_bytes!("../../tests/vectors/sdp/five-lines.sdp");
const ANSWER: &[u8] = include_bytes!("../../tests/vectors/sdp/desk-phone.sdp");
const KINDS: [&str; 2] = ["phone", "five-lines"];

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));

fn text(kind: &str) -> &'static [u8] {
    if kind == "phone" { PHONE } else { FIVE }
}

#[divan::bench(args = KINDS)]
fn parse(bencher: Bencher<'_, '_>, kind: &str) {
    let text = text(kind);
    bencher.bench(|| Description::parse(black_box(text)));
}

#[divan::bench(args = KINDS)]
fn parse_with_sdp_types(bencher: Bencher<'_, '_>, kind: &str) {
    let text = text(kind);
    bencher.bench(|| sdp_types::Session::parse(black_box(text)));
}

#[divan::bench(args = KINDS)]
fn parse_and_rewrite(bencher: Bencher<'_, '_>, kind: &str) {
    let text = text(kind);
    let keys = SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &[7; 30], None).unwrap();
    let place = Place {
        address: ADDRESS,
        rtp: 16_384,
        rtcp: 16_385,
    };
    let rtp = RtpEdit {
        profile: RtpProfile {
            protected: Protected::Srtp,
            has_feedback: false,
        },
        crypto: vec![(1, keys)],
        rtcp_mux: false,
        ice: None,
    };
    let edits = vec![MediaEdit::Rtp(place, rtp); 5];
    let session = SessionEdit {
        address: ADDRESS,
        is_ice_lite: false,
    };
    bencher.bench(|| {
        let description = Description::parse(black_box(text)).unwrap();
        rewrite(&description, &session, &edits)
    });
}

/// INVITE, 200 and BYE of one leg, without making the ports.
#[divan::bench(args = KINDS)]
fn call(bencher: Bencher<'_, '_>, kind: &str) {
    let offer = Bytes::from_static(text(kind));
    let answer = Bytes::from_static(ANSWER);
    let now = epoch();
    let mut anchor = anchor();
    bencher.bench_local(|| {
        let leg = anchor
            .open(LegTerms {
                edge: EdgeIndex(0),
                flow_address: Ipv4Addr::new(192, 0, 2, 7).into(),
                inner_family: Family::V4,
                media: MediaPolicy::Rtp,
            })
            .unwrap();
        let invite = exchange(Side::Outer, Step::Request, None, &offer);
        let ok = Step::Response {
            code: 200,
            is_reliable: true,
        };
        let ok = exchange(Side::Inner, ok, Some(b"tag"), &answer);
        drop(anchor.handle_body(leg, &invite, now));
        drop(anchor.handle_body(leg, &ok, now));
        anchor.close(leg, StopReason::Bye);
        while anchor.poll_change().is_some() {}
        while anchor.supply().poll_released().is_some() {}
        fill(&mut anchor);
    });
}

const fn exchange<'a>(
    from: Side,
    step: Step,
    fork: Option<&'a [u8]>,
    body: &'a Bytes,
) -> Exchange<'a> {
    Exchange {
        from,
        method: OfferMethod::Invite,
        step,
        cseq: 1,
        fork,
        content_type: Some(b"application/sdp"),
        body,
    }
}

fn anchor() -> Anchor {
    let settings = AnchorSettings {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        own: Vec::new(),
    };
    let mut anchor = Anchor::new(settings, Box::new(|bytes| bytes.fill(9)));
    anchor.supply().add_edge(EdgeIndex(0));
    anchor.supply().add_family(Family::V4);
    fill(&mut anchor);
    anchor
}

fn fill(anchor: &mut Anchor) {
    while let Some(wanted) = anchor.supply().poll_wanted() {
        match wanted {
            Wanted::Outer(edge, class) => anchor.supply().offer_outer(
                edge,
                class,
                OuterPort {
                    alloc: AllocId(1),
                    addresses: smallvec![Ipv4Addr::new(203, 0, 113, 10).into()],
                    rtp: 36_000,
                    rtcp: 36_001,
                },
            ),
            Wanted::Inner(_) => anchor.supply().offer_inner(InnerPort {
                id: InnerPortId(1),
                rtp: (ADDRESS, 16_384).into(),
                rtcp: (ADDRESS, 16_385).into(),
            }),
        }
    }
}
