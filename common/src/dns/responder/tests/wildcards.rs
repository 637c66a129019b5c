//! Names that a wildcard stands for, and the proofs of zones with hashed names. Whole answers are compared with BIND's in
//! `tests/e2e/names`.

use super::*;

const WILD: &str = "*.wild A 192.0.2.20
known.wild TXT known
a.b.wild A 192.0.2.21
*.alias2 CNAME x.wild
deep.*.odd A 192.0.2.22
by-name SRV 0 0 8443 y.wild
";

/// A chain of two: the zone itself (its hash begins with j), and a name whose hash begins with 0.
const HASHED: &str = "@ NSEC3PARAM 1 0 0 -
{apex} NSEC3 1 0 0 - 00000000000000000000000000000001 SOA NS
00000000000000000000000000000001 NSEC3 1 0 0 - {apex} A
";

fn wild() -> Responder {
    responder_of(&format!("{ZONE}{WILD}"), &[])
}

fn outcome(name: &str, kind: u16) -> (Outcome, Vec<String>) {
    let (answered, message, _) = ask(name, kind).of(&wild());
    let names = message.answers.iter().map(|record| record.name.to_string());
    (answered.outcome, names.collect())
}

#[test]
fn a_wildcard_stands_for_names_that_are_not_there() {
    let own = vec!["x.y.wild.example.test.".to_owned()];

    assert_eq!(
        outcome("x.y.wild.example.test", number::A),
        (Outcome::Records, own)
    );
    assert_eq!(
        outcome("x.wild.example.test", number::AAAA).0,
        Outcome::NoData
    );
    let chain = ["q.alias2.example.test.", "x.wild.example.test."].map(str::to_owned);
    assert_eq!(
        outcome("q.alias2.example.test", number::A),
        (Outcome::Records, chain.to_vec())
    );
}

#[test]
fn what_exists_stands_in_the_way_of_a_wildcard() {
    for (name, expected) in [
        ("known.wild.example.test", Outcome::NoData),
        ("b.wild.example.test", Outcome::NoData),
        ("x.b.wild.example.test", Outcome::NxDomain),
        ("x.known.wild.example.test", Outcome::NxDomain),
        ("x.odd.example.test", Outcome::NoData),
        ("*.wild.example.test", Outcome::Records),
        ("x.*.wild.example.test", Outcome::NxDomain),
    ] {
        assert_eq!(outcome(name, number::A).0, expected, "{name}");
    }
}

#[test]
fn the_address_of_a_server_may_come_from_a_wildcard() {
    let (_, message, _) = ask("by-name.example.test", number::SRV).of(&wild());

    let names: Vec<String> = message
        .additionals
        .iter()
        .map(|record| record.name.to_string())
        .collect();
    assert_eq!(names, ["y.wild.example.test."]);
}

#[test]
fn the_owners_of_proofs_are_no_names_of_the_zone() {
    let label = "jbas736chung3bb701jkjdhqkqlhvug7";
    let text = format!("{ZONE}{}", HASHED.replace("{apex}", label));
    let responder = responder_of(&text, &[]);
    let authorities = |name: &str, kind| {
        let mut ask = ask(name, kind).edns(1232, 0, b"");
        // The flag that asks for proofs.
        ask.opt.as_mut().unwrap()[7] = 0x80;
        let (answered, message, _) = ask.of(&responder);
        let proofs = message.authorities.iter();
        let proofs = proofs.filter(|record| record.record_type() == RecordType::NSEC3);
        (answered.outcome, proofs.count())
    };

    let owner = format!("{label}.example.test");
    assert_eq!(authorities(&owner, number::NSEC3).0, Outcome::NxDomain);
    // One for the type that is not there; two are all there are for a name that is not.
    assert_eq!(
        authorities("example.test", number::AAAA),
        (Outcome::NoData, 1)
    );
    assert_eq!(
        authorities("x.example.test", number::A),
        (Outcome::NxDomain, 2)
    );
}
