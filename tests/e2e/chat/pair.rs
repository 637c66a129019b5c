//! Clients outside chat through the pair.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use support::netns;
use support::xmpp::chatter::Mode;
use support::xmpp::wire::Wire;

use super::configuration::PAGE;
use super::scenario;
use super::scene::{OTHER_DOMAIN, Scene, Setup, first};
use crate::stage::DOMAIN;

#[test]
fn clients_sign_in_and_chat() {
    let scene = Scene::pair();

    scenario::everyday(&scene);

    scene.zones().assert_nothing_refused().unwrap();
}

#[test]
fn nodes_may_want_tls_from_the_first_byte() {
    let scene = Scene::pair_with(&Setup {
        scheme: "tls",
        ..Setup::USUAL
    });
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);

    scenario::talk(&mut alice, &mut bob);
}

#[test]
fn a_page_chats() {
    let edge = first(netns::public(11));
    let url = format!("wss://{edge}:8443/{}/xmpp", STANDARD_NO_PAD.encode(DOMAIN));

    scenario::page(&Scene::pair(), PAGE, &url);
}

#[test]
fn a_page_from_elsewhere_is_refused() {
    let scene = Scene::pair();
    let edge = first(netns::public(11));
    let url = format!("wss://{edge}:8443/{}/xmpp", STANDARD_NO_PAD.encode(DOMAIN));

    scenario::foreign_page(&scene, "https://elsewhere.example.net", &url);
}

#[test]
fn a_stream_is_resumed() {
    scenario::resume(&Scene::pair());
}

#[test]
fn a_stream_is_resumed_after_the_cable_was_out() {
    let scene = Scene::pair();
    let home = scene.zones().add_home(110).unwrap();
    let mut bob = scene.online("bob", Mode::Direct);
    let mut alice = scene.chatter_at(&home.place(), &scene.plan("alice", DOMAIN));
    let edge = scene.edge(Mode::StartTls);
    alice.sign_in(edge, Mode::StartTls).unwrap();
    scenario::talk(&mut alice, &mut bob);

    // The edge hears nothing of this: for it the old connection stands.
    home.set_plugged(false).unwrap();
    alice.abort().unwrap();
    alice.wait("disconnected").unwrap();
    home.set_plugged(true).unwrap();
    alice.connect(edge, Mode::StartTls).unwrap();

    alice.wait("resumed").unwrap();
    scenario::talk(&mut alice, &mut bob);
}

#[test]
fn two_domains_have_nodes_of_their_own() {
    let scene = Scene::pair_with(&Setup {
        has_other_domain: true,
        ..Setup::USUAL
    });
    let online = |domain, user, mode| {
        let mut chatter = scene.chatter_at(&scene.client(), &scene.plan(user, domain));
        let session = chatter.sign_in(scene.edge(mode), mode);
        assert!(session.is_ok(), "{session:?}\n{}", scene.logs());
        chatter
    };
    let mut alice = online(OTHER_DOMAIN, "alice", Mode::StartTls);
    let mut bob = online(OTHER_DOMAIN, "bob", Mode::Direct);
    let mut vera = online(DOMAIN, "vera", Mode::Direct);

    scenario::talk(&mut alice, &mut bob);
    scenario::room(&mut alice, &mut bob, OTHER_DOMAIN);
    vera.message("vera@example.com", "to myself").unwrap();
    vera.hear("message", "to myself").unwrap();
}

#[test]
fn inside_tls_nobody_is_offered_tls() {
    let scene = Scene::pair_with(&Setup {
        has_other_domain: true,
        ..Setup::USUAL
    });

    for domain in [DOMAIN, OTHER_DOMAIN] {
        let dialer = scene.dialer(5222, domain);
        let mut wire = Wire::starttls(&dialer, domain).unwrap();
        let features = wire.features(domain).unwrap();
        assert!(!features.contains("starttls"), "{features}");
        assert!(features.contains("<mechanism>"), "{features}");
        let mut direct = Wire::direct(&scene.dialer(5223, domain)).unwrap();
        let features = direct.features(domain).unwrap();
        assert!(!features.contains("starttls"), "{features}");
    }
}
