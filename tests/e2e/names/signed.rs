//! Signed zones with wildcards, proved by NSEC and by NSEC3: every answer and every proof is that of BIND.

use std::path::Path;

use super::bind::{Bind, compare, sign};
use super::scene::{Scene, dig, server};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster ( 2026010101 3600 600 86400 60 )
@ IN NS ns1
ns1 IN A 203.0.113.53
_collab-edge._tls IN SRV 3 7 8443 edge7
edge7 IN A 203.0.113.11
edge7 IN AAAA 2001:db8:a::11
alias IN CNAME edge7
a.deep.empty IN A 203.0.113.99
*.wild IN A 203.0.113.20
*.wild IN TXT any
known.wild IN TXT known
a.b.wild IN A 203.0.113.21
*.service IN SRV 0 0 8443 edge7
*.by-alias IN CNAME edge7
*.to-wild IN CNAME x.wild
*.twice IN CNAME x.to-wild
*.broken IN CNAME nowhere
*.no-data IN CNAME x.known.wild
inner.*.odd IN TXT inner
by-name IN SRV 0 0 8443 y.wild";

/// What is asked of each zone; names without a dot at their end are in it.
const QUESTIONS: &[&str] = &[
    "@ SOA",
    "@ DNSKEY",
    "@ NSEC3PARAM",
    "@ NSEC3",
    "@ NSEC",
    "@ DS",
    "@ TXT",
    "_collab-edge._tls SRV",
    "_collab-edge._tls A",
    "_tls A",
    "deep.empty A",
    "empty A",
    "edge7 A",
    "edge7 TXT",
    "edge7 DS",
    "edge7 NSEC",
    "edge7 NSEC3",
    "alias A",
    "alias TXT",
    "nowhere A",
    "aaa A",
    "zzz A",
    "x.y.edge7 A",
    "_cisco-uds._tcp SRV",
    "x.wild A",
    "X.Wild A",
    "x.wild TXT",
    "x.wild AAAA",
    "x.y.z.wild A",
    "x.y.z.wild AAAA",
    "wild A",
    "*.wild A",
    "*.wild AAAA",
    "x.*.wild A",
    "known.wild A",
    "known.wild TXT",
    "x.known.wild A",
    "b.wild A",
    "x.b.wild A",
    "a.b.wild A",
    "_x._tcp.service SRV",
    "x.service A",
    "x.by-alias A",
    "x.by-alias CNAME",
    "x.by-alias TXT",
    "x.to-wild A",
    "x.to-wild AAAA",
    "x.twice A",
    "x.broken A",
    "x.no-data A",
    "x.odd A",
    "x.odd TXT",
    "inner.x.odd A",
    "odd A",
    "by-name SRV",
];

/// A wildcard that is there only because a name below it is. BIND leaves the proof of it out of answers with NSEC: what is
/// left proves that the name is not there, and not that the wildcard has no such record (RFC 4035 section 3.1.3.4).
const PROVED_BETTER: &[&str] = &["x.odd A", "x.odd TXT", "inner.x.odd A"];

/// The same zone four times: its proofs as they are made by default, with hashed names, with salt and more rounds, and with
/// what large zones leave out.
const ZONES: &[(&str, &[&str])] = &[
    ("plain.test", &[]),
    ("hashed.test", &["-3", "-", "-H", "0"]),
    ("salted.test", &["-3", "aabbccdd", "-H", "5"]),
    ("opt-out.test", &["-3", "ab", "-H", "1", "-A"]),
];

#[test]
fn every_proof_is_that_of_bind() {
    let mut scene = Scene::prepare();
    let files: Vec<_> = ZONES
        .iter()
        .map(|(apex, options)| (*apex, sign(scene.path(), apex, ZONE, options)))
        .collect();
    let zones: Vec<(&str, &Path)> = files
        .iter()
        .map(|(apex, file)| (*apex, file.as_path()))
        .collect();
    scene.start(&zones);
    let client = scene.zones.client();
    let bind = Bind::start(&client, scene.path(), &zones);
    let mut questions = Vec::new();
    for (apex, _) in ZONES {
        let is_other = |question: &str| *apex == "plain.test" && PROVED_BETTER.contains(&question);
        for question in QUESTIONS.iter().filter(|question| !is_other(question)) {
            let (name, kind) = question.split_once(' ').unwrap();
            let name = match name {
                "@" => (*apex).to_owned(),
                name => format!("{name}.{apex}"),
            };
            questions.push(format!("{name} {kind} +dnssec"));
            questions.push(format!("{name} {kind}"));
        }
    }

    compare(
        &client,
        server(1),
        bind.at,
        questions.iter().map(String::as_str),
    );
    for question in PROVED_BETTER {
        let (name, kind) = question.split_once(' ').unwrap();
        let question = format!("{name}.plain.test {kind} +dnssec +norec +nocookie");
        let answer = dig(&client, server(1), &question);
        let next = answer.matches("\tNSEC\tinner.*.odd.plain.test. ").count();
        assert!(
            answer.contains("status: NOERROR") && next == 1,
            "the name before the one below the wildcard: {answer}"
        );
    }
}

#[test]
fn the_owner_of_a_proof_is_no_name() {
    let mut scene = Scene::prepare();
    let file = sign(scene.path(), "hashed.test", ZONE, &["-3", "-", "-H", "0"]);
    let text = std::fs::read_to_string(&file).unwrap();
    let owner = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|owner| owner.len() == 32 + ".hashed.test.".len() && owner.ends_with(".hashed.test."))
        .unwrap_or_else(|| panic!("no NSEC3 record in {text}"));
    let zones = [("hashed.test", file.as_path())];
    scene.start(&zones);
    let client = scene.zones.client();
    let bind = Bind::start(&client, scene.path(), &zones);
    let questions = ["A", "NSEC3", "RRSIG"].map(|kind| format!("{owner} {kind} +dnssec"));

    compare(
        &client,
        server(1),
        bind.at,
        questions.iter().map(String::as_str),
    );
}
