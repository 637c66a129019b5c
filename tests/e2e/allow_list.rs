//! The allow list in force: what it refuses, how it changes while requests run, and its command line.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::pair::Size;
use support::wait;
use toml::{Table, Value};

use crate::stage::{PHOTOS, SignedIn, Stage, UCM, edge_url};

#[test]
fn what_no_rule_allows_is_refused_with_the_rule_that_would() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");

    let answer = alice.get(PHOTOS, "/private/salaries.xls?year=2026");

    assert_eq!(answer.status, 403);
    assert!(answer.body.is_empty());
    let log = stage.core_log();
    let line = log.lines().rfind(|line| line.contains("\"refused\""));
    let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
    let remedy = line["remedy"].as_str().unwrap();
    let needed = r#"{ url = "https://photos.example.com/private/salaries.xls", match = "exact", methods = ["GET"], deployment = "default" }"#;
    assert!(remedy.contains(needed), "{remedy}");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("none matches the path"), "{reason}");
    let text = line.to_string();
    assert!(!text.contains("year"), "queries are not logged: {text}");

    for (origin, target) in [
        ("https/photos.example.com/8443", "/photos/alice.jpg"),
        ("http/photos.example.com/443", "/photos/alice.jpg"),
        ("https/10.9.1.80/443", "/photos/alice.jpg"),
        ("https/ns.example.com/443", "/photos/alice.jpg"),
        (UCM, "/cucm-uds/version/more"),
        (UCM, "/ccmadmin/"),
        ("http/cucm1a.example.com/8443", "/cucm-uds/version"),
    ] {
        assert_eq!(alice.get(origin, target).status, 403, "{origin}{target}");
    }
}

#[test]
fn no_spelling_of_a_path_leads_out_of_a_rule() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");

    for target in [
        "/photos/../private/salaries.xls",
        "/photos/%2e%2e/private/salaries.xls",
        "/photos/.%2e/private/salaries.xls",
        "/photos/%252e%252e/private/salaries.xls",
        "/photos/..;/private/salaries.xls",
        "/photos/..;x=y/private/salaries.xls",
        "/photos/..%3b/private/salaries.xls",
        "/photos/..%2fprivate/salaries.xls",
        "/photos%2f..%2fprivate/salaries.xls",
        "/photos/..%5cprivate/salaries.xls",
        "/photos/%2e%2e%5cprivate/salaries.xls",
        "/photos/.../private/salaries.xls",
        "/photos/%c0%ae%c0%ae/private/salaries.xls",
        "/photos/..%00/private/salaries.xls",
        "/photos/..%20/private/salaries.xls",
        "/photos/x/../../private/salaries.xls",
        "/photos//..//private/salaries.xls",
        "/../photos/../../private/salaries.xls",
        "//photos/alice.jpg/../../private/",
        "/photos/%zz",
        "/PHOTOS/alice.jpg",
    ] {
        for curl in [alice.curl.clone().http1(), alice.curl.clone().http2()] {
            let client = alice.by(curl);
            let answer = client.get(PHOTOS, target);
            assert_eq!(answer.status, 403, "{target}\n{}", stage.logs());
        }
    }

    assert!(stage.nginx.requests().unwrap().is_empty());
    let odd = alice.get(PHOTOS, "/photos/./x/..//%61lice.jpg");
    assert_eq!(odd.status, 200, "one form is matched and sent");
}

#[test]
fn a_change_takes_effect_while_requests_run_and_a_bad_file_changes_nothing() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    let list = std::fs::read_to_string(stage.allow_list()).unwrap();
    let more = "[[rule]]\nurl = \"https://photos.example.com/empty\"\nmatch = \"exact\"\n";
    let (is_over, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    assert_eq!(alice.get(PHOTOS, "/empty").status, 403);

    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(alice.get(PHOTOS, "/photos/alice.jpg").status, 200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        stage.write_allow_list(&format!("{list}\n{more}"));
        wait_for(&alice, "/empty", 204);

        for (broken, why) in [
            (
                format!("{list}\n[[rule]]\nurl = \"ftp://x/\"\nmatch = \"exact\"\n"),
                "ftp://x/",
            ),
            (format!("{list}\nnonsense\n"), "key with no value"),
            (
                format!(
                    "{list}\n{more}\n[[test]]\nurl = \"https://photos.example.com/empty\"\nexpected = \"block\"\n"
                ),
                "photos.example.com/empty",
            ),
        ] {
            let before = refused_reloads(&stage);
            stage.write_allow_list(&broken);
            wait::until_true("a refused reload", wait::START_LIMIT, || {
                Ok(refused_reloads(&stage) > before)
            })
            .unwrap();
            let line = stage.pair.cores[0]
                .wait_log(|line| line.contains("reload refused") && line.contains(why))
                .unwrap();
            assert!(
                line.contains("\"warn\"") && line.contains("allow-list.toml"),
                "{line}"
            );
            assert_eq!(alice.get(PHOTOS, "/empty").status, 204);
        }

        stage.write_allow_list(&list);
        wait_for(&alice, "/empty", 403);
    });
    assert!(asked.into_inner() > 10);
}

#[test]
fn a_rule_ends_with_its_date_and_holds_for_its_methods() {
    let mut stage = Stage::prepare(Size::ONE);
    let rule = |path: &str, more: &str| {
        format!("[[rule]]\nurl = \"https://photos.example.com{path}\"\nmatch = \"exact\"\n{more}\n")
    };
    stage.write_allow_list(
        &(rule("/photos/alice.jpg", &format!("expires = {}", in_seconds(6)))
            + &rule("/photos/bob.jpg", "expires = 2020-01-01")
            + &rule("/upload/x", "methods = [\"PUT\"]")
            + &rule("/empty", "")),
    );
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");
    let with = |method: &str, target: &str| {
        let answer = alice.ask(|curl| curl.method(method), PHOTOS, target);
        answer.status
    };

    assert_eq!(with("GET", "/photos/alice.jpg"), 200, "{}", stage.logs());
    assert_eq!(with("GET", "/photos/bob.jpg"), 403);
    assert!(stage.core_log().contains("has expired"));
    wait_for(&alice, "/photos/alice.jpg", 403);

    assert_eq!(with("GET", "/empty"), 204);
    assert_eq!(with("HEAD", "/empty"), 204);
    for method in ["POST", "PUT", "DELETE", "PROPFIND", "get"] {
        assert_eq!(with(method, "/empty"), 403, "{method}");
    }
    assert!(stage.core_log().contains("allows only"));
    assert_eq!(with("GET", "/upload/x"), 403);
    let put = alice.ask(|curl| curl.method("PUT").body("x"), PHOTOS, "/upload/x");
    assert_eq!(put.status, 201);
}

#[test]
fn a_rule_is_for_the_users_of_its_deployment() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.write_allow_list(
        "[[rule]]\nurl = \"https://photos.example.com/photos/\"\nmatch = \"prefix\"\n\
         deployment = \"partners\"\n",
    );
    let domain = [
        ("name", "example.org"),
        ("deployment", "partners"),
        ("voice_services_domain", "example.com"),
    ];
    let domain = domain.map(|(key, value)| (key.to_owned(), Value::from(value)));
    let domains = stage.pair.cores[0].config_mut().get_mut("domain");
    let domains = domains.and_then(Value::as_array_mut).unwrap();
    domains.push(Table::from_iter(domain).into());
    stage.pair.start().unwrap();

    let alice = stage.sign_in("alice");
    assert_eq!(alice.get(PHOTOS, "/photos/alice.jpg").status, 403);
    assert!(stage.core_log().contains("only for other deployments"));

    let sign_in = edge_url(1, "example.org", "/get_edge_config");
    let answer = stage.client().basic("bob", "bob-secret-1").get(&sign_in);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
    let bob = SignedIn::read(&stage.client(), 1, &answer);
    let get = |fields: &str, target: &str| {
        let url = edge_url(1, fields, target);
        bob.curl.get(&url).unwrap().status
    };
    let photos = "example.org/https/photos.example.com/443";
    assert_eq!(get(photos, "/photos/bob.jpg"), 200, "{}", stage.logs());
    let uds = "example.org/https/cucm2a.example.com/8443";
    assert_eq!(get(uds, "/cucm-uds/user/bob"), 200, "{}", stage.logs());
}

#[test]
fn rules_go_through_csv_and_back_into_force() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    let list = stage.allow_list().to_string_lossy().into_owned();
    let [csv, again] = ["list", "again.toml"].map(|name| {
        let path = stage.path().join(name);
        path.to_string_lossy().into_owned()
    });
    let run = |arguments: &[&str]| {
        let mut all = vec!["allow-list"];
        all.extend_from_slice(arguments);
        stage.pair.cores[0].run(&all).unwrap()
    };

    exits(0, &run(&["check", &list]));
    exits(
        0,
        &run(&["export", "--file", &list, "--format", "both", "-o", &csv]),
    );
    let rules = std::fs::read_to_string(format!("{csv}-rules.csv")).unwrap();
    let header = "Url,Deployment,HttpMethods,MatchType,Description";
    assert_eq!(rules.lines().next(), Some(header));
    assert_eq!(rules.lines().count(), 4, "{rules}");
    let [rules, tests] = ["rules", "tests"].map(|part| format!("{csv}-{part}.csv"));
    let text = std::fs::read_to_string(&rules).unwrap();
    let more = "https://photos.example.com/empty,,,exact,more\r\n";
    std::fs::write(&rules, text + more).unwrap();
    exits(
        0,
        &run(&["import", &rules, "--tests", &tests, "-o", &again]),
    );

    assert_eq!(alice.get(PHOTOS, "/empty").status, 403);
    stage.write_allow_list(&std::fs::read_to_string(&again).unwrap());
    wait_for(&alice, "/empty", 204);
    for (target, status, code) in [
        ("/photos/alice.jpg", 200, 0),
        ("/photos/../private/", 403, 1),
        ("/private/", 403, 1),
    ] {
        assert_eq!(alice.get(PHOTOS, target).status, status);
        let url = format!("https://photos.example.com{target}");
        exits(code, &run(&["test", "--file", &again, &url]));
    }
    let explained = run(&[
        "explain",
        "--file",
        &again,
        "https://photos.example.com/private/",
    ]);
    exits(0, &explained);
    assert!(String::from_utf8_lossy(&explained.stdout).contains("[[rule]]"));

    exits(64, &run(&["test", "--file", &again, "no url"]));
    exits(64, &run(&["nonsense"]));
    exits(78, &run(&["check", "/nowhere/list.toml"]));
    std::fs::write(&again, "nonsense").unwrap();
    exits(78, &run(&["check", &again]));
}

/// Ends the threads of a scope when the test does, even if it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for(client: &SignedIn, target: &str, status: u16) {
    let what = format!("{status} for {target}");
    wait::until_true(&what, Duration::from_secs(15), || {
        Ok(client.get(PHOTOS, target).status == status)
    })
    .unwrap();
}

fn refused_reloads(stage: &Stage) -> u32 {
    let (_, metrics) = stage.pair.cores[0].ask_admin("/metrics").unwrap();
    let line = metrics.lines().find(|line| {
        line.starts_with("edge_reloads_total")
            && line.contains("what=\"allow_list\"")
            && line.contains("outcome=\"refused\"")
    });
    assert!(line.is_some(), "{metrics}");
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// A moment from now as TOML writes it.
fn in_seconds(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let then = format!("@{}", now.as_secs() + seconds);
    let mut date = Command::new("date");
    let output = date.args(["-u", "-d", &then, "+%FT%TZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn exits(code: i32, output: &Output) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}
