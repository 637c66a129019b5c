//! What sessions promise, through the public face: restart, kill, revocation, keys, files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use common::id::CoreId;
use common::mra::cookie::{Filter, Refused};
use common::net::{ClientAddr, Deployment, Host};
use common::session::{DeviceName, HomeCluster, Method, UserName};
use tokio::sync::oneshot;

use super::database::tests::{DISK_IS_FULL, make_faulty};
use super::random::tests::CountedRandom;
use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);
const PASSWORD: &str = "Basic YWxpY2U6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5";

#[tokio::test]
async fn an_issued_cookie_finds_its_session() {
    let sessions = in_memory();
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();

    let text = issued.cookie.text();
    let found = sessions.look_up(&text, NOW).unwrap();

    assert_eq!(found, issued.session);
    assert_eq!(found.user.as_str(), "alice");
    assert_eq!(found.expires, UnixTime(NOW.0 + 28_800));
    let expected = format!(
        "X-Auth={text}; Expires=Fri, 15 Jan 2027 16:00:00 GMT; Domain=.example.com; Path=/; Secure; HttpOnly"
    );
    assert_eq!(issued.set_cookie.to_str().unwrap(), expected);
}

#[tokio::test]
async fn the_filter_passes_what_was_issued_and_nothing_else_finds_a_session() {
    let sessions = in_memory();
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    let mut filter = Filter::default();
    filter.set_keys(sessions.filter_state().keys);

    let checked = filter.check(&issued.cookie.text(), NOW).unwrap();
    assert_eq!(checked.core, CoreId(7));
    assert_eq!(checked.id, issued.session.id);

    // A lost edge-e has the filter key: what it mints passes the filter and is nobody here.
    let keys = sessions.filter_state().keys;
    let minted = CookieValue::issue(
        &keys.latest.1,
        issued.cookie.key_id(),
        issued.cookie.expiry(),
        [9; 18],
    );
    assert!(filter.check(&minted.text(), NOW).is_ok());
    assert_eq!(sessions.look_up(&minted.text(), NOW), None);
    let shortened = issued.cookie.text().split_off(1);
    for junk in ["", "junk", &shortened] {
        assert_eq!(sessions.look_up(junk, NOW), None);
    }
}

#[tokio::test]
async fn a_stretched_expiry_does_not_stretch_the_session() {
    let sessions = in_memory();
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    let keys = sessions.filter_state().keys;
    let stretched = CookieValue::issue(
        &keys.latest.1,
        issued.cookie.key_id(),
        UnixTime(u64::MAX),
        issued.cookie.random(),
    );
    let end = issued.session.expires;

    assert!(
        sessions
            .look_up(&stretched.text(), UnixTime(end.0 - 1))
            .is_some()
    );
    assert_eq!(sessions.look_up(&stretched.text(), end), None);
}

#[tokio::test]
async fn a_credential_opens_with_its_own_cookie_only() {
    let sessions = in_memory();
    let one = sessions.issue(new("alice"), NOW).await.unwrap();
    let two = sessions.issue(new("bob"), NOW).await.unwrap();

    let opened = sessions.credential(&one.cookie.text(), &one.session);
    assert_eq!(opened.unwrap().unwrap().reveal(), PASSWORD);
    assert_eq!(
        sessions.credential(&two.cookie.text(), &one.session),
        Err(SealError::Cookie)
    );
    let mut without = new("carol");
    without.credential = None;
    let without = sessions.issue(without, NOW).await.unwrap();
    assert_eq!(
        sessions.credential(&without.cookie.text(), &without.session),
        Ok(None)
    );
}

#[tokio::test]
async fn what_is_over_the_limit_is_refused() {
    let sessions = in_memory();
    let mut nodes = new("alice");
    nodes.nodes = vec![Host::parse("cucm.example.com").unwrap(); 65];
    let mut credential = new("alice");
    credential.credential = Some(Secret::new("x".repeat(9_000)));

    for new in [nodes, credential] {
        assert_eq!(
            sessions.issue(new, NOW).await.unwrap_err(),
            IssueError::TooLarge
        );
    }
    assert_eq!(sessions.stats().sessions, 0);
}

#[tokio::test]
async fn a_restart_signs_nobody_out_and_keeps_cookies_valid() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    let keys = sessions.filter_state().keys;
    stop(&sessions).await;
    drop(sessions);

    let sessions = in_directory(dir.path());

    let text = issued.cookie.text();
    assert_eq!(sessions.look_up(&text, NOW), Some(issued.session));
    assert_eq!(sessions.filter_state().keys, keys);
    let session = sessions.look_up(&text, NOW).unwrap();
    let opened = sessions.credential(&text, &session).unwrap().unwrap();
    assert_eq!(opened.reveal(), PASSWORD);
}

#[tokio::test]
async fn a_restart_drops_what_expired_meanwhile_from_the_disk_too() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    sessions.issue(new("alice"), NOW).await.unwrap();
    stop(&sessions).await;
    drop(sessions);
    let later = UnixTime(NOW.0 + 28_800);

    let sessions = open(dir.path(), later).unwrap();
    assert_eq!(sessions.stats().sessions, 0);
    assert_eq!(sessions.stats().pending, 1);
    sessions.maintain(later).await.unwrap();
    drop(sessions);

    // Even with the clock set back there is nothing left to find.
    assert_eq!(in_directory(dir.path()).stats().sessions, 0);
}

#[tokio::test]
async fn another_core_id_gets_keys_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let keys = sessions.filter_state().keys;
    drop(sessions);

    let mut config = config(dir.path());
    config.core = CoreId(8);
    let sessions = Sessions::open(config, Arc::new(SystemRandom), NOW).unwrap();

    assert_eq!(sessions.filter_state().keys.core, CoreId(8));
    assert_ne!(sessions.filter_state().keys.latest.1, keys.latest.1);
}

#[tokio::test]
async fn a_revoked_session_is_gone_everywhere_and_stays_gone() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    let other = sessions.issue(new("bob"), NOW).await.unwrap();
    sessions.maintain(NOW).await.unwrap();
    let mut feed = sessions.filter_feed();

    let user = UserName::parse("ALICE").unwrap();
    assert_eq!(sessions.revoke(Selection::User(user)).await, Ok(1));

    // What the disk holds at this moment is what a kill would leave.
    let killed = copy_of(dir.path());
    let text = issued.cookie.text();
    assert_eq!(sessions.look_up(&text, NOW), None);
    let tombstone = feed.tombstones.try_recv().unwrap();
    assert_eq!(tombstone.id, issued.session.id);
    assert_eq!(tombstone.until, issued.session.expires);
    for sessions in [sessions, in_directory(killed.path())] {
        let state = sessions.filter_state();
        assert_eq!(state.tombstones, [tombstone]);
        let mut filter = Filter::default();
        filter.set_keys(state.keys);
        filter.revoke(tombstone);
        assert_eq!(filter.check(&text, NOW), Err(Refused::Revoked));
        assert_eq!(sessions.look_up(&text, NOW), None);
        assert!(sessions.look_up(&other.cookie.text(), NOW).is_some());
    }
}

#[tokio::test]
async fn a_tombstone_goes_when_its_session_would_have() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    let which = Selection::Session(issued.session.id);
    assert_eq!(sessions.revoke(which.clone()).await, Ok(1));
    assert_eq!(sessions.revoke(which).await, Ok(0));

    sessions
        .maintain(UnixTime(issued.session.expires.0 - 1))
        .await
        .unwrap();
    assert_eq!(sessions.filter_state().tombstones.len(), 1);
    sessions.maintain(issued.session.expires).await.unwrap();
    assert_eq!(sessions.filter_state().tombstones.len(), 0);
    drop(sessions);

    assert_eq!(in_directory(dir.path()).filter_state().tombstones.len(), 0);
}

#[tokio::test]
async fn a_device_is_revoked_without_its_owners_others() {
    let sessions = in_memory();
    let mut phone = new("alice");
    phone.device = Some(DeviceName::parse("TCTALICE").unwrap());
    let phone = sessions.issue(phone, NOW).await.unwrap();
    let desktop = sessions.issue(new("alice"), NOW).await.unwrap();

    let device = DeviceName::parse("tctalice").unwrap();
    assert_eq!(sessions.revoke(Selection::Device(device)).await, Ok(1));

    assert_eq!(sessions.look_up(&phone.cookie.text(), NOW), None);
    assert!(sessions.look_up(&desktop.cookie.text(), NOW).is_some());
}

#[tokio::test]
async fn a_revocation_nobody_waits_for_is_still_carried_out() {
    let sessions = in_memory();
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    let mut feed = sessions.filter_feed();

    let mut revocation = Box::pin(sessions.revoke(Selection::Session(issued.session.id)));
    tokio::select! {
        biased;
        _ = &mut revocation => {}
        () = std::future::ready(()) => {}
    }
    drop(revocation);

    assert_eq!(feed.tombstones.recv().await.unwrap().id, issued.session.id);
    assert_eq!(sessions.look_up(&issued.cookie.text(), NOW), None);
}

#[tokio::test]
async fn the_files_do_not_contain_who_is_signed_in_or_how() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    stop(&sessions).await;
    drop(sessions);

    let random = issued.cookie.random();
    let key = fs::read(dir.path().join("state.key")).unwrap();
    let stored = fs::read(dir.path().join("sessions.redb")).unwrap();
    let holds = |needle: &[u8]| stored.windows(needle.len()).any(|part| part == needle);
    assert!(holds(&issued.session.id.0), "the search works");
    for secret in [
        PASSWORD.as_bytes(),
        b"YWxpY2U6",
        b"alice",
        b"CSFALICE",
        b"cucm1.example.com",
        &random,
        issued.cookie.text().as_bytes(),
        &key,
    ] {
        assert!(!holds(secret), "{}", String::from_utf8_lossy(secret));
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(dir.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("sessions.redb"), 0o600);
    assert_eq!(mode("state.key"), 0o600);
}

#[tokio::test]
async fn the_snapshot_is_useless_under_another_key_and_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let issued = sessions.issue(new("alice"), NOW).await.unwrap();
    stop(&sessions).await;
    drop(sessions);
    let key = fs::read(dir.path().join("state.key")).unwrap();
    fs::remove_file(dir.path().join("state.key")).unwrap();

    let sessions = in_directory(dir.path());

    assert_eq!(sessions.look_up(&issued.cookie.text(), NOW), None);
    sessions.issue(new("bob"), NOW).await.unwrap();
    stop(&sessions).await;
    drop(sessions);
    assert_eq!(in_directory(dir.path()).stats().sessions, 1);

    // Whoever finds the right key again can put both back.
    let back = tempfile::tempdir().unwrap();
    let aside = dir.path().join(format!("sessions.redb.bad-{NOW}"));
    fs::copy(aside, back.path().join("sessions.redb")).unwrap();
    write_key(back.path(), &key);
    let sessions = in_directory(back.path());
    assert!(sessions.look_up(&issued.cookie.text(), NOW).is_some());
}

#[tokio::test]
async fn what_is_not_a_snapshot_is_moved_aside() {
    let foreign = tempfile::tempdir().unwrap();
    let path = foreign.path().join("foreign.redb");
    let database = redb::Database::create(&path).unwrap();
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(table)
        .unwrap()
        .insert("x", 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);

    for octets in [
        b"not a database at all".to_vec(),
        vec![0; 100_000],
        fs::read(path).unwrap(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sessions.redb"), &octets).unwrap();

        let sessions = in_directory(dir.path());

        sessions.issue(new("alice"), NOW).await.unwrap();
        sessions.maintain(NOW).await.unwrap();
        let aside = dir.path().join(format!("sessions.redb.bad-{NOW}"));
        assert!(aside.exists());
    }
}

#[tokio::test]
async fn a_damaged_snapshot_never_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    for number in 0..20 {
        sessions
            .issue(new(&format!("user{number}")), NOW)
            .await
            .unwrap();
    }
    stop(&sessions).await;
    drop(sessions);
    let whole = fs::read(dir.path().join("sessions.redb")).unwrap();
    let key = fs::read(dir.path().join("state.key")).unwrap();

    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let damage = |octets: &mut Vec<u8>, round: usize| match round % 3 {
        0 => octets.truncate(octets.len() / 40 * (round + 1)),
        1 => octets[used[used.len() / 40 * round]] ^= 0x41,
        _ => {
            let from = used[used.len() / 40 * round];
            let to = octets.len().min(from + 4_096);
            octets[from..to].fill(0xff);
        }
    };
    for round in 0..39 {
        let dir = tempfile::tempdir().unwrap();
        let mut octets = whole.clone();
        damage(&mut octets, round);
        fs::write(dir.path().join("sessions.redb"), &octets).unwrap();
        write_key(dir.path(), &key);

        let sessions = in_directory(dir.path());

        assert!(sessions.stats().sessions <= 20);
        sessions.issue(new("alice"), NOW).await.unwrap();
        assert_eq!(sessions.maintain(NOW).await, Ok(()), "round {round}");
    }
}

#[tokio::test]
async fn two_processes_do_not_share_a_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());

    let error = open(dir.path(), NOW).unwrap_err();

    assert!(matches!(error, StateError::InUse { .. }), "{error}");
    drop(sessions);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing moved"
    );
}

#[tokio::test]
async fn a_full_disk_is_said_revocations_hold_and_all_is_written_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let random = Arc::new(SystemRandom);
    let sessions = Sessions::open_with(config(dir.path()), random, NOW, make_faulty).unwrap();
    let kept = sessions.issue(new("alice"), NOW).await.unwrap();
    let revoked = sessions.issue(new("bob"), NOW).await.unwrap();
    sessions.maintain(NOW).await.unwrap();

    DISK_IS_FULL.store(true, Ordering::SeqCst);
    let late = sessions.issue(new("carol"), NOW).await.unwrap();
    assert!(sessions.maintain(NOW).await.is_err());
    let which = Selection::Session(revoked.session.id);
    let error = sessions.revoke(which.clone()).await.unwrap_err();
    assert_eq!(error.count, 1);
    assert_eq!(sessions.look_up(&revoked.cookie.text(), NOW), None);
    assert_eq!(sessions.stats().flush_failures_total, 1);

    assert!(sessions.revoke(which.clone()).await.is_err(), "still not");

    DISK_IS_FULL.store(false, Ordering::SeqCst);
    assert_eq!(sessions.revoke(which).await, Ok(0));
    let killed = copy_of(dir.path());
    assert_eq!(
        in_directory(killed.path()).filter_state().tombstones.len(),
        1
    );
    assert_eq!(sessions.maintain(NOW).await, Ok(()));
    let killed = copy_of(dir.path());
    let sessions = in_directory(killed.path());
    for (issued, is_there) in [(kept, true), (late, true), (revoked, false)] {
        let found = sessions.look_up(&issued.cookie.text(), NOW);
        assert_eq!(found.is_some(), is_there, "{:?}", issued.session.user);
    }
}

#[tokio::test]
async fn a_key_file_elsewhere_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let keys = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.state = State::Directory {
        path: dir.path().to_owned(),
        key_file: Some(keys.path().join("edge-c.key")),
    };

    Sessions::open(config, Arc::new(SystemRandom), NOW).unwrap();

    assert!(keys.path().join("edge-c.key").exists());
    assert!(!dir.path().join("state.key").exists());
}

#[tokio::test]
async fn keys_roll_and_every_edge_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let mut feed = sessions.filter_feed();
    let first = sessions.filter_state().keys;
    let day = UnixTime(NOW.0 + 24 * 60 * 60);
    assert!(!feed.keys.has_changed().unwrap());

    sessions.maintain(day).await.unwrap();

    let second = feed.keys.borrow_and_update().clone();
    assert_eq!(second.earlier, Some(first.latest.clone()));
    assert_eq!(sessions.filter_state().keys, second);
    let early = sessions.issue(new("alice"), day).await.unwrap();
    assert_eq!(early.cookie.key_id().generation, first.latest.0);
    let later = UnixTime(day.0 + 60);
    let late = sessions.issue(new("alice"), later).await.unwrap();
    assert_eq!(late.cookie.key_id().generation, second.latest.0);
    drop(sessions);
    let reopened = open(dir.path(), later).unwrap();
    assert_eq!(reopened.filter_state().keys, second);
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_names_nobody() {
    let sessions = in_memory();
    for number in 0..250 {
        let started = UnixTime(NOW.0 + number);
        sessions
            .issue(new(&format!("user{number}")), started)
            .await
            .unwrap();
    }

    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = sessions.list(after);
        assert!(page.sessions.len() <= 100);
        listed.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }

    assert_eq!(listed.len(), 250);
    assert!(listed.is_sorted_by_key(|session| session.expires));
    assert!(!format!("{listed:?}").contains("user1"));
}

#[tokio::test(start_paused = true)]
async fn running_flushes_every_second_and_once_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = in_directory(dir.path());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.run(|| NOW, async { drop(stopped.await) }).await }
    });

    sessions.issue(new("alice"), NOW).await.unwrap();
    while sessions.stats().pending > 0 {
        tokio::time::advance(limits::SESSION_FLUSH_INTERVAL / 4).await;
    }
    sessions.issue(new("bob"), NOW).await.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap();

    assert_eq!(sessions.stats().pending, 0);
    drop(sessions);
    assert_eq!(in_directory(dir.path()).stats().sessions, 2);
}

/// The parent starts this test again as a child, which signs users in and is then killed with SIGKILL.
#[tokio::test]
async fn a_killed_process_keeps_what_was_flushed_and_every_revocation() {
    if let Ok(path) = std::env::var(KILL_DIRECTORY) {
        return until_killed(Path::new(&path)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sessions::tests::a_killed_process_keeps_what_was_flushed_and_every_revocation",
            "--nocapture",
        ])
        .env(KILL_DIRECTORY, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let cookies: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit_once("cookie ").map(|(_, text)| text.to_owned()))
        .take(3)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();

    let sessions = in_directory(dir.path());

    let found: Vec<bool> = cookies
        .iter()
        .map(|text| sessions.look_up(text, NOW).is_some())
        .collect();
    assert_eq!(found, [true, false, false], "flushed, revoked, too young");
    assert_eq!(sessions.filter_state().tombstones.len(), 1);
}

async fn until_killed(path: &Path) {
    let sessions = in_directory(path);
    let flushed = sessions.issue(new("alice"), NOW).await.unwrap();
    let revoked = sessions.issue(new("bob"), NOW).await.unwrap();
    sessions.maintain(NOW).await.unwrap();
    let which = Selection::Session(revoked.session.id);
    sessions.revoke(which).await.unwrap();
    let young = sessions.issue(new("carol"), NOW).await.unwrap();
    for issued in [flushed, revoked, young] {
        println!("cookie {}", issued.cookie.text());
    }
    // Ends when the parent does, should it fail to kill.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

const KILL_DIRECTORY: &str = "EDGE_C_TEST_KILL_DIRECTORY";

fn in_memory() -> Sessions {
    let config = Config {
        state: State::Memory,
        ..config(Path::new(""))
    };
    Sessions::open(config, Arc::new(CountedRandom::default()), NOW).unwrap()
}

fn in_directory(path: &Path) -> Sessions {
    open(path, NOW).unwrap()
}

fn open(path: &Path, now: UnixTime) -> Result<Sessions, StateError> {
    Sessions::open(config(path), Arc::new(SystemRandom), now)
}

fn config(path: &Path) -> Config {
    Config {
        core: CoreId(7),
        lifetime: limits::SESSION_LIFETIME_DEFAULT,
        cookie_domain: None,
        state: State::Directory {
            path: path.to_owned(),
            key_file: None,
        },
    }
}

fn new(user: &str) -> NewSession {
    let host = |text: &str| Host::parse(text).unwrap();
    NewSession {
        user: UserName::parse(user).unwrap(),
        domain: Domain::parse("example.com").unwrap(),
        deployment: Deployment::standard(),
        home: HomeCluster {
            host: host("cucm1.example.com"),
            nodes: vec![host("cucm1.example.com"), host("cucm2.example.com")],
        },
        method: Method::Basic,
        device: Some(DeviceName::parse("CSFALICE").unwrap()),
        client: ClientAddr("192.0.2.9:50000".parse().unwrap()),
        nodes: vec![host("cucm1.example.com")],
        credential: Some(Secret::new(PASSWORD.to_owned())),
        edge_name: Domain::parse("edge1.example.com").unwrap(),
    }
}

async fn stop(sessions: &Sessions) {
    sessions.run(|| NOW, std::future::ready(())).await;
}

fn copy_of(path: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sessions.redb", "state.key"] {
        fs::copy(path.join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn write_key(path: &Path, octets: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = path.join("state.key");
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}
