//! What a SIP message costs: framing, parsing, forwarding, answering.
#![expect(clippy::unwrap_used, reason = "a benchmark of known values")]

use bytes::Bytes;
use common::sip::edit::Edit;
use common::sip::framing::Framer;
use common::sip::message::Message;
use common::sip::name::Name;
use common::sip::response;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const REGISTER: &[u8] = include_bytes!("../../tests/vectors/sip/golden/001-register.sip");
const INVITE: &[u8] = include_bytes!("../../tests/vectors/sip/golden/015-invite.sip");
const OK: &[u8] = include_bytes!("../../tests/vectors/sip/golden/020-200-invite.sip");
const MESSAGES: [&str; 3] = ["register", "invite", "200"];

fn message(name: &str) -> Bytes {
    Bytes::from_static(match name {
        "register" => REGISTER,
        "invite" => INVITE,
        _ => OK,
    })
}

#[divan::bench(args = MESSAGES)]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = message(name);
    bencher.bench(|| Message::parse(black_box(bytes.clone())));
}

#[divan::bench(args = MESSAGES)]
fn parse_with_rsip(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = message(name);
    bencher.bench(|| rsip::SipMessage::try_from(black_box(&bytes[..])));
}

#[divan::bench(args = MESSAGES)]
fn frame(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = message(name);
    let mut framer = Framer::new();
    bencher.bench_local(|| {
        framer.push(black_box(&bytes));
        framer.next()
    });
}

/// Parse and rewrite, as a proxy does.
#[divan::bench(args = MESSAGES)]
fn parse_and_forward(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = message(name);
    let mut out = Vec::with_capacity(8192);
    bencher.bench_local(|| {
        let message = Message::parse(black_box(bytes.clone())).unwrap();
        let mut edit = Edit::new(&message);
        edit.push_via("SIP/2.0/TLS edge.example.com;branch=z9hG4bK0123456789abcdef")
            .stamp_via(([192, 0, 2, 1], 4711).into())
            .insert_before(
                Name::RecordRoute,
                "<sip:0123456789012345678901234567890123@edge.example.com;lr>",
            )
            .drop_first(Name::Route)
            .set_max_forwards(69);
        out.clear();
        edit.finish(&mut out);
        out.len()
    });
}

#[divan::bench]
fn answer(bencher: Bencher<'_, '_>) {
    let message = Message::parse(message("invite")).unwrap();
    bencher.bench(|| response::build(black_box(&message), 100, "", None, &[]));
}
