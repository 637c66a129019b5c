//! The clients and nodes of these tests are proven with a foreign edge.

use std::time::Duration;

use support::netns;
use support::xmpp::chatter::Mode;

use super::scenario;
use super::scene::{OTHER_DOMAIN, Scene, usual};

#[test]
fn clients_do_with_a_foreign_edge_what_the_pair_is_tested_with() {
    scenario::everyday(&Scene::reference());
}

#[test]
fn a_page_chats_through_a_foreign_edge() {
    let [edge, _] = netns::public(11);
    let url = format!("wss://{edge}:8443/xmpp-websocket");
    scenario::page(&Scene::reference(), "https://chat.example.com", &url);
}

#[test]
fn a_stream_is_resumed_through_a_foreign_edge() {
    scenario::resume(&Scene::reference());
}

#[test]
fn a_wrong_password_is_refused_through_a_foreign_edge() {
    scenario::wrong_password(&Scene::reference());
}

#[test]
fn the_other_domain_chats_through_a_foreign_edge() {
    let scene = Scene::reference_ejabberd();
    let online = |user: &str, mode| {
        let mut chatter = scene.chatter(user, |plan| {
            plan.jid = format!("{user}@{OTHER_DOMAIN}/desk");
        });
        let session = chatter.sign_in(scene.edge(mode), mode);
        assert!(session.is_ok(), "{session:?} {}", scene.logs());
        chatter
    };
    let mut alice = online("alice", Mode::StartTls);
    let mut bob = online("bob", Mode::Direct);

    scenario::talk(&mut alice, &mut bob);
    scenario::room(&mut alice, &mut bob, OTHER_DOMAIN);
}

#[test]
fn a_node_that_was_killed_is_replaced_by_the_other_through_a_foreign_edge() {
    let mut scene = Scene::reference();
    let mut alice = scene.online("alice", Mode::Direct);
    scene.nodes[0].kill().unwrap();
    let limit = Duration::from_secs(5);
    alice
        .wait_for("the end", limit, |event| event.kind == "disconnected")
        .unwrap();

    let mut bob = scene.chatter("bob", usual);
    bob.sign_in(scene.edge(Mode::Direct), Mode::Direct).unwrap();

    let log = scene.nodes[1].log().unwrap();
    assert!(log.contains("Authenticated as bob@example.com"), "{log}");
}
