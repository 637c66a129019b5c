use std::num::NonZeroU32;

use common::mra::access::Refusal;
use common::mra::edge_config::{EdgeConfig, ServiceAnswer, TlsServer};
use http::StatusCode;

use super::*;
use crate::discovery::{Node, NodeKind};
use crate::testing::{Fault, Mode, World, basic, domain, on_behalf};

const CLUSTERS: &[&[&str]] = &[
    &["a1.example.com", "a2.example.com"],
    &["b1.example.com", "b2.example.com"],
];

#[tokio::test]
async fn a_user_signs_in_at_the_home_cluster_and_gets_the_document() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(1, "Alice", "secret");

    let granted = edge.ask(&request("alice", "secret")).await.unwrap();

    assert_eq!(granted.user.as_str(), "Alice");
    assert_eq!(granted.home.host.to_string(), "b1.example.com");
    assert_eq!(granted.credential, basic("Alice", "secret"));
    assert!(!granted.is_remembered);
    let names: Vec<_> = granted.nodes.iter().map(Host::to_string).collect();
    assert_eq!(
        names,
        ["b1.example.com", "b2.example.com", "imp1.example.com"]
    );
    let document = read(&granted);
    let answers: Vec<_> = document
        .services
        .iter()
        .map(|s| (s.name.to_string(), targets(&s.answer)))
        .collect();
    assert_eq!(
        answers,
        [
            ("_cisco-uds".to_owned(), vec!["a1.example.com".to_owned()]),
            ("_cuplogin".to_owned(), Vec::new()),
            ("_made-up".to_owned(), Vec::new()),
        ]
    );
    assert_eq!(
        names_of(&document.http_edges),
        ["edge1.example.com", "edge2.example.com"]
    );
    assert_eq!(
        names_of(&document.user_uds),
        ["b1.example.com", "b2.example.com"]
    );
    assert_eq!(
        document.sip_route.as_str(),
        "<sip:192.0.2.100:5061;transport=tls;lr>"
    );
}

#[tokio::test]
async fn a_service_that_nobody_knows_is_never_looked_up() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");

    edge.ask(&request("alice", "secret")).await.unwrap();

    let asked = edge.world.dns.asked();
    assert!(
        asked.iter().all(|(name, _)| !name.contains("made-up")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn credentials_of_other_kinds_are_refused_like_wrong_passwords() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");
    let with = |field: Option<&str>| {
        let mut request = request("alice", "secret");
        request.authorization = field.map(|text| Secret::new(text.to_owned()));
        request
    };

    for (request, error) in [
        (with(None), CredentialsError::Missing),
        (with(Some("Bearer abc")), CredentialsError::Bearer),
        (with(Some("Basic !!")), CredentialsError::Malformed),
    ] {
        let refused = edge.ask(&request).await.unwrap_err();

        assert_eq!(refused, SignInError::Credentials(error));
        assert_eq!(refused.refusal(), Refusal::SignInRequired);
    }
    assert!(edge.world.nodes.asked().is_empty());
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_alike_and_take_alike() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");

    for (user, password, error) in [
        ("alice", "wrong", SignInError::BadPassword),
        ("mallory", "secret", SignInError::UserUnknown),
    ] {
        let start = Instant::now();
        let refused = edge.ask(&request(user, password)).await.unwrap_err();

        assert_eq!(refused, error);
        assert_eq!(refused.refusal().status(), StatusCode::UNAUTHORIZED);
        assert!(start.elapsed() >= limits::SIGN_IN_REFUSAL_MIN);
    }
}

#[tokio::test]
async fn another_domain_is_refused_before_anything_is_asked() {
    let edge = Edge::start().await;
    let mut request = request("alice", "secret");
    request.domain = Domain::parse("other.example").unwrap();

    let refused = edge.ask(&request).await.unwrap_err();

    assert_eq!(refused.refusal().status(), StatusCode::FORBIDDEN);
    assert!(edge.world.nodes.asked().is_empty());
}

#[tokio::test]
async fn good_credentials_are_remembered_and_not_counted() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");
    edge.ask(&request("alice", "secret")).await.unwrap();
    let asked = edge.world.nodes.asked().len();

    for _ in 0..10 {
        let granted = edge.ask(&request("alice", "secret")).await.unwrap();
        assert!(granted.is_remembered);
        assert_eq!(granted.credential, basic("alice", "secret"));
        assert_eq!(names(&granted.nodes).last().unwrap(), "imp1.example.com");
    }

    assert_eq!(edge.world.nodes.asked().len(), asked);
}

#[tokio::test]
async fn a_remembered_user_signs_in_while_the_inside_is_away() {
    let mut edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");
    edge.ask(&request("alice", "secret")).await.unwrap();

    edge.world.dns.set_mode(Mode::Silent);
    for node in ["a1.example.com", "a2.example.com"] {
        edge.world.nodes.stop(node).await;
    }

    let granted = edge.ask(&request("alice", "secret")).await.unwrap();
    assert_eq!(
        targets(&read(&granted).services[0].answer),
        ["a1.example.com"]
    );
}

#[tokio::test]
async fn the_fourth_wrong_password_is_not_sent_to_ucm() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");
    for i in 0..3 {
        let refused = edge.ask(&request("alice", &format!("wrong{i}"))).await;
        assert_eq!(refused.unwrap_err(), SignInError::BadPassword);
    }
    let asked = edge.world.nodes.asked().len();

    let refused = edge.ask(&request("alice", "secret")).await.unwrap_err();

    assert_eq!(refused.refusal().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(edge.world.nodes.asked().len(), asked);
    let mut elsewhere = request("alice", "secret");
    elsewhere.on_behalf.client.0 = "198.51.100.7:1".parse().unwrap();
    assert!(edge.ask(&elsewhere).await.is_ok());
}

#[tokio::test]
async fn guesses_that_come_at_once_are_counted_exactly() {
    let edge = Arc::new(Edge::start().await);
    edge.world.nodes.add_user(0, "alice", "secret");
    let mut guesses = tokio::task::JoinSet::new();
    for i in 0..12 {
        let edge = Arc::clone(&edge);
        guesses.spawn(async move { edge.ask(&request("alice", &format!("guess{i}"))).await });
    }

    let refused = guesses.join_all().await;

    let sent = refused
        .iter()
        .filter(|outcome| matches!(outcome, Err(SignInError::BadPassword)))
        .count();
    assert_eq!(sent, 3);
    assert_eq!(edge.world.nodes.times_asked("/devices"), 3);
}

#[tokio::test]
async fn the_same_credentials_at_once_are_proved_once() {
    let edge = Arc::new(Edge::start().await);
    edge.world.nodes.add_user(0, "alice", "secret");
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let edge = Arc::clone(&edge);
        requests.spawn(async move { edge.ask(&request("alice", "secret")).await });
    }

    let granted = requests.join_all().await;

    assert!(granted.iter().all(Result::is_ok));
    assert_eq!(edge.world.nodes.times_asked("/devices"), 1);
}

#[tokio::test]
async fn after_a_change_of_password_only_the_new_one_counts() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "old");
    edge.ask(&request("alice", "old")).await.unwrap();
    edge.world.nodes.add_user(0, "alice", "new");

    // The address as the sign-in name: another name of the same user.
    edge.ask(&request("alice@example.com", "new"))
        .await
        .unwrap();

    let refused = edge.ask(&request("alice", "old")).await.unwrap_err();
    assert_eq!(refused, SignInError::BadPassword);
    assert!(
        edge.ask(&request("alice", "new"))
            .await
            .unwrap()
            .is_remembered
    );
}

#[tokio::test]
async fn what_ucm_refused_later_is_proved_again() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "old");
    edge.ask(&request("alice", "old")).await.unwrap();
    edge.world.nodes.add_user(0, "alice", "new");

    edge.sign_in
        .forget(&domain().name, &UserName::parse("alice").unwrap());

    let refused = edge.ask(&request("alice", "old")).await.unwrap_err();
    assert_eq!(refused, SignInError::BadPassword);
}

#[tokio::test]
async fn another_node_of_the_home_cluster_proves_when_one_can_not() {
    for fault in [
        Fault::StatusForUsers(500),
        Fault::StatusForUsers(503),
        Fault::StatusForUsers(429),
        Fault::Slow,
    ] {
        let edge = Edge::start().await;
        for user in ["alice", "bob"] {
            edge.world.nodes.add_user(1, user, "secret");
        }
        // The first user of a cluster makes its nodes known.
        edge.ask(&request("alice", "secret")).await.unwrap();
        edge.world.nodes.set_fault("b1.example.com", fault);

        let granted = edge.ask(&request("bob", "secret")).await;

        assert!(granted.is_ok(), "{fault:?}: {granted:?}");
    }
}

#[tokio::test]
async fn an_unreachable_home_is_no_verdict_and_is_not_counted() {
    let mut edge = Edge::start().await;
    edge.world.nodes.add_user(1, "bob", "secret");
    for node in ["b1.example.com", "b2.example.com"] {
        edge.world.nodes.stop(node).await;
    }

    for _ in 0..4 {
        let refused = edge.ask(&request("bob", "secret")).await.unwrap_err();
        assert_eq!(refused.refusal(), Refusal::OriginUnreachable, "{refused}");
    }

    edge.world.nodes.restart("b1.example.com").await;
    assert!(edge.ask(&request("bob", "secret")).await.is_ok());
}

#[tokio::test]
async fn a_home_that_does_not_answer_in_time_is_a_time_out() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(1, "bob", "secret");
    for node in ["b1.example.com", "b2.example.com"] {
        edge.world.nodes.set_fault(node, Fault::Slow);
    }

    let refused = edge.ask(&request("bob", "secret")).await.unwrap_err();

    assert_eq!(refused.refusal(), Refusal::OriginTimeout, "{refused}");
}

#[tokio::test]
async fn without_any_node_to_ask_the_inside_is_unreachable() {
    let world = World::start(CLUSTERS).await;
    let edge = Edge::of(world, Vec::new());

    let refused = edge.ask(&request("alice", "secret")).await.unwrap_err();

    assert_eq!(refused.refusal().status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_user_who_moved_is_found_again_at_once() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "old");
    edge.ask(&request("alice", "old")).await.unwrap();
    edge.world.nodes.remove_user(0, "alice");
    edge.world.nodes.add_user(1, "alice", "new");

    let granted = edge.ask(&request("alice", "new")).await.unwrap();

    assert_eq!(granted.home.host.to_string(), "b1.example.com");
}

#[tokio::test]
async fn dead_nodes_and_dead_edges_are_left_out() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(1, "bob", "secret");
    edge.ask(&request("bob", "secret")).await.unwrap();
    let dead = edge.world.node("b1.example.com");
    edge.discovery.report(&dead, Err("refused".to_owned()));
    let name = Domain::parse("edge2.example.com").unwrap();
    edge.live.send_replace(Arc::new(BTreeSet::from([name])));

    let document = read(&edge.ask(&request("bob", "secret")).await.unwrap());

    assert_eq!(names_of(&document.user_uds), ["b2.example.com"]);
    for edges in [
        &document.http_edges,
        &document.sip_edges,
        &document.xmpp_edges,
    ] {
        assert_eq!(names_of(edges), ["edge2.example.com"]);
    }
}

#[tokio::test]
async fn configured_nodes_fill_the_document_where_dns_has_none() {
    let world = World::start(CLUSTERS).await;
    let mut tftp = world.ucm("tftp1.example.com");
    tftp.kind = NodeKind::Tftp;
    let mut unity = world.ucm("unity1.example.com");
    unity.kind = NodeKind::Unity;
    let nodes = vec![world.ucm("a2.example.com"), tftp, unity];
    let edge = Edge::of(world, nodes);
    edge.world.nodes.add_user(0, "alice", "secret");

    let granted = edge.ask(&request("alice", "secret")).await.unwrap();

    let document = read(&granted);
    assert_eq!(targets(&document.services[0].answer), ["a2.example.com"]);
    assert_eq!(names(&document.tftp_servers), ["tftp1.example.com"]);
    assert!(names(&granted.nodes).contains(&"unity1.example.com".to_owned()));
}

#[tokio::test]
async fn the_route_goes_through_the_edge_that_the_client_uses() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");
    let mut through_second = request("alice", "secret");
    through_second.edge = Domain::parse("edge2.example.com").unwrap();

    let document = read(&edge.ask(&through_second).await.unwrap());

    assert_eq!(
        document.sip_route.as_str(),
        "<sip:edge2.example.com:5061;transport=tls;lr>"
    );
}

#[tokio::test]
async fn nodes_that_a_user_record_names_are_learned() {
    let edge = Edge::start().await;
    edge.world.nodes.add_user(0, "alice", "secret");

    edge.ask(&request("alice", "secret")).await.unwrap();

    let nodes = edge.discovery.nodes();
    let has = |kind, host: &str| {
        nodes
            .borrow()
            .iter()
            .any(|node| node.kind == kind && node.host.to_string() == host)
    };
    assert!(has(NodeKind::ImPresence, "imp1.example.com"));
    assert!(has(NodeKind::Tftp, "tftp1.example.com"));
    assert!(has(NodeKind::Ucm, "a2.example.com"));
}

#[test]
fn a_query_names_services_once_each_and_none_means_all() {
    let names = |query| {
        services_of(query)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };

    assert_eq!(
        names(Some(
            "service_name=_cisco-uds&x=1&service_name=%5Fcuplogin&service_name=_CISCO-UDS"
        )),
        ["_cisco-uds", "_cuplogin"]
    );
    assert_eq!(
        names(None),
        ["_cisco-phone-tftp", "_cuplogin", "_cisco-uds"]
    );
    assert_eq!(names(Some("service_name=a.b&service_name=%ff")).len(), 3);
    let many: String = (0..99).map(|i| format!("&service_name=_s{i}")).collect();
    assert_eq!(names(Some(&many)).len(), limits::EDGE_CONFIG_SERVICES_MAX);
}

struct Edge {
    world: World,
    discovery: Arc<Discovery>,
    sign_in: SignIn,
    live: watch::Sender<Arc<BTreeSet<Domain>>>,
}

impl Edge {
    /// An edge-c whose DNS names one node of the first cluster.
    async fn start() -> Self {
        let world = World::start(CLUSTERS).await;
        world.add_uds_records("example.com", &["a1.example.com"]);
        Self::of(world, Vec::new())
    }

    fn of(world: World, nodes: Vec<Node>) -> Self {
        let discovery = world.discovery(nodes);
        let peer = |name: &str, addresses: &[&str]| EdgePeer {
            name: Domain::parse(name).unwrap(),
            advertised_addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            https_port: 8443,
            sip_port: 5061,
            xmpp_port: 5222,
            sip_route: None,
        };
        let config = Config {
            login_limit: Quota {
                count: NonZeroU32::new(3).unwrap(),
                window: Duration::from_secs(300),
            },
            credential_cache: Duration::from_secs(28_800),
            edges: vec![
                peer("edge1.example.com", &["192.0.2.100"]),
                peer("edge2.example.com", &[]),
            ],
        };
        let (live, receiver) = watch::channel(Arc::default());
        let sign_in = SignIn::new(config, Arc::clone(&discovery), world.uds(), receiver).unwrap();
        Self {
            world,
            discovery,
            sign_in,
            live,
        }
    }

    async fn ask(&self, request: &EdgeConfigRequest) -> Result<Granted, SignInError> {
        self.sign_in.edge_config(request).await
    }
}

fn request(user: &str, password: &str) -> EdgeConfigRequest {
    EdgeConfigRequest {
        domain: domain().name,
        hint: None,
        authorization: Some(basic(user, password)),
        services: ["_cisco-uds", "_cuplogin", "_made-up"]
            .map(|name| ServiceName::parse(name).unwrap())
            .to_vec(),
        device: None,
        edge: Domain::parse("edge1.example.com").unwrap(),
        on_behalf: on_behalf(),
    }
}

fn read(granted: &Granted) -> EdgeConfig {
    EdgeConfig::parse(granted.document.as_bytes()).unwrap()
}

fn names(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(Host::to_string).collect()
}

fn names_of(servers: &[TlsServer]) -> Vec<String> {
    servers.iter().map(|s| s.address.to_string()).collect()
}

fn targets(answer: &ServiceAnswer) -> Vec<String> {
    match answer {
        ServiceAnswer::Servers(servers) => servers.iter().map(|s| s.address.to_string()).collect(),
        ServiceAnswer::NameError | ServiceAnswer::ServerFailure => Vec::new(),
    }
}
