//! Passwords that the edge checks itself.

use std::time::Duration;

use super::world::*;
use crate::limits;
use crate::sip::digest::Algorithm;
use crate::sip::message::Message;
use crate::sip::proxy::*;

fn edge_mode() -> World {
    edge_mode_with(&Algorithm::USUAL)
}

fn edge_mode_with(algorithms: &[Algorithm]) -> World {
    let mut config = config();
    config.registrars[0].authentication = Authentication::Edge {
        realm: "edge.lab.test".into(),
        algorithms: algorithms.into(),
    };
    World::with(config)
}

/// The answer of user 1001 to a challenge.
fn credentials(challenge: &Message, algorithm: Algorithm, password: &str) -> String {
    credentials_nth(challenge, algorithm, password, "00000001")
}

/// The same, when the nonce was used before.
fn credentials_nth(challenge: &Message, algorithm: Algorithm, password: &str, nc: &str) -> String {
    let asked = challenge
        .challenges()
        .map(|(_, each)| each)
        .find(|each| each.param("algorithm") == Some(algorithm.name().as_bytes()))
        .unwrap();
    let nonce = asked.param("nonce").unwrap();
    let uri = "sip:lab.test;transport=tls";
    let ha1 = algorithm.hash(&[b"1001", b"edge.lab.test", password.as_bytes()]);
    let ha2 = algorithm.hash(&[b"REGISTER", uri.as_bytes()]);
    let parts: [&[u8]; 6] = [
        ha1.as_bytes(),
        nonce,
        nc.as_bytes(),
        b"c",
        b"auth",
        ha2.as_bytes(),
    ];
    format!(
        "Authorization: Digest username=\"1001\", realm=\"edge.lab.test\", nonce=\"{}\", uri=\"{uri}\", \
         response=\"{}\", algorithm={}, qop=auth, nc={nc}, cnonce=\"c\"\n",
        String::from_utf8_lossy(nonce),
        algorithm.hash(&parts),
        algorithm.name(),
    )
}

fn challenged(world: &mut World, flow: FlowId, cseq: u32) -> Message {
    world.client(flow, register("1001", cseq, ""));
    let challenge = world.client_gets(flow);
    assert_eq!(challenge.status(), Some(401));
    challenge
}

#[test]
fn the_edge_challenges_and_the_registrar_sees_no_credentials() {
    for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
        let mut world = edge_mode();
        let challenge = challenged(&mut world, ALICE, 1);
        let names: Vec<_> = challenge
            .challenges()
            .filter_map(|(_, c)| c.param("algorithm"))
            .collect();
        assert_eq!(names, [&b"SHA-256"[..], b"MD5"]);

        world.client(
            ALICE,
            register("1001", 2, &credentials(&challenge, algorithm, "secret")),
        );

        let request = world.node_gets();
        assert!(request.credentials().next().is_none());
        world.node(accept(&request, 60, ""));
        assert_eq!(world.client_gets(ALICE).status(), Some(200));
        let bound = |event: &Event| {
            matches!(
                event,
                Event::Bound {
                    proof: Proof::EdgeDigest,
                    ..
                }
            )
        };
        assert!(world.events.iter().any(bound));
    }
}

#[test]
fn an_answer_is_good_once_and_its_successor_must_count_on() {
    let mut world = edge_mode();
    let challenge = challenged(&mut world, ALICE, 1);
    let nth = |nc| credentials_nth(&challenge, Algorithm::Sha256, "secret", nc);
    let mut outcome = |cseq, nc| {
        world.client(ALICE, register("1001", cseq, &nth(nc)));
        let Some(sent) = world.sent.front() else {
            panic!("nothing was sent");
        };
        let is_inward = matches!(sent.to, Destination::Node { .. });
        if is_inward {
            let request = world.node_gets();
            world.node(accept(&request, 60, ""));
            assert_eq!(world.client_gets(ALICE).status(), Some(200));
        } else {
            let refused = world.client_gets(ALICE);
            assert!(refused.challenges().all(|(_, each)| each.is_stale()));
        }
        is_inward
    };

    assert!(outcome(2, "00000001"));
    assert!(!outcome(3, "00000001"), "a replay");
    assert!(outcome(4, "0000000a"));
    assert!(!outcome(5, "00000009"), "an older one");
    assert!(outcome(6, "0000000B"));
    let failed = |event: &Event| matches!(event, Event::AuthenticationFailed { .. });
    assert!(!world.events.iter().any(failed), "a replay is no guess");
}

#[test]
fn a_nonce_that_was_used_long_ago_is_not_taken_again() {
    let mut world = edge_mode();
    let first = challenged(&mut world, ALICE, 1);
    let mut challenge = first.clone();
    for cseq in 1..=u32::try_from(limits::SIP_NONCES_PER_FLOW_MAX).unwrap() + 1 {
        let right = credentials(&challenge, Algorithm::Md5, "secret");
        world.client(ALICE, register("1001", 2 * cseq, &right));
        let request = world.node_gets();
        world.node(accept(&request, 60, ""));
        assert_eq!(world.client_gets(ALICE).status(), Some(200));
        challenge = challenged(&mut world, ALICE, 2 * cseq + 1);
    }

    let again = credentials_nth(&first, Algorithm::Md5, "secret", "00000002");
    world.client(ALICE, register("1001", 100, &again));

    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    world.assert_silent();
}

#[test]
fn only_what_was_asked_for_is_taken_and_in_that_order() {
    let mut world = edge_mode_with(&[Algorithm::Sha512256, Algorithm::Sha256]);
    let challenge = challenged(&mut world, ALICE, 1);
    let names: Vec<_> = challenge
        .challenges()
        .filter_map(|(_, c)| c.param("algorithm"))
        .collect();
    assert_eq!(names, [&b"SHA-512-256"[..], b"SHA-256"]);

    // As one in between would do who can break MD5.
    let weak = credentials(&challenge, Algorithm::Sha256, "secret");
    let weak = weak.replace("algorithm=SHA-256", "algorithm=MD5");
    world.client(ALICE, register("1001", 2, &weak));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));

    let right = credentials(&challenge, Algorithm::Sha512256, "secret");
    world.client(ALICE, register("1001", 3, &right));
    let request = world.node_gets();
    world.node(accept(&request, 60, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
}

#[test]
fn a_wrong_password_and_a_foreign_number_are_failures() {
    let mut world = edge_mode();
    let challenge = challenged(&mut world, ALICE, 1);

    let wrong = credentials(&challenge, Algorithm::Md5, "guess");
    world.client(ALICE, register("1001", 2, &wrong));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    let right = credentials(&challenge, Algorithm::Md5, "secret");
    world.client(ALICE, register("1002", 3, &right));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));

    let failed = |event: &&Event| matches!(event, Event::AuthenticationFailed { .. });
    assert_eq!(world.events.iter().filter(failed).count(), 2);
    world.assert_silent();
}

#[test]
fn a_registrar_that_does_not_trust_the_edge_is_an_error_of_the_operator() {
    let mut world = edge_mode();
    let first = challenged(&mut world, ALICE, 1);
    let right = credentials(&first, Algorithm::Md5, "secret");
    world.client(ALICE, register("1001", 2, &right));
    let request = world.node_gets();

    world.node(challenge(&request));

    assert_eq!(world.client_gets(ALICE).status(), Some(500));
    assert_eq!(world.refusals().last(), Some(&RefusalReason::Untrusted));
}

#[test]
fn a_nonce_is_good_on_its_flow_and_for_its_time_only() {
    let mut world = edge_mode();
    let challenge = challenged(&mut world, ALICE, 1);
    let right = credentials(&challenge, Algorithm::Sha256, "secret");

    world.client(BOB, register("1001", 2, &right));
    let stale = world.client_gets(BOB);
    assert!(stale.challenges().all(|(_, each)| each.is_stale()));
    world.pass(Duration::from_secs(601));
    world.client(ALICE, register("1001", 3, &right));
    let stale = world.client_gets(ALICE);
    assert!(stale.challenges().all(|(_, each)| each.is_stale()));

    let failed = |event: &Event| matches!(event, Event::AuthenticationFailed { .. });
    assert!(!world.events.iter().any(failed));
}

#[test]
fn a_session_gate_lets_only_signed_in_users_register() {
    let mut config = config();
    config.identity.session_gate = SessionGate::UserAndAddress;
    let mut world = World::with(config);

    world.client(ALICE, register("1001", 1, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    world.users.signed_in = Some("198.51.100.1".parse().unwrap());
    world.client(ALICE, register("1001", 2, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    assert_eq!(world.refusals(), [RefusalReason::NoSession; 2]);

    world.users.signed_in = Some("203.0.113.7".parse().unwrap());
    world.client(ALICE, register("1001", 3, ""));
    let request = world.node_gets();
    world.node(accept(&request, 60, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    let bound = |event: &Event| {
        matches!(
            event,
            Event::Bound {
                proof: Proof::Session,
                ..
            }
        )
    };
    assert!(world.events.iter().any(bound));
}

#[test]
fn a_session_from_anywhere_opens_the_gate_and_proves_nothing() {
    let mut config = config();
    config.identity.session_gate = SessionGate::User;
    let mut world = World::with(config);
    world.users.signed_in = Some("198.51.100.1".parse().unwrap());

    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    world.node(accept(&request, 60, ""));

    assert_eq!(world.node_gets().expires(), Some(0), "it is taken back");
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    assert_eq!(world.refusals(), [RefusalReason::Unproved]);
}
