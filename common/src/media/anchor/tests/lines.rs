//! Descriptions of several lines, policies of registrars, ICE and RTCP.

use super::scene::{Scene, audio, client_audio, desk_audio, key};
use crate::limits;
use crate::media::anchor::{LineRefused, MediaPolicy, OfferMethod, Refusal, Side};
use crate::media::class::MediaClass;
use crate::media::plan::{PlanChange, SrtpSuite, StopReason, StreamKind};

const OK: (u16, bool) = (200, true);

const FIVE: &str = include_str!("../../../../../tests/vectors/sdp/five-lines.sdp");
const MANAGER: &str = include_str!("../../../../../tests/vectors/sdp/call-manager.sdp");
const BROWSER: &str = include_str!("../../../../../tests/vectors/sdp/browser-sdes.sdp");
const DTLS: &str = include_str!("../../../../../tests/vectors/sdp/browser-dtls.sdp");
const FAX: &str = include_str!("../../../../../tests/vectors/sdp/fax.sdp");
const TEXT: &str = include_str!("../../../../../tests/vectors/sdp/text.sdp");
const SECURE: &str = include_str!("../../../../../tests/vectors/sdp/secure-desk-phone.sdp");
const DESK: &str = include_str!("../../../../../tests/vectors/sdp/desk-phone.sdp");
const BARESIP: &str = include_str!("../../../../../tests/vectors/sdp/baresip-client.sdp");

/// The m-lines of a description without their formats.
fn media(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("m="));
    lines
        .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Protocols of the m-lines; `-` for those that are switched off.
fn protocols(text: &str) -> Vec<String> {
    let lines = media(text).into_iter();
    lines
        .map(|line| {
            let mut words = line.split(' ').skip(1);
            let port = words.next().unwrap();
            let protocol = words.next().unwrap();
            if port == "0" { "-" } else { protocol }.to_owned()
        })
        .collect()
}

#[test]
fn a_video_client_gets_each_line_that_the_inside_takes_and_the_others_off() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    let offer = scene.invite(call, FIVE).unwrap();
    let answer = scene.accept(call, "b", MANAGER);
    let changes = scene.changes();

    assert_eq!(
        protocols(&offer),
        ["RTP/AVP", "RTP/AVP", "RTP/AVP", "UDP/BFCP", "UDP/UDT/IX"]
    );
    assert_eq!(protocols(&answer), ["RTP/SAVP", "RTP/SAVP", "-", "-", "-"]);
    assert!(
        answer.contains("m=video 0 RTP/SAVP 31 34 96 97\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("a=crypto:1 AEAD_AES_256_GCM inline:"),
        "{answer}"
    );
    let started: Vec<MediaClass> = changes
        .iter()
        .map(|change| match change {
            PlanChange::Start(_, plan) => plan.class,
            PlanChange::Change(..) | PlanChange::Stop(..) => panic!("{change:?}"),
        })
        .collect();
    assert_eq!(started, [MediaClass::Audio, MediaClass::Video]);
    // Ports of the three rejected lines are back already.
    assert_eq!(scene.anchor.supply().taken(), (2, 2));
}

#[test]
fn lines_are_added_rejected_and_taken_up_again_in_their_places() {
    let mut scene = Scene::new();
    let call = scene.answered();
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", key(4));
    let with_video = |port: u16| {
        format!(
            "{}m=video {port} RTP/SAVP 96\r\na=rtpmap:96 VP8/90000\r\n{crypto}",
            client_audio(1)
        )
    };
    let answer = |port: u16| format!("{}m=video {port} RTP/AVP 96\r\n", desk_audio(5000));

    let mut seen = Vec::new();
    for (offered, answered) in [(4002, 5002), (0, 0), (4002, 5002), (4002, 0)] {
        scene
            .request(call, Side::Outer, OfferMethod::Invite, &with_video(offered))
            .unwrap();
        let text = scene
            .respond(
                call,
                Side::Inner,
                OfferMethod::Invite,
                OK,
                "b",
                &answer(answered),
            )
            .unwrap();
        let video = scene.changes().pop().map(|change| match change {
            PlanChange::Start(_, plan) => plan.class == MediaClass::Video,
            PlanChange::Stop(_, reason) => reason != StopReason::Rejected,
            PlanChange::Change(..) => false,
        });
        seen.push((protocols(&text).len(), protocols(&text)[1] == "-", video));
    }

    assert_eq!(
        seen,
        [
            (2, false, Some(true)),
            (2, true, Some(false)),
            (2, false, Some(true)),
            (2, true, Some(false)),
        ]
    );
    assert_eq!(scene.anchor.supply().taken(), (1, 1));
}

#[test]
fn a_call_turns_into_a_fax_and_the_audio_line_stays_off() {
    let mut scene = Scene::new();
    let call = scene.answered();
    let accepted = FAX.replace("10.0.0.42", "192.0.2.7");

    let offer = scene
        .request(call, Side::Inner, OfferMethod::Invite, FAX)
        .unwrap();
    let answer = scene
        .respond(call, Side::Outer, OfferMethod::Invite, OK, "b", &accepted)
        .unwrap();
    let changes = scene.changes();

    assert_eq!(protocols(&offer), ["-", "udptl"]);
    assert_eq!(protocols(&answer), ["-", "udptl"]);
    assert!(
        offer.contains("a=T38FaxUdpEC:t38UDPRedundancy\r\n"),
        "{offer}"
    );
    assert!(matches!(
        changes.as_slice(),
        [PlanChange::Stop(_, StopReason::Rejected), PlanChange::Start(_, plan)]
            if plan.class == MediaClass::T38 && plan.kind == StreamKind::Opaque
    ));
}

#[test]
fn lines_that_cannot_be_relayed_are_off_without_disturbing_the_others() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    let offer = scene.invite(call, TEXT).unwrap();
    let refused = scene.anchor.poll_refused();

    assert_eq!(protocols(&offer), ["RTP/AVP", "RTP/AVP", "-", "RTP/AVP"]);
    let expected = LineRefused {
        leg: call.leg,
        from: Side::Outer,
        index: 2,
        reason: Refusal::NoMedia,
    };
    assert_eq!(refused, Some(expected));
    assert_eq!(scene.anchor.poll_refused(), None);
    assert!(offer.contains("a=fmtp:100 98/98/98\r\n"), "{offer}");
}

#[test]
fn a_browser_with_keys_gets_a_lite_ice_agent_and_one_port_for_each_line() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    let accepted = BROWSER
        .replace("RTP/SAVPF", "RTP/AVPF")
        .replace(" 9 ", " 5000 ")
        .replace("0.0.0.0", "10.0.0.99")
        .replace("a=ice-", "a=x-")
        .replace("a=rtcp-mux\r\n", "");

    let offer = scene.invite(call, BROWSER).unwrap();
    let answer = scene.accept(call, "b", &accepted);
    let changes = scene.changes();

    assert!(
        !offer.contains("ice") && !offer.contains("candidate"),
        "{offer}"
    );
    assert!(
        !offer.contains("rtcp-mux") && !offer.contains("BUNDLE"),
        "{offer}"
    );
    assert!(offer.contains("a=mid:0\r\n"), "{offer}");
    assert!(answer.contains("a=ice-lite\r\n"), "{answer}");
    assert_eq!(answer.matches("a=candidate:1 1 UDP ").count(), 2);
    assert_eq!(answer.matches("a=rtcp-mux\r\n").count(), 2);
    assert_eq!(answer.matches(" typ host\r\n").count(), 2);
    for change in changes {
        let PlanChange::Start(_, plan) = change else {
            panic!("{change:?}");
        };
        let ice = plan.outer.ice.unwrap();
        assert_eq!(ice.remote_ufrag.as_deref(), Some("F7gI"));
        assert!(answer.contains(&format!("a=ice-ufrag:{}\r\n", ice.ufrag)));
        assert!(ice.password.reveal().len() >= 22);
        assert!(plan.outer.rtcp_mux && !plan.inner.rtcp_mux);
        assert_eq!(plan.inner.remote_rtcp, Some("10.0.0.99:9".parse().unwrap()));
    }
}

#[test]
fn ice_begins_anew_with_the_client_and_is_repeated_in_offers_to_it() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    let ice = |fragment: &str| {
        format!(
            "{}a=ice-ufrag:{fragment}\r\na=ice-pwd:0123456789012345678901\r\na=rtcp-mux\r\n",
            client_audio(1)
        )
    };
    let ufrag = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("a=ice-ufrag:"));
        line.unwrap().to_owned()
    };

    scene.invite(call, &ice("one")).unwrap();
    let first = scene.accept(call, "b", &desk_audio(5000));
    scene
        .request(call, Side::Outer, OfferMethod::Invite, &ice("one"))
        .unwrap();
    let same = scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            OK,
            "b",
            &desk_audio(5000),
        )
        .unwrap();
    scene
        .request(call, Side::Outer, OfferMethod::Invite, &ice("two"))
        .unwrap();
    let anew = scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            OK,
            "b",
            &desk_audio(5000),
        )
        .unwrap();
    let offer = scene
        .request(call, Side::Inner, OfferMethod::Invite, &desk_audio(6000))
        .unwrap();

    assert_eq!(ufrag(&first), ufrag(&same));
    assert_ne!(ufrag(&same), ufrag(&anew));
    assert_eq!(ufrag(&anew), ufrag(&offer));
    assert!(offer.contains("a=rtcp-mux\r\n"), "{offer}");
}

#[test]
fn a_browser_without_keys_is_refused() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    assert_eq!(scene.invite(call, DTLS), Err(Refusal::DtlsOnly));
}

#[test]
fn the_registrars_policy_says_what_the_inside_is_offered() {
    let opportunistic = client_audio(1).replace("RTP/SAVP", "RTP/AVP");
    let secure = client_audio(1);
    for (policy, offered, protocol, has_keys) in [
        (MediaPolicy::Rtp, &secure, "RTP/AVP", false),
        (MediaPolicy::Srtp, &secure, "RTP/SAVP", true),
        (MediaPolicy::AsOffered, &secure, "RTP/SAVP", true),
        (MediaPolicy::Rtp, &opportunistic, "RTP/AVP", false),
        (MediaPolicy::Srtp, &opportunistic, "RTP/SAVP", true),
        (MediaPolicy::AsOffered, &opportunistic, "RTP/AVP", true),
    ] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Outer, policy);

        let offer = scene.invite(call, offered).unwrap();

        assert_eq!(protocols(&offer), [protocol], "{policy:?}");
        assert_eq!(
            offer.contains("a=crypto:1 AEAD_AES_256_GCM "),
            has_keys,
            "{policy:?}"
        );
        assert!(!offer.contains(&key(1)), "{policy:?}");
    }
}

#[test]
fn an_inside_with_srtp_has_keys_of_its_own() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Srtp);
    let answer = SECURE
        .replace(
            "a=crypto:1 AES_CM_128_HMAC_SHA1_32",
            "a=crypto:9 AES_CM_128_HMAC_SHA1_32",
        )
        .replace("a=crypto:2 AES", "a=crypto:3 AES");

    scene.invite(call, BARESIP).unwrap();
    scene.accept(call, "b", &answer);
    let plan = scene.plan();

    let protection = plan.inner.protection.unwrap();
    let send = protection.send.unwrap();
    assert_eq!(
        protection.receive[0].suite(),
        SrtpSuite::AesCm128HmacSha1_80
    );
    assert_eq!(send.suite(), SrtpSuite::AesCm128HmacSha1_80);
    assert_ne!(send.key(), plan.outer.send.unwrap().key());
}

#[test]
fn an_offer_of_srtp_from_inside_is_answered_with_srtp_whatever_the_policy() {
    for policy in [MediaPolicy::Rtp, MediaPolicy::Srtp, MediaPolicy::AsOffered] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Inner, policy);

        scene.invite(call, SECURE).unwrap();
        let answer = scene.accept(call, "b", &client_audio(1).replace("crypto:1", "crypto:3"));
        let plan = scene.plan();

        // The suite with short tags stands first, and is not taken for it.
        assert!(
            answer.contains("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"),
            "{answer}"
        );
        assert_eq!(protocols(&answer), ["RTP/SAVP"]);
        assert!(plan.inner.protection.is_some());
    }
}

#[test]
fn a_registrar_that_demands_srtp_gets_no_call_without() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Inner, MediaPolicy::Srtp);

    assert_eq!(scene.invite(call, DESK), Err(Refusal::PlainRtpInside));
}

#[test]
fn the_suite_with_short_tags_is_taken_when_there_is_no_other_and_offered_again_then() {
    let short = client_audio(1).replace("SHA1_80", "SHA1_32");
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);

    scene.invite(call, &short).unwrap();
    let answer = scene.accept(call, "b", &desk_audio(5000));
    let offer = scene
        .request(call, Side::Inner, OfferMethod::Update, &desk_audio(5000))
        .unwrap();

    assert!(
        answer.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_32 "),
        "{answer}"
    );
    assert!(
        offer.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_32 "),
        "{offer}"
    );
}

#[test]
fn an_answer_without_the_keys_that_it_needs_switches_the_line_off() {
    let other_suite = audio(
        "192.0.2.7",
        4000,
        "RTP/SAVP",
        &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", key(1)),
    );
    for answer in [audio("192.0.2.7", 4000, "RTP/SAVP", ""), other_suite] {
        let mut scene = Scene::new();
        let call = scene.call(Side::Inner, MediaPolicy::Rtp);
        scene.invite(call, &desk_audio(5000)).unwrap();

        let passed = scene.accept(call, "b", &answer);

        assert_eq!(media(&passed), ["m=audio 0 RTP/AVP"]);
        assert_eq!(scene.changes(), []);
        assert_eq!(scene.anchor.supply().taken(), (0, 0));
    }
}

#[test]
fn an_answer_at_a_forbidden_address_switches_the_line_off() {
    let mut scene = Scene::new();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    scene.invite(call, &client_audio(1)).unwrap();

    let passed = scene.accept(call, "b", &audio("198.51.100.9", 5000, "RTP/AVP", ""));

    assert_eq!(media(&passed), ["m=audio 0 RTP/SAVP"]);
    assert_eq!(scene.changes(), []);
    let reason = scene.anchor.poll_refused().map(|line| line.reason);
    assert_eq!(reason, Some(Refusal::InnerAddress));
}

#[test]
fn a_call_between_two_clients_runs_through_own_ports_on_both_sides() {
    let mut scene = Scene::new();
    let first = scene.call(Side::Outer, MediaPolicy::Rtp);
    let second = scene.call(Side::Inner, MediaPolicy::Rtp);

    let inside = scene.invite(first, &client_audio(1)).unwrap();
    let to_callee = scene.invite(second, &inside).unwrap();
    let answer = client_audio(2).replace("crypto:1", "crypto:3");
    let answer_inside = scene.accept(second, "b", &answer);
    let called = scene.plan();
    scene.accept(first, "b", &answer_inside);
    let calling = scene.plan();

    assert_eq!(protocols(&to_callee), ["RTP/SAVP"]);
    let port = |text: &str| media(text)[0].split(' ').nth(1).unwrap().to_owned();
    let own = |text: &str| format!("172.16.0.5:{}", port(text)).parse().ok();
    assert_eq!(called.inner.remote, own(&inside));
    assert_eq!(calling.inner.remote, own(&answer_inside));
}

#[test]
fn a_call_without_ready_ports_is_told_to_come_again() {
    let mut scene = Scene::new();
    let mut refused = None;
    for _ in 0..=limits::MEDIA_SPARE_PORTS {
        let call = scene.call(Side::Outer, MediaPolicy::Rtp);
        refused = scene.invite(call, &client_audio(1)).err();
    }

    assert_eq!(refused, Some(Refusal::NoPorts));
    assert_eq!(Refusal::NoPorts.status(), 503);
    assert!(Refusal::NoPorts.retry_after().is_some());
    scene.fill();
    let call = scene.call(Side::Outer, MediaPolicy::Rtp);
    assert!(scene.invite(call, &client_audio(1)).is_ok());
}

#[test]
fn a_client_that_moves_takes_its_address_to_the_engine() {
    let mut scene = Scene::new();
    let call = scene.answered();

    scene
        .anchor
        .handle_flow_moved(call.leg, "198.51.100.77".parse().unwrap());

    let plan = scene.plan();
    assert_eq!(
        plan.outer.flow_address,
        Some("198.51.100.77".parse().unwrap())
    );
}

#[test]
fn a_client_that_offers_more_suites_in_mid_call_keeps_the_one_in_use() {
    let mut scene = Scene::new();
    let call = scene.answered();
    let all = FIVE.split("m=video").next().unwrap();

    scene
        .request(call, Side::Outer, OfferMethod::Invite, all)
        .unwrap();
    let answer = scene
        .respond(
            call,
            Side::Inner,
            OfferMethod::Invite,
            OK,
            "b",
            &desk_audio(5000),
        )
        .unwrap();

    assert!(
        answer.contains("a=crypto:3 AES_CM_128_HMAC_SHA1_80 "),
        "{answer}"
    );
}
