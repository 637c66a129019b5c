//! Single sign-on through the edge: a client outside that can reach edge-e alone.

use std::thread;

use support::oidc::{Browser, CHALLENGE, tokens};
use toml::toml;

use super::{HOST, Lab, ask};
use support::pair::Size;

use crate::stage::{SignedIn, Stage, UCM, verb_url};

#[test]
fn a_client_outside_signs_in_at_an_issuer_that_only_edge_c_reaches() {
    let lab = Lab::with_pages();
    let (stage, browser) = (&lab.stage, lab.browser());

    let metadata = browser
        .get("/.well-known/oauth-authorization-server")
        .unwrap()
        .text();
    assert!(
        metadata.contains("/token\""),
        "{metadata}\n{}",
        stage.logs()
    );
    let inside = metadata.replacen(lab.issuer.url(), "", 1);
    assert!(
        !inside.contains(HOST),
        "only iss names the issuer: {metadata}"
    );
    let code = browser.sign_in("alice").unwrap();
    let first = tokens(&browser.trade(&code).unwrap()).unwrap();
    stage.uds.add_token(&first.access, "alice");
    let answer = ask(stage, &first.access);
    assert_eq!(answer.status, 200, "{}", stage.logs());
    let client = SignedIn::read(&stage.client(), 1, &answer);
    assert_eq!(
        client.get(UCM, "/cucm-uds/user/alice").status,
        200,
        "{}",
        stage.logs()
    );

    let second = tokens(&browser.refresh(&first.refresh).unwrap()).unwrap();
    assert_ne!(first.refresh, second.refresh, "refresh tokens are rotated");
    assert_eq!(browser.revoke(&second.refresh).unwrap().status, 200);
    assert_eq!(browser.refresh(&second.refresh).unwrap().status, 400);

    let logs = stage.logs();
    for secret in [
        &code,
        &first.access,
        &first.refresh,
        &second.access,
        &second.refresh,
    ] {
        assert!(!logs.contains(secret.as_str()), "a log has a secret");
    }
    stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn the_issuers_cookies_live_in_their_own_name_space() {
    let lab = Lab::with_pages();
    let browser = lab.browser();
    browser.sign_in("alice").unwrap();

    let cookies = browser.cookies().unwrap();

    assert!(cookies.contains_key("sso.corp._session"), "{cookies:?}");
    for (name, path) in &cookies {
        assert!(name.starts_with("sso.corp."), "{name}");
        assert!(
            path.ends_with("/idp/corp/") || path.contains("/idp/corp/"),
            "{name} {path}"
        );
    }
}

#[test]
fn a_code_is_good_once() {
    let lab = Lab::with_pages();
    let browser = lab.browser();
    let code = browser.sign_in("alice").unwrap();
    let first = tokens(&browser.trade(&code).unwrap()).unwrap();

    let replayed = browser.trade(&code).unwrap();

    assert_eq!(replayed.status, 400, "{}", replayed.text());
    assert!(
        replayed.text().contains("invalid_grant"),
        "{}",
        replayed.text()
    );
    // The issuer takes the replay for theft, and the edge stands in the way of nothing of that.
    assert_eq!(browser.refresh(&first.refresh).unwrap().status, 400);
}

#[test]
fn two_refreshes_at_once_with_one_token_are_one_at_the_issuer() {
    let lab = Lab::with_pages();
    let browser = lab.browser();
    let code = browser.sign_in("alice").unwrap();
    let first = tokens(&browser.trade(&code).unwrap()).unwrap();

    let answers: Vec<_> = thread::scope(|scope| {
        let tasks: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| browser.refresh(&first.refresh)))
            .collect();
        tasks
            .into_iter()
            .map(|task| task.join().unwrap().unwrap())
            .collect()
    });

    let good: Vec<_> = answers
        .iter()
        .filter_map(|answer| tokens(answer).ok())
        .collect();
    assert!(!good.is_empty(), "{}", lab.stage.logs());
    assert!(good.iter().all(|one| one.refresh == good[0].refresh));
}

#[test]
fn without_the_section_nothing_of_an_issuer_is_reached() {
    let lab = Lab::with_tokens();
    let browser = lab.browser();
    let query = Browser::authorization_query();

    for path in [
        format!("/authorize?{query}"),
        "/token".to_owned(),
        "/revoke".to_owned(),
        "/.well-known/openid-configuration".to_owned(),
        "/idp/corp/jwks".to_owned(),
    ] {
        assert_eq!(browser.get(&path).unwrap().status, 404, "{path}");
    }
    assert!(!lab.issuer.log().unwrap().contains("/auth"));
    assert!(
        !lab.stage.core_log().contains("\"refused\""),
        "edge-e lets none of it inside"
    );
}

#[test]
fn what_is_not_listed_or_not_safe_is_refused() {
    let lab = Lab::start(|core| {
        let rule = toml! {
            issuer = "corp"
            match = "exact"
            url = "https://photos.example.com:7443/jwks"
        };
        core.set("sso", "rule", vec![rule]);
        let limit = toml! {
            count = 40
            window = "5m"
        };
        core.set("sso", "rate_limit", limit);
    });
    let browser = lab.browser();
    let good = Browser::authorization_query();
    let without = |part: &str| good.replace(part, "");

    for (path, status) in [
        ("/idp/corp/jwks".to_owned(), 200),
        ("/idp/corp/me".to_owned(), 403),
        ("/idp/corp/x/../jwks".to_owned(), 200),
        ("/idp/corp/jwks/../me".to_owned(), 403),
        ("/idp/corp/..%2fjwks".to_owned(), 400),
        ("/idp/corp//photos.example.com/large.bin".to_owned(), 403),
        ("/idp/other/jwks".to_owned(), 404),
        ("/idp/corp".to_owned(), 404),
        // The endpoint is not on the list either.
        (format!("/authorize?{good}"), 403),
        (
            format!("/authorize?{}", without("&code_challenge_method=S256")),
            400,
        ),
        (
            format!(
                "/authorize?{}",
                without(&format!("&code_challenge={CHALLENGE}"))
            ),
            400,
        ),
        (
            format!(
                "/authorize?{}",
                good.replace("response_type=code", "response_type=token")
            ),
            400,
        ),
        (format!("/authorize?{good}&client_id=other"), 400),
        (
            format!("/authorize?{good}&redirect_uri=https://evil.example/"),
            400,
        ),
        ("/token".to_owned(), 400),
    ] {
        let answer = browser.get(&path).unwrap();
        assert_eq!(answer.status, status, "{path}\n{}", lab.stage.logs());
    }
    let log = lab.stage.core_log();
    assert!(
        log.contains("to allow it: [[sso.rule]] issuer = \\\"corp\\\""),
        "{log}"
    );

    for _ in 0..40 {
        browser.get("/idp/corp/jwks").unwrap();
    }
    let last = browser.get("/idp/corp/jwks").unwrap();
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after").is_some());
}

#[test]
fn the_home_cluster_says_whether_its_users_have_single_sign_on() {
    let mut stage = Stage::prepare(Size::ONE);
    let core = stage.pair.cores[0].config_mut();
    let domains = core["domain"].as_array_mut().unwrap();
    domains[0]
        .as_table_mut()
        .unwrap()
        .insert("sso".to_owned(), "ask".into());
    stage.uds.set_sso(true);
    stage.pair.start().unwrap();
    let answer = |query: &str| {
        let url = verb_url(1, &format!("get_edge_sso{query}"));
        let answer = stage.client().get(&url).unwrap();
        assert_eq!(answer.status, 200, "{}", stage.logs());
        answer.text()
    };

    assert!(answer("?email=alice@example.com").contains("enabled=\"true\""));
    // Who exists is not for strangers: nobody, and nobody in particular, look like somebody without it.
    assert!(answer("?email=mallory@example.com").contains("enabled=\"false\""));
    assert!(answer("").contains("enabled=\"false\""));
    let seen = stage.uds.seen();
    let asked = seen
        .iter()
        .filter(|one| one.target.starts_with("/ssosp/"))
        .count();
    assert_eq!(asked, 1, "the word of a cluster is believed for a while");
}
