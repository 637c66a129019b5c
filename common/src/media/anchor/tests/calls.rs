//! Calls of one audio line.

use super::scene::{Scene, audio, client_audio, desk_audio, key};
use crate::media::anchor::{MediaPolicy, OfferMethod, Refusal, Side};
use crate::media::plan::{Direction, PlanChange, SrtpSuite, StopReason};

#[test]
fn a_client_that_calls_inside_is_offered_as_plain_rtp_and_answered_with_srtp() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    let offer = scene.invite(call, &client_audio(1)).unwrap();
    let before_answer = scene.changes();
    let answer = scene.accept(call, "b", &desk_audio(5000));
    let plan = scene.plan();

    assert!(offer.contains("c=IN IP4 172.16.0.5\r\n"), "{offer}");
    assert!(offer.contains(" RTP/AVP 0 101\r\n"), "{offer}");
    assert!(!offer.contains("crypto"), "{offer}");
    assert!(!offer.contains("192.0.2.7"), "{offer}");
    assert_eq!(before_answer, []);
    assert!(answer.contains("c=IN IP4 203.0.113.10\r\n"), "{answer}");
    assert!(answer.contains(" RTP/SAVP 0 101\r\n"), "{answer}");
    assert!(
        answer.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"),
        "{answer}"
    );
    assert!(!answer.contains(&key(1)), "{answer}");
    assert!(!answer.contains("10.0.0.99"), "{answer}");
    assert_eq!(plan.outer.receive[0].key(), [1; 16]);
    assert_eq!(
        plan.outer.send.unwrap().suite(),
        SrtpSuite::AesCm128HmacSha1_80
    );
    assert_eq!(plan.inner.remote, Some("10.0.0.99:5000".parse().unwrap()));
    assert_eq!(
        plan.inner.remote_rtcp,
        Some("10.0.0.99:5001".parse().unwrap())
    );
    assert_eq!(plan.inner.protection, None);
    assert_eq!(plan.direction, Direction::Both);
}

#[test]
fn a_client_that_is_called_is_offered_every_suite_with_the_best_first() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Inner, MediaPolicy::Rtp);

    let offer = scene.invite(call, &desk_audio(5000)).unwrap();
    let second = format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", key(2));
    let answer = scene.accept(call, "b", &audio("192.0.2.7", 4000, "RTP/SAVP", &second));
    let plan = scene.plan();

    let crypto: Vec<&str> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"))
        .map(|line| line.split(" inline:").next().unwrap())
        .collect();
    assert_eq!(
        crypto,
        [
            "1 AEAD_AES_256_GCM",
            "2 AEAD_AES_128_GCM",
            "3 AES_CM_128_HMAC_SHA1_80"
        ]
    );
    assert!(offer.contains(" RTP/SAVP 0 101\r\n"), "{offer}");
    assert!(answer.contains(" RTP/AVP 0 101\r\n"), "{answer}");
    assert!(!answer.contains("crypto"), "{answer}");
    assert_eq!(plan.outer.receive[0].key(), [2; 16]);
    assert_eq!(
        plan.outer.send.unwrap().suite(),
        SrtpSuite::AesCm128HmacSha1_80
    );
    assert_eq!(plan.inner.remote, Some("10.0.0.99:5000".parse().unwrap()));
}

#[test]
fn the_end_of_a_call_stops_its_stream_and_gives_both_ports_back() {
    let mut scene = Scene::new();
    let call = scene.answered();

    scene.hang_up(call);

    assert!(matches!(
        scene.changes().as_slice(),
        [PlanChange::Stop(_, StopReason::Bye)]
    ));
    assert_eq!(scene.released().len(), 2);
    assert_eq!(scene.anchor.supply().taken(), (0, 0));
}

#[test]
fn an_offer_that_is_refused_gives_its_ports_back_without_a_stream() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    scene.invite(call, &client_audio(1)).unwrap();

    let refused = (486, true);
    scene
        .respond(call, Side::Inner, OfferMethod::Invite, refused, "b", "")
        .unwrap();

    assert_eq!(scene.changes(), []);
    assert_eq!(scene.anchor.supply().taken(), (0, 0));
}

#[test]
fn an_offer_that_was_challenged_keeps_its_ports_until_it_comes_again() {
    for code in [401, 407, 422] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Outer, MediaPolicy::Rtp);
        let first = scene.invite(call, &client_audio(1)).unwrap();

        scene
            .respond(
                call,
                Side::Inner,
                OfferMethod::Invite,
                (code, true),
                "b",
                "",
            )
            .unwrap();

        assert_eq!(scene.anchor.supply().taken(), (1, 1), "{code}");
        let again = scene.invite(call, &client_audio(2)).unwrap();
        assert_eq!(again, first, "{code}");
        scene.accept(call, "b", &desk_audio(5000));
        assert_eq!(scene.plan().outer.receive[0].key(), [2; 16]);
        assert_eq!(scene.released(), []);
        scene.hang_up(call);
        assert_eq!(scene.anchor.supply().taken(), (0, 0));
    }
}

#[test]
fn clients_that_cannot_be_protected_are_refused_for_their_reason() {
    let fingerprint = "a=fingerprint:sha-256 AA\r\na=setup:actpass\r\n";
    let unprotected = format!(
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{} UNENCRYPTED_SRTP\r\n",
        key(1)
    );
    for (profile, rest, refusal) in [
        ("RTP/AVP", "", Refusal::PlainRtp),
        ("RTP/SAVP", "", Refusal::NoKeys),
        ("RTP/SAVP", &unprotected, Refusal::NoKeys),
        ("UDP/TLS/RTP/SAVPF", fingerprint, Refusal::DtlsOnly),
        ("RTP/SAVPF", fingerprint, Refusal::DtlsOnly),
        ("TCP/RTP/AVP", "", Refusal::NoMedia),
    ] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Outer, MediaPolicy::Rtp);

        let result = scene.invite(call, &audio("192.0.2.7", 4000, profile, rest));

        assert_eq!(result, Err(refusal), "{profile}");
        assert_eq!(refusal.status(), 488);
        assert_eq!(scene.anchor.supply().taken(), (0, 0));
    }
}

#[test]
fn media_goes_nowhere_but_to_the_networks_inside_and_to_own_ports() {
    for (address, is_allowed) in [
        ("10.1.2.3", true),
        ("172.16.0.5", true),
        ("172.16.0.6", false),
        ("198.51.100.1", false),
        ("phone.example.com", false),
    ] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Inner, MediaPolicy::Rtp);

        let result = scene.invite(call, &audio(address, 5000, "RTP/AVP", ""));

        assert_eq!(
            result.err(),
            (!is_allowed).then_some(Refusal::InnerAddress),
            "{address}"
        );
    }
}
