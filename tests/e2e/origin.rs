//! Inner servers that are down, slow or not who they should be.

use std::time::Duration;

use certs::Identity;
use support::curl::Answer;
use support::pair::Size;
use support::uds::{Fault, FaultKind};
use support::wait;

use crate::stage::{PHOTOS, SignedIn, Stage, UCM};

#[test]
fn an_origin_that_can_not_be_trusted_is_a_bad_gateway() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    assert_eq!(alice.get(PHOTOS, "/photos/alice.jpg").status, 200);

    for (certificate, reason) in [
        ("photos-expired", "xpired"),
        ("wrong-name", "not valid for name"),
        ("photos-foreign", "UnknownIssuer"),
    ] {
        let certificate = format!("inside/faulty/{certificate}");
        present(&mut stage, &alice, &certificate, |stage, answer| {
            answer.status == 502 && answer.body.is_empty() && refusal(stage).contains(reason)
        });
        let line = refusal(&stage);
        for part in [
            "https://photos.example.com",
            reason,
            "trust_anchors",
            "\"upstream\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    present(&mut stage, &alice, "inside/photos", |_, answer| {
        answer.status == 200
    });
}

#[test]
fn an_origin_that_is_down_is_a_bad_gateway_until_it_is_back() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.write_allow_list(
        "[[rule]]\nurl = \"https://photos.example.com/\"\nmatch = \"prefix\"\n\
         [[rule]]\nurl = \"https://nosuch.example.com/\"\nmatch = \"prefix\"\n",
    );
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    assert_eq!(alice.get(PHOTOS, "/photos/alice.jpg").status, 200);

    stage.nginx.stop().unwrap();
    let answer = alice.get(PHOTOS, "/photos/alice.jpg");
    assert_eq!(answer.status, 502, "{}", stage.logs());
    assert!(refusal(&stage).contains("no TCP connection"));

    let nameless = alice.get("https/nosuch.example.com/443", "/");
    assert_eq!(nameless.status, 502, "{}", stage.logs());
    assert!(refusal(&stage).contains("add the name to the inside DNS"));
}

#[test]
fn a_slow_origin_is_a_gateway_timeout_and_a_broken_one_a_bad_gateway() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.cores[0].set("inside", "response_timeout", "1s");
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    let target = "/cucm-uds/options/timeZones";
    let inject = |kind| stage.uds.inject(Fault::new(kind).on(target));

    inject(FaultKind::Delay { millis: 20_000 });
    let slow = alice.ask(|curl| curl.limit(Duration::from_secs(10)), UCM, target);
    assert_eq!(slow.status, 504, "{}", stage.logs());
    assert!(slow.body.is_empty());
    assert!(refusal(&stage).contains("no answer within 1 s"));

    stage.uds.clear_faults();
    inject(FaultKind::Reset);
    assert_eq!(alice.get(UCM, target).status, 502, "{}", stage.logs());

    // What has begun can't become another status; it must not look complete either.
    stage.uds.clear_faults();
    inject(FaultKind::TruncatedBody);
    let url = crate::stage::proxied_url(1, UCM, target);
    let cut = alice.curl.send(&url).unwrap().unwrap_err();
    assert!([18, 56, 92].contains(&cut.exit), "{cut:?}");

    stage.uds.clear_faults();
    assert_eq!(alice.get(UCM, target).status, 200);
}

/// Makes nginx show another certificate, and waits until a request for a photo ends as it should:
/// for a moment the old worker still takes connections.
fn present(
    stage: &mut Stage,
    client: &SignedIn,
    name: &str,
    is_seen: impl Fn(&Stage, &Answer) -> bool,
) {
    let identity = Identity::read_from(&stage.path().join(name)).unwrap();
    stage.nginx.present(&identity, || Ok(true)).unwrap();
    wait::until_true(name, wait::START_LIMIT, || {
        let answer = client.get(PHOTOS, "/photos/alice.jpg");
        Ok(is_seen(stage, &answer))
    })
    .unwrap();
}

/// The last refusal that edge-c has logged.
fn refusal(stage: &Stage) -> String {
    let log = stage.core_log();
    let line = log.lines().rfind(|line| line.contains("\"refused\""));
    line.unwrap().to_owned()
}
