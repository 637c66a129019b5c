//! A session comes with the nodes inside that it needs.

use common::net::{Deployment, Host};
use common::policy::allow_list::{Node as InnerNode, NodeKind};

use super::*;

fn named(name: &str) -> NamedNode {
    NamedNode {
        node: InnerNode {
            kind: NodeKind::Ucm,
            host: Host::parse(name).unwrap(),
            port: None,
            deployment: Deployment::standard(),
        },
        until: now().plus(Duration::from_secs(3600)),
    }
}

#[tokio::test]
async fn whoever_finds_a_session_knows_its_nodes_already() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);

    for number in 0..20 {
        let node = named(&format!("cucm{number}.example.com"));
        one.sessions.name_nodes(vec![node.clone()]).await;
        let issued = one.sessions.issue(new("alice"), now()).await.unwrap();
        let found = two.sessions.find(&issued.cookie.text(), now()).await;

        assert!(found.unwrap().is_some());
        assert!(two.has_heard(&node), "{number}");
    }
}

#[tokio::test]
async fn nodes_are_known_to_those_that_come_later_also_after_the_store_was_emptied() {
    let mut redis = TestRedis::start().await;
    let one = Node::start(&redis, 1).await;
    let node = named("cucm7.example.com");
    one.sessions.name_nodes(vec![node.clone()]).await;
    let two = Node::start(&redis, 2).await;
    assert!(two.has_heard(&node));

    redis.kill();
    until("the loss", || {
        [&one, &two]
            .iter()
            .all(|node| node.sessions.store_state() != StoreState::Up)
    })
    .await;
    redis.resume().await;
    one.until_up().await;

    let three = Node::start(&redis, 3).await;
    assert!(three.has_heard(&node));
}
