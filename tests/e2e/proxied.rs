//! What of a client's request reaches an inner server, and what of its answer comes back.

use std::fs;
use std::process::Command;

use support::nginx::Logged;
use support::pair::Size;
use support::uds::Seen;
use support::wait;

use crate::stage::{PHOTOS, Stage, UCM, verb_url};

#[test]
fn the_origin_gets_what_was_allowed_and_nothing_of_the_edge() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    drop(stage.uds.take_seen());

    for client in [alice.curl.clone().http1(), alice.curl.clone().http2()] {
        let client = alice.by(client);
        let answer = client.ask(
            |curl| {
                curl.header("Cookie", &format!("a=1; X-Auth={}; b=2", alice.cookie))
                    .header("X-Forwarded-For", "198.51.100.7")
                    .header("Forwarded", "for=198.51.100.7")
                    .header("X-Tracking-Id", "0123456789abcdef0123456789abcdef")
                    .header("Proxy-Authorization", "Basic eDp5")
                    .header("TE", "trailers")
                    .header("X-Custom", "kept")
            },
            UCM,
            "/cucm-uds//options/./x/../%74imeZones?a=%2e%2E/../b&c",
        );

        assert_eq!(answer.status, 200, "{}", stage.logs());
        let seen = one(stage.uds.take_seen(), "/cucm-uds/options/");
        assert_eq!(seen.target, "/cucm-uds/options/timeZones?a=%2e%2E/../b&c");
        assert_eq!(seen.header("host"), Some("cucm1a.example.com:8443"));
        assert_eq!(seen.header("via"), Some("1.1 edge-c"));
        assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.100"));
        assert_eq!(seen.header("x-custom"), Some("kept"));
        for gone in ["forwarded", "proxy-authorization", "te", "connection"] {
            assert_eq!(seen.header(gone), None, "{gone} {seen:?}");
        }
        let cookies: Vec<_> = seen.headers.iter().filter(|(n, _)| n == "cookie").collect();
        let cookies: Vec<_> = cookies.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        let tracking = seen.header("x-tracking-id").unwrap();
        assert_ne!(tracking, "0123456789abcdef0123456789abcdef");
        assert_eq!(tracking.len(), 32);
    }
}

#[test]
fn fields_that_a_client_names_in_connection_stay_behind() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    drop(stage.uds.take_seen());

    let answer = alice.ask(
        |curl| {
            curl.http1()
                .header("Connection", "keep-alive, x-custom, cookie, host, via")
                .header("Keep-Alive", "timeout=5")
                .header("X-Custom", "gone")
        },
        UCM,
        "/cucm-uds/options/timeZones",
    );

    assert_eq!(answer.status, 200, "{}", stage.logs());
    let seen = one(stage.uds.take_seen(), "/cucm-uds/options/");
    assert_eq!(seen.header("x-custom"), None);
    assert_eq!(seen.header("keep-alive"), None);
    assert_eq!(seen.header("via"), Some("1.1 edge-c"));
    assert_eq!(seen.header("host"), Some("cucm1a.example.com:8443"));
}

#[test]
fn one_tracking_id_stands_in_both_logs_and_at_the_origin() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");

    let refused = alice.get(PHOTOS, "/private/x");
    assert_eq!(refused.status, 403);
    let id = refused.header("x-tracking-id").unwrap();
    assert!(stage.core_log().contains(id));

    let logged = logged(&stage, || alice.get(PHOTOS, "/photos/alice.jpg"));
    for member in [&stage.pair.edges[0], &stage.pair.cores[0]] {
        let log = member.log().unwrap();
        assert!(
            log.contains(&logged.tracking_id),
            "{} {}\n{log}",
            member.name(),
            logged.tracking_id
        );
    }
}

#[test]
fn every_answer_has_the_tracking_id_by_which_both_edges_log_it() {
    let stage = Stage::start();
    let signed_in = stage.try_sign_in("alice", "alice-secret-1");
    assert_eq!(signed_in.status, 200, "{}", stage.logs());
    let alice = stage.sign_in("alice");
    drop(stage.uds.take_seen());

    let own = alice.get(UCM, "/cucm-uds/options/timeZones");
    let photo = alice.get(PHOTOS, "/photos/alice.jpg");
    let sso = verb_url(1, "get_edge_sso?service_name=_cisco-uds");
    let sso = stage.client().get(&sso).unwrap();
    let chosen = alice.ask(
        |curl| curl.header("X-Tracking-Id", "0123456789abcdef0123456789abcdef"),
        UCM,
        "/cucm-uds/options/timeZones",
    );

    let seen = stage.uds.take_seen();
    let at_origin: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.header("x-tracking-id"))
        .collect();
    let answers = [&signed_in, &own, &photo, &sso, &chosen];
    let ids = answers.map(|answer| {
        assert_eq!(answer.header_all("x-tracking-id").count(), 1);
        answer.header("x-tracking-id").unwrap().to_owned()
    });
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert!(at_origin.contains(&ids[1].as_str()) && at_origin.contains(&ids[4].as_str()));
    let outside = stage.pair.edges[0].log().unwrap();
    let inside = stage.core_log();
    for (number, id) in ids.iter().enumerate() {
        assert!(outside.contains(id), "{number} {id}: {outside}");
        // edge-e answers get_edge_sso by itself.
        assert!(
            number == 3 || inside.contains(id),
            "{number} {id}: {inside}"
        );
    }
}

#[test]
fn the_credential_goes_to_the_users_own_nodes_over_tls_and_nowhere_else() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    drop(stage.uds.take_seen());
    let own = "Basic YWxpY2U6YWxpY2Utc2VjcmV0LTE=";

    for (host, expected) in [
        ("cucm1a", Some(own)),
        ("cucm1b", Some(own)),
        ("cucm2a", None),
        ("cucm2b", None),
    ] {
        let origin = format!("https/{host}.example.com/8443");
        assert_eq!(
            alice.get(&origin, "/cucm-uds/options/timeZones").status,
            200
        );
        let seen = one(stage.uds.take_seen(), "/cucm-uds/options/");
        assert_eq!(seen.header("authorization"), expected, "{host}");
    }

    let name = "/CSFALICE.cnf.xml";
    for (origin, target, expected) in [
        ("http/cucm1a.example.com/6970", name, ""),
        ("https/cucm1a.example.com/6972", name, own),
        (PHOTOS, "/photos/alice.jpg", ""),
    ] {
        let logged = logged(&stage, || alice.get(origin, target));
        assert_eq!(logged.status, "200", "{origin}");
        assert_eq!(logged.authorization, expected, "{origin}");
    }
}

#[test]
fn a_clients_own_authorization_goes_only_where_a_rule_says_so() {
    let mut stage = Stage::prepare(Size::ONE);
    let rule = |path: &str, more: &str| {
        format!(
            "[[rule]]\nurl = \"https://photos.example.com{path}\"\nmatch = \"prefix\"\n{more}\n"
        )
    };
    stage.write_allow_list(
        &(rule("/photos/alice", "") + &rule("/photos/bob", "forward_authorization = true")),
    );
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    let own = "Basic b3RoZXI6c2VjcmV0";

    for (target, expected) in [("/photos/alice.jpg", ""), ("/photos/bob.jpg", own)] {
        let logged = logged(&stage, || {
            alice.ask(|curl| curl.header("Authorization", own), PHOTOS, target)
        });
        assert_eq!(logged.authorization, expected, "{target}");
    }
    let device = logged(&stage, || {
        let origin = "http/cucm1a.example.com/6970";
        alice.ask(
            |curl| curl.header("Authorization", own),
            origin,
            "/CSFALICE.cnf.xml",
        )
    });
    assert_eq!(device.authorization, "", "never in clear");
}

#[test]
fn answers_come_back_as_they_were_sent() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.write_allow_list(EVERYTHING);
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    let photo = alice.get(PHOTOS, "/photos/alice.jpg").body;

    for client in [alice.curl.clone().http1(), alice.curl.clone().http2()] {
        let client = alice.by(client);

        let head = client.ask(|curl| curl.method("HEAD"), PHOTOS, "/photos/alice.jpg");
        assert_eq!(head.status, 200);
        assert!(head.body.is_empty());
        let length = head.header("content-length").unwrap();
        assert_eq!(length, photo.len().to_string());

        let range = client.ask(
            |curl| curl.with(["--range", "2-5"]),
            PHOTOS,
            "/photos/alice.jpg",
        );
        assert_eq!((range.status, &range.body[..]), (206, &photo[2..6]));
        let of = format!("bytes 2-5/{}", photo.len());
        assert_eq!(range.header("content-range"), Some(of.as_str()));

        let etag = head.header("etag").unwrap();
        let unchanged = client.ask(
            |curl| curl.header("If-None-Match", etag),
            PHOTOS,
            "/photos/alice.jpg",
        );
        assert_eq!(unchanged.status, 304);
        assert!(unchanged.body.is_empty());

        let empty = client.get(PHOTOS, "/empty");
        assert_eq!((empty.status, empty.body.len()), (204, 0));
        assert_eq!(empty.header("transfer-encoding"), None);

        let squeezed = client.ask(
            |curl| curl.header("Accept-Encoding", "gzip"),
            PHOTOS,
            "/gzip/alice.jpg",
        );
        assert_eq!(squeezed.header("content-encoding"), Some("gzip"));
        assert_eq!(squeezed.header("content-length"), None, "it is chunked");
        let file = stage.path().join("squeezed.gz");
        fs::write(&file, &squeezed.body).unwrap();
        let mut unpack = Command::new("gzip");
        let unpacked = unpack.arg("-dc").arg(&file).output().unwrap();
        assert_eq!(unpacked.stdout, photo);

        let missing = client.get(PHOTOS, "/photos/nobody.jpg");
        assert_eq!(missing.status, 404);
        assert!(!missing.body.is_empty(), "the origin's own words");
    }
}

#[test]
fn bodies_go_up_with_and_without_a_length() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let file = stage.path().join("report.bin");
    fs::write(&file, &body).unwrap();

    for (name, client) in [
        ("h1", alice.curl.clone().http1()),
        ("h2", alice.curl.clone().http2()),
        (
            "chunked",
            alice
                .curl
                .clone()
                .http1()
                .header("Transfer-Encoding", "chunked"),
        ),
        (
            "expect",
            alice.curl.clone().http1().header("Expect", "100-continue"),
        ),
    ] {
        let client = alice.by(client);
        let target = format!("/upload/{name}");
        for status in [201, 204] {
            let answer = client.ask(|curl| curl.upload(&file), PHOTOS, &target);
            assert_eq!(answer.status, status, "{name}\n{}", stage.logs());
            let kept = fs::read(stage.nginx.uploaded(name)).unwrap();
            assert!(kept == body, "{name}: {} bytes", kept.len());
        }
    }
}

#[test]
fn locations_inside_become_locations_at_the_edge_where_they_are_allowed() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.write_allow_list(EVERYTHING);
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");

    let answer = alice.get(PHOTOS, "/redirect");
    assert_eq!(answer.status, 302);
    let location = answer.header("location").unwrap().to_owned();
    let expected = crate::stage::proxied_url(1, PHOTOS, "/photos/alice.jpg");
    assert_eq!(location, expected);
    assert_eq!(alice.curl.get(&location).unwrap().status, 200);
    let away = alice.get(PHOTOS, "/redirect/away");
    assert_eq!(away.header("location"), Some("https://elsewhere.invalid/x"));

    let cookies = alice.get(PHOTOS, "/cookies");
    let set: Vec<_> = cookies.header_all("set-cookie").collect();
    assert_eq!(set, ["mine=1; Path=/"], "nobody replaces the edge's cookie");

    stage.pair.cores[0].set("proxy", "rewrite_location", false);
    stage.pair.cores[0].restart().unwrap();
    let kept = alice.get(PHOTOS, "/redirect");
    let inside = Some("https://photos.example.com/photos/alice.jpg");
    assert_eq!(kept.header("location"), inside);
}

/// The only request for such a target.
fn one(seen: Vec<Seen>, start: &str) -> Seen {
    let mut fitting = seen.into_iter().filter(|s| s.target.starts_with(start));
    let first = fitting.next().unwrap();
    assert_eq!(fitting.next(), None);
    first
}

/// What nginx has noted of one request.
fn logged(stage: &Stage, request: impl FnOnce() -> support::curl::Answer) -> Logged {
    let before = stage.nginx.requests().unwrap().len();
    request();
    wait::until("a line in nginx's log", wait::START_LIMIT, || {
        let requests = stage.nginx.requests()?;
        Ok(requests.get(before).cloned())
    })
    .unwrap()
}

const EVERYTHING: &str = r#"
[[rule]]
url = "https://photos.example.com/"
match = "prefix"
"#;
