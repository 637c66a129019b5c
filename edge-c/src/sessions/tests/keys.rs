//! The keys, and the files they are in.

use super::*;

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
