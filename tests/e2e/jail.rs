//! Who is kept out for a while, and who must not be.

use std::time::Duration;

use support::pair::Size;
use support::wait;

use crate::stage::{Stage, proxied_url};

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
    let stage = Stage::start();
    for user in ["alice", "bob", "carol", "dave", "erin", "frank"] {
        let answer = stage.try_sign_in(user, "wrong");
        assert_eq!(answer.status, 401, "{user}\n{}", stage.logs());
        assert_eq!(answer.header("edge-auth"), None);
    }

    stage.pair.edges[0]
        .wait_log(|line| line.contains("address blocked"))
        .unwrap();
}
