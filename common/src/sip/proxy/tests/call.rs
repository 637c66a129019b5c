//! INVITE to BYE, and what either side sees of it.

use std::time::Duration;

use super::world::*;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::proxy::*;

/// A call from Alice to somebody inside, up to the 200 that she gets.
fn call(world: &mut World) -> (Message, Message) {
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();
    let rr: String = std::iter::once("<sip:10.0.0.10;transport=tcp;lr;ftag=caller>".to_owned())
        .chain(values(&request, Name::RecordRoute))
        .map(|value| format!("Record-Route: {value}\n"))
        .collect();
    let ok = reply(
        &request,
        200,
        &format!("{rr}Contact: <sip:2000@10.0.0.10:5060;transport=tcp>\n"),
    )
    .replace("tag=registrar", "tag=callee");
    world.node(ok);
    let answer = world.client_gets(ALICE);
    assert_eq!(answer.status(), Some(200));
    (request, answer)
}

#[test]
fn nothing_but_register_and_options_passes_before_a_registration() {
    let mut world = World::new();

    world.client(ALICE, invite("1001", "2000", 1, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    world.client(ALICE, within("OPTIONS", "1001", "2000", 2, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    world.assert_silent();
    assert_eq!(world.refusals(), [RefusalReason::NotRegistered]);
}

#[test]
fn an_invite_goes_in_with_a_doubled_record_route_and_without_claims() {
    let mut world = World::new();
    world.register(ALICE, "1001");

    let claims = "P-Asserted-Identity: <sip:boss@lab.test>\nRecord-Route: <sip:evil.test;lr>\n\
                  Path: <sip:evil.test;lr>\nSession-ID: abc\nReplaces: x;to-tag=1;from-tag=2\n";
    world.client(ALICE, invite("1001", "2000", 10, claims));

    let request = world.node_gets();
    let routes = values(&request, Name::RecordRoute);
    assert_eq!(routes.len(), 2);
    assert!(
        routes[0].ends_with("@10.0.0.5:5060;transport=tcp;lr>"),
        "{}",
        routes[0]
    );
    assert!(
        routes[1].ends_with("@edge.lab.test:5061;transport=tls;lr>"),
        "{}",
        routes[1]
    );
    assert!(!request.has(Name::PAssertedIdentity) && !request.has(Name::Path));
    assert_eq!(values(&request, Name::SessionId), ["abc"]);
    assert_eq!(
        request.uri().unwrap().as_bytes(),
        b"sip:2000@lab.test;transport=tls"
    );
    assert_eq!(request.body().len(), SDP.len() + SDP.lines().count());
    assert_eq!(world.bodies.shown, ["in Invite 91"]);
}

#[test]
fn a_caller_sees_one_record_route_and_nothing_of_the_inside() {
    let mut world = World::new();

    let (_, answer) = call(&mut world);

    let routes = values(&answer, Name::RecordRoute);
    assert_eq!(routes.len(), 1);
    assert!(
        routes[0].contains("@edge.lab.test:5061;transport=tls;lr;h="),
        "{}",
        routes[0]
    );
    assert_eq!(answer.vias().count(), 1);
}

#[test]
fn ack_and_bye_find_their_way_by_the_hidden_route() {
    let mut world = World::new();
    let (_, answer) = call(&mut world);
    let routes = routes_of_caller(&answer);

    world.client(ALICE, within("ACK", "1001", "2000", 10, &routes));
    let ack = world.node_gets();
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(
        values(&ack, Name::Route),
        ["<sip:10.0.0.10;transport=tcp;lr;ftag=caller>"]
    );
    assert_eq!(ack.vias().count(), 2);

    world.client(ALICE, within("BYE", "1001", "2000", 11, &routes));
    let bye = world.node_gets();
    assert_eq!(
        values(&bye, Name::Route),
        ["<sip:10.0.0.10;transport=tcp;lr;ftag=caller>"]
    );
    world.node(reply(&bye, 200, ""));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));

    assert_eq!(world.bodies.ended.len(), 1);
    assert_eq!(world.bodies.ended[0].1, CallEnd::Bye);
    assert_eq!(world.proxy.calls(), 0);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.proxy.transactions(), 0);
    world.assert_silent();
}

#[test]
fn somebody_inside_calls_a_client_by_its_path() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 9, ""));
    let path = values(&world.node_gets(), Name::Path).remove(0);
    world.register(ALICE, "1001");

    let text = format!(
        "INVITE {contact} SIP/2.0\n\
         Record-Route: <sip:10.0.0.10;transport=tcp;lr>\n\
         Via: SIP/2.0/TCP 10.0.0.10;branch=z9hG4bKin\n\
         Via: SIP/2.0/UDP 10.0.0.41:5060;branch=z9hG4bKdesk\n\
         Route: {path}\nMax-Forwards: 68\n\
         To: <sip:1001@lab.test>\nFrom: <sip:2000@lab.test>;tag=desk\n\
         Call-ID: call-desk\nCSeq: 1 INVITE\nContact: <sip:2000@10.0.0.41>\n\
         P-Asserted-Identity: <sip:2000@lab.test>\nContent-Length: 0\n\n",
        contact = contact("1001"),
    );
    world.node(&text);

    let request = world.client_gets(ALICE);
    assert_eq!(
        request.uri().unwrap().as_bytes(),
        contact("1001").as_bytes()
    );
    let vias = values(&request, Name::Via);
    assert_eq!(vias.len(), 1, "the inside is hidden");
    assert!(vias[0].starts_with("SIP/2.0/TLS edge.lab.test:5061;branch=z9hG4bK"));
    assert!(!request.has(Name::Route));
    assert_eq!(values(&request, Name::RecordRoute).len(), 1);
    assert!(request.has(Name::PAssertedIdentity));

    let rr = format!("Record-Route: {}\n", values(&request, Name::RecordRoute)[0]);
    world.client(ALICE, reply(&request, 180, &rr));
    let ringing = world.node_gets();
    assert_eq!(
        values(&ringing, Name::Via),
        [
            "SIP/2.0/TCP 10.0.0.10;branch=z9hG4bKin",
            "SIP/2.0/UDP 10.0.0.41:5060;branch=z9hG4bKdesk"
        ]
    );
    let routes = values(&ringing, Name::RecordRoute);
    assert_eq!(routes.len(), 3);
    assert!(routes[0].contains("@edge.lab.test:5061"));
    assert!(routes[1].contains("@10.0.0.5:5060"));
    assert_eq!(routes[2], "<sip:10.0.0.10;transport=tcp;lr>");
}
