use super::*;
use crate::testing::{Fault, World, domain, on_behalf};

const CLUSTERS: &[&[&str]] = &[
    &["a1.example.com", "a2.example.com"],
    &["b1.example.com", "b2.example.com"],
];

#[tokio::test]
async fn a_user_is_found_by_name_and_by_address_in_any_letter_case() {
    let world = World::start(CLUSTERS).await;
    let homes = homes(&world, &["a1.example.com"]);
    world.nodes.add_user(1, "Alice", "secret");
    world.nodes.set_email(1, "Alice", "a.smith@example.com");

    for login in [
        "alice",
        "ALICE@example.com",
        "a.smith",
        "a.smith@example.com",
    ] {
        let home = find(&homes, login).await.unwrap();

        assert_eq!(home.user.as_str(), "Alice", "{login}");
        assert_eq!(home.node, world.node("b1.example.com"), "{login}");
        assert_eq!(
            home.nodes.iter().map(Host::to_string).collect::<Vec<_>>(),
            ["b1.example.com", "b2.example.com"]
        );
    }
    assert_eq!(
        find(&homes, "alice@other.example").await,
        Err(HomeError::Unknown)
    );
}

#[tokio::test]
async fn an_exact_user_name_goes_before_somebody_elses_address() {
    let world = World::start(CLUSTERS).await;
    let homes = homes(&world, &["a1.example.com"]);
    world.nodes.add_user(0, "alice", "secret");
    world.nodes.set_email(0, "alice", "alice@elsewhere.example");
    world.nodes.add_user(1, "bob", "secret");
    world.nodes.set_email(1, "bob", "alice@example.com");

    let by_name = find(&homes, "alice").await.unwrap();
    let by_address = find(&homes, "alice@example.com").await.unwrap();

    assert_eq!(by_name.user.as_str(), "alice");
    assert_eq!(by_address.user.as_str(), "bob");
}

#[tokio::test]
async fn both_questions_go_to_one_node_at_once() {
    let world = World::start(CLUSTERS).await;
    let homes = homes(&world, &["a1.example.com"]);
    world.nodes.add_user(0, "alice", "secret");

    find(&homes, "alice").await.unwrap();

    assert_eq!(world.nodes.times_asked("?username=alice"), 1);
    assert_eq!(world.nodes.times_asked("?email=alice%40example.com"), 1);
}

#[tokio::test]
async fn the_next_cluster_is_asked_when_clusters_do_not_know_each_other() {
    let world = World::start(CLUSTERS).await;
    world.nodes.stop_replication();
    let homes = homes(
        &world,
        &["a1.example.com", "a2.example.com", "b1.example.com"],
    );
    homes.discovery.refresh(&homes.uds).await;
    world.nodes.add_user(1, "bob", "secret");

    let home = find(&homes, "bob").await.unwrap();

    assert_eq!(home.node.host.to_string(), "b1.example.com");
    let asked_second = world
        .nodes
        .asked()
        .iter()
        .any(|asked| asked.node == "a2.example.com" && asked.target.contains("clusterUser"));
    assert!(
        !asked_second,
        "a second node of a cluster that has answered"
    );
}

#[tokio::test]
async fn a_failing_look_up_is_repeated_at_the_next_node() {
    for fault in [
        Fault::Status(500),
        Fault::Slow,
        Fault::Oversized,
        Fault::Doctype,
    ] {
        let world = World::start(CLUSTERS).await;
        let homes = homes(&world, &["a1.example.com", "a2.example.com"]);
        world.nodes.add_user(1, "bob", "secret");
        world.nodes.set_fault("a1.example.com", fault);

        let home = find(&homes, "bob").await;

        assert_eq!(home.unwrap().user.as_str(), "bob", "{fault:?}");
    }
}

#[tokio::test]
async fn a_dead_node_is_passed_over_and_then_asked_last() {
    let mut world = World::start(CLUSTERS).await;
    let homes = homes(&world, &["a1.example.com", "a2.example.com"]);
    world.nodes.add_user(0, "alice", "secret");
    world.nodes.add_user(0, "bob", "secret");
    homes.discovery.refresh(&homes.uds).await;
    world.nodes.stop("a1.example.com").await;

    let first = find(&homes, "alice").await.unwrap();
    assert!(!homes.discovery.is_up(&world.node("a1.example.com")));
    let asked = world.nodes.asked().len();
    find(&homes, "bob").await.unwrap();

    // The home node is away, so that what is known of its cluster names the other one.
    assert_eq!(first.nodes.len(), 2);
    let at = &world.nodes.asked()[asked..];
    assert!(at.iter().all(|asked| asked.node == "a2.example.com"));
    assert_eq!(
        homes.nodes_to_ask(&first),
        [world.node("a2.example.com"), world.node("a1.example.com")]
    );
}

#[tokio::test]
async fn nobody_is_unknown_while_a_cluster_can_not_be_asked() {
    let world = World::start(CLUSTERS).await;
    world.nodes.stop_replication();
    let homes = homes(
        &world,
        &["a1.example.com", "a2.example.com", "b1.example.com"],
    );
    homes.discovery.refresh(&homes.uds).await;
    world.nodes.set_fault("b1.example.com", Fault::Status(503));

    let missing = find(&homes, "bob").await;
    assert!(
        matches!(&missing, Err(HomeError::Unreachable(error)) if error.node == world.node("b1.example.com")),
        "{missing:?}"
    );

    // A failed node doesn't matter when another node of its cluster has said no.
    world.nodes.set_fault("b1.example.com", Fault::None);
    world.nodes.set_fault("a1.example.com", Fault::Status(500));
    assert_eq!(find(&homes, "bob").await, Err(HomeError::Unknown));
}

#[tokio::test]
async fn a_home_is_remembered_until_it_is_forgotten() {
    let world = World::start(CLUSTERS).await;
    let homes = homes(&world, &["a1.example.com"]);
    world.nodes.add_user(0, "alice", "secret");
    let login = UserName::parse("alice").unwrap();
    assert_eq!(homes.remembered(&domain(), &login), None);

    let home = find(&homes, "alice").await.unwrap();

    assert_eq!(homes.remembered(&domain(), &login), Some(home));
    homes.forget(&domain(), &login);
    assert_eq!(homes.remembered(&domain(), &login), None);
}

#[tokio::test]
async fn nodes_of_a_cluster_that_only_a_look_up_named_are_learned() {
    let world = World::start(CLUSTERS).await;
    let homes = homes(&world, &["a1.example.com"]);
    world.nodes.add_user(1, "bob", "secret");

    find(&homes, "bob").await.unwrap();

    let nodes = homes.discovery.nodes();
    let names: Vec<_> = nodes.borrow().iter().map(|n| n.host.to_string()).collect();
    assert!(names.contains(&"b2.example.com".to_owned()), "{names:?}");
}

#[test]
fn a_name_stands_for_an_address_and_an_address_for_a_name() {
    let domain = Domain::parse("example.com").unwrap();

    let name = Queries::of("alice", &domain);
    let own = Queries::of("alice@EXAMPLE.com", &domain);
    let other = Queries::of("alice@example.net", &domain);
    let bare = Queries::of("@example.com", &domain);

    assert_eq!(name.email, "alice@example.com");
    assert_eq!(name.third(), None);
    assert_eq!(
        own.second(),
        UserQuery::Email(Redacted::new("alice@EXAMPLE.com"))
    );
    assert_eq!(
        own.third(),
        Some(UserQuery::UserName(Redacted::new("alice")))
    );
    assert_eq!(other.third(), None);
    assert_eq!(bare.third(), None);
}

fn homes(world: &World, ucm: &[&str]) -> HomeClusters {
    world.add_uds_records("example.com", ucm);
    HomeClusters::new(world.discovery(Vec::new()), world.uds())
}

async fn find(homes: &HomeClusters, login: &str) -> Result<Arc<Home>, HomeError> {
    let login = UserName::parse(login).unwrap();
    homes.find(&domain(), &login, &on_behalf()).await
}
