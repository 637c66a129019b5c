//! Streams and the HTTPS sessions that let them in; users whom an edge refuses.

use std::net::IpAddr;

use common::net::{Deployment, Host};
use common::policy::jail::Ban;
use common::session::{HomeCluster, Method, UserName};

use super::*;
use crate::sessions::{NewSession, Selection};

/// Signs a user in over HTTPS, for at most so long.
async fn sign_in(world: &World, user: &str, lifetime: Duration) {
    let host = Host::parse("cucm1.example.com").unwrap();
    let now = clock::unix_now();
    let new = NewSession {
        user: UserName::parse(user).unwrap(),
        domain: Domain::parse("example.com").unwrap(),
        deployment: Deployment::standard(),
        home: HomeCluster {
            host: host.clone(),
            nodes: vec![host],
        },
        method: Method::Basic,
        device: None,
        client: ClientAddr(([192, 0, 2, 7], 50000).into()),
        nodes: Vec::new(),
        credential: None,
        edge_name: Domain::parse("edge1.example.com").unwrap(),
        until: Some(now.plus(lifetime)),
    };
    let sessions = &world.xmpp.shared().sessions;
    sessions.issue(new, now).await.unwrap();
}

/// Two clients behind the gate: alice has ten minutes, vera as well.
async fn gated() -> (World, TestNode, [TestClient; 2]) {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::User).await;
    for user in ["alice", "vera@example.com"] {
        sign_in(&world, user, MINUTE * 10).await;
    }
    let clients = [
        world.signed_in_with(&plain("alice")).await,
        world.signed_in_with(&plain("vera")).await,
    ];
    (world, node, clients)
}

async fn goes_on(client: &mut TestClient, id: &str) {
    let message = format!("<message id='{id}'/>");
    client.send(&message).await;
    client.until(&message).await;
}

#[tokio::test]
async fn a_stream_ends_with_the_session_that_let_it_in_unless_there_is_another() {
    let (world, _node, [mut alice, mut vera]) = gated().await;
    let now = clock::unix_now();
    sign_in(&world, "vera", MINUTE * 20).await;

    world.xmpp.close_expired(now.plus(MINUTE * 9));
    goes_on(&mut alice, "m1").await;
    world.xmpp.close_expired(now.plus(MINUTE * 11));

    assert_eq!(alice.closed().await, Some(FlowClose::Revoked));
    let said = alice.seen.rsplit("</stream:features>").next().unwrap();
    assert!(said.contains("<stream:error><reset"), "{said}");
    assert!(said.ends_with("</stream:stream>"), "{said}");
    goes_on(&mut vera, "m2").await;
    world.xmpp.close_expired(now.plus(MINUTE * 21));
    assert_eq!(vera.closed().await, Some(FlowClose::Revoked));
    assert!(world.metric("side=\"local\",reason=\"expired\"} 2"));
}

#[tokio::test]
async fn where_no_gate_is_streams_outlive_sessions() {
    let (world, _node, [mut alice, _vera]) = gated().await;
    world.xmpp.shared().gate.store(Arc::new(SessionGate::Off));

    world
        .xmpp
        .close_expired(clock::unix_now().plus(MINUTE * 600));

    goes_on(&mut alice, "m1").await;
}

#[tokio::test]
async fn whose_session_is_revoked_may_not_stay_and_others_may() {
    let (world, _node, _clients) = gated().await;
    let shared = world.xmpp.shared();
    let alice = UserName::parse("alice").unwrap();
    shared
        .sessions
        .revoke(Selection::User(alice))
        .await
        .unwrap();

    let now = clock::unix_now();
    let due = now.plus(MINUTE * 11);
    let stay = |stream: &Stream| match shared.stay(stream, now) {
        // Beyond what is asked about here.
        Stay::Until(_) => Stay::Until(due.plus(MINUTE)),
        other @ (Stay::Always | Stay::Over) => other,
    };

    assert_eq!(shared.streams.end_due(due, stay), 1);
}

#[tokio::test]
async fn who_is_blocked_at_an_address_reaches_no_node_from_there_and_others_do() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let now = clock::unix_now();
    let ban = |last, user| Ban {
        network: IpAddr::from([192, 0, 2, last]),
        user: Some(UserTag::of(user)),
        until: now.plus(MINUTE),
    };
    for ban in [ban(7, "alice"), ban(8, "vera")] {
        world.xmpp.shared().sessions.ban(ban, now).await;
    }
    let mut client = world.client(ClientTransport::Tls).await;
    client.send(HEADER).await;
    client.send(&plain("Alice@example.com")).await;

    client.until("<not-authorized").await;

    assert_eq!(node.attempts(), 0);
    assert_eq!(client.frames, [], "it is no guess");
    assert!(world.metric("xmpp_sign_ins_total{outcome=\"blocked\"} 1"));
    for user in ["bob", "vera"] {
        drop(world.signed_in_with(&plain(user)).await);
    }
}

const MINUTE: Duration = Duration::from_mins(1);
