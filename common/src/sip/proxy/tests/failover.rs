//! Nodes that fail, and what clients see of it.

use std::time::Duration;

use super::world::*;
use crate::sip::message::Method;
use crate::sip::name::Name;
use crate::sip::proxy::*;

fn two_nodes(transport: Transport) -> World {
    let mut config = config();
    config.registrars[0].nodes = vec![node(1, transport), node(2, transport)];
    World::with(config)
}

fn failures(world: &World) -> Vec<(NodeId, NodeFailure)> {
    let failed = |event: &Event| {
        if let Event::NodeFailed { node, reason, .. } = event {
            Some((*node, *reason))
        } else {
            None
        }
    };
    world.events.iter().filter_map(failed).collect()
}

#[test]
fn a_node_that_cannot_be_reached_is_passed_over() {
    let mut world = two_nodes(Transport::Tcp);
    world.client(ALICE, register("1001", 1, ""));
    let (_, id, node) = world.node_gets_with_id();
    assert_eq!(node, Some(NodeId(1)));

    world.fail(id);

    let (_, _, node) = world.node_gets_with_id();
    assert_eq!(node, Some(NodeId(2)));
    assert_eq!(failures(&world), [(NodeId(1), NodeFailure::Unreachable)]);
    world.fail(id);
    world.assert_silent();
}

#[test]
fn a_node_that_says_nothing_is_given_up_after_five_seconds() {
    let mut world = two_nodes(Transport::Tcp);
    world.client(ALICE, register("1001", 1, ""));
    world.node_gets();

    world.pass(Duration::from_secs(5));

    assert_eq!(world.client_gets(ALICE).status(), Some(100));
    let (request, _, node) = world.node_gets_with_id();
    assert_eq!(node, Some(NodeId(2)));
    world.node(challenge(&request));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    assert_eq!(failures(&world), [(NodeId(1), NodeFailure::NoAnswer)]);
}

#[test]
fn an_overloaded_node_rests_as_long_as_it_asks_for() {
    let mut world = two_nodes(Transport::Tcp);
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();

    world.node(reply(&request, 503, "Retry-After: 60\n"));

    let (request, _, node) = world.node_gets_with_id();
    assert_eq!(node, Some(NodeId(2)));
    world.node(challenge(&request));
    world.client_gets(ALICE);
    world.pass(Duration::from_secs(59));
    world.client(BOB, register("1002", 1, ""));
    assert_eq!(world.node_gets_with_id().2, Some(NodeId(2)));
    world.pass(Duration::from_secs(2));
    world.client(BOB, register("1002", 2, ""));
    assert_eq!(world.node_gets_with_id().2, Some(NodeId(1)));
}

#[test]
fn if_no_node_can_do_it_the_client_hears_500_never_503() {
    let mut world = two_nodes(Transport::Tcp);
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    world.node(reply(&request, 503, ""));
    let request = world.node_gets();

    world.node(reply(&request, 503, ""));

    assert_eq!(world.client_gets(ALICE).status(), Some(500));
    assert_eq!(world.proxy.transactions(), 0);
    assert_eq!(world.refusals(), [RefusalReason::NoNode]);
}

#[test]
fn a_client_stays_with_the_node_that_registered_it() {
    let mut world = two_nodes(Transport::Tcp);
    world.client(ALICE, register("1001", 7, ""));
    let (_, id, _) = world.node_gets_with_id();
    world.fail(id);
    let request = world.node_gets();
    world.node(challenge(&request));
    world.client_gets(ALICE);
    world.register(ALICE, "1001");
    world.pass(Duration::from_secs(60));

    world.client(ALICE, invite("1001", "2000", 10, ""));

    assert_eq!(world.node_gets_with_id().2, Some(NodeId(2)));
}

#[test]
fn over_udp_requests_are_repeated_and_answers_absorbed() {
    let mut world = two_nodes(Transport::Udp);
    world.client(ALICE, register("1001", 1, ""));
    let first = world.node_gets();

    world.pass(Duration::from_millis(500));
    let second = world.node_gets();
    assert_eq!(first, second);

    world.node_over(Transport::Udp, challenge(&first));
    assert_eq!(world.client_gets(ALICE).status(), Some(401));
    world.node_over(Transport::Udp, challenge(&first));
    world.pass(Duration::from_secs(60));
    world.assert_silent();
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn over_udp_an_error_to_an_invite_is_acknowledged_each_time() {
    let mut world = two_nodes(Transport::Udp);
    world.client(ALICE, register("1001", 8, ""));
    let request = world.node_gets();
    world.node_over(Transport::Udp, challenge(&request));
    world.client_gets(ALICE);
    world.client(ALICE, register("1001", 9, CREDENTIALS));
    let request = world.node_gets();
    world.node_over(Transport::Udp, accept(&request, 3600, ""));
    world.client_gets(ALICE);
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();
    let busy = reply(&request, 486, "");

    world.node_over(Transport::Udp, &busy);
    assert_eq!(world.node_gets().method(), Method::Ack);
    assert_eq!(world.client_gets(ALICE).status(), Some(486));
    world.node_over(Transport::Udp, &busy);

    let ack = world.node_gets();
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(values(&ack, Name::Via), &values(&request, Name::Via)[..1]);
    assert_eq!(ack.to_tag(), Some(&b"registrar"[..]));
    world.assert_silent();
}

#[test]
fn a_silent_registrar_costs_the_client_no_408() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    world.node_gets();

    world.pass(Duration::from_secs(4));
    assert_eq!(world.client_gets(ALICE).status(), Some(100));
    world.pass(Duration::from_secs(60));

    world.assert_silent();
    assert_eq!(world.proxy.transactions(), 0);
}

#[test]
fn a_provisional_answer_to_a_register_is_not_forwarded() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();

    world.node(reply(&request, 183, ""));
    world.node(reply(&request, 408, ""));

    world.assert_silent();
}

#[test]
fn a_response_that_nobody_waits_for_is_dropped() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    let stranger = challenge(&request).replace("branch=z9hG4bK", "branch=z9hG4bKx");

    world.node(&stranger);
    world.client(BOB, challenge(&request));

    world.assert_silent();
    let stray = RefusalReason::StrayResponse;
    assert_eq!(world.refusals(), [stray, stray]);
}
