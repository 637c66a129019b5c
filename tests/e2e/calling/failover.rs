//! A registrar that dies, and an edge-c that starts again.

use std::net::SocketAddr;

use support::netns;
use support::sip::voice::Voice;

use super::scenario;
use super::scene::{ALICE, DESK, MACHINE, Scene, Setup, first, tone, usual};

#[test]
fn another_registrar_takes_over_from_a_dead_one() {
    let mut scene = Scene::pair_with(&Setup {
        nodes: 2,
        ..Setup::USUAL
    });
    let mut alice = scene.phone(ALICE, usual);
    // Nodes don't tell each other: the desk phone is known to the second alone.
    let mut desk = scene.desk(DESK, |plan| {
        plan.proxy = SocketAddr::new(first(netns::inside(62)), 5060);
    });

    scene.registrars[0].kill().unwrap();

    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hang_up(&mut alice, &mut desk);
    drop(alice);
    let mut alice = scene.phone(ALICE, usual);
    scenario::call((&mut desk, tone(DESK)), (&mut alice, tone(ALICE)));
    scenario::hang_up(&mut desk, &mut alice);
}

#[test]
fn a_restarted_edge_c_has_closed_what_it_forgot_and_serves_who_comes_back() {
    let mut scene = Scene::pair();
    let (mut agent, spot) = scene.agent(ALICE);
    assert_eq!(agent.register(300).unwrap().status(), Some(200));
    let (mut machine, inner) = scene.inner_agent(MACHINE);

    scene.stage().pair.cores[0].restart().unwrap();

    assert!(agent.is_closed().unwrap(), "{}", scene.logs());
    scene.stage().pair.edges[0].wait_ready().unwrap();
    let (mut agent, _) = scene.agent(ALICE);
    assert_eq!(
        agent.register(300).unwrap().status(),
        Some(200),
        "{}",
        scene.logs()
    );
    let voice = Voice::new(&spot.place, spot.address, true).unwrap();
    let inner = Voice::new(&inner.place, inner.address, false).unwrap();
    let mut talk = scenario::connect((&mut agent, &voice), (&mut machine, &inner));
    scenario::bye(&mut agent, &mut talk.caller, &mut machine);
}
