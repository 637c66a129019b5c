//! Thousands of users, none of whom may fail. Each has a TLS connection of its own.

use std::net::SocketAddr;

use support::netns;
use support::sip::sipp::{self, Answerer, Deed, Load};
use support::tls_forwarder::TlsForwarder;

use super::scene::{MACHINE, Scene, user};
use crate::stage::{DOMAIN, edge_name};

/// Registers so many users.
pub(crate) fn register(scene: &Scene, users: u32, per_second: u32) {
    let load = Load {
        deed: Deed::Register,
        domain: DOMAIN,
        users,
        per_second,
    };
    run(scene, &load);
}

/// So many users call a phone inside.
pub(crate) fn call(scene: &mut Scene, users: u32, per_second: u32) {
    // The port stays registered when its agent has gone.
    let (agent, spot) = scene.inner_agent(MACHINE);
    let local = agent.local().unwrap();
    drop(agent);
    let answerer = Answerer::start(&spot.place, scene.path(), local, false).unwrap();
    let load = Load {
        deed: Deed::Call(&user(MACHINE)),
        domain: DOMAIN,
        users,
        per_second,
    };
    run(scene, &load);
    answerer.stop().unwrap();
}

fn run(scene: &Scene, load: &Load<'_>) {
    let [edge, _] = netns::public(11);
    let sources = [100, 101, 102, 103].map(|number| netns::public(number)[0]);
    let authority = scene.path().join("public/ca.pem");
    let client = scene.zones().client();
    let edge = SocketAddr::new(edge, 5061);
    let forwarder =
        TlsForwarder::start(&client, edge, &edge_name(1), &authority, &sources).unwrap();
    let outcome = sipp::run(&client, scene.path(), forwarder.local(), load).unwrap();
    outcome.ensure_success().unwrap();
    assert_eq!(forwarder.failures(), 0);
}
