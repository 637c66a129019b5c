//! What is issued is found again, and nothing else is.

use super::*;

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
