//! Descriptions of real kinds of devices, read and rewritten.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::description::{Description, DescriptionError};
use super::fuzz::{self, foreign_lines, shape};
use super::profile::{Protected, RtpProfile};
use super::rewrite::{MediaEdit, RtpEdit, SessionEdit, rewrite};
use crate::limits;

const OWN: &str = "203.0.113.10";

fn vectors() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/sdp");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut vectors: Vec<(String, Vec<u8>)> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "sdp"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    vectors.sort();
    assert!(vectors.len() > 10, "the vectors are gone");
    vectors
}

fn vector(name: &str) -> Vec<u8> {
    let mut vectors = vectors().into_iter();
    vectors.find(|(known, _)| known == name).unwrap().1
}

const SESSION: SessionEdit = SessionEdit {
    address: fuzz::ADDRESS,
    is_ice_lite: false,
};

fn edits(description: &Description<'_>) -> Vec<MediaEdit<'static>> {
    fuzz::edits(description, 0)
}

fn rewritten(bytes: &[u8]) -> Vec<u8> {
    let description = Description::parse(bytes).unwrap();
    rewrite(&description, &SESSION, &edits(&description))
}

#[test]
fn lines_that_are_nobodys_to_edit_keep_every_byte() {
    for (name, bytes) in vectors() {
        let rewritten = rewritten(&bytes);

        let before = Description::parse(&bytes).unwrap();
        let after = Description::parse(&rewritten).unwrap();
        assert_eq!(foreign_lines(&after), foreign_lines(&before), "{name}");
        assert_eq!(shape(&after), shape(&before), "{name}");
        let end = if name == "bare-lf" { "\n" } else { "\r\n" };
        let ends = rewritten.split_inclusive(|byte| *byte == b'\n');
        assert!(
            ends.into_iter().all(|line| line.ends_with(end.as_bytes())),
            "{name}"
        );
    }
}

#[test]
fn no_address_of_the_peer_is_left() {
    for (name, bytes) in vectors() {
        let rewritten = rewritten(&bytes);

        let text = String::from_utf8_lossy(&rewritten);
        let session = text.lines().filter(|line| {
            ["o=", "c=", "a=rtcp:", "a=candidate:"]
                .iter()
                .any(|start| line.starts_with(start))
        });
        for line in session {
            assert!(line.ends_with(OWN), "{name}: {line}");
        }
    }
}

#[test]
fn what_we_read_is_what_the_sdp_library_reads() {
    for (name, bytes) in vectors() {
        let Ok(theirs) = sdp_types::Session::parse(&bytes) else {
            assert_eq!(
                name, "latin1",
                "only text that is not UTF-8 is beyond the library"
            );
            continue;
        };
        let ours = Description::parse(&bytes).unwrap();

        assert_eq!(ours.media_count(), theirs.medias.len(), "{name}");
        for (ours, theirs) in ours.media().zip(&theirs.medias) {
            let fields = ours.fields();
            assert_eq!(fields.kind, theirs.media, "{name}");
            assert_eq!(fields.port, theirs.port, "{name}");
            assert_eq!(fields.protocol, theirs.proto, "{name}");
            assert_eq!(fields.formats, theirs.fmt.as_bytes(), "{name}");
            let attributes: Vec<(&[u8], Option<&[u8]>)> =
                ours.attributes().map(|a| (a.name, a.value)).collect();
            let expected: Vec<(&[u8], Option<&[u8]>)> = theirs
                .attributes
                .iter()
                .map(|a| {
                    (
                        a.attribute.as_bytes(),
                        a.value.as_deref().map(str::as_bytes),
                    )
                })
                .collect();
            assert_eq!(attributes, expected, "{name}");
        }
    }
}

#[test]
fn five_lines_are_relayed_each_in_its_way() {
    let text = String::from_utf8(rewritten(&vector("five-lines"))).unwrap();

    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=audio 36000 RTP/SAVP 114 9 124 0 8 116 18 101",
            "m=video 36000 RTP/SAVP 126 97",
            "m=video 36000 RTP/SAVP 126",
            "m=application 36000 UDP/BFCP *",
            "m=application 36000 UDP/UDT/IX *",
        ]
    );
    assert_eq!(text.matches("a=crypto:").count(), 3);
    // Floor control and iX set themselves up end to end.
    assert_eq!(text.matches("a=setup:actpass").count(), 2);
    assert_eq!(text.matches("a=fingerprint:").count(), 1);
}

#[test]
fn a_line_that_is_switched_off_keeps_its_place_and_tells_no_secret() {
    let bytes = vector("five-lines");
    let description = Description::parse(&bytes).unwrap();
    let mut edits = edits(&description);
    edits[0] = MediaEdit::Off(Some("RTP/AVP"));
    edits.truncate(2);

    let text = String::from_utf8(rewrite(&description, &SESSION, &edits)).unwrap();

    let ports: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("m=")?.split(' ').nth(1))
        .collect();
    assert_eq!(ports, ["0", "36000", "0", "0", "0"]);
    assert!(text.contains("m=audio 0 RTP/AVP 114 9"), "{text}");
    assert_eq!(text.matches("a=crypto:").count(), 1);
    assert!(!text.contains("192.0.2.44"), "{text}");
}

#[test]
fn ice_ends_at_the_pair_and_zero_addresses_with_it_are_no_hold() {
    let bytes = vector("browser-sdes");
    let description = Description::parse(&bytes).unwrap();
    let mut edits = edits(&description);
    if let MediaEdit::Rtp(_, rtp) = &mut edits[0] {
        rtp.ice = Some(("abcd", "0123456789abcdefghijkl"));
        rtp.rtcp_mux = true;
    }
    let session = SessionEdit {
        is_ice_lite: true,
        ..SESSION
    };

    let text = String::from_utf8(rewrite(&description, &session, &edits)).unwrap();

    let flow = description.media().next().unwrap().flow();
    assert!(flow.receives && flow.sends);
    assert!(!text.contains("BUNDLE"), "{text}");
    assert!(!text.contains("F7gI"), "{text}");
    assert!(!text.contains("0.0.0.0"), "{text}");
    assert_eq!(text.matches("a=candidate:").count(), 1);
    assert!(
        text.contains("a=candidate:1 1 UDP 2130706431 203.0.113.10 36000 typ host\r\n"),
        "{text}"
    );
    assert!(
        text.contains("a=rtcp:36000 IN IP4 203.0.113.10\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\na=ice-lite\r\nm=audio"), "{text}");
}

#[test]
fn an_address_of_zero_is_kept_because_it_means_hold() {
    let held = String::from_utf8(vector("desk-phone"))
        .unwrap()
        .replace("c=IN IP4 10.0.0.99", "c=IN IP4 0.0.0.0");

    let text = String::from_utf8(rewritten(held.as_bytes())).unwrap();

    assert!(text.contains("\r\nc=IN IP4 0.0.0.0\r\n"), "{text}");
    assert!(
        text.contains("o=- 3871 1 IN IP4 203.0.113.10\r\n"),
        "{text}"
    );
}

#[test]
fn an_m_line_gets_its_own_address_where_the_sessions_is_another() {
    let bytes = vector("call-manager");
    let description = Description::parse(&bytes).unwrap();
    let mut edits = edits(&description);
    if let MediaEdit::Rtp(place, _) = &mut edits[1] {
        place.address = "2001:db8::10".parse().unwrap();
        place.rtcp = 40_000;
    }

    let text = String::from_utf8(rewrite(&description, &SESSION, &edits)).unwrap();

    assert!(
        text.contains("m=video 36000 RTP/SAVP 126\r\nc=IN IP6 2001:db8::10\r\n"),
        "{text}"
    );
    assert!(text.contains("a=rtcp:40000\r\n"), "{text}");
    assert_eq!(text.matches("\r\nc=").count(), 2);
}

#[test]
fn a_last_line_without_its_end_gets_one_when_others_follow() {
    let mut bytes = vector("desk-phone");
    bytes.truncate(bytes.len() - 2);

    let text = String::from_utf8(rewritten(&bytes)).unwrap();

    assert!(text.contains("\r\na=ptime:20\r\na=crypto:1 "), "{text}");
}

#[test]
fn descriptions_that_two_readers_could_read_differently_are_refused() {
    let good = String::from_utf8(vector("desk-phone")).unwrap();
    for (from, to, error) in [
        ("v=0", "v=1", DescriptionError::Version),
        ("v=0\r\n", "", DescriptionError::Version),
        ("s=-", "s=-\r\r\na=x", DescriptionError::Line(3)),
        ("s=-", "s=-\0", DescriptionError::Line(3)),
        ("a=ptime:20\r\n", "a=ptime:20\r", DescriptionError::Line(9)),
        ("s=-", "\r\ns=-", DescriptionError::Line(4)),
        ("s=-", "o=- 1 1 IN IP4 10.0.0.99", DescriptionError::Line(3)),
        ("s=-", "c=IN IP4 10.0.0.98", DescriptionError::Line(4)),
        ("s=-", "nonsense", DescriptionError::Line(3)),
        ("t=0 0", " folded", DescriptionError::Line(5)),
        ("m=audio 40002", "m=audio 70000", DescriptionError::Line(6)),
        ("m=audio 40002", "m=audio +4000", DescriptionError::Line(6)),
        (
            "m=audio 40002 RTP/AVP 0 8 101",
            "m=audio 40002",
            DescriptionError::Line(6),
        ),
        (
            "IN IP4 10.0.0.99\r\ns",
            "IN IP4\r\ns",
            DescriptionError::Line(2),
        ),
    ] {
        let text = good.replacen(from, to, 1);

        let result = Description::parse(text.as_bytes());

        assert_eq!(result.err(), Some(error), "{from:?} -> {to:?}");
    }
}

#[test]
fn limits_are_kept() {
    let head = "v=0\r\no=- 1 1 IN IP4 10.0.0.99\r\ns=-\r\nt=0 0\r\n";
    let lines = |count| format!("{head}{}", "m=audio 0 RTP/AVP 0\r\n".repeat(count));
    let long = format!("{head}a={}\r\n", "x".repeat(limits::SDP_BYTES_MAX));

    assert!(Description::parse(lines(limits::SDP_MEDIA_MAX).as_bytes()).is_ok());
    assert_eq!(
        Description::parse(lines(limits::SDP_MEDIA_MAX + 1).as_bytes()).err(),
        Some(DescriptionError::TooManyMedia)
    );
    assert_eq!(
        Description::parse(long.as_bytes()).err(),
        Some(DescriptionError::TooLong)
    );
}

/// One line of a description, of any kind.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[abiktuxz]=[ -~]{0,40}",
        "a=[a-z-]{1,12}(:[ -~]{0,30})?",
        Just("a=sendonly".to_owned()),
        Just("a=rtcp:9 IN IP4 192.0.2.1".to_owned()),
        Just("a=candidate:1 1 UDP 1 192.0.2.1 9 typ host".to_owned()),
        Just("c=IN IP4 192.0.2.1".to_owned()),
        "m=(audio|video|image|x) [0-9]{1,4} (RTP/SAVP|RTP/AVPF|UDP/BFCP|udptl|TCP/MSRP) [0-9* ]{0,9}",
    ]
}

proptest! {
    #[test]
    fn any_description_keeps_its_shape_and_its_foreign_lines(
        lines in proptest::collection::vec((line(), any::<bool>()), 0..40),
    ) {
        let mut text = String::from("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n");
        for (line, has_return) in &lines {
            text.push_str(line);
            text.push_str(if *has_return { "\r\n" } else { "\n" });
        }
        for choice in 0..16 {
            fuzz::sdp_rewrite(&[&[choice], text.as_bytes()].concat());
        }
    }
}

#[test]
fn a_profile_is_written_as_the_peer_wrote_it_unless_it_changes() {
    let bytes = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 9 rtp/savp 0\r\n";
    let description = Description::parse(bytes).unwrap();
    let edit = |protected| {
        let profile = RtpProfile {
            protected,
            has_feedback: false,
        };
        let edits = edits(&description).into_iter().map(|edit| match edit {
            MediaEdit::Rtp(place, rtp) => MediaEdit::Rtp(place, RtpEdit { profile, ..rtp }),
            MediaEdit::Off(_) | MediaEdit::Opaque(_) => edit,
        });
        let edits: Vec<MediaEdit<'_>> = edits.collect();
        String::from_utf8(rewrite(&description, &SESSION, &edits)).unwrap()
    };

    assert!(edit(Protected::Srtp).contains("m=audio 36000 rtp/savp 0\r\n"));
    assert!(edit(Protected::No).contains("m=audio 36000 RTP/AVP 0\r\n"));
}
