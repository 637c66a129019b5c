use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap()
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.map(|bytes| str::from_utf8(bytes).unwrap())
}

#[test]
fn the_parts_of_a_uri_are_found() {
    let uri = uri("sips:alice;day=tue:pw@[2001:db8::9]:5061;transport=tcp;lr?Subject=x");

    assert_eq!(uri.scheme(), Scheme::Sips);
    assert_eq!(text(uri.user()), Some("alice;day=tue"));
    assert_eq!(text(uri.password()), Some("pw"));
    assert_eq!(uri.host(), b"[2001:db8::9]");
    assert_eq!(uri.port(), Some(5061));
    assert_eq!(text(uri.transport()), Some("tcp"));
    assert!(uri.is_loose_router());
    assert_eq!(text(uri.headers()), Some("Subject=x"));
}

#[test]
fn the_traps_of_other_parsers_are_read_right() {
    assert_eq!(
        text(uri("sip:1002@lab.test;gr=urn:uuid:1").params().value("gr")),
        Some("urn:uuid:1")
    );
    assert_eq!(
        text(uri("sip:a@b;maddr=[::1]").params().value("maddr")),
        Some("[::1]")
    );
    assert_eq!(uri("sip:a@b?Subject=x").host(), b"b");
    assert_eq!(text(uri("tel:+1555;phone-context=x").user()), Some("+1555"));
    assert_eq!(text(uri("urn:service:sos").user()), Some("service:sos"));
    assert_eq!(uri("sip:semi;par=u%40x@example.com").host(), b"example.com");
}

#[test]
fn what_is_not_a_uri_is_refused() {
    for text in [
        "",
        "sip:",
        "sip",
        ":a",
        "sip:a@b@c",
        "sip:@b",
        "sip:a@",
        "sip:a@b:99999",
        "sip:a@b:x",
        "sip:a@b;;lr",
        "sip:a@[::g]",
        "sip:a@[::1",
        "sip:a b@c",
        "sip:a@b;x=\"q\"",
        "<sip:a@b>",
        "sip:a@b:",
        "1sip:a@b",
        "sip:a@b\0",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text}");
    }
    let long = format!("sip:{}@b", "a".repeat(limits::SIP_URI_BYTES_MAX));
    assert_eq!(Uri::parse(long.as_bytes()), Err(Fault::UriTooLong));
}

#[test]
fn the_examples_of_the_rfc_compare_as_it_says() {
    // RFC 3261 section 19.1.4.
    let same = [
        (
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtLanTa.CoM;Transport=tcp",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;newparam=5",
        ),
    ];
    for (one, other) in same {
        assert!(uri(one).is_equivalent(&uri(other)), "{one} {other}");
    }
    let different = [
        (
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
        ),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        (
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
        ),
    ];
    for (one, other) in different {
        assert!(!uri(one).is_equivalent(&uri(other)), "{one} {other}");
    }
}
