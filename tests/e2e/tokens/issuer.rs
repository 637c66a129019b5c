//! A real issuer over time: its keys change, it goes away and comes back, while clients work.

use support::oidc::{Browser, Tokens, tokens};

use super::{Lab, ask};

#[test]
fn keys_change_while_clients_work() {
    let mut lab = Lab::with_pages();
    let browser = lab.browser();
    let first = first_tokens(&lab, &browser);

    // The new key signs, the old one is still published.
    lab.issuer.restart("k2 k1").unwrap();
    let second = tokens(&browser.refresh(&first.refresh).unwrap()).unwrap();
    for token in [&second.access, &first.access] {
        assert_eq!(ask(&lab.stage, token).status, 200, "{}", lab.stage.logs());
    }

    assert!(lab.issuer.log().unwrap().contains("GET /jwks"));
}

#[test]
fn an_issuer_that_is_away_ends_nothing_that_is_signed() {
    let mut lab = Lab::with_pages();
    let browser = lab.browser();
    let first = first_tokens(&lab, &browser);
    let second = tokens(&browser.refresh(&first.refresh).unwrap()).unwrap();
    lab.issuer.stop().unwrap();

    // Never seen before, and verified by the keys at hand.
    assert_eq!(
        ask(&lab.stage, &second.access).status,
        200,
        "{}",
        lab.stage.logs()
    );
    let away = browser.refresh(&second.refresh).unwrap();
    assert_eq!(away.status, 502, "{}", lab.stage.logs());

    lab.issuer.restart("k1").unwrap();
    let again = browser.trade(&browser.sign_in("alice").unwrap()).unwrap();
    assert_eq!(again.status, 200, "{}", lab.stage.logs());
}

/// Those of somebody who has just signed in, and who gets in by them.
fn first_tokens(lab: &Lab, browser: &Browser) -> Tokens {
    let tokens = tokens(&browser.trade(&browser.sign_in("alice").unwrap()).unwrap()).unwrap();
    let answer = ask(&lab.stage, &tokens.access);
    assert_eq!(answer.status, 200, "{}", lab.stage.logs());
    tokens
}
