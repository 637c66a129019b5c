//! What outlives the process: restart, kill, full disk, damage.

use super::*;

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
            "sessions::tests::disk::a_killed_process_keeps_what_was_flushed_and_every_revocation",
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
