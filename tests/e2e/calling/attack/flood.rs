//! More connections than one address may have.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::calling::scene::{ALICE, BOB, CAROL, Scene};

#[test]
fn ten_thousand_idle_connections_of_one_address_shut_nobody_else_out() {
    raise_file_limit();
    let mut scene = Scene::pair();
    let attacker = scene.dialer(&scene.zones().client());

    let flood = || -> Vec<_> {
        let attempts = 0..ATTEMPTS / ATTACKERS;
        attempts.filter_map(|_| attacker.dial().ok()).collect()
    };
    let (held, registered) = std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..ATTACKERS).map(|_| scope.spawn(flood)).collect();
        // Others come meanwhile, each with a connection of its own, and once more when all is full.
        let mut registered = 0;
        let mut is_last = false;
        while !is_last {
            is_last = attackers
                .iter()
                .all(std::thread::ScopedJoinHandle::is_finished);
            for number in [ALICE, BOB, CAROL] {
                let start = Instant::now();
                let (mut agent, _) = scene.agent(number);
                let answer = agent.register(300).unwrap();
                assert_eq!(answer.status(), Some(200), "{answer:#?}\n{}", scene.logs());
                assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
                registered += 1;
            }
        }
        let held = attackers.into_iter().flat_map(|one| one.join().unwrap());
        (held.collect::<Vec<_>>(), registered)
    });

    assert!(held.len() < ATTEMPTS / 4, "{} of {ATTEMPTS}", held.len());
    assert!(
        registered >= 6,
        "{registered} registered, the last three after the flood"
    );
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
/// So many try at the same time.
const ATTACKERS: usize = 50;
/// A registration while two processors are busy with handshakes of others.
const PATIENCE: Duration = Duration::from_secs(5);
