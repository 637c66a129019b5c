//! Routes and flow tokens: own, foreign, forged.

use std::time::Duration;

use super::world::*;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::proxy::*;

/// The Path under which Alice is registered.
fn registered(world: &mut World) -> String {
    world.client(ALICE, register("1001", 9, ""));
    let request = world.node_gets();
    world.node(challenge(&request));
    world.client_gets(ALICE);
    world.register(ALICE, "1001");
    values(&request, Name::Path).remove(0)
}

fn from_inside(method: &str, route: &str, cseq: u32) -> String {
    format!(
        "{method} {contact} SIP/2.0\n\
         Via: SIP/2.0/TCP 10.0.0.10;branch=z9hG4bKin{method}{cseq}\n\
         Route: {route}\nMax-Forwards: 68\n\
         To: <sip:1001@lab.test>\nFrom: <sip:2000@lab.test>;tag=desk\n\
         Call-ID: call-desk\nCSeq: {cseq} {method}\nContact: <sip:2000@10.0.0.41>\n\
         Content-Length: 0\n\n",
        contact = contact("1001"),
    )
}

#[test]
fn a_preloaded_route_that_names_us_is_taken_off_and_others_are_refused() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    let provisioned = "Route: <sip:192.168.2.100:5061;transport=tls;zone-id=3;directed;lr>\n";

    world.client(ALICE, invite("1001", "2000", 10, provisioned));
    assert!(!world.node_gets().has(Name::Route));

    world.client(
        ALICE,
        invite("1001", "2000", 11, "Route: <sip:10.0.0.10;lr>\n"),
    );
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    assert_eq!(world.refusals(), [RefusalReason::ForeignRoute]);
}

#[test]
fn a_forged_token_is_refused_and_one_of_another_flow_too() {
    let mut world = World::new();
    let path = registered(&mut world);
    let stolen = path.replace(";ob", "");
    let forged = stolen.replace("<sip:", "<sip:x");
    world.register(BOB, "1002");

    world.client(
        BOB,
        invite("1002", "2000", 10, &format!("Route: {stolen}\n")),
    );
    assert_eq!(world.client_gets(BOB).status(), Some(403));
    world.client(
        BOB,
        invite("1002", "2000", 11, &format!("Route: {forged}\n")),
    );
    assert_eq!(world.client_gets(BOB).status(), Some(403));
    world.node(from_inside("OPTIONS", &forged, 1));
    assert_eq!(world.node_gets().status(), Some(403));

    let (foreign, forged) = (RefusalReason::ForeignRoute, RefusalReason::ForgedToken);
    assert_eq!(world.refusals(), [foreign, forged, forged]);
}

#[test]
fn a_dead_flow_is_430_for_registrars_with_outbound_and_nobody_is_dialled() {
    let mut world = World::new();
    let path = registered(&mut world);
    world.close(ALICE);

    world.node(from_inside("INVITE", &path, 1));

    assert_eq!(world.node_gets().status(), Some(430));
    assert_eq!(world.refusals(), [RefusalReason::FlowGone]);
    world.assert_silent();
}

#[test]
fn a_flow_that_dies_under_a_request_answers_it_at_once() {
    let mut world = World::new();
    let path = registered(&mut world);
    world.node(from_inside("INVITE", &path, 1));
    world.client_gets(ALICE);

    world.close(ALICE);

    assert_eq!(world.node_gets().status(), Some(430));
    assert_eq!(world.proxy.calls(), 0);
}

#[test]
fn a_flow_without_a_registration_gets_no_new_requests() {
    let mut world = World::new();
    let path = registered(&mut world);
    world.pass(Duration::from_secs(3_700));

    world.node(from_inside("INVITE", &path, 1));

    assert_eq!(world.node_gets().status(), Some(480));
}

#[test]
fn requests_from_inside_for_nobody_are_404_and_options_to_us_is_200() {
    let mut world = World::new();
    let plain = "sip:10.0.0.5:5060";
    let text = from_inside("OPTIONS", "<sip:10.0.0.5;lr>", 1);
    world.node(text.replace(&contact("1001"), plain));
    assert_eq!(world.node_gets().status(), Some(200));

    let text = from_inside("INVITE", "<sip:10.0.0.5;lr>", 2);
    world.node(&text);
    let answer = world.node_gets();
    assert_eq!(answer.status(), Some(404));
    world.node(&text);
    assert_eq!(
        world.node_gets(),
        answer,
        "the same request gets the same answer"
    );
    world.assert_silent();
}

#[test]
fn max_forwards_proxy_require_breadth_and_scheme_are_checked() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    for (text, code) in [
        (
            invite("1001", "2000", 10, "").replace("Max-Forwards: 70", "Max-Forwards: 0"),
            483,
        ),
        (invite("1001", "2000", 11, "Proxy-Require: magic\n"), 420),
        (invite("1001", "2000", 12, "Max-Breadth: 0\n"), 440),
        (
            invite("1001", "2000", 13, "").replace("INVITE sip:2000@", "INVITE mailto:2000@"),
            416,
        ),
    ] {
        world.client(ALICE, text);
        let answer = world.client_gets(ALICE);
        assert_eq!(answer.status(), Some(code));
        if code == 420 {
            assert_eq!(values(&answer, Name::Unsupported), ["magic"]);
        }
    }
    world.client(
        ALICE,
        invite("1001", "2000", 14, "").replace("Max-Forwards: 70\n", ""),
    );
    assert_eq!(world.node_gets().max_forwards(), Some(70));
}

#[test]
fn a_client_speaks_only_for_what_it_registered() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    let anonymous = invite("1001", "2000", 13, "").replace(
        "From: <sip:1001@lab.test>",
        "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>",
    );
    for (text, is_passed) in [
        (
            invite("1001", "2000", 10, "").replace("From: <sip:1001@", "From: <sip:boss@"),
            false,
        ),
        (
            invite(
                "1001",
                "2000",
                11,
                "P-Preferred-Identity: <sip:boss@lab.test>\n",
            ),
            false,
        ),
        (
            invite(
                "1001",
                "2000",
                12,
                "P-Preferred-Identity: <sip:1001@lab.test>\n",
            ),
            true,
        ),
        (anonymous, true),
        (
            invite("1001", "2000", 14, "Referred-By: <sip:boss@lab.test>\n"),
            true,
        ),
        (
            within(
                "REFER",
                "1001",
                "2000",
                15,
                "Referred-By: <sip:boss@lab.test>\n",
            )
            .replace(";tag=callee", ""),
            false,
        ),
    ] {
        world.client(ALICE, &text);
        if is_passed {
            assert!(world.node_gets().is_request(), "{text}");
        } else {
            assert_eq!(world.client_gets(ALICE).status(), Some(403), "{text}");
        }
        world.assert_silent();
    }
}

#[test]
fn a_route_of_one_dialog_opens_no_door_for_another_name() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();
    let rr: String = values(&request, Name::RecordRoute)
        .iter()
        .map(|value| format!("Record-Route: {value}\n"))
        .collect();
    world.node(reply(&request, 200, &rr));
    let routes = routes_of_caller(&world.client_gets(ALICE));
    let as_boss = |text: String| text.replace("From: <sip:1001@", "From: <sip:boss@");

    world.client(
        ALICE,
        as_boss(within("MESSAGE", "1001", "2000", 11, &routes)),
    );
    assert_eq!(world.client_gets(ALICE).status(), Some(403));
    world.client(ALICE, within("INFO", "1001", "2000", 12, &routes));
    assert!(world.node_gets().is_request());
}

#[test]
fn service_routes_are_kept_and_imposed() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    world.node(challenge(&request));
    world.client_gets(ALICE);
    world.client(ALICE, register("1001", 2, CREDENTIALS));
    let request = world.node_gets();
    let routes = "Service-Route: <sip:10.0.0.77;transport=tcp;lr>, <sip:orig@10.0.0.10;lr>\n";
    world.node(accept(&request, 3600, routes));
    world.client_gets(ALICE);

    world.client(ALICE, invite("1001", "2000", 10, ""));

    let transmit = world.sent.front().unwrap().to.clone();
    let Destination::Node {
        address, transport, ..
    } = transmit
    else {
        panic!("not for a node");
    };
    assert_eq!(
        (address, transport),
        ("10.0.0.77:5060".parse().unwrap(), Transport::Tcp)
    );
    let request = world.node_gets();
    assert_eq!(
        values(&request, Name::Route),
        [
            "<sip:10.0.0.77;transport=tcp;lr>",
            "<sip:orig@10.0.0.10;lr>"
        ]
    );
}

/// The registrar as a proxy that records no route: it sends Alice's INVITE to Bob's Path and his answers back.
fn through_registrar(request: &Message, path: &str) -> String {
    let text = show(request.as_bytes());
    let (_, rest) = text.split_once("\r\n").unwrap();
    format!(
        "INVITE {} SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.10;branch=z9hG4bKreg\r\nRoute: {path}\r\n{rest}",
        contact("1002")
    )
}

#[test]
fn two_clients_of_the_pair_call_each_other_without_a_route_in_between() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.client(BOB, register("1002", 9, ""));
    let path = values(&world.node_gets(), Name::Path).remove(0);
    world.register(BOB, "1002");
    world.client(ALICE, invite("1001", "1002", 10, ""));
    let inward = world.node_gets();

    world.node(through_registrar(&inward, &path));
    let outward = world.client_gets(BOB);
    let rr: String = values(&outward, Name::RecordRoute)
        .iter()
        .map(|value| format!("Record-Route: {value}\n"))
        .collect();
    let ok = reply(
        &outward,
        200,
        &format!("{rr}Contact: <{}>\n", contact("1002")),
    );
    world.client(BOB, ok.replace("tag=registrar", "tag=callee"));
    let back = world.node_gets();
    let text = show(back.as_bytes());
    let via = text.lines().find(|line| line.starts_with("Via")).unwrap();
    world.node(text.replacen(&format!("{via}\r\n"), "", 1));
    let answer = world.client_gets(ALICE);
    assert_eq!(answer.status(), Some(200));
    world.assert_silent();

    let bye = within("BYE", "1001", "1002", 11, &routes_of_caller(&answer));
    world.client(ALICE, bye);
    let bye = world.client_gets(BOB);
    assert_eq!(bye.method(), Method::Bye);
    world.client(BOB, reply(&bye, 200, ""));

    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    assert_eq!(world.bodies.ended.len(), 2, "one leg for each client");
    assert_eq!(world.proxy.calls(), 0);
    world.assert_silent();
}

#[test]
fn a_call_goes_on_when_its_client_comes_back_over_another_flow() {
    let mut world = World::new();
    let path = registered(&mut world);
    world.node(from_inside("INVITE", &path, 1));
    let request = world.client_gets(ALICE);
    let rr = format!("Record-Route: {}\n", values(&request, Name::RecordRoute)[0]);
    world.client(ALICE, reply(&request, 200, &rr));
    let route = values(&world.node_gets(), Name::RecordRoute).remove(1);
    world.close(ALICE);
    world.register(BOB, "1001");

    world.node(from_inside("BYE", &route, 2).replace(
        "To: <sip:1001@lab.test>",
        "To: <sip:1001@lab.test>;tag=registrar",
    ));

    let bye = world.client_gets(BOB);
    assert_eq!(bye.method(), Method::Bye);
    world.client(BOB, reply(&bye, 200, ""));
    assert_eq!(world.node_gets().status(), Some(200));
    assert_eq!(world.proxy.calls(), 0);
}

#[test]
fn a_strict_router_inside_reaches_the_client_all_the_same() {
    let mut world = World::new();
    let path = registered(&mut world);
    let ours = path
        .trim_start_matches('<')
        .trim_end_matches('>')
        .to_owned();
    let target = format!("<{}>", contact("1001"));
    let text = from_inside("MESSAGE", &target, 1);

    world.node(text.replacen(&contact("1001"), &ours, 1));

    let message = world.client_gets(ALICE);
    assert_eq!(
        message.uri().unwrap().as_bytes(),
        contact("1001").as_bytes()
    );
    assert!(!message.has(Name::Route));
}

#[test]
fn one_flow_cannot_fill_the_table() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.register(BOB, "1002");
    let max = u32::try_from(limits::SIP_TRANSACTIONS_PER_FLOW_MAX).unwrap();
    for cseq in 1..=max {
        world.client(
            ALICE,
            within("MESSAGE", "1001", "2000", cseq, "").replace(";tag=callee", ""),
        );
        assert!(world.node_gets().is_request());
    }

    world.client(
        ALICE,
        within("MESSAGE", "1001", "2000", max + 1, "").replace(";tag=callee", ""),
    );

    let answer = world.client_gets(ALICE);
    assert_eq!(answer.status(), Some(503));
    let after = answer.seconds(Name::RetryAfter).unwrap();
    assert!((10..20).contains(&after), "{after}");
    world.client(BOB, invite("1002", "2000", 1, ""));
    assert!(world.node_gets().is_request());
}
