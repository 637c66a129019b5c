//! Sessions outlive the edge-c that issued them, and a restart answers nobody wrongly.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::wait;

use crate::stage::{PHOTOS, SignedIn, Stage, UCM};

#[test]
fn a_clean_restart_signs_nobody_out() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    let bob = stage.sign_in("bob");

    stage.pair.cores[0].restart().unwrap();

    assert_own(&stage, &alice, "cucm1a", "alice");
    assert_own(&stage, &bob, "cucm2a", "bob");
    stage.pair.edges[0].restart().unwrap();
    wait::until_true("the link", wait::START_LIMIT, || {
        Ok(alice.get(PHOTOS, "/photos/alice.jpg").status != 503)
    })
    .unwrap();
    assert_own(&stage, &alice, "cucm1a", "alice");
}

#[test]
fn a_killed_edge_c_remembers_all_but_the_last_two_seconds() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    let old = Instant::now() + Duration::from_secs(2);
    wait::until_true("a session that is old enough", wait::START_LIMIT, || {
        assert_eq!(alice.get(PHOTOS, "/photos/alice.jpg").status, 200);
        Ok(Instant::now() > old)
    })
    .unwrap();

    stage.pair.cores[0].kill().unwrap();
    stage.pair.cores[0].start().unwrap();

    assert_own(&stage, &alice, "cucm1a", "alice");
    stage.sign_in("bob");
}

#[test]
fn requests_during_a_restart_succeed_or_are_told_to_wait() {
    for is_clean in [true, false] {
        let mut stage = Stage::start();
        let alice = stage.sign_in("alice");
        let old = Instant::now() + Duration::from_secs(2);
        wait::until_true("a durable session", wait::START_LIMIT, || {
            Ok(Instant::now() > old)
        })
        .unwrap();
        let (is_over, statuses) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));

        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let status = alice.get(PHOTOS, "/photos/alice.jpg").status;
                        statuses.lock().unwrap().insert(status);
                    }
                });
            }
            let core = &mut stage.pair.cores[0];
            for _ in 0..2 {
                let outcome = if is_clean {
                    core.stop().map(drop)
                } else {
                    core.kill()
                };
                let outcome = outcome.and_then(|()| core.start());
                if outcome.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                }
                outcome.unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });

        let statuses = statuses.into_inner().unwrap();
        assert!(
            statuses.is_subset(&BTreeSet::from([200, 503])),
            "{statuses:?}"
        );
        assert!(statuses.contains(&200), "{statuses:?}");
        assert_eq!(alice.get(PHOTOS, "/photos/alice.jpg").status, 200);
    }
}

/// The session works, and so does the credential in it.
fn assert_own(stage: &Stage, client: &SignedIn, node: &str, user: &str) {
    let origin = UCM.replace("cucm1a", node);
    let own = client.get(&origin, &format!("/cucm-uds/user/{user}"));
    assert_eq!(own.status, 200, "{}", stage.logs());
    assert!(own.text().contains(&format!("<id>{user}</id>")));
}
