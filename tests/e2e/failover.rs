//! Edges that die, restart or lose each other under load: no request is answered wrongly, and all mends by itself.

use std::time::{Duration, Instant};

use serde_json::Value;
use support::pair::{Member, Size};
use support::uds::{Fault, FaultKind};
use support::wait;

use crate::load::Load;
use crate::stage::{SignedIn, Stage, proxied_path, verb_url};

const PHOTOS: &str = "https/photos.example.com/443";
const UCM: &str = "https/cucm1a.example.com/8443";

#[test]
fn a_core_that_is_killed_and_comes_back_answers_nobody_wrongly() {
    let mut stage = Stage::start();
    let client = stage.sign_in("alice");
    // Sessions are on disk within a second of being issued, or when the core is stopped in order.
    stage.pair.cores[0].restart().unwrap();
    for _ in 0..3 {
        let load = Load::start(&stage, &client);
        load.wait_good(100);

        stage.pair.cores[0].kill().unwrap();
        load.wait_unavailable(10);
        stage.pair.cores[0].start().unwrap();

        load.wait_good(100);
        load.finish(&stage);
    }
    stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn a_core_that_is_stopped_finishes_what_is_under_way() {
    let mut stage = Stage::start();
    let client = stage.sign_in("alice");
    let load = Load::start(&stage, &client);
    load.wait_good(100);
    stage
        .uds
        .inject(Fault::new(FaultKind::Delay { millis: 1500 }).on("/cucm-uds/user/alice/devices"));
    let mut slow = stage.dialer().dial().unwrap();
    let path = proxied_path(UCM, "/cucm-uds/user/alice/devices");
    drop(stage.uds.take_seen());
    slow.send(client.get_text(&path, "").as_bytes()).unwrap();
    wait::until_true("the slow request inside", wait::START_LIMIT, || {
        Ok(stage
            .uds
            .seen()
            .iter()
            .any(|seen| seen.target.ends_with("/devices")))
    })
    .unwrap();

    let status = stage.pair.cores[0].stop().unwrap().unwrap();

    let answer = slow.response().unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
    assert!(status.success(), "{status}\n{}", stage.logs());
    load.wait_unavailable(5);
    stage.pair.cores[0].start().unwrap();
    load.wait_good(100);
    load.finish(&stage);
}

#[test]
fn a_dead_cable_is_noticed_and_then_refused_at_once() {
    let mut stage = Stage::start();
    let client = stage.sign_in("alice");
    let load = Load::start(&stage, &client);
    load.wait_good(100);

    stage.zones.cut_link().unwrap();
    load.wait_unavailable(20);
    let before = Instant::now();
    let refused = client.get(PHOTOS, "/photos/alice.jpg");
    assert_eq!(refused.status, 503, "{}", stage.logs());
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "it hung for {:?}",
        before.elapsed()
    );
    assert!(refused.header("retry-after").is_some());
    let sign_in = stage.try_sign_in("bob", "bob-secret-1");
    assert_eq!(sign_in.status, 503, "{}", stage.logs());
    wait::until_true("an edge that is not ready", wait::START_LIMIT, || {
        Ok(stage.pair.edges[0].ask_admin("/ready")?.0 == 503)
    })
    .unwrap();

    stage.zones.mend_link().unwrap();
    load.wait_good(100);
    load.finish(&stage);
    stage.pair.edges[0].wait_ready().unwrap();
    stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn an_edge_that_restarts_is_found_again_with_every_session() {
    let mut stage = Stage::start();
    let client = stage.sign_in("alice");
    let load = Load::start(&stage, &client);
    load.wait_good(100);

    stage.pair.edges[0].restart().unwrap();
    load.wait_good(100);
    stage.pair.edges[0].kill().unwrap();
    load.wait_trouble(5);
    stage.pair.edges[0].start().unwrap();

    load.wait_good(100);
    load.finish(&stage);
    stage.pair.cores[0].wait_ready().unwrap();
}

#[test]
fn a_session_stays_with_its_core_whichever_edge_it_comes_through() {
    let mut stage = Stage::prepare(Size::TWO);
    stage.pair.start().unwrap();
    wait_full_mesh(&stage);
    let alice = stage.sign_in("alice");
    let (home, other) = home_of(&stage);
    let elsewhere = alice.through(&stage.client_of(2), 2);

    for client in [&alice, &elsewhere] {
        for _ in 0..5 {
            assert_eq!(photo(client), 200, "{}", stage.logs());
        }
    }
    assert_eq!(sessions(&stage.pair.cores[other]), 0);

    // The issuer is gone: first it may be restarting, then it is given up for one that is there.
    stage.pair.cores[home].restart().unwrap();
    wait_full_mesh(&stage);
    assert_eq!(photo(&alice), 200, "{}", stage.logs());
    stage.pair.cores[home].kill().unwrap();
    let gone = Instant::now();
    wait::until_true("the loss", wait::START_LIMIT, || Ok(photo(&alice) == 503)).unwrap();
    let refused = elsewhere.get(PHOTOS, "/photos/alice.jpg");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    let bob = stage.sign_in("bob");
    assert_eq!(photo(&bob), 200, "{}", stage.logs());
    assert_eq!(sessions(&stage.pair.cores[other]), 1);
    let grace = common::limits::CORE_GONE_AFTER;
    wait::until_true("the session given up", grace * 2, || {
        Ok(photo(&alice) == 401)
    })
    .unwrap();
    assert!(gone.elapsed() >= grace, "{:?}", gone.elapsed());
    assert_eq!(photo(&bob), 200, "{}", stage.logs());

    // It comes back with what it knew.
    stage.pair.cores[home].start().unwrap();
    wait::until_true("alice's session", wait::START_LIMIT, || {
        Ok(photo(&alice) == 200)
    })
    .unwrap();
    assert_eq!(photo(&bob), 200, "{}", stage.logs());
    stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn clients_are_told_of_the_edges_that_are_there() {
    let mut stage = Stage::prepare(Size::TWO);
    stage.pair.start().unwrap();
    wait_full_mesh(&stage);
    let ask = |stage: &Stage| {
        let url = verb_url(2, "get_edge_config?service_name=_cisco-uds");
        let answer = stage
            .client_of(2)
            .basic("alice", "alice-secret-1")
            .get(&url);
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", stage.logs());
        answer.text()
    };
    let both = ask(&stage);
    assert!(
        both.contains("edge1.example.com") && both.contains("edge2.example.com"),
        "{both}"
    );

    stage.pair.edges[0].kill().unwrap();
    wait::until_true("one edge fewer", wait::START_LIMIT, || {
        let text = ask(&stage);
        assert!(text.contains("edge2.example.com"), "{text}");
        Ok(!text.contains("edge1.example.com"))
    })
    .unwrap();
    for core in &mut stage.pair.cores {
        core.wait_ready().unwrap();
    }

    stage.pair.edges[0].start().unwrap();
    wait::until_true("both edges", wait::START_LIMIT, || {
        Ok(ask(&stage).contains("edge1.example.com"))
    })
    .unwrap();
}

fn photo(client: &SignedIn) -> u16 {
    client.get(PHOTOS, "/photos/alice.jpg").status
}

/// Every core linked to every edge.
fn wait_full_mesh(stage: &Stage) {
    for core in &stage.pair.cores {
        wait::until_true("all links", wait::START_LIMIT, || {
            let links = status(core)["links"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            Ok(links.iter().all(|link| link["is_up"] == true))
        })
        .unwrap();
    }
}

/// The index of the core that has the one session, and of the other.
fn home_of(stage: &Stage) -> (usize, usize) {
    let [first, second] = [0, 1].map(|index| sessions(&stage.pair.cores[index]));
    assert_eq!(first + second, 1);
    if first == 1 { (0, 1) } else { (1, 0) }
}

fn sessions(core: &Member) -> u64 {
    status(core)["sessions"].as_u64().unwrap()
}

fn status(core: &Member) -> Value {
    serde_json::from_str(&core.ask_admin("/status").unwrap().1).unwrap()
}
