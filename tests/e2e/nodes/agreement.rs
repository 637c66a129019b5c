//! What all nodes count, refuse and do as one.

use std::net::SocketAddr;
use std::time::Duration;
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use support::netns;
use support::oidc::{Browser, Issuer, tokens};
use support::wait;
use toml::toml;

use super::Scene;
use crate::stage::{DOMAIN, UCM, edge_name, proxied_url, verb_url};

#[test]
fn an_address_that_one_edge_refuses_is_refused_by_the_other() {
    let scene = Scene::start_apart();
    let alice = scene.sign_in("alice", 1);
    let (head, last) = alice.cookie.split_at(alice.cookie.len() - 1);
    let forged = format!("X-Auth={head}{}", if last == "A" { "B" } else { "A" });
    for _ in 0..6 {
        let url = proxied_url(1, UCM, "/cucm-uds/user/alice");
        let answer = scene.stage.client().header("Cookie", &forged).get(&url);
        assert_eq!(answer.unwrap().status, 401, "{}", scene.stage.logs());
    }

    let second = &scene.stage.pair.edges[1];
    wait::until_true("the other edge", Duration::from_secs(10), || {
        Ok(second.ask_admin("/status")?.1.contains("seconds_left"))
    })
    .unwrap();

    let url = verb_url(2, "get_edge_sso");
    let refused = scene.stage.client_of(2).send(&url).unwrap();
    assert!(refused.is_err(), "{refused:?}");
    // An edge that begins anew hears of it.
    let mut scene = scene;
    scene.stage.pair.edges[1].restart().unwrap();
    wait::until_true("the ban", Duration::from_secs(10), || {
        Ok(scene.stage.client_of(2).send(&url)?.is_err())
    })
    .unwrap();
}

#[test]
fn a_user_whom_one_edge_refuses_at_an_address_is_refused_there_by_the_other() {
    let mut scene = Scene::prepare().apart();
    // Each edge-c counts guesses too, and would be the first to say no.
    for core in &mut scene.stage.pair.cores {
        core.set(
            "sign_in",
            "login_limit",
            toml! { count = 900 window = "5m" },
        );
    }
    let scene = scene.run();
    for number in 0..6 {
        let answer = scene.try_sign_in("alice", &format!("guess-{number}"), 1);
        assert_eq!(answer.status, 401, "{}", scene.stage.logs());
    }

    let jailed = |edge: usize| {
        let page = scene.stage.pair.edges[edge].ask_admin("/metrics")?.1;
        Ok(page.contains("edge_jailed_users 1"))
    };
    wait::until_true("the other edge", Duration::from_secs(10), || jailed(1)).unwrap();

    let answer = scene.try_sign_in("alice", "alice-secret-1", 2);
    assert_eq!(answer.status, 429, "{}", scene.stage.logs());
    scene.sign_in("bob", 2);
    let elsewhere = scene.stage.client_v6().basic("alice", "alice-secret-1");
    let url = verb_url(1, "get_edge_config?service_name=_cisco-uds");
    assert_eq!(elsewhere.get(&url).unwrap().status, 200);
    let told = scene.stage.pair.edges[1].log().unwrap();
    assert!(told.contains("users blocked at an address"), "{told}");
    // An edge that begins anew hears of it.
    let mut scene = scene;
    scene.stage.pair.edges[1].restart().unwrap();
    wait::until_true("the ban", Duration::from_secs(10), || {
        Ok(scene.try_sign_in("alice", "alice-secret-1", 2).status == 429)
    })
    .unwrap();
}

#[test]
fn logins_are_counted_at_all_cores_together() {
    let scene = Scene::start_apart();
    // Each edge-c by itself would allow three.
    for edge in [1, 2, 1] {
        let answer = scene.try_sign_in("alice", "wrong", edge);
        assert_eq!(answer.status, 401, "{}", scene.stage.logs());
    }

    for edge in [2, 1] {
        let answer = scene.try_sign_in("alice", "wrong", edge);
        assert_eq!(answer.status, 429, "{edge}\n{}", scene.stage.logs());
        assert!(answer.header("retry-after").is_some());
    }
    scene.sign_in("bob", 2);
}

#[test]
fn clients_are_told_of_an_edge_that_only_the_other_core_sees() {
    let mut scene = Scene::start_apart();
    let told = |scene: &Scene, edge: u8| {
        let answer = scene.try_sign_in("alice", "alice-secret-1", edge);
        assert_eq!(answer.status, 200, "{}", scene.stage.logs());
        let text = answer.text();
        [1, 2].map(|number| text.contains(&edge_name(number)))
    };
    for edge in [1, 2] {
        wait::until_true("both edges", wait::START_LIMIT, || {
            Ok(told(&scene, edge) == [true, true])
        })
        .unwrap();
    }

    scene.stage.pair.edges[0].kill().unwrap();
    wait::until_true("one edge fewer", wait::START_LIMIT, || {
        Ok(told(&scene, 2) == [false, true])
    })
    .unwrap();

    scene.stage.pair.edges[0].start().unwrap();
    wait::until_true("both edges again", wait::START_LIMIT, || {
        Ok(told(&scene, 2) == [true, true])
    })
    .unwrap();
}

#[test]
fn one_token_is_refreshed_once_whichever_cores_are_asked() {
    let mut scene = Scene::prepare().apart();
    let [address, _] = netns::inside(80);
    let socket = SocketAddr::new(address, 7443);
    let inside = scene.stage.zones.inside();
    let issuer = Issuer::start(&inside, scene.stage.path(), "photos.example.com", socket).unwrap();
    for core in &mut scene.stage.pair.cores {
        let mut table = toml! {
            name = "corp"
            kind = "jwks"
            audiences = ["urn:edge:uc"]
        };
        table.insert("issuer".to_owned(), issuer.url().into());
        core.config_mut()
            .insert("issuer".to_owned(), vec![table].into());
        let rule = toml! {
            issuer = "corp"
            match = "prefix"
            url = "https://photos.example.com:7443/"
        };
        core.set("sso", "rule", vec![rule]);
    }
    let scene = scene.run();
    let browsers = [1, 2].map(|edge| {
        let domain = STANDARD_NO_PAD.encode(DOMAIN);
        let base = format!("https://{}:8443/{domain}", edge_name(edge));
        let dir = scene.stage.path().join(format!("browser{edge}"));
        fs::create_dir(&dir).unwrap();
        Browser::new(&scene.stage.client_of(edge), &dir, &base)
    });
    let code = browsers[0].sign_in("alice").unwrap();
    let mut last = tokens(&browsers[0].trade(&code).unwrap()).unwrap();

    // An issuer that rotates tokens takes a second use of one for theft, and ends the family: the next round would fail.
    for round in 0..3 {
        let answers: Vec<_> = thread::scope(|scope| {
            let asking = (0..4).map(|number| {
                let (browser, spent) = (&browsers[number % 2], &last.refresh);
                scope.spawn(move || browser.refresh(spent).unwrap())
            });
            let asking: Vec<_> = asking.collect();
            asking
                .into_iter()
                .map(|task| task.join().unwrap())
                .collect()
        });

        let fresh: Vec<_> = answers
            .iter()
            .map(|answer| tokens(answer).unwrap())
            .collect();
        let is_one = fresh.iter().all(|one| one.refresh == fresh[0].refresh);
        assert!(is_one, "round {round}\n{}", scene.stage.logs());
        let log = issuer.log().unwrap();
        let sent = log.lines().filter(|line| line.contains("POST /token"));
        assert_eq!(sent.count(), 2 + round, "{log}");
        last = fresh[0].clone();
    }
}
