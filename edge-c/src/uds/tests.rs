use common::mra::xml::XmlError;
use http::StatusCode;

use super::*;
use crate::testing::{Fault, World, basic, on_behalf};

const NODE: &str = "a1.example.com";

#[tokio::test]
async fn a_question_is_asked_with_encoded_values_and_own_fields() {
    let world = World::start(&[&[NODE]]).await;
    world.nodes.add_user(0, "ali ce/ä", "secret");
    let node = world.node(NODE);

    let found = world
        .uds()
        .cluster_user(
            &node,
            UserQuery::UserName(Redacted::new("ali ce/ä")),
            Some(&on_behalf()),
        )
        .await
        .unwrap();

    let ClusterUser::Found(found) = found else {
        panic!("{found:?}");
    };
    assert_eq!(found.user_id, Some(Redacted::new("ali ce/ä".to_owned())));
    assert_eq!(found.port, Some(node.port));
    let asked = &world.nodes.asked()[0];
    assert_eq!(
        asked.target,
        "/cucm-uds/clusterUser?username=ali%20ce%2F%C3%A4"
    );
    assert_eq!(asked.fields["host"], node.to_string());
    assert_eq!(asked.fields["x-forwarded-for"], "192.0.2.55");
    assert_eq!(asked.fields["x-tracking-id"], "07".repeat(16));
}

#[tokio::test]
async fn credentials_go_out_as_given_and_their_refusal_is_told_apart() {
    let world = World::start(&[&[NODE]]).await;
    world.nodes.add_user(0, "alice", "secret");
    let (uds, node) = (world.uds(), world.node(NODE));

    let good = uds
        .devices(&node, "alice", &basic("alice", "secret"), None)
        .await;
    let bad = uds
        .devices(&node, "alice", &basic("alice", "wrong"), None)
        .await;

    assert_eq!(good, Ok(vec!["CSFalice".to_owned()]));
    assert!(bad.unwrap_err().is_unauthorised());
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_its_loss_goes_unnoticed() {
    let mut world = World::start(&[&[NODE]]).await;
    let (uds, node) = (world.uds(), world.node(NODE));
    for _ in 0..5 {
        uds.version(&node).await.unwrap();
    }
    assert_eq!(world.nodes.connections(), 1);

    world.nodes.stop(NODE).await;
    world.nodes.restart(NODE).await;

    assert_eq!(uds.version(&node).await.as_deref(), Ok("12.5.1"));
    assert_eq!(world.nodes.connections(), 2);
}

#[tokio::test]
async fn a_name_that_is_not_in_the_certificate_gets_no_request() {
    let world = World::start(&[&[NODE]]).await;
    let address = world.nodes.addresses()[NODE];
    world.dns.add_address("other.example.com", address.ip());
    let uds = world.uds();

    for host in ["other.example.com".to_owned(), address.ip().to_string()] {
        let node = HostPort {
            host: Host::parse(&host).unwrap(),
            port: address.port(),
        };
        let error = uds.version(&node).await.unwrap_err();

        assert!(
            matches!(error.reason, UdsFailure::Dial(DialError::Certificate(_))),
            "{error}"
        );
        assert!(error.is_node_failure());
        assert_eq!(error.side(), Side::Upstream);
    }
    assert!(world.nodes.asked().is_empty());
}

#[tokio::test]
async fn an_address_that_is_in_the_certificate_is_accepted() {
    let world = World::start(&[&["127.0.1.1"]]).await;

    let version = world.uds().version(&world.node("127.0.1.1")).await;

    assert_eq!(version.as_deref(), Ok("12.5.1"));
}

#[tokio::test]
async fn what_a_node_does_wrong_is_named() {
    let world = World::start(&[&[NODE]]).await;
    let (uds, node) = (world.uds(), world.node(NODE));
    for (fault, reason, is_node_failure) in [
        (Fault::Slow, UdsFailure::AnswerTimeout, true),
        (Fault::Oversized, UdsFailure::TooLong, false),
        (
            Fault::Doctype,
            UdsFailure::Answer(XmlError::Doctype.into()),
            false,
        ),
        (
            Fault::Status(503),
            UdsFailure::Status(StatusCode::SERVICE_UNAVAILABLE),
            true,
        ),
        (
            Fault::Status(302),
            UdsFailure::Status(StatusCode::FOUND),
            false,
        ),
    ] {
        world.nodes.set_fault(NODE, fault);

        let error = uds.servers(&node, None).await.unwrap_err();

        assert_eq!(error.reason, reason);
        assert_eq!(error.is_node_failure(), is_node_failure, "{fault:?}");
        assert_eq!(error.node, node);
    }
}

#[tokio::test]
async fn a_node_without_address_or_listener_is_a_node_failure() {
    let mut world = World::start(&[&[NODE]]).await;
    let uds = world.uds();
    world.nodes.stop(NODE).await;

    let closed = uds.version(&world.node(NODE)).await.unwrap_err();
    let unknown = uds
        .version(&world.node("gone.example.com"))
        .await
        .unwrap_err();

    assert!(matches!(closed.reason, UdsFailure::Dial(_)), "{closed}");
    assert_eq!(unknown.reason, UdsFailure::Dns(DnsError::NoAddress));
    assert!(closed.is_node_failure() && unknown.is_node_failure());
}

#[tokio::test]
async fn ids_and_credentials_that_can_not_be_written_stay_here() {
    let world = World::start(&[&[NODE]]).await;
    let (uds, node) = (world.uds(), world.node(NODE));
    let broken = Secret::new("Basic a\r\nX: y".to_owned());

    for (id, authorization) in [
        ("..", &basic("a", "b")),
        ("", &basic("a", "b")),
        ("alice", &broken),
    ] {
        let error = uds.user(&node, id, authorization, None).await.unwrap_err();

        assert_eq!(error.reason, UdsFailure::Request, "{id}");
        assert_eq!(error.side(), Side::Local);
    }
    assert!(world.nodes.asked().is_empty());
}

#[tokio::test]
async fn after_a_change_of_trust_anchors_no_older_connection_is_used() {
    let world = World::start(&[&[NODE]]).await;
    let (uds, node) = (world.uds(), world.node(NODE));
    uds.version(&node).await.unwrap();

    let nobody = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    world.tls.store(Arc::new(nobody));

    let refused = uds.version(&node).await.unwrap_err();
    assert!(
        matches!(refused.reason, UdsFailure::Dial(DialError::Certificate(_))),
        "{refused}"
    );
}
