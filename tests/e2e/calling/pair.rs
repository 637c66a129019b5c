//! Phones outside call each other through the pair.

use support::sip::voice::Voice;

use super::scene::{ALICE, BOB, MACHINE, Scene, Setup, aor};
use super::{load, scenario};

#[test]
fn phones_outside_talk_and_refuse() {
    scenario::everyday(&mut Scene::pair());
}

#[test]
fn calls_between_phones_outside_are_moved_and_forked() {
    scenario::moved_and_forked(&mut Scene::pair());
}

#[test]
fn a_wrong_password_is_refused() {
    let mut scene = Scene::pair();
    let mallory = scene.start_phone(ALICE, |plan| plan.password = "guess".to_owned());
    mallory.wait_refused(401).unwrap();
}

#[test]
fn edge_c_asks_for_passwords_where_the_registrar_does_not() {
    let mut scene = Scene::pair_with(&Setup {
        challenges: false,
        authentication: "edge",
        ..Setup::USUAL
    });
    let (mut machine, inner) = scene.inner_agent(MACHINE);
    let inner = Voice::new(&inner.place, inner.address, false).unwrap();

    let (guesser, _) = scene.agent(ALICE);
    let mut guesser = guesser.password("guess");
    assert_eq!(guesser.register(300).unwrap().status(), Some(401));
    let (_, answer) = guesser.invite(&machine.aor(), "", "").unwrap();
    assert_eq!(answer.status(), Some(403), "{answer:#?}");

    let (mut agent, spot) = scene.agent(ALICE);
    let answer = agent.register(300).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}");
    let voice = Voice::new(&spot.place, spot.address, true).unwrap();
    let (_, answer) = agent.invite(&aor(BOB), "", "").unwrap();
    assert_eq!(answer.status(), Some(480), "{answer:#?}\n{}", scene.logs());
    let mut talk = scenario::connect((&mut agent, &voice), (&mut machine, &inner));
    scenario::bye(&mut machine, &mut talk.called, &mut agent);
}

#[test]
fn two_thousand_users_register_and_none_fails() {
    load::register(&Scene::pair(), 2000, 100);
}

#[test]
fn two_thousand_calls_are_made_and_none_fails() {
    let mut scene = Scene::pair_with(&Setup {
        transport: "udp",
        ..Setup::USUAL
    });
    load::call(&mut scene, 2000, 50);
}
