//! Nodes, edges and links that go away under clients: each sees an end or a working stream at once, and comes back.

use std::time::Duration;

use support::wait;
use support::xmpp::chatter::{Chatter, Event, Mode};
use support::xmpp::wire::{Wire, header};

use super::scenario;
use super::scene::{GUESTS, Scene, password};
use crate::stage::DOMAIN;

#[test]
fn when_a_node_dies_clients_are_told_at_once_and_land_on_the_other() {
    let mut scene = Scene::pair();
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);
    let mut wire = signed_in(&scene, "vera");
    scenario::talk(&mut alice, &mut bob);
    assert!(is_on(&scene, 0, "alice") && is_on(&scene, 0, "bob"));

    scene.nodes[0].kill().unwrap();

    for chatter in [&mut alice, &mut bob] {
        wait_end(chatter, Duration::from_secs(5));
    }
    let end = wire.read_end(Duration::from_secs(5)).unwrap();
    assert!(end.is_clean, "{end:?}");
    alice = scene.online("alice", Mode::StartTls);
    bob = scene.online("bob", Mode::Direct);
    scenario::talk(&mut alice, &mut bob);
    assert!(is_on(&scene, 1, "alice") && is_on(&scene, 1, "bob"));

    // Back again, it serves those who come from now on; whoever has been on the other stays with it.
    scene.nodes[0].restart().unwrap();
    let mut guests = GUESTS.into_iter();
    wait::until_true("the first node", wait::START_LIMIT, || {
        let guest = guests.next().unwrap_or_default();
        drop(scene.online(guest, Mode::Direct));
        Ok(is_on(&scene, 0, guest))
    })
    .unwrap();
    scenario::talk(&mut alice, &mut bob);
}

#[test]
fn when_no_node_is_there_clients_are_told_so() {
    let mut scene = Scene::pair();
    for node in &mut scene.nodes {
        node.stop().unwrap();
    }

    let mut wire = Wire::starttls(&scene.dialer(5222, DOMAIN), DOMAIN).unwrap();
    wire.send(&header(DOMAIN)).unwrap();

    let end = wire.read_end(Duration::from_secs(10)).unwrap();
    assert!(end.text.contains("<remote-connection-failed"), "{end:?}");
    assert!(end.is_clean, "{end:?}");
    scene.nodes[1].restart().unwrap();
    wait::until_true("a session", wait::START_LIMIT, || {
        let mut wire = Wire::starttls(&scene.dialer(5222, DOMAIN), DOMAIN)?;
        Ok(wire.features(DOMAIN).is_ok())
    })
    .unwrap();
}

#[test]
fn when_edge_c_restarts_clients_come_back() {
    let mut scene = Scene::pair();
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);

    let core = &mut scene.stage().pair.cores[0];
    core.kill().unwrap();
    for chatter in [&mut alice, &mut bob] {
        wait_end(chatter, Duration::from_secs(5));
    }
    core.start().unwrap();

    resume(&scene, &mut alice, Mode::StartTls);
    resume(&scene, &mut bob, Mode::Direct);
    scenario::talk(&mut alice, &mut bob);
}

#[test]
fn when_the_link_is_cut_clients_are_told_and_come_back_when_it_is_mended() {
    let mut scene = Scene::pair();
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);

    scene.zones().cut_link().unwrap();
    // As long as a link may be silent before it counts as dead, and a little.
    for chatter in [&mut alice, &mut bob] {
        wait_end(chatter, Duration::from_secs(25));
    }
    scene.zones().mend_link().unwrap();
    scene.stage().pair.edges[0].wait_ready().unwrap();

    resume(&scene, &mut alice, Mode::StartTls);
    resume(&scene, &mut bob, Mode::Direct);
    scenario::talk(&mut alice, &mut bob);
}

/// Takes up the stream, or begins a new one: which of them is the node's affair. Tries again as clients do, as the link may
/// be a moment behind.
fn resume(scene: &Scene, chatter: &mut Chatter, mode: Mode) {
    let is_news =
        |event: &Event| matches!(event.kind.as_str(), "disconnected" | "resumed" | "session");
    wait::until_true("a stream", wait::START_LIMIT, || {
        chatter.connect(scene.edge(mode), mode)?;
        let news = chatter.wait_for("news", wait::START_LIMIT, is_news)?;
        Ok(news.kind != "disconnected")
    })
    .unwrap();
    chatter.ping().unwrap();
}

fn wait_end(chatter: &mut Chatter, limit: Duration) {
    chatter
        .wait_for("the end", limit, |event| event.kind == "disconnected")
        .unwrap();
}

/// Whether that node has let the user in.
fn is_on(scene: &Scene, node: usize, user: &str) -> bool {
    let log = scene.nodes[node].log().unwrap();
    log.contains(&format!("Authenticated as {user}@{DOMAIN}"))
}

/// Somebody who is signed in, byte for byte.
fn signed_in(scene: &Scene, user: &str) -> Wire {
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    wire.features(DOMAIN).unwrap();
    let answer = wire.plain_auth(user, &password(user)).unwrap();
    assert!(answer.contains("<success"), "{answer}");
    wire.features(DOMAIN).unwrap();
    wire
}
