//! Messages within what `rsip` reads rightly are read here the same way; and what reading and forwarding allocate.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; a failure ends the test that called them"
)]

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use common::sip::edit::Edit;
use common::sip::message::{Message, Start};
use common::sip::name::Name;
use proptest::prelude::*;
use rsip::headers::{ToTypedHeader as _, UntypedHeader as _};
use rsip::message::{HasHeaders as _, HeadersExt as _};

prop_compose! {
    fn word()(text in "[a-zA-Z0-9]{1,12}") -> String { text }
}

prop_compose! {
    fn host()(name in "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,2}", port in prop::option::of(1024..65535_u16)) -> String {
        port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))
    }
}

prop_compose! {
    fn uri()(user in prop::option::of(word()), host in host(), transport in prop::sample::select(vec!["", ";transport=tcp"])) -> String {
        user.map_or_else(|| format!("sip:{host}{transport}"), |user| format!("sip:{user}@{host}{transport}"))
    }
}

/// A message of the plain kind: no folding, no compact names, no quotes, no lists.
#[derive(Clone, Debug)]
struct Plain {
    first_line: String,
    vias: Vec<String>,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    method: &'static str,
    others: Vec<(String, String)>,
    body: String,
}

impl Plain {
    fn text(&self) -> String {
        let mut text = format!("{}\r\n", self.first_line);
        for via in &self.vias {
            text.push_str(&format!("Via: {via}\r\n"));
        }
        text.push_str(&format!(
            "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\nMax-Forwards: 70\r\n",
            self.from, self.to, self.call_id, self.cseq, self.method
        ));
        for (name, value) in &self.others {
            text.push_str(&format!("X-{name}: {value}\r\n"));
        }
        text.push_str(&format!(
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        ));
        text
    }
}

prop_compose! {
    fn plain()(
        method in prop::sample::select(vec!["INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "NOTIFY", "REFER"]),
        uri in uri(),
        status in prop::option::of((prop::sample::select(vec![100_u16, 180, 200, 302, 404, 486, 503]), "[A-Za-z ]{1,20}")),
        vias in prop::collection::vec((prop::sample::select(vec!["UDP", "TCP", "TLS"]), host(), word()), 1..4),
        from in (uri(), word()),
        to in (uri(), prop::option::of(word())),
        call_id in "[a-z0-9]{1,20}(@[a-z0-9]{1,9})?",
        cseq in 0..2_147_483_647_u32,
        others in prop::collection::vec((word(), "[!-~]([ -~]{0,30}[!-~])?"), 0..6),
        body in "[ -~\r\n]{0,60}",
    ) -> Plain {
        let first_line = match status {
            None => format!("{method} {uri} SIP/2.0"),
            Some((code, reason)) => format!("SIP/2.0 {code} {reason}"),
        };
        let vias = vias.into_iter().map(|(transport, host, branch)| format!("SIP/2.0/{transport} {host};branch=z9hG4bK{branch}")).collect();
        let (to, tag) = to;
        let to = tag.map_or_else(|| format!("<{to}>"), |tag| format!("<{to}>;tag={tag}"));
        Plain { first_line, vias, from: format!("<{}>;tag={}", from.0, from.1), to, call_id, cseq, method, others, body }
    }
}

proptest! {
    #[test]
    fn plain_messages_are_read_as_another_library_reads_them(plain in plain()) {
        let text = plain.text();
        let ours = Message::parse(Bytes::from(text.clone())).unwrap();
        let theirs = rsip::SipMessage::try_from(text.as_bytes()).unwrap();

        match (ours.start(), &theirs) {
            (Start::Request { uri, .. }, rsip::SipMessage::Request(request)) => {
                let method = request.method.to_string();
                prop_assert_eq!(ours.method_token(), method.as_bytes());
                let uri = String::from_utf8(uri.to_vec()).unwrap();
                prop_assert_eq!(uri.to_ascii_lowercase(), request.uri.to_string().to_ascii_lowercase());
                let (mine, other) = (ours.uri().unwrap(), &request.uri);
                let user = other.auth.as_ref().map(|auth| auth.user.clone().into_bytes());
                prop_assert_eq!(mine.user().map(<[u8]>::to_vec), user);
                prop_assert_eq!(mine.port(), other.host_with_port.port.as_ref().map(|port| *port.value()));
            }
            (Start::Status { code, .. }, rsip::SipMessage::Response(response)) => {
                prop_assert_eq!(code, response.status_code.code());
            }
            _ => prop_assert!(false, "request or response?"),
        }
        prop_assert_eq!(ours.headers().count(), theirs.headers().iter().count());
        prop_assert_eq!(ours.body(), &theirs.body()[..]);
        prop_assert_eq!(ours.call_id(), theirs.call_id_header().unwrap().value().as_bytes());
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        prop_assert_eq!(ours.cseq().number, cseq.seq);
        let from = theirs.from_header().unwrap().typed().unwrap();
        prop_assert_eq!(ours.from_tag().unwrap(), from.tag().unwrap().value().as_bytes());
        let to = theirs.to_header().unwrap().typed().unwrap();
        prop_assert_eq!(ours.to_tag(), to.tag().map(|tag| tag.value().as_bytes()));
        let via = theirs.via_header().unwrap().typed().unwrap();
        let top = ours.top_via().unwrap();
        prop_assert_eq!(top.branch().unwrap(), via.branch().unwrap().value().as_bytes());
        prop_assert_eq!(top.port(), via.uri.host_with_port.port.as_ref().map(|port| *port.value()));
    }
}

fn golden(name: &str) -> Bytes {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/sip/golden");
    std::fs::read(folder.join(name)).unwrap().into()
}

#[test]
fn a_message_is_parsed_with_one_allocation_and_forwarded_with_none() {
    for name in ["001-register.sip", "015-invite.sip", "020-200-invite.sip"] {
        let bytes = golden(name);
        let mut out = Vec::with_capacity(8192);
        // The first clone of bytes from a vector allocates their counter.
        let _shared = bytes.clone();

        let counted = measure(|| {
            black_box(Message::parse(black_box(bytes.clone()))).unwrap();
        });
        assert_eq!(counted.count_total, 1, "{name}");

        let message = Message::parse(bytes).unwrap();
        let counted = measure(|| {
            let mut edit = Edit::new(black_box(&message));
            edit.push_via("SIP/2.0/TLS edge.example.com;branch=z9hG4bK0123456789abcdef")
                .stamp_via(([192, 0, 2, 1], 4711).into())
                .insert_before(
                    Name::RecordRoute,
                    "<sip:0123456789012345678901234567890123@edge.example.com;lr>",
                )
                .drop_first(Name::Route)
                .set_max_forwards(69);
            edit.finish(&mut out);
        });
        assert_eq!(counted.count_total, 0, "{name}");
    }
}
