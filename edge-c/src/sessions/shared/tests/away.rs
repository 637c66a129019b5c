//! How long a node goes on without its store.

use super::*;

#[tokio::test]
async fn after_five_minutes_without_the_store_nobody_is_let_in_and_nobody_is_signed_out() {
    let mut redis = TestRedis::start().await;
    let node = Node::start(&redis, 1).await;
    let issued = node.sessions.issue(new("alice"), now()).await.unwrap();
    let text = issued.cookie.text();
    let user = UserName::parse("alice").unwrap();
    redis.kill();
    until("the loss", || {
        node.sessions.store_state() == StoreState::ReadOnly
    })
    .await;

    // What has passed until here is far less than the margin.
    let margin = Duration::from_secs(30);
    tokio::time::pause();
    let nearly = limits::STORE_GRACE.checked_sub(margin).unwrap();
    tokio::time::advance(nearly).await;
    assert_eq!(node.sessions.store_state(), StoreState::ReadOnly);
    assert!(node.sessions.look_up(&text, now()).is_some());
    assert!(node.sessions.is_signed_in(&user, None, now()));
    let found = node.sessions.find(&text, now()).await;
    assert_eq!(found, Ok(Some(Arc::clone(&issued.session))));

    tokio::time::advance(margin).await;
    assert_eq!(node.sessions.store_state(), StoreState::Away);
    assert!(node.sessions.look_up(&text, now()).is_none());
    assert!(!node.sessions.is_signed_in(&user, None, now()));
    // An error, not "there is no such session", which would be 401 and the end of it for the client.
    let found = node.sessions.find(&text, now()).await;
    assert!(
        matches!(found, Err(StoreError::Unavailable(_))),
        "{found:?}"
    );
    tokio::time::resume();

    redis.resume().await;
    node.until_up().await;
    let found = node.sessions.find(&text, now()).await;
    assert_eq!(found, Ok(Some(issued.session)));
    assert!(node.sessions.is_signed_in(&user, None, now()));
}
