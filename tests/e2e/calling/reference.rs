//! The phones and the registrar of these tests are proven with a foreign edge.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use support::sip::voice::{Voice, audio_address};

use super::scene::{ALICE, DESK, MACHINE, Scene, aor, tone, usual};
use super::{load, scenario};

#[test]
fn phones_do_with_a_foreign_edge_what_the_pair_is_tested_with() {
    scenario::everyday(&mut Scene::reference());
}

#[test]
fn calls_are_moved_and_forked_through_a_foreign_edge() {
    scenario::moved_and_forked(&mut Scene::reference());
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
    // Long enough for the moment of silence with which a phone begins.
    let heard = voice.hear(None, 150, Duration::from_secs(10)).unwrap();
    let share = heard.share_of(tone(DESK));
    assert!(share > 0.5, "{share}\n{}", scene.logs());
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

    // The foreign edge may still write to its connection to the process that was killed, and refuses what it lost there
    // itself (430); then it knows.
    let answers = (0..3).map(|_| agent.invite(&agent.aor(), "", "").unwrap().1);
    let answer = answers
        .into_iter()
        .find(|answer| answer.status() != Some(430));

    let answer = answer.expect("the foreign edge refused all three calls itself");
    assert_eq!(answer.status(), Some(480), "{answer:#?}");
}

#[test]
fn many_users_register_and_call_through_a_foreign_edge() {
    // Debian's Kamailio with TLS ends by itself now and then under load: then, and only then, it is tried again.
    let mut ends = 0;
    loop {
        let mut scene = Scene::reference();
        let done = panic::catch_unwind(AssertUnwindSafe(|| {
            load::register(&scene, 200, 100);
            load::call(&mut scene, 100, 50);
        }));
        let Err(failed) = done else { return };
        ends += 1;
        if ends == 4 || !scene.reference_has_ended() {
            panic::resume_unwind(failed);
        }
    }
}
