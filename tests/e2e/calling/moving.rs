//! Phones whose address changes, and a link that is cut, while people talk.

use std::time::Duration;

use super::desk::BRIEF;
use super::scenario;
use super::scene::{ALICE, DESK, Scene, tone, usual};

#[test]
fn a_phone_whose_address_changes_is_heard_and_hears_within_a_second() {
    let mut scene = Scene::pair();
    let mut alice = scene.phone(ALICE, usual);
    let mut desk = scene.desk(DESK, usual);
    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));

    for address in [103, 102] {
        scene.home_of(ALICE).move_datagrams(address).unwrap();

        let gap = alice.wait_incoming(tone(DESK), AWHILE).unwrap();
        assert!(gap < BRIEF, "{gap:?}\n{}", scene.logs());
        desk.wait_incoming(tone(ALICE), AWHILE).unwrap();
    }
    scenario::hang_up(&mut alice, &mut desk);
}

#[test]
fn a_call_outlives_a_short_cut_of_the_link() {
    let mut scene = Scene::pair();
    let mut alice = scene.phone(ALICE, usual);
    let mut desk = scene.desk(DESK, usual);
    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));

    scene.zones().cut_link().unwrap();
    alice.wait_silence(AWHILE).unwrap();
    desk.wait_silence(AWHILE).unwrap();
    scene.zones().mend_link().unwrap();

    alice.wait_incoming(tone(DESK), AWHILE).unwrap();
    desk.wait_incoming(tone(ALICE), AWHILE).unwrap();
    scenario::hang_up(&mut desk, &mut alice);
}

const AWHILE: Duration = Duration::from_millis(400);
