//! Files that change under the watch, on a paused clock.

use std::os::unix::fs::symlink;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::runtime::clock;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("watched");
    std::fs::write(&file, "one").unwrap();
    (folder, file)
}

#[tokio::test(start_paused = true)]
async fn other_contents_are_noticed_within_one_interval_and_the_rest() {
    let (_folder, file) = folder();
    let (_sender, hangups) = Hangups::manual();
    let mut watch = FileWatch::new(vec![file.clone()], hangups).await;
    let began = clock::now();

    std::fs::write(&file, "two").unwrap();

    assert_eq!(watch.changed().await, Cause::Changed(file));
    let limit = limits::RELOAD_POLL_INTERVAL + limits::RELOAD_SETTLE * 2;
    assert!(
        clock::elapsed(began) <= limit,
        "{:?}",
        clock::elapsed(began)
    );
}

#[tokio::test(start_paused = true)]
async fn a_symbolic_link_that_points_elsewhere_is_a_change() {
    let (folder, file) = folder();
    let other = folder.path().join("other");
    let link = folder.path().join("link");
    std::fs::write(&other, "two").unwrap();
    symlink(&file, &link).unwrap();
    let (_sender, hangups) = Hangups::manual();
    let mut watch = FileWatch::new(vec![link.clone()], hangups).await;

    symlink(&other, folder.path().join("new")).unwrap();
    std::fs::rename(folder.path().join("new"), &link).unwrap();

    assert_eq!(watch.changed().await, Cause::Changed(link));
}

#[tokio::test(start_paused = true)]
async fn the_same_contents_written_again_are_no_change() {
    let (_folder, file) = folder();
    let (_sender, hangups) = Hangups::manual();
    let mut watch = FileWatch::new(vec![file.clone()], hangups).await;

    std::fs::write(&file, "one").unwrap();

    let minute = std::time::Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, watch.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_goes_away_and_comes_back_is_noticed_both_times() {
    let (_folder, file) = folder();
    let (_sender, hangups) = Hangups::manual();
    let mut watch = FileWatch::new(vec![file.clone()], hangups).await;

    std::fs::remove_file(&file).unwrap();
    assert_eq!(watch.changed().await, Cause::Changed(file.clone()));

    std::fs::write(&file, "one").unwrap();
    assert_eq!(watch.changed().await, Cause::Changed(file));
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_reloads_at_once_and_only_once() {
    let (_folder, file) = folder();
    let (sender, hangups) = Hangups::manual();
    let mut watch = FileWatch::new(vec![file], hangups).await;
    let began = clock::now();

    sender.send_replace(1);

    assert_eq!(watch.changed().await, Cause::Hangup);
    assert_eq!(clock::elapsed(began).as_secs(), 0);
    let minute = std::time::Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, watch.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn files_that_are_followed_later_lose_no_change() {
    let (folder, file) = folder();
    let (_sender, hangups) = Hangups::manual();
    let mut watch = FileWatch::new(vec![file.clone()], hangups).await;
    let other = folder.path().join("other");

    std::fs::write(&file, "two").unwrap();
    watch.follow(vec![other.clone(), file.clone()]).await;
    assert_eq!(watch.changed().await, Cause::Changed(file));

    std::fs::write(&other, "one").unwrap();
    assert_eq!(watch.changed().await, Cause::Changed(other));
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_last_good_state_and_is_counted() {
    let (_folder, file) = folder();
    let (_sender, hangups) = Hangups::manual();
    let watch = FileWatch::new(vec![file.clone()], hangups).await;
    let metrics = ReloadMetrics::default();
    let (tries, mut tried) = watch::channel(0);
    let state = Arc::new(Mutex::new("one".to_owned()));

    let current = Arc::clone(&state);
    let path = file.clone();
    let reloads = tokio::spawn(keep_current("sample", watch, metrics.clone(), move || {
        let text = std::fs::read_to_string(&path).unwrap();
        let result = if text.starts_with("bad") {
            Err("is bad")
        } else {
            *current.lock().unwrap() = text;
            Ok(vec![path.clone()])
        };
        tries.send_modify(|count| *count += 1);
        result
    }));

    std::fs::write(&file, "bad").unwrap();
    tried.wait_for(|count| *count == 1).await.unwrap();
    assert_eq!(*state.lock().unwrap(), "one");

    std::fs::write(&file, "two").unwrap();
    tried.wait_for(|count| *count == 2).await.unwrap();
    assert_eq!(*state.lock().unwrap(), "two");

    reloads.abort();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("reloads_total{what=\"sample\",outcome=\"refused\"} 1\n"),
        "{text}"
    );
}
