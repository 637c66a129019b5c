//! Who guesses chat passwords is kept out for a while, however many connections that takes; others are not.

use std::time::Duration;

use support::pair::Member;
use support::wait;
use support::xmpp::chatter::Mode;
use support::xmpp::wire::{Wire, auth};
use toml::Table;

use super::scene::{Scene, password};
use crate::stage::DOMAIN;

#[test]
fn who_guesses_over_many_connections_is_kept_out_and_others_at_the_address_are_not() {
    let mut scene = Scene::pair();
    for number in 0..5 {
        let answer = connected(&scene)
            .plain_auth("alice", &format!("guess-{number}"))
            .unwrap();
        assert!(answer.contains("not-authorized"), "{answer}");
    }

    let mut wire = connected(&scene);
    wire.send(&auth("ALICE", "guess-5")).unwrap();

    let end = wire.read_end(LIMIT).unwrap();
    assert!(end.text.contains("<policy-violation"), "{end:?}");
    assert!(end.is_clean, "{end:?}");
    // edge-c hears of it, and asks no node about that user from there, whichever way the name is written.
    wait::until_true("no way in", LIMIT, || {
        let mut wire = connected(&scene);
        let answer = wire.plain_auth("Alice@example.com", &password("alice"))?;
        let (_, metrics) = scene.core().ask_admin("/metrics")?;
        Ok(answer.contains("not-authorized") && metrics.contains(BLOCKED))
    })
    .unwrap();
    let answer = connected(&scene)
        .plain_auth("alice", &password("alice"))
        .unwrap();
    assert!(answer.contains("not-authorized"), "{answer}");
    scene.online("bob", Mode::StartTls).ping().unwrap();
    let over_https = scene.stage().try_sign_in("alice", &password("alice"));
    assert_eq!(over_https.status, 429, "{}", scene.logs());
    let edge = &scene.stage().pair.edges[0];
    let told = edge
        .wait_log(|line| line.contains("user blocked at an address"))
        .unwrap();
    for part in [
        "\"side\"",
        "\"reason\"",
        "\"remedy\"",
        "wrong XMPP credentials",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!edge.log().unwrap().contains("guess-"), "{told}");
    assert_counts(
        edge,
        &[
            "edge_jailings_total{whom=\"user\"} 1",
            "edge_jailings_total{whom=\"address\"} 0",
            "edge_xmpp_client_streams_closed_total{reason=\"jailed\"} 1",
        ],
    );
}

#[test]
fn who_tries_many_users_is_refused_at_the_door() {
    let mut scene = Scene::pair();
    let home = scene.zones().add_home(110).unwrap();
    let elsewhere = scene.plan("vera", DOMAIN);
    let edge = &mut scene.stage().pair.edges[0];
    edge.set("limits", "jail", table("address_failures", 5));
    edge.reload().unwrap();
    edge.wait_log(|line| line.contains("\"reloaded\"")).unwrap();
    for user in ["alice", "bob", "cjones", "g01", "g02", "g03"] {
        let mut wire = connected(&scene);
        wire.send(&auth(user, "spring-2026")).unwrap();
        let answer = wire.read_until_any(&["not-authorized", "policy-violation"]);
        answer.unwrap();
    }
    let edge = &scene.stage().pair.edges[0];
    edge.wait_log(|line| line.contains("address blocked"))
        .unwrap();

    let refused = Wire::direct(&scene.dialer(5223, DOMAIN));

    assert!(refused.is_err(), "{refused:?}");
    let mut vera = scene.chatter_at(&home.place(), &elsewhere);
    vera.sign_in(scene.edge(Mode::Direct), Mode::Direct)
        .unwrap();
    vera.ping().unwrap();
    let edge = &scene.stage().pair.edges[0];
    assert_counts(
        edge,
        &[
            "edge_jailings_total{whom=\"address\"} 1",
            "edge_connections_total{listener=\"xmpp\",outcome=\"jailed\"} 1",
        ],
    );
}

#[test]
fn failures_that_are_no_guesses_keep_nobody_out() {
    let scene = Scene::pair();
    for _ in 0..8 {
        let mut wire = connected(&scene);
        wire.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X-UNKNOWN'/>")
            .unwrap();
        let answer = wire.read_until("</failure>").unwrap();
        assert!(answer.contains("invalid-mechanism"), "{answer}");
    }

    let answer = connected(&scene)
        .plain_auth("alice", &password("alice"))
        .unwrap();

    assert!(answer.contains("<success"), "{answer}");
}

/// As far as the feature list.
fn connected(scene: &Scene) -> Wire {
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    wire.features(DOMAIN).unwrap();
    wire
}

fn assert_counts(edge: &Member, lines: &[&str]) {
    let (_, metrics) = edge.ask_admin("/metrics").unwrap();
    for line in lines {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

fn table(key: &str, number: i64) -> Table {
    Table::from_iter([(key.to_owned(), number.into())])
}

const LIMIT: Duration = Duration::from_secs(10);
const BLOCKED: &str = "edge_xmpp_sign_ins_total{outcome=\"blocked\"} 1";
