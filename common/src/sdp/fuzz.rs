//! What holds for every text: the fuzz target, and what the tests share with it.

use std::net::{IpAddr, Ipv4Addr};

use super::body;
use super::crypto::{CryptoLine, SrtpKeys, SrtpSuite};
use super::description::Description;
use super::profile::{Protected, Transport};
use super::rewrite::{MediaEdit, Place, RtpEdit, SessionEdit, rewrite};

/// The address of the edits.
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// Reads the input as a description and rewrites it, and as a multipart body that holds one. The first byte chooses the
/// edits.
///
/// # Panics
/// If m-lines change number, order, kind or formats, if a line that is not ours to edit changes, if what was rewritten
/// can't be read, or if a body changes outside of its description.
pub fn sdp_rewrite(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else {
        return;
    };
    check_body(text);
    if let Ok(value) = str::from_utf8(text) {
        // Whatever comes of it: no panic.
        drop(CryptoLine::parse(value));
    }
    let Ok(description) = Description::parse(text) else {
        return;
    };
    let session = SessionEdit {
        address: ADDRESS,
        is_ice_lite: choice & 1 != 0,
    };
    let edits = edits(&description, *choice);
    let once = rewrite(&description, &session, &edits);
    // Own lines may take it beyond the limits; apart from those it is a description again.
    let is_within = once.len() <= crate::limits::SDP_BYTES_MAX;
    match Description::parse(&once) {
        Ok(again) => {
            assert_eq!(shape(&again), shape(&description));
            assert_eq!(foreign_lines(&again), foreign_lines(&description));
        }
        Err(error) => assert!(!is_within, "{error}: {}", String::from_utf8_lossy(&once)),
    }
}

fn check_body(text: &[u8]) {
    let content_type = b"multipart/mixed;boundary=b";
    let Ok(Some(place)) = body::locate(content_type, text) else {
        return;
    };
    let description = text.get(place.description.clone()).unwrap_or_default();
    let same = body::replace(text, &place, description);
    if place.length.is_none() {
        assert_eq!(same, text);
    }
    let again = body::locate(content_type, &same);
    let again = again
        .ok()
        .flatten()
        .map(|place| same.get(place.description));
    assert_eq!(again, Some(Some(description)));
}

/// Lines in use are relayed, but for some that `choice` switches off.
pub(super) fn edits(description: &Description<'_>, choice: u8) -> Vec<MediaEdit<'static>> {
    let place = Place {
        address: ADDRESS,
        rtp: 36_000,
        rtcp: if choice & 2 == 0 { 36_001 } else { 36_005 },
    };
    let media = description.media();
    media
        .map(|media| {
            let is_off = choice & 4 != 0 && media.index() % 2 == 1;
            match Transport::parse(media.fields().protocol) {
                _ if is_off || media.fields().port == 0 => MediaEdit::Off(None),
                Transport::Foreign => MediaEdit::Off(None),
                Transport::Udp => MediaEdit::Opaque(place),
                Transport::Rtp(profile) => MediaEdit::Rtp(
                    place,
                    RtpEdit {
                        profile: profile.with(Protected::Srtp),
                        crypto: keys().into_iter().map(|keys| (1, keys)).collect(),
                        rtcp_mux: choice & 8 != 0,
                        ice: (choice & 1 != 0).then_some(("abcd", "0123456789abcdefghijkl")),
                    },
                ),
            }
        })
        .collect()
}

fn keys() -> Option<SrtpKeys> {
    SrtpKeys::new(SrtpSuite::AeadAes128Gcm, &[7; 28], None)
}

/// Kinds and formats of the m-lines.
pub(super) fn shape<'d>(description: &'d Description<'d>) -> Vec<(&'d str, &'d [u8])> {
    let media = description.media();
    media
        .map(|media| (media.fields().kind, media.fields().formats))
        .collect()
}

/// The lines that are nobody's to edit, without their ends: a last line may get one.
pub(super) fn foreign_lines<'d>(description: &'d Description<'d>) -> Vec<&'d [u8]> {
    let mut lines = Vec::new();
    for (place, line) in description.lines().iter().enumerate() {
        let is_foreign = match line.kind {
            0 | b'c' | b'm' | b'o' => false,
            b'a' => {
                let attribute = description.attributes_in(place..place + 1).next();
                attribute.is_some_and(|attribute| !is_edited(attribute.name, attribute.value))
            }
            _ => true,
        };
        let bytes = description.as_bytes();
        if is_foreign && let Some(text) = bytes.get(line.start..line.value_end) {
            lines.push(text);
        }
    }
    lines
}

fn is_edited(name: &[u8], value: Option<&[u8]>) -> bool {
    let names: [&[u8]; 18] = [
        b"acap",
        b"acfg",
        b"bundle-only",
        b"candidate",
        b"creq",
        b"crypto",
        b"csup",
        b"end-of-candidates",
        b"fingerprint",
        b"key-mgmt",
        b"pcfg",
        b"remote-candidates",
        b"rtcp",
        b"rtcp-mux",
        b"rtcp-mux-only",
        b"setup",
        b"tcap",
        b"tls-id",
    ];
    let is_bundle = name == b"group" && value.is_some_and(|value| value.starts_with(b"BUNDLE"));
    names.contains(&name) || name.starts_with(b"ice-") || is_bundle
}
