//! Tokens that the edge verifies before the registrar sees them (RFC 8898).

use super::world::*;
use crate::sip::name::Name;
use crate::sip::proxy::*;

fn verifying() -> World {
    let mut config = config();
    config.identity.tokens = TokenPolicy::Verify;
    World::with(config)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\n")
}

fn attacks(world: &World) -> usize {
    let is_attack = |event: &&Event| matches!(event, Event::AuthenticationFailed { .. });
    world.events.iter().filter(is_attack).count()
}

#[test]
fn a_good_token_reaches_the_registrar_and_proves_who_it_is() {
    let mut world = verifying();

    world.client(ALICE, register("1001", 1, &bearer("good")));

    let request = world.node_gets();
    assert_eq!(values(&request, Name::Authorization), ["Bearer good"]);
    world.node(accept(&request, 60, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    let bound = |event: &Event| {
        matches!(
            event,
            Event::Bound {
                proof: Proof::Token,
                ..
            }
        )
    };
    assert!(world.events.iter().any(bound));
}

#[test]
fn a_bad_token_ends_at_the_edge_with_the_right_challenge() {
    for (token, reason, count) in [
        ("over", RefusalReason::ExpiredToken, 0),
        ("made-up", RefusalReason::WrongToken, 1),
        ("of-another-service", RefusalReason::WrongToken, 0),
        ("two words", RefusalReason::WrongToken, 0),
    ] {
        let mut world = verifying();

        world.client(ALICE, register("1001", 1, &bearer(token)));

        let answer = world.client_gets(ALICE);
        assert_eq!(answer.status(), Some(401), "{token}");
        let challenges = values(&answer, Name::WwwAuthenticate);
        let expected = "Bearer realm=\"lab.test\", authz_server=\"https://idp.lab.test\", error=\"invalid_token\"";
        assert_eq!(challenges, [expected]);
        assert_eq!(world.refusals(), [reason], "{token}");
        assert_eq!(attacks(&world), count, "{token}");
        world.assert_silent();
        assert!(!reason.remedy().is_empty());
    }
}

#[test]
fn a_good_token_of_somebody_else_registers_nobody() {
    let mut world = verifying();

    world.client(BOB, register("1002", 1, &bearer("good")));

    assert_eq!(world.client_gets(BOB).status(), Some(401));
    assert_eq!(world.refusals(), [RefusalReason::WrongToken]);
    assert_eq!(attacks(&world), 0);
    world.assert_silent();
}

#[test]
fn of_two_tokens_none_counts() {
    let mut world = verifying();
    let both = format!("{}Proxy-{}", bearer("good"), bearer("made-up"));

    world.client(ALICE, register("1001", 1, &both));

    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    world.assert_silent();
}

#[test]
fn while_nobody_can_say_the_client_comes_again_later() {
    let mut world = verifying();

    world.client(ALICE, register("1001", 1, &bearer("early")));

    let answer = world.client_gets(ALICE);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.has(Name::RetryAfter));
    assert_eq!(world.refusals(), [RefusalReason::TokenUnverified]);
    assert_eq!(attacks(&world), 0);
}

#[test]
fn calls_carry_good_tokens_or_none() {
    let mut world = verifying();
    world.register(ALICE, "1001");

    world.client(ALICE, invite("1001", "1002", 1, &bearer("over")));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    let proxy = format!("Proxy-{}", bearer("made-up"));
    world.client(ALICE, invite("1001", "1002", 2, &proxy));
    let refused = world.client_gets(ALICE);
    assert_eq!(refused.status(), Some(407));
    assert!(refused.has(Name::ProxyAuthenticate));
    world.assert_silent();

    for (cseq, extra) in [(3, bearer("good")), (4, String::new())] {
        world.client(ALICE, invite("1001", "1002", cseq, &extra));
        assert_eq!(world.node_gets().cseq().number, cseq);
    }
}

#[test]
fn where_the_edge_takes_the_registrars_place_a_token_is_as_good_as_a_password() {
    let mut config = config();
    config.identity.tokens = TokenPolicy::Verify;
    config.registrars[0].authentication = Authentication::Edge {
        realm: "edge.lab.test".into(),
        algorithms: crate::sip::digest::Algorithm::USUAL.into(),
    };
    let mut world = World::with(config);

    world.client(ALICE, register("1001", 1, &bearer("good")));

    let request = world.node_gets();
    assert!(request.credentials().next().is_none());
    world.node(challenge(&request));
    assert_eq!(world.client_gets(ALICE).status(), Some(500));
    assert_eq!(world.refusals(), [RefusalReason::Untrusted]);
}

#[test]
fn a_token_that_the_registrar_refuses_is_no_attack() {
    for mut world in [verifying(), World::new()] {
        world.client(ALICE, register("1001", 1, ""));
        let request = world.node_gets();
        world.node(challenge(&request));
        assert_eq!(world.client_gets(ALICE).status(), Some(401));

        // Out of date by the registrar's clock, for instance.
        world.client(ALICE, register("1001", 2, &bearer("good")));
        let request = world.node_gets();
        assert!(request.has(Name::Authorization));
        world.node(challenge(&request));

        assert_eq!(world.client_gets(ALICE).status(), Some(401));
        assert_eq!(attacks(&world), 0);
    }
}

#[test]
fn tokens_that_are_the_registrars_business_pass_unread() {
    let mut world = World::new();
    world.register(ALICE, "1001");

    world.client(ALICE, invite("1001", "1002", 1, &bearer("made-up")));

    let request = world.node_gets();
    assert_eq!(values(&request, Name::Authorization), ["Bearer made-up"]);
}
