//! Signing in, and every way of not being signed in: status codes exactly as clients know them.

use std::time::Duration;

use support::curl::Answer;
use support::netns;
use support::pair::Size;
use support::wait;
use toml::Table;

use crate::stage::{DOMAIN, PHOTOS, Stage, UCM, edge_url, proxied_url, verb_url};

#[test]
fn a_client_signs_in_and_reads_what_is_its_own() {
    let stage = Stage::start();

    let sso = stage
        .client()
        .get(&verb_url(1, "get_edge_sso?email=alice@example.com"))
        .unwrap();
    assert_eq!(sso.status, 200, "{}", stage.logs());
    assert!(
        sso.text().contains("<Status enabled=\"false\"/>"),
        "{}",
        sso.text()
    );

    let client = stage.sign_in("alice");
    for target in [
        "/cucm-uds/user/alice",
        "/cucm-uds/user/alice/devices",
        "/cucm-uds/clusterUser?username=alice",
        "/cucm-uds/servers",
    ] {
        let answer = client.get(UCM, target);
        assert_eq!(answer.status, 200, "{target}\n{}", stage.logs());
    }
    let device = client.get("http/cucm1a.example.com/6970", "/CSFALICE.cnf.xml");
    assert_eq!(device.status, 200, "{}", stage.logs());
    let photo = client.get(PHOTOS, "/photos/alice.jpg");
    assert_eq!(photo.status, 200, "{}", stage.logs());
    assert!(photo.body.starts_with(b"\xff\xd8\xff"));
    stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn whatever_is_wrong_with_credentials_the_answer_is_the_same() {
    let stage = Stage::start();
    let url = verb_url(1, "get_edge_config?service_name=_cisco-uds");

    for client in [stage.client().http1(), stage.client().http2()] {
        let missing = client.get(&url).unwrap();
        assert_challenged(&missing);
        for (what, asked) in [
            ("wrong password", client.clone().basic("alice", "guess")),
            (
                "unknown user",
                client.clone().basic("mallory", "mallory-secret-1"),
            ),
            ("no password", client.clone().basic("alice", "")),
            ("junk", client.clone().header("Authorization", "Basic !")),
            (
                "a token",
                client.clone().header("Authorization", "Bearer abc"),
            ),
        ] {
            let answer = asked.get(&url).unwrap();

            assert_challenged(&answer);
            assert_eq!(comparable(&answer), comparable(&missing), "{what}");
        }
    }
}

#[test]
fn a_proxied_request_without_a_good_session_is_challenged() {
    let mut stage = Stage::prepare(Size::ONE);
    add_domain(&mut stage, "example.org");
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    let url = proxied_url(1, UCM, "/cucm-uds/user/alice");
    let with_cookie = |cookie: &str| stage.client().header("Cookie", cookie);

    assert_challenged(&stage.client().get(&url).unwrap());
    assert_challenged(&with_cookie("other=1").get(&url).unwrap());
    for forged in [
        "x".to_owned(),
        "A".repeat(64),
        tampered(&alice.cookie, 63),
        tampered(&alice.cookie, 20),
    ] {
        let answer = with_cookie(&format!("X-Auth={forged}")).get(&url).unwrap();
        assert_challenged(&answer);
    }
    assert!(
        !stage.core_log().contains("\"refused\""),
        "edge-e lets no junk inside: {}",
        stage.core_log()
    );

    let other = edge_url(1, &format!("example.org/{UCM}"), "/cucm-uds/user/alice");
    assert_challenged(&alice.curl.get(&other).unwrap());
    assert!(
        stage
            .core_log()
            .contains("the session is of another domain")
    );

    assert_eq!(alice.get(UCM, "/cucm-uds/user/alice").status, 200);
}

#[test]
fn an_expired_session_is_challenged_and_a_new_one_works() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.cores[0].set("session", "lifetime", "2s");
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");

    let expired = wait::until("the end of the session", Duration::from_secs(10), || {
        let answer = alice.get(UCM, "/cucm-uds/user/alice");
        Ok((answer.status != 200).then_some(answer))
    });

    assert_challenged(&expired.unwrap());
    let again = stage.sign_in("alice");
    assert_eq!(again.get(UCM, "/cucm-uds/user/alice").status, 200);
}

#[test]
fn an_unknown_domain_is_refused_before_anybody_is_asked_who_they_are() {
    let stage = Stage::start();
    let refused = |fields: &str, rest: &str| {
        let client = stage.client().http1().basic("alice", "alice-secret-1");
        let answer = client.get(&edge_url(1, fields, rest)).unwrap();
        assert_eq!(answer.status, 403, "{fields} {rest}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("www-authenticate"), None);
        assert!(answer.body.is_empty());
    };

    refused("nosuch.example", "/get_edge_config");
    refused("nosuch.example", "/get_edge_sso?email=a@nosuch.example");
    refused(&format!("nosuch.example/{UCM}"), "/cucm-uds/version");
    refused(&format!("sub.{DOMAIN}"), "/get_edge_config");
    assert!(!stage.core_log().contains("\"refused\""));

    let client = stage.client().http2();
    let answer = client.get(&edge_url(1, "nosuch.example", "/get_edge_sso"));
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.version.as_str()), (403, "2"));
}

#[test]
fn what_is_no_edge_path_is_not_found() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");

    for (fields, rest) in [
        (DOMAIN, "/nosuch"),
        (DOMAIN, ""),
        (DOMAIN, "/get_edge_config/more"),
        (DOMAIN, "/authorize?response_type=token"),
        ("example.com/https", "/get_edge_config"),
        ("example.com/ftp/cucm1a.example.com/21", "/"),
        ("example.com/https/cucm1a.example.com/0", "/"),
        ("example.com/https/cucm1a.example.com/65536", "/"),
        ("example.com/https/cucm1a.example.com/8443/x", "/"),
    ] {
        let answer = alice.curl.get(&edge_url(1, fields, rest)).unwrap();
        assert_eq!(answer.status, 404, "{fields} {rest}");
        assert!(answer.body.is_empty());
    }
    for path in [
        "/",
        "/!!!!/get_edge_config",
        "/%5A/x",
        "/gA/get_edge_config",
    ] {
        let url = format!("https://edge1.{DOMAIN}:8443{path}");
        assert_eq!(alice.curl.get(&url).unwrap().status, 404, "{path}");
    }
    let posted = alice.curl.http1().method("POST").body("x");
    let posted = posted.get(&verb_url(1, "get_edge_config")).unwrap();
    assert_eq!(posted.status, 404);
}

#[test]
fn the_fourth_wrong_password_has_to_wait_and_nobody_else_does() {
    let stage = Stage::start();
    let wrong = |password: &str| stage.try_sign_in("alice", password);
    for password in ["guess-1", "guess-2", "guess-3"] {
        assert_challenged(&wrong(password));
    }
    drop(stage.uds.take_seen());

    for password in ["guess-4", "alice-secret-1"] {
        let refused = wrong(password);
        assert_eq!(refused.status, 429, "{}", stage.logs());
        assert!(refused.body.is_empty());
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((280..=300).contains(&wait), "{wait}");
    }
    let asked = stage.uds.take_seen();
    assert!(
        asked.iter().all(|seen| !seen.target.contains("/user/")),
        "UCM is not asked: {asked:?}"
    );

    let bob = stage.sign_in("bob");
    assert_eq!(bob.get(PHOTOS, "/photos/bob.jpg").status, 200);
    let elsewhere = [netns::public(101)[0].to_string()];
    let alice = stage.client().with(["--interface"]).with(elsewhere);
    let alice = alice.basic("alice", "alice-secret-1");
    let answer = alice.get(&verb_url(1, "get_edge_config")).unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
}

#[test]
fn edge_e_limits_sign_in_by_address_and_leaves_sessions_alone() {
    let mut stage = Stage::prepare(Size::ONE);
    let limit = toml::toml! { count = 4 window = "5m" };
    stage.pair.edges[0].set("limits", "sign_in_per_address", limit);
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    let sso = verb_url(1, "get_edge_sso?email=alice@example.com");
    for _ in 0..3 {
        assert_eq!(stage.client().get(&sso).unwrap().status, 200);
    }

    for verb in ["get_edge_sso", "get_edge_config"] {
        let refused = stage.client().get(&verb_url(1, verb)).unwrap();
        assert_eq!(refused.status, 429, "{verb}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((280..=300).contains(&wait), "{wait}");
    }

    assert_eq!(alice.get(UCM, "/cucm-uds/user/alice").status, 200);
    let elsewhere = [netns::public(102)[0].to_string()];
    let other = stage.client().with(["--interface"]).with(elsewhere);
    assert_eq!(other.get(&sso).unwrap().status, 200);
}

#[test]
fn edge_c_away_is_said_at_once_and_its_return_is_noticed() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    let at_once = Duration::from_secs(1);

    stage.pair.cores[0].kill().unwrap();

    let proxied = alice.ask(|curl| curl.limit(at_once), PHOTOS, "/photos/alice.jpg");
    let sign_in = stage
        .client()
        .limit(at_once)
        .basic("alice", "alice-secret-1")
        .get(&verb_url(1, "get_edge_config"))
        .unwrap();
    let upload = alice.ask(
        |curl| curl.http1().limit(at_once).method("PUT").body("x"),
        PHOTOS,
        "/upload/x",
    );
    for answer in [proxied, sign_in, upload] {
        assert_eq!(answer.status, 503, "{}", stage.logs());
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(answer.body.is_empty());
    }

    stage.pair.cores[0].start().unwrap();
    stage.sign_in("alice");
}

fn assert_challenged(answer: &Answer) {
    assert_eq!(answer.status, 401);
    let challenges: Vec<_> = answer.header_all("www-authenticate").collect();
    assert_eq!(challenges, ["Basic realm=\"Cisco-Edge\""]);
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.body.is_empty());
}

/// The head without what differs between any two answers.
fn comparable(answer: &Answer) -> Vec<(String, String)> {
    let differs = ["date", "x-tracking-id"];
    let fields = answer.headers.iter();
    fields
        .filter(|(name, _)| !differs.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// The cookie with another character at `index`.
fn tampered(cookie: &str, index: usize) -> String {
    let other = |c| if c == 'A' { 'B' } else { 'A' };
    let change = |(at, c)| if at == index { other(c) } else { c };
    cookie.chars().enumerate().map(change).collect()
}

fn add_domain(stage: &mut Stage, name: &str) {
    let domain = Table::from_iter([("name".to_owned(), name.into())]);
    let domains = stage.pair.cores[0].config_mut().get_mut("domain");
    let domains = domains.and_then(toml::Value::as_array_mut).unwrap();
    domains.push(domain.into());
}
