//! What becomes of the messages of RFC 4475 and RFC 5118, and of a whole call between real peers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a failure ends the test that called them"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::sip::edit::Edit;
use common::sip::framing::{self, Framer, Item};
use common::sip::message::{Fault, Message, Method, ParseError};
use common::sip::name::Name;
use common::sip::response;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors/sip")
        .join(name)
}

/// Every message of a folder by its name, in order.
fn messages(of: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder(of))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    // In the archive of the RFC this one lacks its last line end.
    for (_, bytes) in found.iter_mut().filter(|(name, _)| name == "baddn") {
        bytes.extend_from_slice(b"\r\n");
    }
    found.sort();
    found
}

fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
    match framing::datagram(bytes)? {
        Item::Message(bytes) => Message::parse(bytes),
        Item::Ping | Item::Stun(_) => panic!("not a message"),
    }
}

const VIA: &str = "SIP/2.0/TLS edge.example.com;branch=z9hG4bKfresh";

/// A forwarded message, and the same made by plain text work on its lines.
fn forwarded(message: &Message) -> (Bytes, Vec<u8>) {
    let mut edit = Edit::new(message);
    edit.push_via(VIA);
    edit.insert_top(Name::RecordRoute, "<sip:token@edge.example.com;lr>");
    edit.append("X-Own", "yes");

    let text = message.as_bytes();
    let head_end = position(text, b"\r\n\r\n") + 2;
    let mut naive = Vec::new();
    let mut is_first_via = true;
    for (number, line) in text[..head_end]
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
    {
        let name = line.split(|byte| *byte == b':').next().unwrap();
        let is_via = [&b"via"[..], b"v"]
            .iter()
            .any(|via| name.trim_ascii().eq_ignore_ascii_case(via));
        if number == 1 {
            naive.extend_from_slice(b"Record-Route: <sip:token@edge.example.com;lr>\r\n");
        }
        if is_via && is_first_via {
            is_first_via = false;
            if number == 1 {
                naive.truncate(naive.len() - 47);
            }
            naive.extend_from_slice(format!("Via: {VIA}\r\n").as_bytes());
            if number == 1 {
                naive.extend_from_slice(b"Record-Route: <sip:token@edge.example.com;lr>\r\n");
            }
        }
        naive.extend_from_slice(line);
    }
    naive.extend_from_slice(b"X-Own: yes\r\n");
    naive.extend_from_slice(&text[head_end..]);
    (edit.into_bytes(), naive)
}

fn position(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len())
        .position(|part| part == what)
        .unwrap()
}

/// Forwards there and back.
fn check_forwarding(name: &str, message: &Message) {
    let (sent, naive) = forwarded(message);
    assert_eq!(
        sent.escape_ascii().to_string(),
        naive.escape_ascii().to_string(),
        "{name}"
    );
    let read = Message::parse(sent).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read.top_via().unwrap().as_bytes(), VIA.as_bytes(), "{name}");

    let mut back = Edit::new(&read);
    back.pop_via().remove("x-own").drop_first(Name::RecordRoute);
    assert_eq!(back.into_bytes(), message.as_bytes(), "{name}");
}

/// What a message of RFC 4475 is.
#[derive(Debug, PartialEq)]
enum Fate {
    Forwarded,
    Refused(u16),
}
use Fate::{Forwarded, Refused};

/// Sections 3.1.1, 3.1.2, 3.2, 3.3 and 3.4; what only a user agent or registrar could refuse is forwarded. A bad `Date` too: a
/// proxy has no use for it.
const TORTURE: [(&str, Fate); 50] = [
    ("badaspec", Refused(400)),
    ("badbranch", Forwarded),
    ("baddate", Forwarded),
    ("baddn", Refused(400)),
    ("badinv01", Refused(400)),
    ("badvers", Refused(505)),
    ("bcast", Forwarded),
    ("bext01", Forwarded),
    ("bigcode", Refused(400)),
    ("clerr", Refused(400)),
    ("cparam01", Forwarded),
    ("cparam02", Forwarded),
    ("dblreq", Forwarded),
    ("esc01", Forwarded),
    ("esc02", Forwarded),
    ("escnull", Forwarded),
    ("escruri", Refused(400)),
    ("insuf", Refused(400)),
    ("intmeth", Forwarded),
    ("inv2543", Forwarded),
    ("invut", Forwarded),
    ("longreq", Forwarded),
    ("ltgtruri", Refused(400)),
    ("lwsdisp", Forwarded),
    ("lwsruri", Refused(400)),
    ("lwsstart", Refused(400)),
    ("mcl01", Refused(400)),
    ("mismatch01", Refused(400)),
    ("mismatch02", Refused(501)),
    ("mpart01", Forwarded),
    ("multi01", Refused(400)),
    ("ncl", Refused(400)),
    ("noreason", Forwarded),
    ("novelsc", Forwarded),
    ("quotbal", Refused(400)),
    ("regaut01", Forwarded),
    ("regbadct", Refused(400)),
    ("regescrt", Forwarded),
    ("scalar02", Refused(400)),
    ("scalarlg", Refused(400)),
    ("sdp01", Forwarded),
    ("semiuri", Forwarded),
    ("test", Refused(400)),
    ("transports", Forwarded),
    ("trws", Refused(400)),
    ("unkscm", Forwarded),
    ("unksm2", Forwarded),
    ("unreason", Forwarded),
    ("wsinv", Forwarded),
    ("zeromf", Forwarded),
];

#[test]
fn torture_messages_are_forwarded_byte_for_byte_or_refused_with_the_right_status() {
    let found = messages("torture");
    assert_eq!(found.len(), TORTURE.len());
    for ((name, bytes), (expected_name, expected)) in found.iter().zip(&TORTURE) {
        assert_eq!(name, expected_name);
        match parse(bytes) {
            Ok(message) => {
                assert_eq!(*expected, Forwarded, "{name} was accepted");
                check_forwarding(name, &message);
            }
            Err(error) => {
                assert_eq!(Refused(error.status()), *expected, "{name}: {error}");
            }
        }
    }
}

#[test]
fn refused_torture_requests_are_answered_so_that_the_sender_can_read_it() {
    for (name, bytes) in messages("torture") {
        let Err(error) = parse(&bytes) else { continue };
        let answer = response::respond_to_malformed(&error, b"edge");
        // No Call-ID; no status code; no Via; responses.
        let is_silent = ["bigcode", "insuf", "scalarlg", "test"].contains(&name.as_str());
        assert_eq!(answer.is_none(), is_silent, "{name}: {error}");
        let Some(answer) = answer else { continue };
        let status = format!("SIP/2.0 {} ", error.status());
        assert!(answer.starts_with(status.as_bytes()), "{name}");
        let mut lines = answer.split(|byte| *byte == b'\n');
        assert!(
            lines.all(|line| line.is_empty() || line.ends_with(b"\r")),
            "{name}"
        );
    }
}

#[test]
fn the_traps_of_the_torture_messages_are_read_right() {
    let read = |name: &str| parse(&fs::read(folder("torture").join(name)).unwrap()).unwrap();

    let wsinv = read("wsinv.dat");
    assert_eq!(wsinv.max_forwards(), Some(68));
    assert_eq!(wsinv.cseq().number, 9);
    assert_eq!(wsinv.to_tag(), Some(&b"1918181833n"[..]));
    let branches: Vec<_> = wsinv.vias().map(|via| via.branch().unwrap()).collect();
    assert_eq!(
        branches,
        [&b"390skdjuw"[..], b"z9hG4bK9ikj8", b"z9hG4bK30239"]
    );
    assert_eq!(wsinv.contacts().count(), 1);

    let intmeth = read("intmeth.dat");
    assert_eq!(intmeth.method(), Method::Other);
    assert_eq!(intmeth.method_token().len(), 43);

    let semiuri = read("semiuri.dat");
    let uri = semiuri.uri().unwrap();
    assert_eq!(uri.user_decoded().unwrap(), &b"user;par=u@example.net"[..]);
    assert_eq!(uri.host(), b"example.com");

    let escnull = read("escnull.dat");
    let users: Vec<_> = escnull
        .contacts()
        .map(|contact| contact.address().unwrap().uri().user().unwrap().to_vec())
        .collect();
    assert_eq!(users, [b"%00".to_vec(), b"%00%00".to_vec()]);

    assert_eq!(read("longreq.dat").vias().count(), 34);
    assert_eq!(
        read("cparam01.dat")
            .contacts()
            .next()
            .unwrap()
            .address()
            .unwrap()
            .uri()
            .params()
            .iter()
            .count(),
        0
    );
    assert_eq!(
        read("badbranch.dat").top_via().unwrap().unique_branch(),
        None
    );
    let dblreq = read("dblreq.dat");
    assert_eq!(
        (dblreq.method(), dblreq.body().len()),
        (Method::Register, 0)
    );
}

#[test]
fn ipv6_messages_are_forwarded_byte_for_byte_or_refused() {
    for (name, bytes) in messages("ipv6") {
        let is_refused = ["ipv6-bad", "ipv6-bug-abnf-3-colons"].contains(&name.as_str());
        match parse(&bytes) {
            Ok(message) => {
                assert!(!is_refused, "{name} was accepted");
                check_forwarding(&name, &message);
            }
            Err(error) => {
                assert!(is_refused, "{name}: {error}");
                assert_eq!(error.fault(), Fault::Uri, "{name}");
            }
        }
    }

    let read = |name: &str| parse(&fs::read(folder("ipv6").join(name)).unwrap()).unwrap();
    let ambiguous = read("port-ambiguous.dat");
    assert_eq!(ambiguous.uri().unwrap().port(), None);
    let plain = read("port-unambiguous.dat");
    assert_eq!(plain.uri().unwrap().port(), Some(5070));
    for name in [
        "via-received-param-with-delim.dat",
        "via-received-param-no-delim.dat",
    ] {
        let message = read(name);
        let received = message.top_via().unwrap().received();
        assert_eq!(received, "2001:db8::9:255".parse().ok(), "{name}");
    }
    assert_eq!(read("mult-ip-in-header.dat").vias().count(), 3);
    let mapped = read("ipv4-mapped-ipv6.dat");
    assert_eq!(mapped.vias().count(), 2);
    assert_eq!(mapped.top_via().unwrap().port(), Some(19_823));
}

#[test]
fn a_call_between_real_peers_is_forwarded_byte_for_byte() {
    for (name, bytes) in messages("golden") {
        let message = parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.as_bytes().len(), bytes.len(), "{name}");
        check_forwarding(&name, &message);
    }
}

#[test]
fn a_call_on_one_stream_comes_apart_into_its_messages() {
    let golden = messages("golden");
    let stream: Vec<u8> = golden.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    for size in [1, 7, 512, stream.len()] {
        let mut framer = Framer::new();
        let mut found = Vec::new();
        for chunk in stream.chunks(size) {
            framer.push(chunk);
            while let Some(item) = framer.next().unwrap() {
                found.push(item);
            }
        }
        let expected: Vec<_> = golden
            .iter()
            .map(|(_, bytes)| Item::Message(bytes.clone().into()))
            .collect();
        assert_eq!(found, expected, "in chunks of {size}");
    }
}
