//! What comes before authentication: everything that is wrong there ends at the edges.

use std::time::{Duration, Instant};

use support::xmpp::chatter::Mode;
use support::xmpp::wire::{STARTTLS, Wire, auth, header};

use super::scenario;
use super::scene::{Scene, Setup, usual};
use crate::stage::DOMAIN;

#[test]
fn a_wrong_password_is_refused_and_the_third_is_the_last() {
    let scene = Scene::pair();
    let mut wire = Wire::starttls(&scene.dialer(5222, DOMAIN), DOMAIN).unwrap();
    wire.features(DOMAIN).unwrap();

    for _ in 0..3 {
        let answer = wire.plain_auth("alice", "guess").unwrap();
        assert!(answer.contains("not-authorized"), "{answer}");
    }
    let end = wire.read_end(LIMIT).unwrap();
    assert!(end.text.contains("</stream:stream>"), "{end:?}");
    assert!(end.is_clean, "{end:?}");
    scenario::wrong_password(&scene);
}

#[test]
fn a_domain_of_somebody_else_is_refused_wherever_it_is_named() {
    let scene = Scene::pair();
    let dialer = scene.dialer(5222, DOMAIN);
    let mut before = Wire::plain(&dialer).unwrap();
    before.send(&header("example.net")).unwrap();
    let mut after = Wire::starttls(&dialer, DOMAIN).unwrap();
    after.send(&header("example.net")).unwrap();
    let mut direct = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    direct.send(&header("example.net")).unwrap();

    for wire in [&mut before, &mut after, &mut direct] {
        let end = wire.read_end(LIMIT).unwrap();
        assert!(end.text.contains("<host-unknown"), "{end:?}");
        assert!(end.text.contains("</stream:stream>"), "{end:?}");
        assert!(end.is_clean, "{end:?}");
    }
    let nodes: String = scene.nodes.iter().map(|node| node.log().unwrap()).collect();
    assert!(!nodes.contains("example.net"), "{nodes}");
}

#[test]
fn without_tls_nothing_is_offered_but_tls() {
    let scene = Scene::pair();
    let mut wire = Wire::plain(&scene.dialer(5222, DOMAIN)).unwrap();
    let features = wire.features(DOMAIN).unwrap();
    assert!(features.contains("<required"), "{features}");
    assert!(!features.contains("mechanism"), "{features}");

    wire.send(&auth("alice", "alice-secret-1")).unwrap();

    let end = wire.read_end(LIMIT).unwrap();
    assert!(end.text.contains("<stream:error>"), "{end:?}");
    assert!(!end.text.contains("success"), "{end:?}");
}

#[test]
fn what_follows_starttls_in_the_clear_is_never_read_as_if_it_were_inside() {
    let scene = Scene::pair();
    let mut wire = Wire::plain(&scene.dialer(5222, DOMAIN)).unwrap();
    wire.features(DOMAIN).unwrap();

    let injected = format!(
        "{STARTTLS}{}{}",
        header(DOMAIN),
        auth("bob", "bob-secret-1")
    );
    wire.send(&injected).unwrap();

    let end = wire.read_end(LIMIT).unwrap();
    assert!(!end.text.contains("success"), "{end:?}");
    assert!(!end.text.contains("mechanism"), "{end:?}");
}

#[test]
fn more_than_a_stanza_before_authentication_is_refused() {
    let scene = Scene::pair();
    let mut wire = Wire::starttls(&scene.dialer(5222, DOMAIN), DOMAIN).unwrap();
    wire.features(DOMAIN).unwrap();

    // The peer may have closed before all of it was written.
    drop(wire.send(&auth("alice", &"x".repeat(200_000))));

    let end = wire.read_end(LIMIT).unwrap();
    assert!(!end.text.contains("success"), "{end:?}");
    let log = scene.nodes[0].log().unwrap();
    assert!(!log.contains("Authenticated"), "{log}");
    let mut alice = scene.chatter("alice", usual);
    alice
        .sign_in(scene.edge(Mode::Direct), Mode::Direct)
        .unwrap();
}

#[test]
fn who_takes_too_long_to_sign_in_is_closed_and_holds_up_nobody() {
    let scene = Scene::pair_with(&Setup {
        edge: vec![("login_timeout", "3s".into())],
        ..Setup::USUAL
    });
    let dialer = scene.dialer(5222, DOMAIN);
    let before = Instant::now();
    let mut slow: Vec<Wire> = (0..30).map(|_| Wire::plain(&dialer).unwrap()).collect();
    for wire in &mut slow {
        wire.send("<?xml").unwrap();
    }
    let mut waits = Wire::starttls(&dialer, DOMAIN).unwrap();
    waits.features(DOMAIN).unwrap();

    scene.online("alice", Mode::StartTls).ping().unwrap();

    for wire in slow.iter_mut().chain([&mut waits]) {
        wire.read_end(LIMIT).unwrap();
    }
    assert!(before.elapsed() >= Duration::from_secs(3));
}

/// How long a refusal may take.
const LIMIT: Duration = Duration::from_secs(10);
