use std::time::Duration;

use hickory_proto::rr::RecordType;
use tokio::time::timeout;

use super::*;
use crate::testing::{Fault, Mode, World, domain};

const CLUSTERS: &[&[&str]] = &[&["a1.example.com", "a2.example.com"], &["b1.example.com"]];
const PATIENT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_client_is_told_every_record_of_a_service() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com", "b1.example.com"]);
    let discovery = world.discovery(Vec::new());

    let answer = discovery.service(&domain(), KnownService::CiscoUds).await;

    assert_eq!(hosts(&answer), ["a1.example.com", "b1.example.com"]);
    assert_eq!(
        discovery.service(&domain(), KnownService::CupLogin).await,
        ServiceAnswer::NameError
    );
}

#[tokio::test]
async fn the_pinpoint_zone_is_asked_when_the_domain_itself_has_no_records() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("cisco-internal.example.com", &["a1.example.com"]);
    let discovery = world.discovery(Vec::new());

    let answer = discovery.service(&domain(), KnownService::CiscoUds).await;

    assert_eq!(hosts(&answer), ["a1.example.com"]);
    discovery
        .service(&domain(), KnownService::CiscoPhoneTftp)
        .await;
    assert_eq!(
        world.dns.times_asked(
            "_cisco-phone-tftp._tcp.cisco-internal.example.com",
            RecordType::SRV
        ),
        0
    );
}

#[tokio::test]
async fn a_withdrawn_service_is_not_looked_for_in_the_pinpoint_zone() {
    let world = World::start(CLUSTERS).await;
    world
        .dns
        .add_srv("_cisco-uds._tcp.example.com", 0, 0, 0, ".");
    world.add_uds_records("cisco-internal.example.com", &["a1.example.com"]);

    let answer = world
        .discovery(Vec::new())
        .service(&domain(), KnownService::CiscoUds)
        .await;

    assert_eq!(answer, ServiceAnswer::NameError);
}

#[tokio::test]
async fn the_voice_services_domain_replaces_the_sign_in_domain() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com"]);
    world.add_uds_records("voice.example.net", &["b1.example.com"]);
    let mut served = domain();
    served.voice_services_domain = Some(Domain::parse("voice.example.net").unwrap());

    let answer = world
        .discovery(Vec::new())
        .service(&served, KnownService::CiscoUds)
        .await;

    assert_eq!(hosts(&answer), ["b1.example.com"]);
}

#[tokio::test]
async fn configured_nodes_stand_in_for_records_that_dns_does_not_have() {
    let world = World::start(CLUSTERS).await;
    let mut other = world.ucm("b1.example.com");
    other.deployment = Deployment("other".into());
    let discovery = world.discovery(vec![world.ucm("a1.example.com"), other]);

    let absent = discovery.service(&domain(), KnownService::CiscoUds).await;
    world.dns.set_mode(Mode::Fail);
    let mut served = domain();
    served.voice_services_domain = Some(Domain::parse("never-asked.example").unwrap());
    let failed = discovery.service(&served, KnownService::CiscoUds).await;

    assert_eq!(hosts(&absent), ["a1.example.com"]);
    assert_eq!(hosts(&failed), ["a1.example.com"]);
}

#[tokio::test]
async fn only_the_absence_of_a_name_is_a_name_error() {
    let world = World::start(CLUSTERS).await;
    let discovery = world.discovery(Vec::new());
    world.dns.set_mode(Mode::Fail);

    assert_eq!(
        discovery.service(&domain(), KnownService::CupLogin).await,
        ServiceAnswer::ServerFailure
    );
    assert!(matches!(
        discovery.ucm_nodes(&domain()).await,
        Err(DiscoveryError::Unanswered(_))
    ));
    world.dns.set_mode(Mode::Answer);
    let mut other = domain();
    other.voice_services_domain = Some(Domain::parse("other.example").unwrap());
    assert_eq!(
        discovery.ucm_nodes(&other).await,
        Err(DiscoveryError::NoNodes)
    );
}

#[tokio::test]
async fn answers_go_on_while_the_name_server_is_away() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com", "b1.example.com"]);
    let discovery = world.discovery(Vec::new());
    let before = discovery.service(&domain(), KnownService::CiscoUds).await;

    world.dns.set_mode(Mode::Silent);

    assert_eq!(
        discovery.service(&domain(), KnownService::CiscoUds).await,
        before
    );
}

#[tokio::test]
async fn ucm_nodes_come_in_srv_order_then_configured_ones_and_those_that_are_down_last() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com", "a2.example.com"]);
    let discovery = world.discovery(vec![
        world.ucm("b1.example.com"),
        world.ucm("a1.example.com"),
    ]);
    let names = |nodes: Vec<HostPort>| nodes.iter().map(|n| n.host.to_string()).collect::<Vec<_>>();
    discovery.refresh(&world.uds()).await;

    let all_up = discovery.ucm_nodes(&domain()).await.unwrap();
    discovery.report(&world.node("a1.example.com"), Err("refused".to_owned()));
    let one_down = discovery.ucm_nodes(&domain()).await.unwrap();

    assert_eq!(
        names(all_up),
        ["a1.example.com", "a2.example.com", "b1.example.com"]
    );
    assert_eq!(
        names(one_down),
        ["a2.example.com", "b1.example.com", "a1.example.com"]
    );
}

#[tokio::test]
async fn dead_nodes_leave_the_answer_unless_all_are_dead() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com", "a2.example.com"]);
    let discovery = world.discovery(Vec::new());
    discovery.refresh(&world.uds()).await;

    discovery.report(&world.node("a1.example.com"), Err("refused".to_owned()));
    let one_dead = discovery.service(&domain(), KnownService::CiscoUds).await;
    discovery.report(&world.node("a2.example.com"), Err("refused".to_owned()));
    let all_dead = discovery.service(&domain(), KnownService::CiscoUds).await;

    assert_eq!(hosts(&one_dead), ["a2.example.com"]);
    assert_eq!(hosts(&all_dead), ["a1.example.com", "a2.example.com"]);
}

#[tokio::test]
async fn a_node_that_dies_and_comes_back_is_noticed_without_any_request() {
    let mut world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com"]);
    let discovery = world.discovery(Vec::new());
    let mut health = discovery.health();
    let node = world.node("a1.example.com");
    world.nodes.stop("a1.example.com").await;
    let run = tokio::spawn(Arc::clone(&discovery).run(world.uds()));

    let down = health.wait_for(|health| matches!(health.get(&node), Some(NodeState::Down { .. })));
    drop(timeout(PATIENT, down).await.unwrap().unwrap());
    assert!(!discovery.is_up(&node));

    world.nodes.restart("a1.example.com").await;
    let up = health.wait_for(|health| health.get(&node) == Some(&NodeState::Up));
    drop(timeout(PATIENT, up).await.unwrap().unwrap());
    assert!(discovery.is_up(&node));
    run.abort();
}

#[tokio::test]
async fn a_node_whose_uds_does_not_work_is_down_as_well() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com"]);
    world.nodes.set_fault("a1.example.com", Fault::Status(503));
    let discovery = world.discovery(Vec::new());
    let mut health = discovery.health();
    let run = tokio::spawn(Arc::clone(&discovery).run(world.uds()));

    let down = health.wait_for(|health| health.values().any(|state| !state.is_up()));

    drop(timeout(PATIENT, down).await.unwrap().unwrap());
    run.abort();
}

#[tokio::test]
async fn the_node_list_grows_by_what_dns_and_clusters_say() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com"]);
    world
        .dns
        .add_srv("_cuplogin._tcp.example.com", 1, 1, 8443, "imp1.example.com");
    world.dns.add_srv(
        "_cisco-phone-tftp._tcp.example.com",
        1,
        1,
        69,
        "tftp1.example.com",
    );
    let discovery = world.discovery(vec![world.ucm("b1.example.com")]);
    let nodes = discovery.nodes();

    discovery.refresh(&world.uds()).await;

    let listed: Vec<_> = nodes
        .borrow()
        .iter()
        .map(|node| (node.kind, node.host.to_string(), node.port))
        .collect();
    let port = Some(world.nodes.port());
    assert_eq!(
        listed,
        [
            (NodeKind::Ucm, "b1.example.com".to_owned(), port),
            (NodeKind::ImPresence, "imp1.example.com".to_owned(), None),
            (NodeKind::Tftp, "tftp1.example.com".to_owned(), None),
            (NodeKind::Ucm, "a1.example.com".to_owned(), port),
            (NodeKind::Ucm, "a2.example.com".to_owned(), port),
        ]
    );
    let host = |name| Host::parse(name).unwrap();
    assert!(discovery.is_same_cluster(&host("a1.example.com"), &host("a2.example.com")));
    assert!(!discovery.is_same_cluster(&host("a1.example.com"), &host("b1.example.com")));
}

#[tokio::test]
async fn an_unchanged_node_list_wakes_nobody() {
    let world = World::start(CLUSTERS).await;
    world.add_uds_records("example.com", &["a1.example.com"]);
    let discovery = world.discovery(Vec::new());
    let uds = world.uds();
    discovery.refresh(&uds).await;
    let nodes = discovery.nodes();

    discovery.refresh(&uds).await;

    assert!(!nodes.has_changed().unwrap());
}

fn hosts(answer: &ServiceAnswer) -> Vec<String> {
    match answer {
        ServiceAnswer::Servers(servers) => servers.iter().map(|s| s.address.to_string()).collect(),
        ServiceAnswer::NameError | ServiceAnswer::ServerFailure => Vec::new(),
    }
}
