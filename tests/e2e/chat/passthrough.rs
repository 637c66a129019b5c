//! Clients whose TLS ends inside: edge-e reads nothing of what they say.

use std::path::Path;
use std::time::Duration;

use certs::{Authority, Leaf};
use support::tls_client::Dialer;
use support::wait;
use support::xmpp::chatter::{Chatter, Mode};
use support::xmpp::wire::{Wire, header};

use super::scenario;
use super::scene::{Scene, Setup};
use crate::stage::DOMAIN;

fn scene() -> Scene {
    Scene::pair_with(&Setup {
        is_passthrough: true,
        ..Setup::USUAL
    })
}

/// Somebody who trusts the authority inside alone, so that nobody but edge-c can be who answers.
fn online(scene: &Scene, user: &str, mode: Mode) -> Chatter {
    let mut chatter = scene.chatter(user, |plan| plan.authorities = scene.inner_authority());
    let session = chatter.sign_in(scene.edge(mode), mode);
    assert!(session.is_ok(), "{session:?}\n{}", scene.logs());
    chatter
}

#[test]
fn clients_chat_over_tls_that_ends_inside() {
    let scene = scene();
    let mut alice = online(&scene, "alice", Mode::StartTls);
    let mut bob = online(&scene, "bob", Mode::Direct);

    scenario::talk(&mut alice, &mut bob);
    scenario::room(&mut alice, &mut bob, DOMAIN);
    alice.leave().unwrap();
    let mut cjones = scene.chatter("cjones", |plan| {
        plan.authorities = scene.inner_authority();
        plan.password = "guess".to_owned();
    });
    cjones
        .connect(scene.edge(Mode::Direct), Mode::Direct)
        .unwrap();
    cjones.wait("failed_auth").unwrap();

    scene.zones().assert_nothing_refused().unwrap();
}

#[test]
fn when_a_node_dies_clients_over_tls_that_ends_inside_are_told() {
    let mut scene = scene();
    let mut alice = online(&scene, "alice", Mode::StartTls);
    let mut bob = online(&scene, "bob", Mode::Direct);
    scenario::talk(&mut alice, &mut bob);

    scene.nodes[0].kill().unwrap();

    for chatter in [&mut alice, &mut bob] {
        let is_end = |event: &support::xmpp::chatter::Event| event.kind == "disconnected";
        chatter
            .wait_for("the end", Duration::from_secs(5), is_end)
            .unwrap();
        let seen = chatter.seen();
        let told = |event: &support::xmpp::chatter::Event| {
            event.kind == "stream_error" && event.text == "remote-connection-failed"
        };
        assert!(seen.iter().any(told), "{seen:#?}");
    }
    drop(online(&scene, "alice", Mode::Direct));
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_nobody_is_disconnected() {
    let mut scene = scene();
    let mut alice = online(&scene, "alice", Mode::StartTls);
    let mut bob = online(&scene, "bob", Mode::Direct);
    let chat = scene.path().join("chat");
    // From another authority, so that a client can tell them apart.
    let authority = Authority::new("next chat authority").unwrap();
    let trusted = scene.path().join("next.pem");
    std::fs::write(&trusted, authority.pem()).unwrap();
    let renewed = authority
        .issue(&Leaf::server(&[DOMAIN.to_owned()]))
        .unwrap();
    let is_shown = |scene: &Scene| Wire::direct(&dialer(scene, &trusted)).is_ok();
    assert!(!is_shown(&scene));

    renewed.write_to(&chat).unwrap();

    wait::until_true("the new one", wait::START_LIMIT, || Ok(is_shown(&scene))).unwrap();
    let old = Wire::direct(&dialer(&scene, &scene.inner_authority()));
    assert!(old.is_err(), "{old:?}");
    let mut vera = scene.chatter("vera", |plan| plan.authorities = trusted.clone());
    vera.sign_in(scene.edge(Mode::StartTls), Mode::StartTls)
        .unwrap();
    scenario::talk(&mut alice, &mut bob);
    scenario::talk(&mut vera, &mut alice);

    // A key of another certificate: the last good pair stays.
    let core = &scene.stage().pair.cores[0];
    core.forget_log().unwrap();
    let other = authority
        .issue(&Leaf::server(&[DOMAIN.to_owned()]))
        .unwrap();
    std::fs::write(chat.with_extension("key"), &other.key_pem).unwrap();
    let line = core
        .wait_log(|line| line.contains("reload refused"))
        .unwrap();
    assert!(
        line.contains("\"warn\"") && line.contains("chat.key"),
        "{line}"
    );
    let check = core.run(&["check", "--config", &core.config_file().to_string_lossy()]);
    assert_eq!(check.unwrap().status.code(), Some(78));
    assert!(is_shown(&scene));
    scenario::talk(&mut alice, &mut bob);

    renewed.write_to(&chat).unwrap();
    let core = &scene.stage().pair.cores[0];
    core.wait_log(|line| line.contains("\"reloaded\"")).unwrap();
    assert!(is_shown(&scene));
}

/// Somebody who speaks TLS from the first byte, and trusts this authority alone.
fn dialer(scene: &Scene, authority: &Path) -> Dialer {
    let edge = scene.edge(Mode::Direct);
    Dialer::new(&scene.client(), edge, DOMAIN, authority, &["xmpp-client"]).unwrap()
}

#[test]
fn a_domain_of_nobody_is_refused_before_tls_and_by_it() {
    let scene = scene();

    let wrong = Wire::direct(&scene.dialer(5223, "example.net"));
    let refused = wrong.map(|mut wire| wire.features("example.net"));
    assert!(!matches!(refused, Ok(Ok(_))), "{refused:?}");
    let mut wire = Wire::plain(&scene.dialer(5222, DOMAIN)).unwrap();
    wire.send(&header("example.net")).unwrap();
    let end = wire.read_end(Duration::from_secs(10)).unwrap();
    assert!(end.text.contains("<host-unknown"), "{end:?}");
}
