//! What clients do with whatever edge is before them.

use support::xmpp::chatter::{Chatter, Mode};
use support::xmpp::page::{self, Page};

use super::scene::{Scene, password, usual};
use crate::stage::DOMAIN;

/// Signing in every way there is; messages, presence and a chat room.
pub(crate) fn everyday(scene: &Scene) {
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);
    talk(&mut alice, &mut bob);
    presence(&mut alice, &mut bob);
    room(&mut alice, &mut bob, DOMAIN);
    alice.ping().unwrap();

    for (mode, tls) in [(Mode::StartTls, "1.2"), (Mode::StartTls, "1.3")] {
        signs_in_over(scene, mode, tls);
    }
    for (mode, tls) in [(Mode::Direct, "1.2"), (Mode::Direct, "1.3")] {
        signs_in_over(scene, mode, tls);
    }
    alice.leave().unwrap();
    bob.hear("presence", "unavailable").unwrap();
}

fn signs_in_over(scene: &Scene, mode: Mode, tls: &'static str) {
    let mut vera = scene.chatter("vera", |plan| plan.tls = Some(tls));
    let session = vera.sign_in(scene.edge(mode), mode).unwrap();
    assert_eq!(session.tls, format!("TLSv{tls}"), "{session:#?}");
    vera.leave().unwrap();
}

/// A message each way.
pub(crate) fn talk(left: &mut Chatter, right: &mut Chatter) {
    let (left_jid, right_jid) = (left.bare().to_owned(), right.bare().to_owned());
    left.message(&right_jid, "how are you?").unwrap();
    right.hear("message", "how are you?").unwrap();
    right.message(&left_jid, "fine & <well>").unwrap();
    left.hear("message", "fine & <well>").unwrap();
}

/// One sees how the other's presence changes.
fn presence(left: &mut Chatter, right: &mut Chatter) {
    let left_jid = left.bare().to_owned();
    right.subscribe(&left_jid).unwrap();
    right.hear("presence", "available").unwrap();
    left.presence("dnd").unwrap();
    let seen = right.hear("presence", "dnd").unwrap();
    assert!(seen.who.starts_with(&left_jid), "{seen:#?}");
}

/// Two in a chat room hear each other.
pub(crate) fn room(left: &mut Chatter, right: &mut Chatter, domain: &str) {
    let room = format!("lab@conference.{domain}");
    left.join(&room, "left").unwrap();
    right.join(&room, "right").unwrap();
    left.say(&room, "hello, room").unwrap();
    let heard = right.hear("room", "hello, room").unwrap();
    assert_eq!(heard.who, format!("{room}/left"));
    right.say(&room, "hello, left").unwrap();
    left.hear("room", "hello, left").unwrap();
}

/// A page and a client talk.
pub(crate) fn page(scene: &Scene, origin: &str, url: &str) {
    let mut bob = scene.online("bob", Mode::Direct);
    let (secret, peer) = (password("alice"), bob.bare().to_owned());
    let plan = page::Plan {
        origin,
        url,
        domain: DOMAIN,
        user: ("alice", &secret),
        peer: &peer,
    };
    let page = Page::open(&scene.client(), scene.path(), plan).unwrap();

    page.wait("online alice@").unwrap();
    let hello = bob.hear("message", "hello from a page").unwrap();
    bob.message(&hello.who, "hello, page").unwrap();
    page.wait("heard hello, page").unwrap();
    bob.message(&hello.who, "bye").unwrap();
    page.wait("status offline").unwrap();
    drop(page);

    let guess = page::Plan {
        user: ("alice", "guess"),
        ..plan
    };
    let page = Page::open(&scene.client(), scene.path(), guess).unwrap();
    page.wait("error not-authorized").unwrap();
}

/// Three wrong passwords, then the right one.
pub(crate) fn wrong_password(scene: &Scene) {
    let mut guesser = scene.chatter("alice", |plan| plan.password = "guess".to_owned());
    guesser
        .connect(scene.edge(Mode::StartTls), Mode::StartTls)
        .unwrap();
    guesser.wait("failed_auth").unwrap();
    guesser.wait("failed_all_auth").unwrap();
    let seen = guesser.seen().to_vec();
    assert!(
        seen.iter().all(|event| event.kind != "session"),
        "{seen:#?}"
    );
    let mut alice = scene.chatter("alice", usual);
    alice
        .sign_in(scene.edge(Mode::StartTls), Mode::StartTls)
        .unwrap();
}

/// A client's network goes away without a word; it comes back with another connection and takes up its stream, and what
/// was sent meanwhile arrives once.
pub(crate) fn resume(scene: &Scene) {
    let mut bob = scene.online("bob", Mode::Direct);
    let mut alice = scene.online("alice", Mode::StartTls);
    talk(&mut alice, &mut bob);

    alice.abort().unwrap();
    alice.wait("disconnected").unwrap();
    bob.message("alice@example.com/desk", "while you were away")
        .unwrap();
    bob.ping().unwrap();
    alice
        .connect(scene.edge(Mode::StartTls), Mode::StartTls)
        .unwrap();

    alice.wait("resumed").unwrap();
    alice.hear("message", "while you were away").unwrap();
    talk(&mut alice, &mut bob);
    let seen = alice.seen();
    let count = |kind: &str| seen.iter().filter(|event| event.kind == kind).count();
    assert_eq!(count("session"), 1, "{seen:#?}");
    assert_eq!(count("message"), 3, "{seen:#?}");
}

/// A page that may not come in.
pub(crate) fn foreign_page(scene: &Scene, origin: &str, url: &str) {
    let plan = page::Plan {
        origin,
        url,
        domain: DOMAIN,
        user: ("alice", &password("alice")),
        peer: "bob@example.com",
    };
    let page = Page::open(&scene.client(), scene.path(), plan).unwrap();

    page.wait("error ").unwrap();
    let lines = page.lines().unwrap();
    assert!(
        lines.iter().all(|line| !line.starts_with("online")),
        "{lines:#?}"
    );
}
