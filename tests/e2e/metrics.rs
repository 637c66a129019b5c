//! What operators see after a journey: every family that should have moved has, on both edges.

use std::time::Duration;

use support::pair::Member;
use support::wait;

use crate::stage::{PHOTOS, Stage, UCM, verb_url};

#[test]
fn a_journey_moves_the_metrics_of_both_edges() {
    let stage = Stage::start();
    journey(&stage);

    let (edge, core) = (&stage.pair.edges[0], &stage.pair.cores[0]);
    for moved in [
        r#"edge_connections_total{listener="public",outcome="admitted"}"#,
        r#"edge_connections_total{listener="link",outcome="admitted"}"#,
        r#"edge_connections_open{listener="link"}"#,
        r#"edge_tls_handshakes_total{listener="public",outcome="ok"}"#,
        r#"edge_tls_handshakes_total{listener="link",outcome="ok"}"#,
        r#"edge_requests_total{route="proxied",status="2xx"}"#,
        r#"edge_requests_total{route="proxied",status="403"}"#,
        r#"edge_requests_total{route="get_edge_config",status="2xx"}"#,
        r#"edge_request_seconds_count{route="proxied"}"#,
        r#"edge_body_bytes_total{direction="down"}"#,
        r#"edge_body_bytes_total{direction="up"}"#,
        r#"edge_refusals_total{reason="unknown_session"}"#,
        r#"edge_refusals_total{reason="no_session"}"#,
        r#"edge_link_connections{peer="edge-c1.link.internal",purpose="control"}"#,
        r#"edge_link_connections{peer="edge-c1.link.internal",purpose="https"}"#,
        r#"edge_link_pool_connections{state="idle"}"#,
        r#"edge_link_round_trip_seconds{peer="edge-c1.link.internal"}"#,
        r#"edge_control_commands_total{outcome="applied"}"#,
        r#"edge_certificate_expiry_timestamp_seconds{certificate="link.certificate"}"#,
        r#"edge_certificate_expiry_timestamp_seconds{certificate="public.certificates[0]"}"#,
    ] {
        assert_moved(&stage, edge, moved);
    }
    for moved in [
        r#"edge_requests_total{route="proxied",status="2xx"}"#,
        r#"edge_body_bytes_total{direction="down"}"#,
        r#"edge_body_bytes_total{direction="up"}"#,
        r#"edge_tls_handshakes_total{outcome="ok"}"#,
        r#"edge_link_connections{peer="edge1.example.com",purpose="control"}"#,
        r#"edge_link_connections{peer="edge1.example.com",purpose="https"}"#,
        r#"edge_link_pool_connections{state="idle"}"#,
        r#"edge_link_round_trip_seconds{peer="edge1.example.com"}"#,
        r#"edge_sign_ins_total{outcome="proved"}"#,
        r#"edge_sign_ins_total{outcome="bad_credentials"}"#,
        r#"edge_sign_in_seconds_count{outcome="proved"}"#,
        r#"edge_cluster_lookups_total{outcome="found"}"#,
        r#"edge_dns_lookups_total{outcome="answered"}"#,
        r#"edge_dns_lookups_total{outcome="no_name"}"#,
        r#"edge_node_up{node="cucm1a.example.com:8443",kind="ucm"}"#,
        r#"edge_upstream_dials_total{kind="ucm",outcome="ok"}"#,
        r#"edge_other_dials_total{outcome="ok"}"#,
        r#"edge_sessions"#,
        r#"edge_sessions_issued_total"#,
        r#"edge_allow_list_verdicts_total{verdict="allowed_rule"}"#,
        r#"edge_allow_list_verdicts_total{verdict="allowed_automatic"}"#,
        r#"edge_allow_list_verdicts_total{verdict="denied_no_rule"}"#,
        r#"edge_certificate_expiry_timestamp_seconds{certificate="link.certificate"}"#,
    ] {
        assert_moved(&stage, core, moved);
    }
    let (_, page) = core.ask_admin("/metrics").unwrap();
    assert!(page.contains("edge_allow_list_rule_hits_total{rule=\""));
    let (_, page) = edge.ask_admin("/metrics").unwrap();
    let failures = page.lines().filter(|l| l.starts_with("edge_link_failures"));
    assert!(failures.clone().count() > 0);
    assert!(failures.clone().all(|line| line.ends_with(" 0")), "{page}");

    let (_, status) = core.ask_admin("/status").unwrap();
    assert!(status.contains("/private/salaries.xls"), "{status}");
    assert!(!status.contains("secret-query"), "{status}");
}

#[test]
fn a_core_that_may_not_link_counts_as_refused_on_both_sides() {
    let mut stage = Stage::prepare(support::pair::Size::ONE);
    let other = vec!["edge-c9.link.internal".to_owned()];
    stage.pair.edges[0].set("link", "allowed_cores", other);
    for member in stage.pair.edges.iter_mut().chain(&mut stage.pair.cores) {
        member.spawn().unwrap();
    }

    let refused = r#"edge_link_failures_total{reason="not_allowed"}"#;
    assert_moved(&stage, &stage.pair.edges[0], refused);
    assert_moved(&stage, &stage.pair.cores[0], refused);
}

#[test]
fn a_core_that_stops_is_no_alarm_beyond_one_line() {
    let mut stage = Stage::start();
    stage.sign_in("alice");

    stage.pair.cores[0].stop().unwrap();

    let edge = &stage.pair.edges[0];
    edge.wait_log(|line| line.contains("core disconnected"))
        .unwrap();
    let log = edge.log().unwrap();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.to_ascii_lowercase().contains("\"level\":\"warn\""))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
}

#[test]
fn single_sign_on_is_told_of_by_the_template_of_the_configuration() {
    let mut stage = Stage::prepare(support::pair::Size::ONE);
    let template = "<SSOResult version=\"1.0\"><Own>{edge}</Own><Response><SingleSignOn version=\"1.0\">\
        <Status enabled=\"{enabled}\"/></SingleSignOn></Response></SSOResult>";
    let domains = stage.pair.cores[0].config_mut()["domain"].as_array_mut();
    let domain = domains.unwrap()[0].as_table_mut().unwrap();
    domain.insert("sso".to_owned(), "config".into());
    domain.insert("sso_template".to_owned(), template.into());
    stage.pair.start().unwrap();

    let url = verb_url(1, "get_edge_sso?email=alice@example.com");
    let answer = stage.client().get(&url).unwrap();

    assert_eq!(answer.status, 200, "{}", stage.logs());
    assert!(
        answer.text().contains("<Own>edge1.example.com</Own>"),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("<Status enabled=\"true\"/>"));
}

fn journey(stage: &Stage) {
    assert_eq!(stage.try_sign_in("alice", "wrong").status, 401);
    let client = stage.sign_in("alice");
    assert_eq!(client.get(UCM, "/cucm-uds/user/alice").status, 200);
    assert_eq!(client.get(PHOTOS, "/photos/alice.jpg").status, 200);
    let refused = client.get(PHOTOS, "/private/salaries.xls?secret-query");
    assert_eq!(refused.status, 403);
    let upload = client.curl.clone().method("PUT").body("twelve bytes");
    client.by(upload).get(PHOTOS, "/upload/report");
    let url = crate::stage::proxied_url(1, UCM, "/cucm-uds/user/alice");
    let nobody = stage.client();
    assert_eq!(nobody.get(&url).unwrap().status, 401);
    let junk = nobody.header("Cookie", "X-Auth=junk");
    assert_eq!(junk.get(&url).unwrap().status, 401);
}

/// Gauges follow within a second, and the round trip after the first keep-alive.
fn assert_moved(stage: &Stage, member: &Member, series: &str) {
    let has_moved = || {
        let (_, page) = member.ask_admin("/metrics")?;
        let value = page.lines().find_map(|line| line.strip_prefix(series));
        Ok(value.is_some_and(|value| value.trim().parse::<f64>().is_ok_and(|v| v > 0.0)))
    };
    let moved = wait::until_true(series, Duration::from_secs(15), has_moved);
    let (_, page) = member.ask_admin("/metrics").unwrap();
    assert!(moved.is_ok(), "{series}\n{page}\n{}", stage.logs());
}
