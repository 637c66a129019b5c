//! `edge-c sessions`: who is signed in, and ending that, from the command line.

use serde_json::Value;
use support::pair::{Member, Size};

use crate::stage::{PHOTOS, SignedIn, Stage, verb_url};

/// A client that says which device it is.
fn sign_in(stage: &Stage, user: &str, device: &str) -> SignedIn {
    let client = stage.client().header("User-Agent", device);
    let url = verb_url(1, "get_edge_config?service_name=_cisco-uds");
    let answer = client.basic(user, &format!("{user}-secret-1")).get(&url);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
    SignedIn::read(&stage.client(), 1, &answer)
}

fn is_in(client: &SignedIn) -> bool {
    let status = client.get(PHOTOS, "/photos/alice.jpg").status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

/// Exit code, standard output and standard error.
fn run(core: &Member, arguments: &[&str]) -> (Option<i32>, String, String) {
    let config = core.config_file().to_string_lossy().into_owned();
    let all = [&["sessions", "--config", &config][..], arguments].concat();
    let output = core.run(&all).unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What `list` shows to programs.
fn listed(core: &Member, arguments: &[&str]) -> Vec<Value> {
    let (code, text, why) = run(core, &[&["list", "--json"][..], arguments].concat());
    assert_eq!(code, Some(0), "{why}");
    serde_json::from_str(&text).unwrap()
}

/// Some of the users, sorted.
fn users(core: &Member) -> Vec<String> {
    let sessions = listed(core, &["--names"]);
    let mut users: Vec<String> = sessions
        .iter()
        .map(|session| session["user"].as_str().unwrap().to_owned())
        .collect();
    users.sort();
    users
}

#[test]
fn a_list_shows_who_is_in_and_names_nobody_unasked() {
    let stage = Stage::start();
    let core = &stage.pair.cores[0];
    assert_eq!(listed(core, &[]), Vec::<Value>::new());
    sign_in(&stage, "alice", "CSFALICE");
    sign_in(&stage, "bob", "TCTBOB");

    let (code, text, note) = run(core, &["list"]);

    assert_eq!(code, Some(0));
    assert!(note.starts_with("2 sessions"), "{note}");
    let rows: Vec<Vec<&str>> = text.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2, "{text}");
    for row in &rows {
        let [id, user, device, domain, method, expires] = row[..] else {
            panic!("{row:?}");
        };
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(user.starts_with('~') && device.starts_with('~'), "{row:?}");
        assert_eq!((domain, method), ("example.com", "basic"));
        assert!(expires.parse::<u64>().unwrap() > 1_700_000_000);
    }
    for name in ["alice", "ALICE", "bob", "BOB"] {
        assert!(!text.contains(name), "{text}");
        let hidden = serde_json::to_string(&listed(core, &[])).unwrap();
        assert!(!hidden.contains(name), "{hidden}");
    }
    // They are the names that logs have.
    for row in &rows {
        core.wait_log(|line| line.contains("\"signed in\"") && line.contains(row[1]))
            .unwrap();
    }
    let named = listed(core, &["--names"]);
    let alice = named.iter().find(|one| one["user"] == "alice").unwrap();
    assert_eq!(alice["device"], "CSFALICE");
    assert!(alice["expires"].as_u64() > alice["created"].as_u64());
    let (_, text, _) = run(core, &["list", "--names"]);
    assert!(text.contains("\talice\tCSFALICE\t"), "{text}");
}

#[test]
fn sessions_end_by_device_by_id_and_by_user_and_no_others_do() {
    let stage = Stage::start();
    let core = &stage.pair.cores[0];
    let lost = sign_in(&stage, "alice", "TCTALICE");
    let kept = sign_in(&stage, "alice", "CSFALICE");
    let bob = sign_in(&stage, "bob", "CSFBOB");

    let (code, text, why) = run(core, &["revoke", "--device", "tctalice"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "1 sessions revoked\n"),
        "{why}"
    );
    assert_eq!([&lost, &kept, &bob].map(is_in), [false, true, true]);

    let named = listed(core, &["--names"]);
    let one = named.iter().find(|one| one["user"] == "bob").unwrap();
    let id = one["session"].as_str().unwrap();
    let (code, text, why) = run(core, &["revoke", "--session", id, "--json"]);
    assert_eq!(code, Some(0), "{why}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told, serde_json::json!({ "revoked": 1, "error": null }));
    assert_eq!([&kept, &bob].map(is_in), [true, false]);

    // UCM minds no letter case.
    let (code, text, _) = run(core, &["revoke", "--user", "ALICE"]);
    assert_eq!((code, text.as_str()), (Some(0), "1 sessions revoked\n"));
    assert!(!is_in(&kept));
    assert_eq!(users(core), Vec::<String>::new());

    for user in ["alice", "bob", "vera"] {
        sign_in(&stage, user, "CSF");
    }
    let (code, text, _) = run(core, &["revoke", "--all"]);
    assert_eq!((code, text.as_str()), (Some(0), "3 sessions revoked\n"));
}

#[test]
fn who_is_not_in_is_no_error_and_what_can_be_no_name_is() {
    let stage = Stage::start();
    let core = &stage.pair.cores[0];
    sign_in(&stage, "alice", "CSFALICE");
    let nobody = "00".repeat(32);

    for which in [
        ["--user", "mallory"],
        ["--device", "CSFMALLORY"],
        ["--session", nobody.as_str()],
    ] {
        let (code, text, why) = run(core, &[&["revoke"][..], &which[..]].concat());
        assert_eq!(
            (code, text.as_str()),
            (Some(0), "0 sessions revoked\n"),
            "{why}"
        );
    }
    for wrong in [
        &["--session", "12"][..],
        &["--user", ""],
        &["--user", "alice", "--all"],
        &[],
    ] {
        let (code, text, why) = run(core, &[&["revoke"][..], wrong].concat());
        assert_eq!((code, text.as_str()), (Some(64), ""), "{wrong:?}");
        assert!(!why.is_empty(), "{wrong:?}");
    }

    assert_eq!(users(core), ["alice"]);
}

#[test]
fn without_a_running_edge_c_it_says_so() {
    let mut stage = Stage::prepare(Size::ONE);
    let core = &mut stage.pair.cores[0];
    core.write_config().unwrap();

    for arguments in [&["list"][..], &["list", "--json"], &["revoke", "--all"]] {
        let (code, text, why) = run(core, arguments);
        assert_eq!((code, text.as_str()), (Some(69), ""), "{arguments:?}");
        assert!(
            why.contains("127.0.0.1:9101") && why.contains("is it running?"),
            "{why}"
        );
    }

    core.set("session", "store", "none");
    core.write_config().unwrap();
    let (code, _, why) = run(core, &["list"]);
    assert_eq!(code, Some(78), "{why}");
    assert!(
        why.contains("session.store") || why.contains("store"),
        "{why}"
    );
}

#[test]
fn a_revocation_from_the_command_line_outlives_a_kill() {
    let mut stage = Stage::start();
    let alice = sign_in(&stage, "alice", "CSFALICE");
    let bob = sign_in(&stage, "bob", "CSFBOB");
    // On disk, so that a kill loses none of them.
    stage.pair.cores[0].restart().unwrap();

    let (code, _, why) = run(&stage.pair.cores[0], &["revoke", "--user", "alice"]);
    stage.pair.cores[0].kill().unwrap();
    stage.pair.cores[0].start().unwrap();

    assert_eq!(code, Some(0), "{why}");
    support::wait::until_true("the link", support::wait::START_LIMIT, || {
        Ok(bob.get(PHOTOS, "/photos/alice.jpg").status == 200)
    })
    .unwrap();
    assert!(!is_in(&alice));
}
