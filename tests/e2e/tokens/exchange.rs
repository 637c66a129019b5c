//! RFC 8693 at a real issuer: a server inside gets a token made for it, and never the user's own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use support::oidc::tokens;
use support::pair::Member;
use toml::{Table, toml};

use super::{Lab, ask};
use crate::stage::{SignedIn, UCM};

/// The server that gets tokens of its own; the user's go to the others.
const OTHER: &str = "https/cucm1b.example.com/8443";
const OWN: &str = "/cucm-uds/user/alice";

fn exchange_for(core: &mut Member, audience: &str) {
    let secret = core.config_file().with_extension("secret");
    std::fs::write(&secret, "a secret for tests alone\n").unwrap();
    let rule = toml! {
        issuer = "corp"
        match = "prefix"
        url = "https://photos.example.com:7443/"
    };
    core.set("sso", "rule", vec![rule]);
    let mut exchange = toml! { hosts = ["cucm1b.example.com"] };
    exchange.insert("audience".to_owned(), audience.into());
    let issuers = core.config_mut()["issuer"].as_array_mut().unwrap();
    let issuer: &mut Table = issuers[0].as_table_mut().unwrap();
    issuer.insert("client_id".to_owned(), "edge-c".into());
    let file = secret.to_string_lossy().into_owned();
    issuer.insert("client_secret_file".to_owned(), file.into());
    issuer.insert("exchange".to_owned(), vec![exchange].into());
}

/// Signs alice in by a token of the issuer, and gives both.
fn sign_in(lab: &Lab) -> (SignedIn, String) {
    let browser = lab.browser();
    let code = browser.sign_in("alice").unwrap();
    let token = tokens(&browser.trade(&code).unwrap()).unwrap().access;
    lab.stage.uds.add_token(&token, "alice");
    let answer = ask(&lab.stage, &token);
    assert_eq!(answer.status, 200, "{}", lab.stage.logs());
    (SignedIn::read(&lab.stage.client(), 1, &answer), token)
}

/// The tokens that a question about alice's own record came with, since the last time.
fn shown(lab: &Lab) -> Vec<String> {
    let seen = lab.stage.uds.take_seen();
    let own = seen.iter().filter(|one| one.target == OWN);
    let fields = own.filter_map(|one| one.header("authorization"));
    fields
        .filter_map(|field| field.strip_prefix("Bearer "))
        .map(str::to_owned)
        .collect()
}

fn exchanges(lab: &Lab) -> usize {
    let log = lab.issuer.log().unwrap();
    log.lines()
        .filter(|line| line.contains("POST /token"))
        .count()
}

#[test]
fn a_server_inside_gets_a_token_of_its_own() {
    let lab = Lab::start(|core| exchange_for(core, "urn:edge:voicemail"));
    let (client, token) = sign_in(&lab);
    let before = exchanges(&lab);
    drop(shown(&lab));

    assert_eq!(client.get(UCM, OWN).status, 200, "{}", lab.stage.logs());
    assert_eq!(shown(&lab), [token.as_str()]);
    // The simulator knows the user's token alone; what counts is what it was shown.
    for _ in 0..3 {
        client.get(OTHER, OWN);
    }

    let other = shown(&lab);
    assert_eq!(other.len(), 3, "{}", lab.stage.logs());
    assert!(other.iter().all(|one| *one == other[0]), "one exchange");
    assert_eq!(exchanges(&lab), before + 1);
    let payload = other[0].split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(claims["aud"], "urn:edge:voicemail");
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&"alice".into(), &"edge-c".into())
    );
    let logs = lab.stage.logs();
    for secret in [&token, &other[0], "a secret for tests alone"] {
        assert!(!logs.contains(secret), "a log has a secret");
    }
}

#[test]
fn where_the_issuer_gives_none_the_server_inside_is_not_asked() {
    let mut lab = Lab::start(|core| exchange_for(core, "urn:edge:unheard-of"));
    let (client, token) = sign_in(&lab);
    drop(shown(&lab));

    let refused = client.get(OTHER, OWN);
    assert_eq!(refused.status, 502, "{}", lab.stage.logs());
    lab.issuer.stop().unwrap();
    let away = client.get(OTHER, OWN);
    assert_eq!(away.status, 502, "{}", lab.stage.logs());

    assert_eq!(
        shown(&lab),
        Vec::<String>::new(),
        "least of all the user's own"
    );
    let log = lab.stage.core_log();
    assert!(log.contains("look at [[issuer.exchange]]"), "{log}");
    assert_eq!(client.get(UCM, OWN).status, 200, "{}", lab.stage.logs());
    assert!(!lab.stage.logs().contains(&token));
}
