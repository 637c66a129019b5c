//! Tokens that must open nothing, and clients that must not be punished.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::testing::issuer::{Issuer as Signer, hmac_token, jwe, unsigned_token};
use serde_json::json;
use std::fs;

use super::{ask, assert_token_refused, claims, claims_with, now, static_stage};
use crate::stage::{Stage, UCM, proxied_url, verb_url};

/// The first of these tables: what is wrong, and the token.
#[expect(clippy::too_many_lines, reason = "a table: one row for each attack")]
fn bad_tokens(signer: &Signer) -> Vec<(&'static str, String)> {
    let stranger = Signer::rsa("k1");
    let payload = claims().to_string();
    let header = |rest: &str| format!(r#"{{"alg":"RS256","typ":"at+jwt"{rest}}}"#);
    let hs256 = r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#;
    let good = signer.token(&claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let other = claims_with("sub", json!("bob")).to_string();
    let swapped = good.replacen(
        signed.split_once('.').unwrap().1,
        &URL_SAFE_NO_PAD.encode(other),
        1,
    );
    vec![
        (
            "alg=none",
            unsigned_token(r#"{"alg":"none","typ":"at+jwt"}"#, &payload),
        ),
        (
            "HS256 with the public key",
            hmac_token(hs256, &payload, signer.pem().as_bytes()),
        ),
        ("another key", stranger.token(&claims())),
        ("other claims under a genuine signature", swapped),
        ("no signature", format!("{signed}.")),
        (
            "a path as kid",
            stranger.sign(&header(r#","kid":"../../../../dev/null""#), &payload),
        ),
        (
            "a URL as kid",
            stranger.sign(&header(r#","kid":"https://evil.example/jwks""#), &payload),
        ),
        (
            "a key of its own",
            stranger.sign(&header(&format!(r#","jwk":{}"#, stranger.jwk())), &payload),
        ),
        (
            "a key elsewhere",
            stranger.sign(&header(r#","jku":"https://evil.example/jwks""#), &payload),
        ),
        (
            "an extension",
            signer.sign(&header(r#","crit":["exp"]"#), &payload),
        ),
        (
            "wrong audience",
            signer.token(&claims_with("aud", json!("urn:other"))),
        ),
        (
            "no audience",
            signer.token(&claims_with("aud", json!(null))),
        ),
        (
            "another issuer",
            signer.token(&claims_with("iss", json!("https://evil.example"))),
        ),
        (
            "two issuers",
            signer.token(&claims_with("iss", json!(["https://idp.example.com", "x"]))),
        ),
        (
            "expired",
            signer.token(&claims_with("exp", json!(now() - 60))),
        ),
        (
            "expiry as text",
            signer.token(&claims_with("exp", json!("9999999999"))),
        ),
        (
            "not yet valid",
            signer.token(&claims_with("nbf", json!(now() + 600))),
        ),
        (
            "an ID token",
            signer.sign(r#"{"alg":"RS256","typ":"JWT"}"#, &payload),
        ),
        (
            "oversized",
            signer.token(&claims_with("x", json!("x".repeat(16 * 1024)))),
        ),
        ("nobody's", signer.token(&claims_with("sub", json!("")))),
        ("opaque", "2YotnFZFEjr1zCsicMWpAA".to_owned()),
        ("junk", "a.b.c".to_owned()),
    ]
}

#[test]
fn no_bad_token_opens_anything() {
    let signer = Signer::rsa("k1");
    let mut stage = static_stage(&signer, |_| ());
    // Forged ones would have the address blocked before the end of the table.
    exempt_clients(&mut stage);

    for (what, token) in bad_tokens(&signer) {
        assert_token_refused(&ask(&stage, &token), what);
    }

    let good = ask(&stage, &signer.token(&claims()));
    assert_eq!(good.status, 200, "{}", stage.logs());
    assert!(good.header("set-cookie").unwrap().starts_with("X-Auth="));
    assert!(
        stage
            .uds
            .seen()
            .iter()
            .all(|seen| !seen.target.contains("bob"))
    );
    let (_, metrics) = stage.pair.cores[0].ask_admin("/metrics").unwrap();
    for line in [
        "edge_token_verdicts_total{issuer=\"corp\",outcome=\"expired\"} 1\n",
        "edge_token_verdicts_total{issuer=\"corp\",outcome=\"accepted\"} 1\n",
        "edge_sign_ins_total{outcome=\"expired_token\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

fn exempt_clients(stage: &mut Stage) {
    let mut jail = toml::Table::new();
    jail.insert("exempt".to_owned(), vec!["203.0.113.0/24"].into());
    let edge = &mut stage.pair.edges[0];
    edge.set("limits", "jail", jail);
    edge.restart().unwrap();
    stage.pair.cores[0].wait_ready().unwrap();
}

#[test]
fn a_laptop_that_wakes_with_an_expired_token_is_not_blocked_and_a_forger_is() {
    let signer = Signer::rsa("k1");
    let stage = static_stage(&signer, |_| ());
    let expired = signer.token(&claims_with("exp", json!(now() - 3600)));
    for _ in 0..12 {
        let answer = ask(&stage, &expired);
        assert_token_refused(&answer, "expired");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("the token has expired"), "{challenge}");
    }
    assert_eq!(
        ask(&stage, &signer.token(&claims())).status,
        200,
        "{}",
        stage.logs()
    );

    let forged = unsigned_token(r#"{"alg":"none"}"#, &claims().to_string());
    for _ in 0..6 {
        assert_eq!(ask(&stage, &forged).status, 401);
    }

    stage.pair.edges[0]
        .wait_log(|line| line.contains("address blocked"))
        .unwrap();
}

#[test]
fn who_has_shown_nothing_is_asked_for_a_password_or_a_token() {
    let stage = static_stage(&Signer::rsa("k1"), |_| ());

    let answer = stage.client().get(&verb_url(1, "get_edge_config")).unwrap();

    let challenges: Vec<_> = answer.header_all("www-authenticate").collect();
    let expected = ["Basic realm=\"Cisco-Edge\"", "Bearer realm=\"Cisco-Edge\""];
    assert_eq!((answer.status, challenges.as_slice()), (401, &expected[..]));
    assert_eq!(stage.try_sign_in("alice", "alice-secret-1").status, 200);
}

#[test]
fn an_issuer_speaks_for_its_own_domains_only() {
    let signer = Signer::rsa("k1");
    let stage = static_stage(&signer, |issuer| {
        issuer.insert("domains".to_owned(), vec!["example.org"].into());
    });

    let answer = ask(&stage, &signer.token(&claims()));

    // No issuer counts here, so a token is like any other credential that is not a password.
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Basic realm=\"Cisco-Edge\"")
    );
}

#[test]
fn a_session_ends_with_its_token() {
    let signer = Signer::rsa("k1");
    let stage = static_stage(&signer, |_| ());
    let token = signer.token(&claims_with("exp", json!(now() + 8)));
    stage.uds.add_token(&token, "alice");
    let answer = ask(&stage, &token);
    assert_eq!(answer.status, 200, "{}", stage.logs());
    let client = crate::stage::SignedIn::read(&stage.client(), 1, &answer);
    assert_eq!(
        client.get(UCM, "/cucm-uds/user/alice").status,
        200,
        "{}",
        stage.logs()
    );

    support::wait::until_true("the end of the token", support::wait::START_LIMIT, || {
        let url = proxied_url(1, UCM, "/cucm-uds/version");
        Ok(client.curl.get(&url)?.status == 401)
    })
    .unwrap();
}

#[test]
fn the_self_describing_form_is_opened_and_nothing_that_could_explode() {
    const KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
    const HEADER: &str = r#"{"alg":"RS256","typ":"JWT","kid":"cluster1:9f86d081"}"#;
    let signer = Signer::rsa("ignored");
    let stage = static_stage(&signer, |issuer| {
        let keys = issuer["keys"].as_array().unwrap()[0].as_str().unwrap();
        let file = std::path::Path::new(keys).with_extension("key");
        fs::write(&file, KEY).unwrap();
        issuer.insert(
            "decryption_key".to_owned(),
            file.to_string_lossy().into_owned().into(),
        );
        issuer.insert("user_claim".to_owned(), "uid".into());
        issuer.remove("issuer");
        issuer.remove("audiences");
    });
    let plain = json!({ "uid": "alice", "exp": now() + 600 }).to_string();
    let token = |header: &str| {
        let payload = json!({ "private": jwe(header, plain.as_bytes(), &KEY) });
        signer.sign(HEADER, &payload.to_string())
    };

    for bomb in [
        r#"{"alg":"dir","enc":"A128CBC-HS256","zip":"DEF"}"#,
        r#"{"alg":"PBES2-HS512+A256KW","enc":"A128CBC-HS256","p2c":2147483647,"p2s":"AA"}"#,
    ] {
        assert_token_refused(&ask(&stage, &token(bomb)), bomb);
    }

    let good = token(r#"{"alg":"dir","cty":"JWT","enc":"A128CBC-HS256"}"#);
    assert_eq!(ask(&stage, &good).status, 200, "{}", stage.logs());
}
