//! More connections than one address may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::calling::scene::{ALICE, Scene};

#[test]
fn ten_thousand_idle_connections_of_one_address_shut_nobody_else_out() {
    raise_file_limit();
    let mut scene = Scene::pair();
    let attacker = scene.dialer(&scene.zones().client());

    let held: Vec<_> = (0..ATTEMPTS).filter_map(|_| attacker.dial().ok()).collect();

    assert!(held.len() < ATTEMPTS / 4, "{} of {ATTEMPTS}", held.len());
    let (mut agent, _) = scene.agent(ALICE);
    let answer = agent.register(300).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}\n{}", scene.logs());
    let refused = scene.stage().pair.edges[0].ask_admin("/metrics").unwrap().1;
    assert!(refused.contains("edge_connections_total"), "{refused}");
    drop(held);
}

fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

const ATTEMPTS: usize = 10_000;
