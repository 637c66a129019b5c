//! The same zones on BIND and on edge-e: whatever is asked, the answers are the same, record by record.

use std::fs;

use super::bind::{Bind, COOKIE_KEY, compare, sign};
use super::scene::{SERVICE, Scene, dig, server};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster ( 2026010101 3600 600 86400 60 )
@ IN NS ns1
@ IN NS ns.other.test.
@ IN MX 10 ns1
ns1 IN A 203.0.113.53
ns1 IN AAAA 2001:db8::53
_collab-edge._tls IN SRV 3 7 8443 edge7
_collab-edge._tls IN SRV 4 8 8443 edge8
_collab-edge._tls IN SRV 5 0 8443 edge9.other.test.
edge7 IN A 203.0.113.11
edge7 IN AAAA 2001:db8:a::11
edge8 120 IN A 203.0.113.12
alias IN CNAME edge7
alias2 IN CNAME alias
far IN CNAME www.other.test.
broken IN CNAME nowhere
_cisco-phone-tftp._tcp IN SRV 0 0 0 .
text IN TXT \"one\" \"two words\"
a.deep.empty IN A 203.0.113.99
Mixed.Case IN A 203.0.113.98
";

/// What is asked of both: letter case, types, names that are not there, EDNS, sizes, TCP, other kinds of requests.
const QUESTIONS: &[&str] = &[
    "_collab-edge._tls.example.com SRV",
    "_collab-edge._tls.example.com SRV +tcp",
    "_Collab-EDGE._Tls.Example.COM SRV",
    "_collab-edge._tls.example.com SRV +noedns",
    "_collab-edge._tls.example.com SRV +noedns +tcp",
    "_collab-edge._tls.example.com SRV +bufsize=4096",
    "_collab-edge._tls.example.com SRV +dnssec",
    "_collab-edge._tls.example.com SRV +rec",
    "_collab-edge._tls.example.com SRV +nsid",
    "_collab-edge._tls.example.com SRV +ednsopt=65001:cafe",
    "_collab-edge._tls.example.com SRV +ednsflags=0x40",
    "_collab-edge._tls.example.com SRV +edns=1 +noednsnegotiation",
    "_collab-edge._tls.example.com SRV +cookie",
    "_collab-edge._tls.example.com SRV +cookie=0123456789abcdef",
    "_collab-edge._tls.example.com A",
    "_collab-edge._tls.example.com TYPE65280",
    "_tls.example.com SRV",
    "_tls.example.com A",
    "_cisco-uds._tcp.example.com SRV",
    "_cuplogin._tcp.example.com SRV",
    "_cisco-phone-tftp._tcp.example.com SRV",
    "_tcp.example.com NS",
    "example.com SOA",
    "example.com NS",
    "example.com MX",
    "example.com A",
    "example.com DNSKEY +dnssec",
    "edge7.example.com A",
    "edge7.example.com AAAA",
    "edge8.example.com AAAA",
    "edge8.example.com A",
    "alias.example.com A",
    "alias.example.com AAAA",
    "alias.example.com CNAME",
    "alias2.example.com A",
    "alias2.example.com SRV",
    "far.example.com A",
    "far.example.com CNAME",
    "alias2.example.com CNAME",
    "broken.example.com A",
    "text.example.com TXT",
    "deep.empty.example.com A",
    "empty.example.com TXT",
    "x.a.deep.empty.example.com A",
    "mixed.case.example.com A",
    "MIXED.case.example.com AAAA",
    "no.such.name.example.com A +dnssec",
    "no.such.name.example.com A +noedns",
    "large.example.com SRV +ignore",
    "large.example.com SRV +ignore +bufsize=4096",
    "large.example.com SRV +tcp",
    "example.org A",
    "com NS",
    ". NS",
    "badexample.com A",
    "example.com AXFR +tcp",
    "example.com IXFR=1 +tcp",
    "example.com SOA +opcode=1",
    "example.com SOA +opcode=2",
    "example.com SOA +opcode=15",
    "example.com MAILA",
    "example.com MAILB",
];

/// A signed zone, and what has to be proved.
const SIGNED_QUESTIONS: &[&str] = &[
    "_collab-edge._tls.signed.test SRV +dnssec",
    "_collab-edge._tls.signed.test SRV",
    "_collab-edge._tls.signed.test A +dnssec",
    "_collab-edge._tls.signed.test A",
    "_tls.signed.test A +dnssec",
    "signed.test SOA +dnssec",
    "signed.test NS +dnssec",
    "signed.test DNSKEY +dnssec +bufsize=1232",
    "signed.test DNSKEY",
    "signed.test NSEC +dnssec",
    "signed.test A +dnssec",
    "edge7.signed.test A +dnssec",
    "edge7.signed.test TXT +dnssec",
    "edge7.signed.test NSEC +dnssec",
    "alias.signed.test A +dnssec",
    "broken.signed.test A +dnssec",
    "aaa.signed.test A +dnssec",
    "zzz.signed.test A +dnssec",
    "x.y.edge7.signed.test A +dnssec",
    "_cisco-uds._tcp.signed.test SRV +dnssec",
    "ns1.signed.test A +dnssec +tcp",
];

#[test]
fn every_answer_is_that_of_bind() {
    let mut scene = Scene::prepare();
    let large =
        (1..60).map(|n| format!("large IN SRV 1 1 8443 edge{n}.a-rather-long-name.other.test.\n"));
    let plain = scene.path().join("example.com.zone");
    fs::write(&plain, format!("{ZONE}{}", large.collect::<String>())).unwrap();
    let text = ZONE.lines().filter(|line| !line.contains("example"));
    let text = text.collect::<Vec<_>>().join("\n");
    let signed = sign(scene.path(), "signed.test", &text, &[]);
    let zones = [
        ("example.com", plain.as_path()),
        ("signed.test", signed.as_path()),
    ];
    scene.start(&zones);
    let client = scene.zones.client();
    let bind = Bind::start(&client, scene.path(), &zones);

    let questions = QUESTIONS.iter().chain(SIGNED_QUESTIONS);
    compare(&client, server(1), bind.at, questions.copied());
    assert!(QUESTIONS.len() + SIGNED_QUESTIONS.len() >= 80);
}

#[test]
fn what_bind_does_otherwise_is_done_on_purpose() {
    let mut scene = Scene::prepare();
    let plain = scene.path().join("example.com.zone");
    fs::write(&plain, ZONE).unwrap();
    scene.start(&[("example.com", &plain)]);
    let client = scene.zones.client();
    let ask = |arguments: &str| dig(&client, server(1), &format!("{arguments} +norec +nocookie"));

    // RFC 8482: one set, and not everything there is.
    for transport in ["+notcp", "+tcp"] {
        let any = ask(&format!("edge7.example.com ANY {transport}"));
        assert!(any.contains("ANSWER: 1,"), "{any}");
    }
    // Nobody is told what runs here, and nothing is changed from outside.
    for refused in [
        "version.bind TXT -c CH",
        "hostname.bind TXT -c CH",
        "example.com A -c HS",
    ] {
        assert!(ask(refused).contains("status: REFUSED"), "{refused}");
    }
    for opcode in ["notify", "update"] {
        let answer = ask(&format!("example.com SOA +opcode={opcode}"));
        assert!(answer.contains("status: NOTIMP"), "{opcode}: {answer}");
    }
    // What fits is sent, and no client takes less than 512 octets.
    for size in ["512", "100"] {
        let answer = ask(&format!("{SERVICE} SRV +bufsize={size}"));
        assert!(
            answer.contains("ANSWER: 3, AUTHORITY: 0, ADDITIONAL: 4"),
            "{answer}"
        );
    }
    let transfer = ask("example.com AXFR");
    assert!(
        !transfer.contains("edge7") && transfer.contains("failed"),
        "{transfer}"
    );
}

#[test]
fn cookies_of_a_cluster_are_good_on_each_of_its_servers() {
    let mut scene = Scene::prepare();
    let plain = scene.path().join("example.com.zone");
    fs::write(&plain, ZONE).unwrap();
    let keys = scene.path().join("cookies.keys");
    fs::write(&keys, format!("{COOKIE_KEY}\n")).unwrap();
    scene.pair.edges[0].set("dns", "cookie_keys", keys.to_string_lossy().into_owned());
    scene.start(&[("example.com", &plain)]);
    let client = scene.zones.client();
    let bind = Bind::start(&client, scene.path(), &[("example.com", &plain)]);
    let cookie_of = |answer: &str| {
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("; COOKIE: "))
            .unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };

    // `dig` ends with BADCOOKIE on a server that demands good ones, as BIND is told to.
    let first = dig(
        &client,
        server(1),
        &format!("{SERVICE} SRV +cookie=0123456789abcdef"),
    );
    let ours = cookie_of(&first);
    // A cookie holds for one address of the client.
    let [from, _] = support::netns::public(100);
    let question = format!("-b {from} {SERVICE} SRV +nobadcookie +cookie={ours}");
    let accepted = dig(&client, bind.at, &question);
    let refused = dig(
        &client,
        bind.at,
        &format!("-b {from} {SERVICE} SRV +nobadcookie +cookie=0123456789abcdef"),
    );

    assert!(accepted.contains("status: NOERROR"), "{accepted}");
    assert!(refused.contains("status: BADCOOKIE"), "{refused}");
}
