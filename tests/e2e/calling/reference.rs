//! The phones and the registrar of these tests are proven with a foreign edge.

use std::time::Duration;

use super::scene::Scene;

#[test]
fn phones_hear_each_other_through_a_foreign_edge() {
    let mut scene = Scene::reference();
    let mut alice = scene.phone(110, |plan| plan.tone = 440);
    let mut bob = scene.phone(111, |plan| plan.tone = 880);

    alice.dial(bob.aor()).unwrap();
    alice.wait_established().unwrap();
    bob.wait_established().unwrap();

    alice.wait_tone(880, SECOND).unwrap();
    bob.wait_tone(440, SECOND).unwrap();
    alice.hang_up().unwrap();
    bob.wait_closed().unwrap();
}

const SECOND: Duration = Duration::from_secs(1);
