//! Phones outside, which speak nothing but SRTP, and phones inside, which speak plain RTP.

use std::time::{Duration, SystemTime};

use support::sip::voice::Voice;

use super::scenario;
use super::scene::{ALICE, BOB, DESK, MACHINE, Scene, Setup, rings, tone, usual};

#[test]
fn a_phone_outside_and_a_desk_phone_talk() {
    let mut scene = Scene::pair();
    let mut alice = scene.phone(ALICE, |plan| plan.has_video = true);
    let mut desk = scene.desk(DESK, |plan| plan.has_video = true);

    let start = SystemTime::now();
    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    assert!(
        alice
            .incoming(start)
            .unwrap()
            .iter()
            .all(|packet| packet.is_sealed)
    );
    assert!(
        desk.incoming(start)
            .unwrap()
            .iter()
            .all(|packet| !packet.is_sealed)
    );
    scenario::see_each_other(&alice, &desk);
    scenario::hold_and_resume((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hold_and_resume((&mut desk, tone(DESK)), (&mut alice, tone(ALICE)));
    scenario::press_keys(&mut alice, &mut desk);
    scenario::press_keys(&mut desk, &mut alice);
    scenario::hang_up(&mut alice, &mut desk);

    scenario::call((&mut desk, tone(DESK)), (&mut alice, tone(ALICE)));
    scenario::hang_up(&mut desk, &mut alice);
    scene.zones().assert_nothing_refused().unwrap();
}

#[test]
fn a_desk_phone_gives_up_hears_a_busy_tone_and_is_transferred() {
    let mut scene = Scene::pair();
    let mut alice = scene.phone(ALICE, usual);
    let mut bob = scene.phone(BOB, rings);
    let mut desk = scene.desk(DESK, usual);
    let (mut machine, spot) = scene.inner_agent(MACHINE);
    let voice = Voice::new(&spot.place, spot.address, false).unwrap();

    scenario::busy_tone(&mut alice, &mut machine, &voice);
    scenario::cancel(&mut desk, &mut bob);
    scenario::reject(&mut desk, &mut bob);
    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    drop(bob);
    let mut bob = scene.phone(BOB, usual);
    scenario::transfer(&mut alice, (&mut desk, tone(DESK)), (&mut bob, tone(BOB)));
    scenario::hang_up(&mut bob, &mut desk);
}

#[test]
fn a_registrar_that_stores_no_path_is_served_too() {
    for transport in ["udp", "tls"] {
        let mut scene = Scene::pair_with(&Setup {
            knows_path: false,
            transport,
            ..Setup::USUAL
        });
        let mut alice = scene.phone(ALICE, usual);
        let mut desk = scene.desk(DESK, usual);

        scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
        scenario::hang_up(&mut alice, &mut desk);
        scenario::call((&mut desk, tone(DESK)), (&mut alice, tone(ALICE)));
        scenario::hang_up(&mut desk, &mut alice);
    }
}

#[test]
fn the_quality_of_a_call_is_logged_at_its_end() {
    let mut scene = Scene::pair();
    let mut alice = scene.phone(ALICE, usual);
    let mut desk = scene.desk(DESK, usual);

    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hang_up(&mut alice, &mut desk);

    let line = scene.stage().pair.cores[0]
        .wait_log(|line| line.contains("media ended"))
        .unwrap();
    assert_eq!(line.matches("MOS").count(), 2, "{line}");
    assert!(
        !line.contains("1110") && !line.contains("192.168."),
        "{line}"
    );
    // The client's connection has the same name in the log of the other edge.
    let (_, id) = line.split_once("tracking_id").unwrap();
    let id = id.trim_start_matches(|c: char| !c.is_ascii_hexdigit());
    let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(id.len(), 32, "{line}");
    let outer = scene.stage().pair.edges[0].log().unwrap();
    assert!(outer.contains(&id), "{id} {outer}");
}

/// How long a phone may hear nothing.
pub(super) const BRIEF: Duration = Duration::from_secs(1);
