//! Requests that are too long for a datagram (RFC 3261 section 18.1.1).

use std::time::Duration;

use super::world::*;
use crate::limits;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::proxy::*;

fn over_udp() -> World {
    let mut config = config();
    config.registrars[0].nodes = vec![node(1, Transport::Udp)];
    let mut world = World::with(config);
    world.register(ALICE, "1001");
    world
}

/// An INVITE with so much in it that it does not fit.
fn long_invite(cseq: u32) -> String {
    let filler = format!("X-Filler: {}\n", "x".repeat(1000));
    invite("1001", "2000", cseq, &filler)
}

/// The next message to a node, by what it goes, and its number.
fn sent(world: &mut World) -> (Message, Transport, TransmitId) {
    let next = world.sent.pop_front().expect("something for a node");
    let Destination::Node {
        transport, node, ..
    } = next.to
    else {
        panic!("not for a node");
    };
    assert_eq!(node, Some(NodeId(1)));
    (Message::parse(next.bytes).unwrap(), transport, next.id)
}

fn via(message: &Message) -> String {
    values(message, Name::Via).remove(0)
}

#[test]
fn a_request_that_is_too_long_for_a_datagram_goes_by_tcp_and_its_cancel_too() {
    let mut world = over_udp();

    world.client(ALICE, long_invite(10));

    let (request, transport, _) = sent(&mut world);
    assert_eq!(transport, Transport::Tcp);
    assert!(via(&request).starts_with("SIP/2.0/TCP 10.0.0.5:5060;"));
    let route = values(&request, Name::RecordRoute).remove(0);
    assert!(
        route.contains("transport=udp"),
        "short requests may come by UDP: {route}"
    );
    world.node_over(Transport::Tcp, reply(&request, 180, ""));
    world.client_gets(ALICE);
    world.pass(Duration::from_secs(10));
    world.assert_silent();

    let cancel = long_invite(10).replace("INVITE", "CANCEL");
    let (head, _) = cancel.split_once("Content-Type").unwrap();
    world.client(ALICE, format!("{head}Content-Length: 0\n\n"));
    assert_eq!(world.client_gets(ALICE).status(), Some(200));
    let (cancel, transport, _) = sent(&mut world);
    assert_eq!(
        (cancel.method(), transport),
        (Method::Cancel, Transport::Tcp)
    );
    assert_eq!(via(&cancel), via(&request));
}

#[test]
fn a_request_that_fits_goes_by_udp() {
    let mut world = over_udp();

    world.client(ALICE, invite("1001", "2000", 10, ""));

    let (request, transport, _) = sent(&mut world);
    assert_eq!(transport, Transport::Udp);
    assert!(via(&request).starts_with("SIP/2.0/UDP "));
}

#[test]
fn a_node_without_tcp_gets_long_requests_by_udp_and_is_not_asked_again_for_a_while() {
    let mut world = over_udp();
    world.client(ALICE, long_invite(10));
    let (_, transport, id) = sent(&mut world);
    assert_eq!(transport, Transport::Tcp);

    world.fail(id);

    let (request, transport, _) = sent(&mut world);
    assert_eq!(transport, Transport::Udp);
    assert!(via(&request).starts_with("SIP/2.0/UDP "));
    let failed = |event: &Event| matches!(event, Event::NodeFailed { .. });
    assert!(!world.events.iter().any(failed), "the node is well");
    world.node_over(Transport::Udp, reply(&request, 486, ""));
    assert_eq!(sent(&mut world).0.method(), Method::Ack);
    assert_eq!(world.client_gets(ALICE).status(), Some(486));

    world.client(ALICE, long_invite(11));
    assert_eq!(sent(&mut world).1, Transport::Udp);
    world.pass(limits::SIP_ONLY_UDP_LIFETIME);
    world.sent.clear();
    world.client(ALICE, long_invite(12));
    assert_eq!(sent(&mut world).1, Transport::Tcp);
}
