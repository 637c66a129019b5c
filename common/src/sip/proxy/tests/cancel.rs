//! CANCEL, and who ends a call that nobody ends.

use std::time::Duration;

use super::world::*;
use crate::sip::message::Method;
use crate::sip::name::Name;
use crate::sip::proxy::*;

fn cancel(cseq: u32) -> String {
    format!(
        "CANCEL sip:2000@lab.test;transport=tls SIP/2.0\n\
         Via: SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bKinv{cseq};rport\n\
         Max-Forwards: 70\nTo: <sip:2000@lab.test;transport=tls>\n\
         From: <sip:1001@lab.test>;tag=caller\nCall-ID: call-1001\nCSeq: {cseq} CANCEL\n\
         Reason: SIP;cause=200;text=\"Call completed elsewhere\"\nContent-Length: 0\n\n"
    )
}

#[test]
fn a_cancel_waits_for_the_first_answer_from_downstream() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();

    world.client(ALICE, cancel(10));
    let answer = world.client_gets(ALICE);
    assert_eq!(
        (answer.status(), answer.method()),
        (Some(200), Method::Cancel)
    );
    world.assert_silent();

    world.node(reply(&request, 180, ""));
    let cancel = world.node_gets();
    assert_eq!(cancel.method(), Method::Cancel);
    assert_eq!(
        values(&cancel, Name::Via),
        &values(&request, Name::Via)[..1]
    );
    assert!(cancel.has(Name::Reason));
    assert_eq!(world.client_gets(ALICE).status(), Some(180));
    world.node(reply(&cancel, 200, ""));
    world.node(reply(&request, 487, ""));

    assert_eq!(world.node_gets().method(), Method::Ack);
    assert_eq!(world.client_gets(ALICE).status(), Some(487));
    assert_eq!(world.bodies.ended[0].1, CallEnd::Cancelled);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
    assert_eq!(world.proxy.calls(), 0);
}

#[test]
fn a_cancelled_call_that_nobody_ends_is_ended_here() {
    let (mut world, _) = ringing();
    world.client(ALICE, cancel(10));
    world.client_gets(ALICE);
    assert_eq!(world.node_gets().method(), Method::Cancel);

    world.pass(Duration::from_secs(33));

    assert_eq!(world.client_gets(ALICE).status(), Some(487));
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn a_cancel_without_its_invite_is_answered_481() {
    let mut world = World::new();
    world.register(ALICE, "1001");

    world.client(ALICE, cancel(99));

    assert_eq!(world.client_gets(ALICE).status(), Some(481));
    assert_eq!(world.refusals(), [RefusalReason::NoTransaction]);
}

#[test]
fn a_caller_that_disappears_stops_the_ringing() {
    let (mut world, request) = ringing();

    world.close(ALICE);

    let cancel = world.node_gets();
    assert_eq!(cancel.method(), Method::Cancel);
    world.node(reply(&cancel, 200, ""));
    world.node(reply(&request, 487, ""));
    assert_eq!(world.node_gets().method(), Method::Ack);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
    assert_eq!(world.proxy.calls(), 0);
}

#[test]
fn only_an_invite_is_ever_cancelled() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();

    world.close(ALICE);
    world.node(reply(&request, 100, ""));

    world.assert_silent();
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn a_call_that_rings_for_ever_is_given_up_after_three_minutes() {
    let (mut world, request) = ringing();
    world.pass(Duration::from_secs(170));
    world.node(reply(&request, 180, ""));
    world.client_gets(ALICE);
    world.pass(Duration::from_secs(170));
    world.assert_silent();

    world.pass(Duration::from_secs(60));

    assert_eq!(world.node_gets().method(), Method::Cancel);
    assert_eq!(world.client_gets(ALICE).status(), Some(408));
}

#[test]
fn an_invite_without_an_answer_gets_trying_at_once_and_a_timeout_in_the_end() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    world.node_gets();
    world.assert_silent();

    world.pass(Duration::from_millis(200));
    let trying = world.client_gets(ALICE);
    assert_eq!(trying.status(), Some(100));
    assert_eq!(
        values(&trying, Name::Via),
        ["SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bKinv10;rport=40001;received=203.0.113.7"]
    );
    world.pass(Duration::from_secs(33));

    assert_eq!(world.client_gets(ALICE).status(), Some(408));
    world.assert_silent();
}

#[test]
fn the_ack_to_a_refusal_that_was_made_here_goes_nowhere() {
    let mut world = World::new();
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let refusal = world.client_gets(ALICE);
    let tag = String::from_utf8_lossy(refusal.to_tag().unwrap()).into_owned();

    let ack = within("ACK", "1001", "2000", 10, "")
        .replace("branch=z9hG4bKACK10", "branch=z9hG4bKinv10")
        .replace("tag=callee", &format!("tag={tag}"));
    world.client(ALICE, ack);

    world.assert_silent();
    assert_eq!(world.refusals(), [RefusalReason::NotRegistered]);
}
