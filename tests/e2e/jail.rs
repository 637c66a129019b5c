//! Who is kept out for a while, and who must not be.

use std::time::Duration;

use support::pair::Size;
use support::wait;
use toml::{Table, Value};

use crate::stage::{Stage, proxied_url, verb_url};

const UCM: &str = "https/cucm1a.example.com/8443";
const OWN: &str = "/cucm-uds/user/alice";

/// The cookie with another tag: formed like one of ours, made by nobody.
fn forged(cookie: &str) -> String {
    let (head, last) = cookie.split_at(cookie.len() - 1);
    format!("{head}{}", if last == "A" { "B" } else { "A" })
}

#[test]
fn forged_cookies_get_their_address_blocked_and_no_other() {
    let stage = Stage::start();
    let client = stage.sign_in("alice");
    let url = proxied_url(1, UCM, OWN);
    let cookie = format!("X-Auth={}", forged(&client.cookie));
    for _ in 0..6 {
        let answer = stage.client().header("Cookie", &cookie).get(&url).unwrap();
        assert_eq!(answer.status, 401, "{}", stage.logs());
    }

    let refused = client.curl.send(&url).unwrap();

    // The connection ends before TLS: reset (35) or closed (35, 52, 56), never an answer.
    assert!(refused.is_err(), "{refused:?}");
    let elsewhere = stage
        .client_v6()
        .header("Cookie", &format!("X-Auth={}", client.cookie));
    let answer = elsewhere.get(&url).unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
    let edge = &stage.pair.edges[0];
    let told = edge.log().unwrap();
    assert_eq!(told.matches("address blocked").count(), 1, "{told}");
    let (_, status) = edge.ask_admin("/status").unwrap();
    assert!(status.contains("\"jailed\""), "{status}");
    let (_, metrics) = edge.ask_admin("/metrics").unwrap();
    let counted = "edge_connections_total{listener=\"public\",outcome=\"jailed\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_laptop_that_wakes_with_an_expired_session_is_not_blocked() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.cores[0].set("session", "lifetime", "2s");
    stage.pair.start().unwrap();
    let client = stage.sign_in("alice");
    assert_eq!(client.get(UCM, OWN).status, 200, "{}", stage.logs());
    wait::until_true("the end of the session", Duration::from_secs(20), || {
        Ok(client.get(UCM, OWN).status == 401)
    })
    .unwrap();

    for _ in 0..20 {
        assert_eq!(client.get(UCM, OWN).status, 401);
    }

    stage.sign_in("alice");
}

#[test]
fn wrong_passwords_count_and_the_mark_of_it_stays_between_the_edges() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.edges[0].set("limits", "jail", table([("address_failures", 5)]));
    stage.pair.start().unwrap();
    for user in ["alice", "bob", "carol", "dave", "erin", "frank"] {
        let answer = stage.try_sign_in(user, "wrong");
        assert_eq!(answer.status, 401, "{user}\n{}", stage.logs());
        assert_eq!(answer.header("edge-auth"), None);
    }

    stage.pair.edges[0]
        .wait_log(|line| line.contains("address blocked"))
        .unwrap();
}

#[test]
fn who_guesses_a_password_is_kept_out_and_the_office_is_not() {
    let mut stage = Stage::prepare(Size::ONE);
    // edge-c counts guesses too, and would be the first to say no.
    let many = Table::from_iter([
        ("count".to_owned(), Value::from(900)),
        ("window".to_owned(), "5m".into()),
    ]);
    stage.pair.cores[0].set("sign_in", "login_limit", many);
    stage.pair.start().unwrap();
    for number in 0..6 {
        let answer = stage.try_sign_in("alice", &format!("guess-{number}"));
        assert_eq!(answer.status, 401, "{}", stage.logs());
    }

    let again = stage.try_sign_in("ALICE", "alice-secret-1");

    assert_eq!(
        again.status,
        429,
        "even with the right one\n{}",
        stage.logs()
    );
    assert!(again.header("retry-after").is_some());
    stage.sign_in("bob");
    let url = verb_url(1, "get_edge_config?service_name=_cisco-uds");
    let elsewhere = stage.client_v6().basic("alice", "alice-secret-1");
    assert_eq!(elsewhere.get(&url).unwrap().status, 200, "{}", stage.logs());
    let edge = &stage.pair.edges[0];
    let log = edge.log().unwrap();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("user blocked at an address"))
        .collect();
    let [told] = told[..] else {
        panic!("one line: {told:?}");
    };
    for part in ["\"side\"", "\"reason\"", "\"remedy\"", "\"user\""] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!log.contains("alice-secret") && !told.contains("alice"));
    let (_, metrics) = edge.ask_admin("/metrics").unwrap();
    let counted = "edge_jailings_total{whom=\"user\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

fn table<const N: usize>(numbers: [(&str, i64); N]) -> Table {
    let numbers = numbers.map(|(key, number)| (key.to_owned(), number.into()));
    Table::from_iter(numbers)
}
