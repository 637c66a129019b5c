//! What is revoked stays revoked, and everybody is told.

use super::*;

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
