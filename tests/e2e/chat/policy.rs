//! What edge-c decides: who may try a password, and what becomes of channel binding.

use std::time::Duration;

use support::wait;
use support::xmpp::chatter::{Event, Mode};
use support::xmpp::wire::{Wire, header};

use super::scene::{Scene, Setup, password, usual};
use crate::stage::DOMAIN;

#[test]
fn behind_the_gate_only_users_with_a_session_may_try_a_password() {
    let mut scene = Scene::pair_with(&Setup {
        gate: "user",
        ..Setup::USUAL
    });
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    wire.features(DOMAIN).unwrap();

    let answer = wire.plain_auth("alice", &password("alice")).unwrap();

    assert!(answer.contains("not-authorized"), "{answer}");
    let log = scene.nodes[0].log().unwrap();
    assert!(!log.contains("alice"), "{log}");
    let _session = scene.stage().sign_in("alice");
    scene.online("alice", Mode::StartTls).ping().unwrap();
    let mut bob = scene.chatter("bob", usual);
    bob.connect(scene.edge(Mode::Direct), Mode::Direct).unwrap();
    bob.wait("failed_auth").unwrap();
}

#[test]
fn when_a_session_is_revoked_the_users_streams_end_and_no_others() {
    let mut scene = Scene::pair_with(&Setup {
        gate: "user",
        ..Setup::USUAL
    });
    for user in ["alice", "bob"] {
        drop(scene.stage().sign_in(user));
    }
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    wire.features(DOMAIN).unwrap();
    let answer = wire.plain_auth("alice", &password("alice")).unwrap();
    assert!(answer.contains("<success"), "{answer}");

    let core = &scene.stage().pair.cores[0];
    let file = core.config_file().display().to_string();
    let revoke = ["sessions", "--config", &file, "revoke", "--user", "alice"];
    let output = core.run(&revoke).unwrap();
    assert!(output.status.success(), "{output:?}");

    let end = wire.read_end(Duration::from_secs(5)).unwrap();
    assert!(end.text.contains("<reset"), "{end:?}");
    assert!(end.is_clean, "{end:?}");
    alice
        .wait_for("the end", Duration::from_secs(5), |event| {
            event.kind == "disconnected"
        })
        .unwrap();
    let seen = alice.seen().to_vec();
    assert!(
        seen.iter()
            .any(|event| event.kind == "stream_error" && event.text == "reset"),
        "{seen:#?}"
    );
    bob.ping().unwrap();
    let mut again = scene.chatter("alice", usual);
    again
        .connect(scene.edge(Mode::Direct), Mode::Direct)
        .unwrap();
    again.wait("failed_auth").unwrap();
}

#[test]
fn a_stream_ends_with_the_session_that_let_it_in_unless_the_user_has_another() {
    let mut scene = Scene::pair_with(&Setup {
        gate: "user",
        ..Setup::USUAL
    });
    let core = &mut scene.stage().pair.cores[0];
    // Long enough for two clients to sign in, on a busy machine.
    core.set("session", "lifetime", "20s");
    core.restart().unwrap();
    scene.stage().pair.edges[0].wait_ready().unwrap();
    for user in ["alice", "bob"] {
        drop(scene.stage().sign_in(user));
    }
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);

    wait::until_true("the end", Duration::from_secs(60), || {
        drop(scene.stage().sign_in("bob"));
        let seen = alice.seen().iter();
        Ok(seen.filter(|event| event.kind == "disconnected").count() == 1)
    })
    .unwrap();

    let seen = alice.seen().to_vec();
    let is_told = |event: &Event| event.kind == "stream_error" && event.text == "reset";
    assert!(seen.iter().any(is_told), "{seen:#?}");
    bob.ping().unwrap();
    let core = &scene.stage().pair.cores[0];
    let is_told = |line: &str| {
        line.contains("XMPP streams closed") && line.contains("let the user in is over")
    };
    core.wait_log(is_told).unwrap();
    let (_, metrics) = core.ask_admin("/metrics").unwrap();
    let counted = "edge_xmpp_streams_closed_total{side=\"local\",reason=\"expired\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let mut again = scene.chatter("alice", usual);
    again
        .connect(scene.edge(Mode::Direct), Mode::Direct)
        .unwrap();
    again.wait("failed_auth").unwrap();
}

#[test]
fn channel_binding_is_refused_where_that_is_the_policy() {
    let scene = with_policy("refuse");
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    wire.send(&header(DOMAIN)).unwrap();

    let end = wire.read_end(Duration::from_secs(10)).unwrap();

    assert!(end.text.contains("<stream:error>"), "{end:?}");
    assert!(end.is_clean, "{end:?}");
}

#[test]
fn channel_binding_is_taken_away_where_that_is_the_policy() {
    let scene = with_policy("strip");
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();

    let features = wire.features(DOMAIN).unwrap();

    assert!(!features.contains("-PLUS"), "{features}");
    assert!(features.contains("SCRAM-SHA-1"), "{features}");
}

#[test]
fn channel_binding_is_left_where_that_is_the_policy() {
    let scene = with_policy("pass");
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();

    let features = wire.features(DOMAIN).unwrap();

    assert!(features.contains("SCRAM-SHA-1-PLUS"), "{features}");
}

/// Nodes that offer it: Prosody does over TLS 1.2 alone.
fn with_policy(policy: &str) -> Scene {
    Scene::pair_with(&Setup {
        protocol: "tlsv1_2",
        domain: vec![("channel_binding", policy.into())],
        ..Setup::USUAL
    })
}
