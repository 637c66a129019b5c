//! The phones and the registrar of these tests are proven with a foreign edge.

use std::time::Duration;

use support::sip::voice::{Voice, audio_address};

use super::scenario;
use super::scene::{ALICE, BOB, CAROL, DAVE, DESK, MACHINE, Scene, aor, rings, tone, usual};

#[test]
fn phones_do_with_a_foreign_edge_what_the_pair_is_tested_with() {
    let mut scene = Scene::reference();
    let mut alice = scene.phone(ALICE, |plan| plan.has_video = true);
    let mut bob = scene.phone(BOB, |plan| {
        plan.has_video = true;
        plan.calls_max = 1;
    });
    let mut carol = scene.phone(CAROL, rings);
    let (mut machine, spot) = scene.agent(DAVE);
    let voice = Voice::new(&spot.place, spot.address, true).unwrap();
    machine.register(300).unwrap();

    scenario::call((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    scenario::see_each_other(&alice, &bob);
    scenario::hold_and_resume((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    scenario::hold_and_resume((&mut bob, tone(BOB)), (&mut alice, tone(ALICE)));
    scenario::press_keys(&mut alice, &mut bob);
    scenario::busy(&mut carol, &mut bob);
    scenario::hang_up(&mut bob, &mut alice);
    scenario::cancel(&mut alice, &mut carol);
    scenario::reject(&mut alice, &mut carol);
    scenario::busy_tone(&mut alice, &mut machine, &voice);
}

#[test]
fn calls_are_moved_and_forked_through_a_foreign_edge() {
    let mut scene = Scene::reference();
    let mut alice = scene.phone(ALICE, usual);
    let mut bob = scene.phone(BOB, usual);
    let mut carol = scene.phone(CAROL, usual);

    scenario::call((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    scenario::transfer(&mut alice, (&mut bob, tone(BOB)), (&mut carol, tone(CAROL)));
    scenario::hang_up(&mut bob, &mut carol);
    scenario::call_the_dead(&mut alice, &mut carol);

    drop(bob);
    let mut bob = scene.phone(BOB, rings);
    let mut second = scene.phone(DAVE, |plan| {
        plan.user = super::scene::user(BOB);
        plan.device = 2;
        rings(plan);
    });
    scenario::fork(
        (&mut alice, tone(ALICE)),
        (&mut second, tone(DAVE)),
        &mut bob,
    );
}

#[test]
fn a_wrong_password_is_refused_through_a_foreign_edge() {
    let mut scene = Scene::reference();
    let mallory = scene.start_phone(ALICE, |plan| plan.password = "guess".to_owned());
    mallory.wait_refused(401).unwrap();
}

#[test]
fn what_is_inside_talks_without_an_edge() {
    let mut scene = Scene::reference();
    let mut desk = scene.desk(DESK, usual);
    let (mut machine, spot) = scene.inner_agent(MACHINE);
    let voice = Voice::new(&spot.place, spot.address, false).unwrap();

    scenario::busy_tone(&mut desk, &mut machine, &voice);
    let (mut dialog, answer) = machine.call(&aor(DESK), &voice.sdp().unwrap()).unwrap();
    desk.wait_established().unwrap();
    let _speaker = voice.speak(audio_address(&answer).unwrap(), 500).unwrap();
    scenario::hear(&desk, 500);
    let heard = voice.hear(None, 50, Duration::from_secs(5)).unwrap();
    assert!(heard.share_of(tone(DESK)) > 0.5, "{}", scene.logs());
    let end = machine.exchange(&mut dialog, "BYE", "", "").unwrap();
    assert_eq!(end.status(), Some(200));
}

#[test]
fn a_registrar_that_was_killed_has_forgotten_everybody() {
    let mut scene = Scene::reference();
    let (mut agent, _) = scene.agent(ALICE);
    agent.register(300).unwrap();
    scene.registrars[0].kill().unwrap();
    scene.registrars[0].restart().unwrap();

    let (_, answer) = agent.invite(&agent.aor(), "", "").unwrap();

    assert_eq!(answer.status(), Some(480), "{answer:#?}");
}
