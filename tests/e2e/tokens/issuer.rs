//! A real issuer over time: its keys change, it goes away and comes back, while clients work.

use support::oidc::tokens;

use super::{Lab, ask};

#[test]
fn keys_change_while_clients_work() {
    let mut lab = Lab::with_pages();
    let browser = lab.browser();
    let first = tokens(&browser.trade(&browser.sign_in("alice").unwrap()).unwrap()).unwrap();
    assert_eq!(
        ask(&lab.stage, &first.access).status,
        200,
        "{}",
        lab.stage.logs()
    );

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
    let first = tokens(&browser.trade(&browser.sign_in("alice").unwrap()).unwrap()).unwrap();
    assert_eq!(
        ask(&lab.stage, &first.access).status,
        200,
        "{}",
        lab.stage.logs()
    );
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
