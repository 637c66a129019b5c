//! The store is stopped, killed, emptied while clients work.

use support::wait;

use super::{Scene, metric, photo, sessions};
use crate::load::Load;

fn wait_for(scene: &Scene, what: &str, is_up: bool) {
    for core in &scene.stage.pair.cores {
        let gauge = |name| metric(core, name);
        wait::until_true(what, wait::START_LIMIT, || {
            let read_only = if is_up { 0.0 } else { 1.0 };
            Ok(gauge("edge_store_read_only") == Some(read_only)
                && gauge("edge_store_up") == Some(1.0 - read_only))
        })
        .unwrap();
    }
}

#[test]
fn while_the_store_is_down_known_sessions_go_on_and_nobody_new_comes_in() {
    let mut scene = Scene::start();
    let alice = scene.stage.sign_in("alice");
    let load = Load::start(&scene.stage, &alice);
    load.wait_good(100);

    scene.redis.stop().unwrap();
    wait_for(&scene, "the loss", false);
    load.wait_good(200);
    let failures = |scene: &Scene| {
        let cores = scene.stage.pair.cores.iter();
        let counts = cores.map(|core| metric(core, "edge_store_failures_total"));
        counts.map(Option::unwrap_or_default).sum::<f64>()
    };
    let before = failures(&scene);
    let refused = scene.stage.try_sign_in("bob", "bob-secret-1");
    assert_eq!(refused.status, 503, "{}", scene.stage.logs());
    assert!(refused.header("retry-after").is_some());
    assert!(failures(&scene) > before, "{before}");
    for core in &scene.stage.pair.cores {
        let (status, body) = core.ask_admin("/ready").unwrap();
        assert!(status == 503 && body.contains("session store"), "{body}");
    }
    let first = &scene.stage.pair.cores[0];
    let (code, told, why) = sessions(first, &["revoke", "--user", "nobody"]);
    assert_eq!((code, told.as_str()), (Some(69), ""), "{why}");
    assert!(
        why.contains("0 sessions revoked on this node, but"),
        "{why}"
    );

    scene.redis.resume().unwrap();
    scene.wait_whole();
    wait_for(&scene, "the store", true);
    let bob = scene.stage.sign_in("bob");
    assert_eq!(photo(&bob), 200, "{}", scene.stage.logs());
    load.wait_good(100);
    assert_eq!(load.unavailable(), 0, "{}", scene.stage.logs());
    load.finish(&scene.stage);
    assert_eq!(photo(&alice), 200, "{}", scene.stage.logs());
    scene.stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn a_store_that_comes_back_empty_is_given_everything_again() {
    let mut scene = Scene::start();
    let alice = scene.stage.sign_in("alice");
    let bob = scene.sign_in("bob", 2);
    let vera = scene.sign_in("vera", 1);
    let first = &scene.stage.pair.cores[0];
    let (code, _, why) = sessions(first, &["revoke", "--user", "vera"]);
    assert_eq!(code, Some(0), "{why}");
    let load = Load::start(&scene.stage, &alice);
    load.wait_good(100);

    for _ in 0..2 {
        scene.redis.kill().unwrap();
        wait_for(&scene, "the loss", false);
        scene.redis.lose_everything().unwrap();
        scene.redis.resume().unwrap();
        wait_for(&scene, "the store", true);
        load.wait_good(100);
    }

    assert_eq!(load.unavailable(), 0, "{}", scene.stage.logs());
    load.finish(&scene.stage);
    // A core that knows nothing of its own learns all from the store.
    for number in [0, 1] {
        let core = &mut scene.stage.pair.cores[number];
        core.stop().unwrap();
        let state = scene.stage.path().join(format!("edge-c{}", number + 1));
        std::fs::remove_file(state.join("sessions.redb")).unwrap();
        scene.stage.pair.cores[number].start().unwrap();
        scene.wait_whole();
    }
    for core in &scene.stage.pair.cores {
        let (_, listed, _) = sessions(core, &["list", "--names", "--json"]);
        let is_whole = listed.contains("\"alice\"") && listed.contains("\"bob\"");
        assert!(is_whole && !listed.contains("\"vera\""), "{listed}");
    }
    for edge in [1, 2] {
        assert_eq!(photo(&scene.through(&alice, edge)), 200);
        assert_eq!(photo(&scene.through(&bob, edge)), 200);
        let gone = photo(&scene.through(&vera, edge));
        assert_eq!(gone, 401, "{}", scene.stage.logs());
    }
}
