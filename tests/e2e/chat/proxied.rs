//! Nodes that are told who the client is.

use std::net::SocketAddr;
use std::time::Duration;

use support::netns;
use support::wait;
use support::xmpp::chatter::Mode;
use support::xmpp::told_node;

use super::scenario;
use super::scene::{Scene, Setup, first, usual};

#[test]
fn a_node_that_expects_a_proxy_header_sees_the_client_s_address() {
    let told = SocketAddr::new(first(netns::inside(43)), 5222);
    let scene = Scene::pair_with(&Setup {
        domain: vec![
            ("nodes", vec![format!("starttls:{told}")].into()),
            ("proxy_protocol", true.into()),
        ],
        ..Setup::USUAL
    });
    let node = SocketAddr::new(first(netns::inside(41)), 5222);
    let inside = scene.zones().inside();
    let proxy = told_node::start(&inside, scene.path(), told, node).unwrap();
    let is_up = || {
        let mut alice = scene.chatter("alice", usual);
        alice.connect(scene.edge(Mode::StartTls), Mode::StartTls)?;
        let news = alice.wait_for("news", Duration::from_secs(20), |event| {
            matches!(event.kind.as_str(), "session" | "disconnected")
        })?;
        Ok(news.kind == "session")
    };
    // Before the node stood it was found to be down.
    wait::until_true("a session", wait::START_LIMIT, is_up).unwrap();
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);

    scenario::talk(&mut alice, &mut bob);

    let (client, edge) = (first(netns::public(100)), scene.edge(Mode::StartTls).ip());
    let log = proxy.log().unwrap();
    assert!(log.contains(&format!("from {client} to {edge}")), "{log}");
    // Probes are edge-c's own connections, and say so.
    let own = format!("to {}\n", told.ip());
    wait::until_true("a probe", wait::START_LIMIT, || {
        Ok(proxy.log()?.contains(&own))
    })
    .unwrap();
}
