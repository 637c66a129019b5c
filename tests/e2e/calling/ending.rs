//! Calls that nobody ends, so that the pair has to.

use std::time::Duration;

use support::sip::agent::Dialog;
use support::sip::srtp::Keys;
use support::sip::voice::{Voice, audio_address, keys_of};

use super::scenario::{self, Talk};
use super::scene::{ALICE, DESK, Scene, Setup, tone};

#[test]
fn a_call_in_which_nobody_speaks_is_ended_at_both_ends() {
    let mut scene = Scene::pair_with(&Setup {
        more: |stage| stage.pair.cores[0].set("media", "silence_timeout", "5s"),
        ..Setup::USUAL
    });
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    let answer = alice.register(300).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}");
    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();

    let Talk { caller, called, .. } = scenario::connect((&mut alice, &outer), (&mut desk, &inner));

    for (agent, dialog) in [(&mut alice, &caller), (&mut desk, &called)] {
        let bye = agent.wait_request("BYE").unwrap();
        assert_eq!(bye.header("call-id"), Some(dialog.call_id.as_str()));
        assert_eq!(bye.header("from"), Some(dialog.remote.as_str()));
        assert_eq!(bye.header("to"), Some(dialog.local.as_str()));
        let reason = bye.header("reason").unwrap();
        assert!(reason.contains("no media"), "{reason}");
        agent.respond(&bye, "200 OK", "", "").unwrap();
    }
    let of = |dialog: &Dialog| dialog.call_id.clone();
    assert_eq!(of(&caller), of(&called));
    let log = scene.logs();
    assert!(log.contains("a call is ended"), "{log}");
}

#[test]
fn a_call_outlives_a_restart_of_edge_e() {
    let mut scene = Scene::pair();
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    alice.register(300).unwrap();
    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    let mut talk = scenario::connect((&mut alice, &outer), (&mut desk, &inner));
    let _inward = outer.speak(audio_address(&talk.answer).unwrap(), tone(ALICE));
    let _outward = inner.speak(audio_address(&talk.offer).unwrap(), tone(DESK));
    let keys = keys_of(&talk.answer).unwrap();
    assert!(hears(&inner, None, ALICE) && hears(&outer, Some(&keys), DESK));

    let edge = &mut scene.stage().pair.edges[0];
    edge.kill().unwrap();
    edge.start().unwrap();

    inner.forget().unwrap();
    outer.forget().unwrap();
    assert!(hears(&inner, None, ALICE), "{}", scene.logs());
    assert!(hears(&outer, Some(&keys), DESK), "{}", scene.logs());
    let (mut alice, _) = scene.agent(ALICE);
    let answer = alice.register(300).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}");
    scenario::bye(&mut desk, &mut talk.called, &mut alice);
}

#[test]
fn a_call_whose_ports_an_edge_e_has_no_more_is_ended_at_once() {
    let mut scene = Scene::pair();
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    alice.register(300).unwrap();
    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    scenario::connect((&mut alice, &outer), (&mut desk, &inner));

    let edge = &mut scene.stage().pair.edges[0];
    edge.kill().unwrap();
    edge.set("media", "ports", "20000-20999");
    edge.start().unwrap();

    let bye = desk.wait_request("BYE").unwrap();
    desk.respond(&bye, "200 OK", "", "").unwrap();
}

/// Whether the tone of somebody arrives, a second long.
pub(super) fn hears(voice: &Voice, keys: Option<&Keys>, number: u8) -> bool {
    let heard = voice.hear(keys, 50, Duration::from_secs(10)).unwrap();
    heard.length() >= Duration::from_millis(900) && heard.share_of(tone(number)) > 0.5
}
