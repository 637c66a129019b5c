//! The call of two real phones through another edge, played again through this one: what that edge forwarded is what this
//! one forwards, but for the headers that name the edge.

use super::world::*;
use crate::id::{EdgeIndex, TrackingId};
use crate::net::ClientAddr;
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::proxy::*;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../../tests/vectors/sip/golden/",
            $name,
            ".sip"
        ))
    };
}

const PHONE: FlowId = FlowId(0x1001);
/// What an edge puts in, takes off or counts down.
const EDGE_HEADERS: [Name; 5] = [
    Name::Via,
    Name::Path,
    Name::RecordRoute,
    Name::Route,
    Name::MaxForwards,
];

/// What the phone sent, from what the other edge made of it.
fn from_phone(forwarded: &str) -> String {
    let message = Message::parse(forwarded.to_owned().into()).unwrap();
    let mut edit = crate::sip::edit::Edit::new(&message);
    let own = message.values(Name::Via).nth(1).unwrap();
    let sent = String::from_utf8_lossy(own)
        .replace(";received=127.0.0.1", "")
        .replace(";rport=49108", ";rport");
    edit.remove(Name::Path)
        .remove(Name::RecordRoute)
        .remove(Name::Route);
    edit.pop_via().replace(own, sent).set_max_forwards(70);
    show(&edit.into_bytes())
}

/// Every header that an edge must leave alone, in order, and the body.
fn untouched(message: &Message) -> Vec<String> {
    let headers = message
        .headers()
        .filter(|(name, ..)| !EDGE_HEADERS.contains(name))
        .map(|(_, text, value)| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(text),
                String::from_utf8_lossy(value)
            )
        });
    let start = show(message.as_bytes()).lines().next().unwrap().to_owned();
    let body = String::from_utf8_lossy(message.body()).into_owned();
    std::iter::once(start)
        .chain(headers)
        .chain([body])
        .collect()
}

/// The registrar's answer in the recording, for a request of ours.
fn answer(recorded: &str, request: &Message) -> String {
    let message = Message::parse(recorded.to_owned().into()).unwrap();
    let mut edit = crate::sip::edit::Edit::new(&message);
    edit.remove(Name::Via).remove(Name::RecordRoute);
    for via in request.values(Name::Via) {
        edit.insert_top(Name::Via, via);
    }
    for route in request.values(Name::RecordRoute) {
        edit.insert_top(Name::RecordRoute, route);
    }
    show(&edit.into_bytes())
}

fn pass(world: &mut World, forwarded: &str) -> Message {
    world.client(PHONE, from_phone(forwarded));
    let ours = world.node_gets();
    let theirs = Message::parse(forwarded.to_owned().into()).unwrap();
    assert_eq!(untouched(&ours), untouched(&theirs));
    assert_eq!(ours.max_forwards(), theirs.max_forwards());
    assert_eq!(
        ours.values(Name::Via).nth(1).map(sorted),
        theirs.values(Name::Via).nth(1).map(sorted)
    );
    ours
}

/// A Via in parts whose order does not matter.
fn sorted(via: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(via).into_owned();
    let mut parts: Vec<_> = text.split(';').map(str::to_owned).collect();
    parts.sort();
    parts
}

#[test]
fn a_recorded_registration_and_call_pass_unchanged() {
    let mut world = World::new();
    let peer = FlowPeer {
        edge: EdgeIndex(0),
        client: ClientAddr("127.0.0.1:49108".parse().unwrap()),
        transport: Transport::Tls,
        server_name: None,
        tracking: TrackingId::new([7; 16]),
    };
    world.proxy.handle_flow_opened(PHONE, peer, world.now);

    for (request, response, code) in [
        (golden!("000-register"), golden!("007-401-register"), 401),
        (golden!("001-register"), golden!("008-200-register"), 200),
    ] {
        let request = pass(&mut world, request);
        assert!(request.has(Name::Path));
        world.node(answer(response, &request));
        assert_eq!(world.client_gets(PHONE).status(), Some(code));
    }
    assert!(world.events.contains(&Event::GateOpen(PHONE)));

    let invite = pass(&mut world, golden!("004-invite"));
    world.node(answer(golden!("011-407-invite"), &invite));
    assert_eq!(world.node_gets().method().as_str(), "ACK");
    assert_eq!(world.client_gets(PHONE).status(), Some(407));
    assert!(world.bodies.ended.is_empty(), "the INVITE will come again");

    let invite = pass(&mut world, golden!("006-invite"));
    world.node(answer(golden!("012-100-invite"), &invite));
    world.assert_silent();
    world.node(answer(golden!("013-180-invite"), &invite));
    assert_eq!(world.client_gets(PHONE).status(), Some(180));
    world.node(answer(golden!("014-200-invite"), &invite));
    let ok = world.client_gets(PHONE);
    assert_eq!(ok.status(), Some(200));
    assert_eq!(ok.body().len(), 448);

    pass(&mut world, golden!("022-ack"));
    let bye = pass(&mut world, golden!("023-bye"));
    world.node(answer(golden!("024-200-bye"), &bye));
    assert_eq!(world.client_gets(PHONE).status(), Some(200));
    assert_eq!(world.proxy.calls(), 0);
    world.assert_silent();
    assert!(world.refusals().is_empty());
}
