//! Calls that several parties answer.

use super::scene::{Scene, client_audio, desk_audio};
use crate::media::anchor::{MediaPolicy, OfferMethod, Side};
use crate::media::plan::PlanChange;

const RINGING: (u16, bool) = (183, false);

#[test]
fn every_called_client_has_keys_of_its_own_until_one_has_won() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Inner, MediaPolicy::Rtp);
    let answer = |number| client_audio(number).replace("crypto:1", "crypto:3");

    scene.invite(call, &desk_audio(5000)).unwrap();
    for (fork, number) in [("a", 1), ("b", 2), ("c", 3)] {
        scene
            .respond(
                call,
                Side::Outer,
                OfferMethod::Invite,
                RINGING,
                fork,
                &answer(number),
            )
            .unwrap();
    }
    let changes = scene.changes();
    scene.accept(call, "b", &answer(2));
    let won = scene.plan();

    let Some(PlanChange::Change(_, all)) = changes.last() else {
        panic!("{changes:?}");
    };
    let keys: Vec<u8> = all.outer.receive.iter().map(|keys| keys.key()[0]).collect();
    assert_eq!(keys, [1, 2, 3]);
    assert_eq!(won.outer.receive.len(), 1);
    assert_eq!(won.outer.receive[0].key(), [2; 16]);
}

#[test]
fn media_goes_to_the_one_that_answered_last_until_one_has_won() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    scene.invite(call, &client_audio(1)).unwrap();
    let mut remotes = Vec::new();
    for (fork, port) in [("a", 5000), ("b", 6000)] {
        scene
            .respond(
                call,
                Side::Inner,
                OfferMethod::Invite,
                RINGING,
                fork,
                &desk_audio(port),
            )
            .unwrap();
        remotes.push(scene.plan().inner.remote.unwrap().port());
    }
    scene.accept(call, "a", &desk_audio(5000));
    remotes.push(scene.plan().inner.remote.unwrap().port());

    assert_eq!(remotes, [5000, 6000, 5000]);
}

#[test]
fn a_fifth_party_gets_no_media_unless_it_wins() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    scene.invite(call, &client_audio(1)).unwrap();
    for fork in ["a", "b", "c", "d"] {
        scene
            .respond(
                call,
                Side::Inner,
                OfferMethod::Invite,
                RINGING,
                fork,
                &desk_audio(5000),
            )
            .unwrap();
    }
    scene.changes();

    let fifth = scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            RINGING,
            "e",
            &desk_audio(7000),
        )
        .unwrap();
    let ignored = scene.changes();
    let answer = scene.accept(call, "e", &desk_audio(7000));

    assert_eq!(fifth, "");
    assert_eq!(ignored, []);
    assert!(answer.contains("RTP/SAVP"), "{answer}");
    assert_eq!(scene.plan().inner.remote.unwrap().port(), 7000);
}

#[test]
fn a_second_200_of_another_party_takes_nothing_from_the_winner() {
    let mut scene = Scene::new();
    let call = scene.answered();

    let second = scene.accept(call, "z", &desk_audio(7000));

    assert_eq!(second, "");
    assert_eq!(scene.changes(), []);
}
