//! Calls that the pair itself ends: both sides are told, and pay for nothing they do not hear.

use std::time::Duration;

use super::world::*;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::proxy::*;

/// A call from Alice to somebody inside, answered; its key.
fn call(world: &mut World) -> CallKey {
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();
    world.node(answer(&request));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    started(world)
}

/// 200 to an INVITE, through a registrar that stays in the route.
fn answer(request: &Message) -> String {
    let routes: String = std::iter::once("<sip:10.0.0.10;transport=tcp;lr;ftag=caller>".to_owned())
        .chain(values(request, Name::RecordRoute))
        .map(|value| format!("Record-Route: {value}\n"))
        .collect();
    let headers = format!("{routes}Contact: <sip:2000@10.0.0.41:5060>\n");
    reply(request, 200, &headers).replace("tag=registrar", "tag=callee")
}

fn started(world: &World) -> CallKey {
    let found = world.events.iter().find_map(|event| {
        if let Event::DialogStarted { call, .. } = event {
            Some(*call)
        } else {
            None
        }
    });
    found.expect("a dialog")
}

fn hang_up(world: &mut World, call: CallKey) {
    world.run(|proxy, services, now| proxy.hang_up(call, services, now));
}

fn text(message: &Message, name: Name) -> String {
    values(message, name).concat()
}

#[test]
fn a_dead_call_of_a_client_is_ended_at_both_ends() {
    let mut world = World::new();
    let call = call(&mut world);

    hang_up(&mut world, call);

    let out = world.client_gets(ALICE);
    assert_eq!(out.method(), Method::Bye);
    assert_eq!(out.uri().unwrap().as_bytes(), contact("1001").as_bytes());
    assert_eq!(out.from_tag(), Some(&b"callee"[..]));
    assert_eq!(out.to_tag(), Some(&b"caller"[..]));
    assert_eq!(out.vias().count(), 1);
    assert!(text(&out, Name::Via).contains("edge.lab.test:5061"));
    let inward = world.node_gets();
    assert_eq!(inward.uri().unwrap().as_bytes(), b"sip:2000@10.0.0.41:5060");
    assert_eq!(inward.from_tag(), Some(&b"caller"[..]));
    assert_eq!(inward.to_tag(), Some(&b"callee"[..]));
    assert!(inward.cseq().number > 10);
    assert_eq!(
        text(&inward, Name::Route),
        "<sip:10.0.0.10;transport=tcp;lr;ftag=caller>"
    );
    assert_eq!(
        text(&inward, Name::Reason),
        "Q.850;cause=102;text=\"no media\""
    );
    assert_eq!(inward.vias().count(), 1);

    world.client(ALICE, reply(&out, 200, ""));
    world.node(reply(&inward, 200, ""));
    world.assert_silent();
    assert_eq!(world.bodies.ended, [(call, CallEnd::NoMedia)]);
    world.pass(Duration::from_secs(40));
    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (0, 0));
    assert!(world.refusals().is_empty(), "{:?}", world.refusals());
}

#[test]
fn a_dead_call_from_inside_is_ended_at_both_ends() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 9, ""));
    let path = text(&world.node_gets(), Name::Path);
    world.register(ALICE, "1001");
    world.node(format!(
        "INVITE {contact} SIP/2.0\nVia: SIP/2.0/TCP 10.0.0.10;branch=z9hG4bKin\n\
         Record-Route: <sip:10.0.0.10;transport=tcp;lr>\nRoute: {path}\nMax-Forwards: 68\n\
         To: <sip:1001@lab.test>\nFrom: <sip:2000@lab.test>;tag=desk\nCall-ID: c\n\
         CSeq: 7 INVITE\nContact: <sip:2000@10.0.0.41>\nContent-Length: 0\n\n",
        contact = contact("1001"),
    ));
    let request = world.client_gets(ALICE);
    let moved = "Contact: <sip:1001@127.0.0.99:9;transport=tls>\n";
    world.client(ALICE, reply(&request, 200, moved));
    assert_eq!(world.node_gets().status(), Some(200));

    let call = started(&world);
    hang_up(&mut world, call);

    let out = world.client_gets(ALICE);
    assert_eq!(
        out.uri().unwrap().as_bytes(),
        b"sip:1001@127.0.0.99:9;transport=tls"
    );
    assert_eq!(out.from_tag(), Some(&b"desk"[..]));
    assert!(out.cseq().number > 7);
    let inward = world.node_gets();
    assert_eq!(inward.to_tag(), Some(&b"desk"[..]));
    assert_eq!(inward.uri().unwrap().as_bytes(), b"sip:2000@10.0.0.41");
    assert_eq!(
        text(&inward, Name::Route),
        "<sip:10.0.0.10;transport=tcp;lr>"
    );
}

#[test]
fn the_inside_is_told_even_when_the_client_is_gone() {
    let mut world = World::new();
    let call = call(&mut world);
    world.close(ALICE);

    hang_up(&mut world, call);

    let inward = world.node_gets();
    assert_eq!((inward.method(), inward.status()), (Method::Bye, None));
    world.node(reply(&inward, 481, ""));
    world.assert_silent();
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn a_session_that_expires_is_ended_at_both_ends() {
    let mut world = World::new();
    let call = call(&mut world);

    world.pass(limits::SIP_CALL_LIFETIME);

    assert_eq!(world.bodies.ended, [(call, CallEnd::Expired)]);
    let is_bye = |sent: &&Transmit| sent.bytes.starts_with(b"BYE ");
    assert_eq!(world.sent.iter().filter(is_bye).count(), 2);
}

#[test]
fn nobody_is_told_of_a_call_that_was_not_answered_or_is_over() {
    let (mut world, _) = ringing();

    hang_up(&mut world, CallKey(0));
    hang_up(&mut world, CallKey(u64::MAX));

    world.assert_silent();
}

#[test]
fn an_answer_after_the_call_was_given_up_is_acknowledged_and_ended() {
    let (mut world, request) = ringing();
    world.close(ALICE);
    let cancel = world.node_gets();
    assert_eq!(cancel.method(), Method::Cancel);
    world.node(reply(&cancel, 200, ""));

    world.node(answer(&request));

    let acknowledgement = world.node_gets();
    assert_eq!(acknowledgement.method(), Method::Ack);
    assert_eq!(acknowledgement.cseq().number, 10);
    assert_eq!(acknowledgement.to_tag(), Some(&b"callee"[..]));
    let bye = world.node_gets();
    assert_eq!(bye.method(), Method::Bye);
    assert_eq!(bye.uri().unwrap().as_bytes(), b"sip:2000@10.0.0.41:5060");
    world.node(answer(&request));
    assert_eq!(
        world.node_gets().method(),
        Method::Ack,
        "the 2xx came again, the BYE does not"
    );
    world.node(reply(&bye, 200, ""));
    world.assert_silent();
}

#[test]
fn a_phone_that_answers_after_ringing_was_over_is_told_so() {
    let (mut world, request) = ringing();
    // Twice: what rang within the first Timer C gives it another one.
    world.pass(Duration::from_secs(2 * 181 + 1));
    let cancel = world.node_gets();
    assert_eq!(cancel.method(), Method::Cancel);
    assert_eq!(world.client_gets(ALICE).status(), Some(408));
    world.node(reply(&cancel, 200, ""));

    world.node(answer(&request));

    assert_eq!(world.node_gets().method(), Method::Ack);
    assert_eq!(world.node_gets().method(), Method::Bye);
    world.assert_silent();
}

/// A call of Alice's of which nothing was heard until she was told that it timed out.
fn unheard_call(world: &mut World) -> Message {
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();
    world.pass(Duration::from_millis(200));
    assert_eq!(world.client_gets(ALICE).status(), Some(100));
    world.pass(Duration::from_secs(33));
    assert_eq!(world.client_gets(ALICE).status(), Some(408));
    request
}

#[test]
fn an_answer_without_a_sign_of_life_before_it_is_ended_after_the_timeout() {
    let mut world = World::new();
    let request = unheard_call(&mut world);

    world.node(answer(&request));

    assert_eq!(world.node_gets().method(), Method::Ack);
    let bye = world.node_gets();
    assert_eq!(bye.method(), Method::Bye);
    world.node(reply(&bye, 200, ""));
    world.assert_silent();
    world.pass(Duration::from_secs(80));
    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (0, 0));
    assert!(world.refusals().is_empty(), "{:?}", world.refusals());
}

#[test]
fn a_phone_that_begins_to_ring_after_the_timeout_is_told_to_stop() {
    let mut world = World::new();
    let request = unheard_call(&mut world);

    world.node(reply(&request, 180, ""));

    let cancel = world.node_gets();
    assert_eq!(cancel.method(), Method::Cancel);
    world.node(reply(&cancel, 200, ""));
    world.node(reply(&request, 487, ""));
    assert_eq!(world.node_gets().method(), Method::Ack);
    world.assert_silent();
    world.pass(Duration::from_secs(80));
    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (0, 0));
}

#[test]
fn an_error_after_the_timeout_is_acknowledged_and_nothing_is_left_in_the_end() {
    let mut world = World::new();
    let request = unheard_call(&mut world);

    world.node(reply(&request, 486, ""));

    assert_eq!(world.node_gets().method(), Method::Ack);
    world.assert_silent();
    world.pass(Duration::from_secs(40));
    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (0, 0));
}

#[test]
fn a_cancelled_call_that_nobody_answers_leaves_nothing_behind() {
    let (mut world, _) = ringing();

    world.pass(Duration::from_secs(2 * 181 + 120));

    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (0, 0));
}
