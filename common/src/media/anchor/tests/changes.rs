//! Offers within a call: hold, resume, glare, failure, delayed offers, PRACK and UPDATE.

use std::time::Duration;

use super::scene::{Scene, audio, client_audio, desk_audio, key};
use crate::limits;
use crate::media::anchor::{MediaPolicy, OfferMethod, Refusal, Side};
use crate::media::plan::{Direction, PlanChange};

const OK: (u16, bool) = (200, true);

#[test]
fn hold_and_resume_by_the_client_change_nothing_but_the_direction() {
    let mut scene = Scene::new();
    let call = scene.answered();
    let held = format!("{}a=sendonly\r\n", client_audio(1));
    let answer = format!("{}a=recvonly\r\n", desk_audio(5000));

    let offer = scene
        .request(call, Side::Outer, OfferMethod::Invite, &held)
        .unwrap();
    scene
        .respond(call, Side::Inner, OfferMethod::Invite, OK, "b", &answer)
        .unwrap();
    let on_hold = scene.plan();
    scene
        .request(call, Side::Outer, OfferMethod::Invite, &client_audio(1))
        .unwrap();
    scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            OK,
            "b",
            &desk_audio(5000),
        )
        .unwrap();
    let resumed = scene.plan();

    assert!(offer.contains("a=sendonly"), "{offer}");
    assert_eq!(on_hold.direction, Direction::Inward);
    assert_eq!(resumed.direction, Direction::Both);
    assert_eq!(on_hold.outer, resumed.outer);
    assert_eq!(on_hold.inner, resumed.inner);
}

#[test]
fn a_hold_by_the_address_zero_takes_the_destination_away() {
    let mut scene = Scene::new();
    let call = scene.answered();

    let offer = scene
        .request(
            call,
            Side::Inner,
            OfferMethod::Invite,
            &audio("0.0.0.0", 5000, "RTP/AVP", ""),
        )
        .unwrap();
    scene
        .respond(
            call,
            Side::Outer,
            OfferMethod::Invite,
            OK,
            "b",
            &client_audio(1),
        )
        .unwrap();
    let plan = scene.plan();

    assert!(offer.contains("c=IN IP4 0.0.0.0\r\n"), "{offer}");
    assert!(offer.contains("o=- 1 1 IN IP4 203.0.113.10\r\n"), "{offer}");
    assert_eq!(plan.inner.remote, None);
    assert_eq!(plan.direction, Direction::Outward);
}

#[test]
fn an_offer_from_inside_shows_the_client_the_same_ports_and_keys_again() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    scene.invite(call, &client_audio(1)).unwrap();
    let first = scene.accept(call, "b", &desk_audio(5000));
    scene.changes();

    let offer = scene
        .request(call, Side::Inner, OfferMethod::Invite, &desk_audio(6000))
        .unwrap();
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", key(1));
    let answer = audio("192.0.2.7", 4000, "RTP/SAVP", &crypto);
    scene
        .respond(call, Side::Outer, OfferMethod::Invite, OK, "b", &answer)
        .unwrap();
    let plan = scene.plan();

    let line = |text: &str, start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert_eq!(line(&offer, "m="), line(&first, "m="));
    // And no other: what was agreed stays.
    assert_eq!(line(&offer, "a=crypto:"), line(&first, "a=crypto:"));
    assert_eq!(offer.matches("a=crypto:").count(), 1, "{offer}");
    assert_eq!(plan.inner.remote, Some("10.0.0.99:6000".parse().unwrap()));
}

#[test]
fn a_reinvite_that_fails_leaves_what_was_agreed() {
    let mut scene = Scene::new();
    let call = scene.answered();

    scene
        .request(call, Side::Outer, OfferMethod::Invite, &client_audio(9))
        .unwrap();
    scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            (183, true),
            "b",
            &desk_audio(7000),
        )
        .unwrap();
    let tried = scene.plan();
    scene
        .respond(call, Side::Inner, OfferMethod::Invite, (488, true), "b", "")
        .unwrap();
    let restored = scene.plan();

    assert_eq!(tried.outer.receive[0].key(), [9; 16]);
    assert_eq!(tried.inner.remote, Some("10.0.0.99:7000".parse().unwrap()));
    assert_eq!(restored.outer.receive[0].key(), [1; 16]);
    assert_eq!(
        restored.inner.remote,
        Some("10.0.0.99:5000".parse().unwrap())
    );
}

#[test]
fn an_offer_that_crosses_another_is_refused_until_that_is_settled() {
    let mut scene = Scene::new();
    let call = scene.answered();
    let update = OfferMethod::Update;

    scene
        .request(call, Side::Outer, OfferMethod::Invite, &client_audio(2))
        .unwrap();
    let crossing = scene.request(call, Side::Inner, update, &desk_audio(6000));
    scene.later(limits::OFFER_AGE_MAX + Duration::from_secs(1));
    let much_later = scene.request(call, Side::Inner, update, &desk_audio(6000));

    assert_eq!(crossing, Err(Refusal::Glare));
    assert_eq!(Refusal::Glare.status(), 491);
    assert!(much_later.is_ok());
    assert_eq!(scene.changes(), []);
}

#[test]
fn an_offer_in_the_200_is_answered_in_the_ack() {
    for caller in [Side::Outer, Side::Inner] {
        let mut scene = Scene::new();
        let call = scene.call(caller, MediaPolicy::Rtp);
        let (offer, answer) = match caller {
            Side::Outer => (
                desk_audio(5000),
                client_audio(1).replace("crypto:1", "crypto:3"),
            ),
            Side::Inner => (client_audio(1), desk_audio(5000)),
        };

        scene.invite(call, "").unwrap();
        let passed = scene.accept(call, "b", &offer);
        let early = scene.changes();
        scene
            .request(call, caller, OfferMethod::Ack, &answer)
            .unwrap();
        let plan = scene.plan();

        assert_eq!(
            passed.contains("RTP/SAVP"),
            caller == Side::Outer,
            "{passed}"
        );
        assert_eq!(early, []);
        assert_eq!(plan.outer.receive[0].key(), [1; 16]);
        assert_eq!(plan.inner.remote, Some("10.0.0.99:5000".parse().unwrap()));
    }
}

#[test]
fn a_reinvite_without_an_offer_brings_one_in_its_200() {
    let mut scene = Scene::new();
    let call = scene.answered();

    scene
        .request(call, Side::Inner, OfferMethod::Invite, "")
        .unwrap();
    scene
        .respond(
            call,
            Side::Outer,
            OfferMethod::Invite,
            OK,
            "b",
            &client_audio(3),
        )
        .unwrap();
    scene
        .request(call, Side::Inner, OfferMethod::Ack, &desk_audio(6000))
        .unwrap();
    let plan = scene.plan();

    assert_eq!(plan.outer.receive[0].key(), [3; 16]);
    assert_eq!(plan.inner.remote, Some("10.0.0.99:6000".parse().unwrap()));
}

#[test]
fn an_offer_in_a_reliable_183_is_answered_in_the_prack() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Inner, MediaPolicy::Rtp);

    scene.invite(call, "").unwrap();
    scene
        .respond(
            call,
            Side::Outer,
            OfferMethod::Invite,
            (183, true),
            "b",
            &client_audio(1),
        )
        .unwrap();
    scene
        .request(call, Side::Inner, OfferMethod::Prack, &desk_audio(5000))
        .unwrap();
    let plan = scene.plan();

    assert_eq!(plan.inner.remote, Some("10.0.0.99:5000".parse().unwrap()));
}

#[test]
fn prack_and_update_carry_offers_of_their_own() {
    for method in [OfferMethod::Prack, OfferMethod::Update] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Outer, MediaPolicy::Rtp);
        scene.invite(call, &client_audio(1)).unwrap();
        scene
            .respond(
                call,
                Side::Inner,
                OfferMethod::Invite,
                (183, true),
                "b",
                &desk_audio(5000),
            )
            .unwrap();
        scene.changes();

        scene
            .request(call, Side::Outer, method, &client_audio(2))
            .unwrap();
        scene
            .respond(call, Side::Inner, method, OK, "b", &desk_audio(6000))
            .unwrap();
        let plan = scene.plan();
        let repeated = scene.accept(call, "b", &desk_audio(5002));

        assert_eq!(plan.outer.receive[0].key(), [2; 16]);
        assert_eq!(plan.inner.remote, Some("10.0.0.99:6000".parse().unwrap()));
        assert_eq!(repeated, "", "the answer to INVITE is long past");
        assert_eq!(scene.changes(), []);
    }
}

#[test]
fn an_update_that_fails_changes_nothing() {
    let mut scene = Scene::new();
    let call = scene.answered();
    let update = OfferMethod::Update;

    scene
        .request(call, Side::Inner, update, &desk_audio(6000))
        .unwrap();
    scene
        .respond(call, Side::Outer, update, (504, true), "b", "")
        .unwrap();
    let again = scene.request(call, Side::Outer, update, &client_audio(2));

    assert!(again.is_ok());
    assert_eq!(scene.changes(), []);
}

#[test]
fn a_message_that_is_sent_again_gets_the_same_description_and_changes_nothing() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    scene.invite(call, &client_audio(1)).unwrap();
    let first = scene.accept(call, "b", &desk_audio(5000));
    scene.changes();
    let again = scene.accept(call, "b", &desk_audio(5000));

    assert_eq!(first, again);
    assert_eq!(scene.changes(), []);
}

#[test]
fn an_answer_in_a_183_starts_early_media_and_the_200_may_correct_it() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    scene.invite(call, &client_audio(1)).unwrap();
    scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            (183, false),
            "b",
            &desk_audio(5000),
        )
        .unwrap();
    let early = scene.changes();
    scene.accept(call, "b", &desk_audio(5002));
    let plan = scene.plan();

    assert!(matches!(early.as_slice(), [PlanChange::Start(..)]));
    assert_eq!(plan.inner.remote, Some("10.0.0.99:5002".parse().unwrap()));
}
