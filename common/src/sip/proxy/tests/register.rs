//! REGISTER: what it binds, and what it does not.

use std::time::Duration;

use super::world::*;
use crate::sip::message::Method;
use crate::sip::name::Name;
use crate::sip::proxy::*;

#[test]
fn a_register_gets_a_path_and_one_via_and_keeps_the_rest() {
    let mut world = World::new();

    world.client(ALICE, register("1001", 1, "X-Unknown: stays\n"));

    let request = world.node_gets();
    let vias = values(&request, Name::Via);
    assert_eq!(vias.len(), 2);
    assert!(
        vias[0].starts_with("SIP/2.0/TCP 10.0.0.5:5060;branch=z9hG4bK"),
        "{}",
        vias[0]
    );
    assert_eq!(
        vias[1],
        "SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bKreg10011;rport=40001;received=203.0.113.7"
    );
    let path = &values(&request, Name::Path)[0];
    assert!(
        path.ends_with("@10.0.0.5:5060;transport=tcp;lr;ob>"),
        "{path}"
    );
    assert_eq!(path.split_once('@').unwrap().0.len(), "<sip:".len() + 34);
    assert_eq!(request.max_forwards(), Some(69));
    assert_eq!(request.contacts().count(), 1);
    assert!(show(request.as_bytes()).contains("X-Unknown: stays\r\n"));
    world.assert_silent();
}

#[test]
fn a_challenged_and_accepted_register_binds_the_flow_and_opens_the_gate() {
    let mut world = World::new();

    world.register(ALICE, "1001");

    let bound = world.events.iter().find_map(|event| {
        if let Event::Bound {
            flow,
            aor,
            expires,
            proof,
            ..
        } = event
        {
            Some((*flow, aor.as_str().to_owned(), *expires, *proof))
        } else {
            None
        }
    });
    let hour = Duration::from_secs(3600);
    let expected = (ALICE, "1001@lab.test".to_owned(), hour, Proof::Challenge);
    assert_eq!(bound, Some(expected));
    assert!(world.events.contains(&Event::GateOpen(ALICE)));
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn the_answer_loses_our_via_and_gains_a_flow_timer() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    world.node(challenge(&request));
    let answer = world.client_gets(ALICE);
    assert_eq!(answer.vias().count(), 1);
    assert!(answer.challenges().next().is_some());
    world.client(ALICE, register("1001", 2, CREDENTIALS));
    let request = world.node_gets();
    assert!(show(request.as_bytes()).contains(CREDENTIALS.trim_end()));

    world.node(accept(
        &request,
        60,
        "Path: <sip:x@10.0.0.5;lr>\nService-Route: <sip:10.0.0.10;lr>\n",
    ));

    let answer = world.client_gets(ALICE);
    assert_eq!(values(&answer, Name::FlowTimer), ["120"]);
    assert!(!answer.has(Name::Path));
    assert!(!answer.has(Name::ServiceRoute));
}

#[test]
fn an_unchallenged_ok_never_binds() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();

    world.node(accept(&request, 3600, ""));

    // What the registrar has stored goes again.
    let ending = world.node_gets();
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    assert_eq!(world.refusals(), [RefusalReason::Unproved]);
    assert_eq!(world.proxy.bindings(), 0);
    assert!(!RefusalReason::Unproved.remedy().is_empty());

    assert_eq!(ending.method(), Method::Register);
    assert_eq!((ending.cseq().number, ending.expires()), (2, Some(0)));
    let contact = ending.contacts().find_map(|each| each.address()).unwrap();
    assert_eq!(contact.expires(), Some(0));
    for same in [Name::To, Name::From, Name::CallId, Name::Path] {
        assert_eq!(values(&ending, same), values(&request, same), "{same:?}");
    }
    assert_eq!(ending.vias().count(), request.vias().count());
    assert_ne!(
        values(&ending, Name::Via)[0],
        values(&request, Name::Via)[0]
    );
    world.node(accept(&ending, 0, ""));
    world.assert_silent();
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn nobody_ends_the_registration_of_another_without_proof() {
    let plain = register_for("1001", 1, 0, "");
    let own = plain
        .lines()
        .find(|line| line.starts_with("Contact"))
        .unwrap();
    let star = plain.replace(own, "Contact: *\nExpires: 0");
    for text in [plain.clone(), star] {
        let mut world = World::new();

        world.client(ALICE, &text);

        // The registrar may ask for proof, and has nothing else to do.
        let request = world.node_gets();
        assert!(!request.has(Name::Contact) && !request.has(Name::Expires));
        world.node(challenge(&request));
        assert_eq!(world.client_gets(ALICE).status(), Some(401));
        let proved = text
            .replace("CSeq: 1 ", "CSeq: 2 ")
            .replace("reg10011", "reg10012");
        let proved = proved.replace("Max-Forwards", &format!("{CREDENTIALS}Max-Forwards"));
        world.client(ALICE, proved);
        assert!(world.node_gets().has(Name::Contact));
    }
}

#[test]
fn credentials_that_answer_no_challenge_of_this_flow_are_taken_off() {
    let mut world = World::new();

    world.client(ALICE, register("1001", 1, CREDENTIALS));

    let request = world.node_gets();
    assert!(request.credentials().next().is_none());
    world.node(challenge(&request));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    let failed = |event: &Event| matches!(event, Event::AuthenticationFailed { .. });
    assert!(!world.events.iter().any(failed));
}

#[test]
fn a_refresh_on_the_same_flow_needs_no_new_challenge() {
    let mut world = World::new();
    world.register(ALICE, "1001");

    world.client(ALICE, register("1001", 3, CREDENTIALS));
    let request = world.node_gets();
    assert!(request.credentials().next().is_some());
    world.node(accept(&request, 3600, ""));

    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    assert_eq!(world.proxy.bindings(), 1);
}

#[test]
fn a_refused_answer_to_a_challenge_is_told_to_the_jail() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    world.node(challenge(&request));
    world.client_gets(ALICE);
    world.client(ALICE, register("1001", 2, CREDENTIALS));
    let request = world.node_gets();

    world.node(challenge(&request));

    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    let failed = |event: &&Event| matches!(event, Event::AuthenticationFailed { .. });
    assert_eq!(world.events.iter().filter(failed).count(), 1);
}

#[test]
fn a_register_for_somebody_else_is_refused() {
    let mut world = World::new();
    let text = register("1001", 1, "").replace("To: <sip:1001@", "To: <sip:1002@");

    world.client(ALICE, text);

    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    assert_eq!(world.refusals(), [RefusalReason::ThirdParty]);
}

#[test]
fn an_unknown_domain_a_third_contact_and_a_misused_star_are_refused() {
    let mut world = World::new();
    let plain = register("1001", 1, "");
    let more = "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>\n";
    let own = plain
        .lines()
        .find(|line| line.starts_with("Contact"))
        .unwrap();
    let star = plain.replace(own, "Contact: *");
    for (text, code) in [
        (plain.replace("@lab.test>", "@other.test>"), 404),
        (register("1001", 2, more), 403),
        (star.clone(), 400),
        (
            star.replace("Contact: *\n", "Contact: *\nExpires: 60\n"),
            400,
        ),
    ] {
        world.client(ALICE, text);
        assert_eq!(world.client_gets(ALICE).status(), Some(code));
        world.assert_silent();
    }
    world.client(
        ALICE,
        star.replace("Contact: *\n", "Contact: *\nExpires: 0\n"),
    );
    assert!(world.node_gets().is_request());
}

#[test]
fn unregistering_closes_the_gate_and_so_does_time() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.register(BOB, "1002");

    world.client(ALICE, register_for("1001", 3, 0, CREDENTIALS));
    let request = world.node_gets();
    world.node(reply(&request, 200, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    assert!(world.events.contains(&Event::GateClosed(ALICE)));
    assert!(!world.events.contains(&Event::GateClosed(BOB)));

    world.pass(Duration::from_secs(3606));
    assert!(world.events.contains(&Event::GateClosed(BOB)));
    assert_eq!(world.proxy.bindings(), 0);
}

#[test]
fn the_same_client_on_a_new_flow_replaces_the_old_one() {
    let mut world = World::new();
    world.register(ALICE, "1001");

    world.register(BOB, "1001");

    let close = Event::CloseFlow {
        flow: ALICE,
        reason: CloseReason::Replaced,
    };
    assert!(world.events.contains(&close));
    assert!(world.events.contains(&Event::GateClosed(ALICE)));
    assert_eq!(world.proxy.bindings(), 1);
}

#[test]
fn one_flow_may_speak_for_several_lines() {
    let mut world = World::new();

    world.register(ALICE, "1001");
    world.register(ALICE, "1002");

    assert_eq!(world.proxy.bindings(), 2);
    let opened = |event: &&Event| **event == Event::GateOpen(ALICE);
    assert_eq!(world.events.iter().filter(opened).count(), 1);
    world.close(ALICE);
    assert_eq!(world.proxy.bindings(), 0);
    assert_eq!(world.proxy.flows(), 1);
}
