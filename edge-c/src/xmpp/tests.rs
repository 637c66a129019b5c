//! Streams as a whole: clients are streams of a link in this process, nodes are sockets on loopback that speak as much as
//! is needed.

use std::future::pending;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::id::TrackingId;
use common::link::flow::{Decoder, Frame, Gate, encoded};
use common::link::stream_preface::TlsVersion;
use common::net::ClientAddr;
use common::policy::jail::UserTag;
use common::runtime::drain::{Cause, Drain};
use common::runtime::link_streams::{self, LinkStream, Opener};
use common::xmpp::features::FeaturePolicy;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;
use crate::discovery::dns::{Dns, DnsConfig};
use crate::sessions;
use crate::upstream::xmpp::resolve::{self, DomainConfig, Nodes};
use node::{Authority, TestNode};

mod node;
mod passthrough;
mod session;
mod token;

/// For whatever must happen; never waited for when it does.
const PATIENCE: Duration = Duration::from_secs(20);

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams'>";

struct World {
    xmpp: Xmpp,
    drain: Drain,
    opener: Arc<Opener>,
    registry: Registry,
    configured: Vec<DomainConfig>,
    _state: tempfile::TempDir,
}

async fn world(authority: &Authority, nodes: &[String], gate: SessionGate) -> World {
    world_with(authority, nodes, gate, None).await
}

async fn world_with(
    authority: &Authority,
    nodes: &[String],
    gate: SessionGate,
    tokens: Option<Arc<TokenVerifier>>,
) -> World {
    let mut registry = Registry::default();
    let config = DomainConfig {
        names: vec![Domain::parse("example.com").unwrap()],
        nodes: Nodes::Named(nodes.iter().map(|node| node.parse().unwrap()).collect()),
        certificate_names: Vec::new(),
        features: FeaturePolicy::default(),
        is_told_clients: false,
    };
    let dns = Dns::new(&DnsConfig {
        servers: Vec::new(),
        timeout: Duration::from_secs(1),
    });
    let before = Table::default();
    let configured = vec![config];
    let table = resolve::resolve(&configured, &authority.anchors(), &before, &dns.unwrap()).await;
    let state = tempfile::tempdir().unwrap();
    let shared = Shared {
        table: ArcSwap::from_pointee(table),
        is_looked_up: watch::Sender::new(true),
        gate: ArcSwap::from_pointee(gate),
        sessions: sessions(&state),
        tokens,
        streams: Arc::default(),
        homes: Homes::default(),
        metrics: XmppMetrics::register(&mut registry),
        dialling: Dialling {
            bind_address: None,
            timeout: Duration::from_secs(2),
        },
        client_tls: ArcSwapOption::empty(),
    };
    let xmpp = Xmpp::start(shared, None).unwrap();
    let drain = Drain::new();
    let opener = link(&xmpp, &drain).await;
    World {
        xmpp,
        drain,
        opener,
        registry,
        configured,
        _state: state,
    }
}

fn sessions(state: &tempfile::TempDir) -> Sessions {
    let config = sessions::Config {
        core: common::id::CoreId(1),
        lifetime: Duration::from_hours(8),
        cookie_domain: Some(Domain::parse("example.com").unwrap()),
        state: sessions::State::Directory {
            path: state.path().to_owned(),
            key_file: None,
        },
        shared: None,
    };
    Sessions::open(config, Arc::new(SystemRandom), clock::unix_now()).unwrap()
}

async fn link(xmpp: &Xmpp, drain: &Drain) -> Arc<Opener> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let service = xmpp.stream_service(drain.signal(), None);
    let take = Arc::clone(&service.take);
    let edge = Domain::parse("edge1.example.com").unwrap();
    drop(service.runtime.spawn(async move {
        link_streams::serve(
            theirs,
            pending(),
            || {},
            move |arrived| take(&edge, arrived),
        )
        .await
    }));
    let opener = Arc::new(Opener::new());
    let driving = Arc::clone(&opener);
    drop(tokio::spawn(async move { driving.drive(ours).await }));
    while opener.connections() == 0 {
        tokio::task::yield_now().await;
    }
    opener
}

impl World {
    async fn client(&self, transport: ClientTransport) -> TestClient {
        let preface = StreamPreface {
            protocol: StreamProtocol::Xmpp,
            transport,
            client: ClientAddr(([192, 0, 2, 7], 40000).into()),
            local: ([192, 0, 2, 1], 5222).into(),
            server_name: None,
            tls_version: TlsVersion::V1_3,
            domain: None,
            tracking: TrackingId::new([7; 16]),
        };
        TestClient {
            stream: self.opener.open(&preface).await.unwrap(),
            decoder: Decoder::new(),
            seen: String::new(),
            frames: Vec::new(),
        }
    }

    fn table_without_nodes(&self) -> Table {
        Table::without_nodes(&self.configured)
    }

    /// A client that has signed in on whatever node it found.
    async fn signed_in(&self) -> TestClient {
        self.signed_in_with(&plain("alice")).await
    }

    /// The same with credentials of its own.
    async fn signed_in_with(&self, auth: &str) -> TestClient {
        let mut client = self.client(ClientTransport::Tls).await;
        client.send(HEADER).await;
        client.until("</stream:features>").await;
        client.send(auth).await;
        client.until("<success").await;
        client.send(HEADER).await;
        client.until("<bind").await;
        client
    }

    fn metric(&self, line: &str) -> bool {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        assert!(page.contains("xmpp_sign_ins"), "{page}");
        page.contains(line)
    }
}

struct TestClient {
    stream: LinkStream,
    decoder: Decoder,
    seen: String,
    /// Everything but messages.
    frames: Vec<Frame>,
}

impl TestClient {
    async fn send(&mut self, text: &str) {
        let frame = encoded(&Frame::Message(Bytes::from(text.to_owned()))).unwrap();
        self.stream.send(frame).await.unwrap();
    }

    /// One message, or `None` when the stream has ended.
    async fn message(&mut self) -> Option<String> {
        loop {
            match self.decoder.next().unwrap() {
                Some(Frame::Message(bytes)) => {
                    return Some(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Some(other) => self.frames.push(other),
                None => {
                    let bytes = timeout(PATIENCE, self.stream.receive()).await.unwrap()?;
                    self.decoder.push(&bytes);
                }
            }
        }
    }

    async fn until(&mut self, what: &str) {
        while !self.seen.contains(what) {
            let message = self.message().await;
            let message = message.unwrap_or_else(|| panic!("no {what} in {}", self.seen));
            self.seen.push_str(&message);
        }
    }

    /// Everything until the stream ends, and why edge-e was told to close the client.
    async fn closed(&mut self) -> Option<FlowClose> {
        loop {
            match self.decoder.next().unwrap() {
                Some(Frame::Message(bytes)) => {
                    self.seen.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                Some(Frame::Close(reason)) => return Some(reason),
                Some(other) => self.frames.push(other),
                None => {
                    let bytes = timeout(PATIENCE, self.stream.receive()).await.unwrap()?;
                    self.decoder.push(&bytes);
                }
            }
        }
    }
}

fn plain(user: &str) -> String {
    let response = STANDARD.encode(format!("\0{user}\0secret"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{response}</auth>")
}

fn starttls(address: SocketAddr) -> String {
    format!("starttls:{address}")
}

#[tokio::test]
async fn a_client_signs_in_by_starttls_and_direct_tls_and_is_copied_from_then_on() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    for place in [
        starttls(node.address()),
        format!("tls:{}", node.direct_address()),
    ] {
        let world = world(&authority, &[place], SessionGate::Off).await;

        let mut client = world.signed_in().await;
        client.send("<message id='m1'/> ").await;
        client.until("<message id='m1'/> ").await;

        assert!(!client.seen.contains("starttls"), "{}", client.seen);
        assert!(!client.seen.contains("EXTERNAL"), "{}", client.seen);
        assert!(client.frames.contains(&Frame::Gate(Gate::Open)));
        assert!(world.metric("xmpp_sign_ins_total{outcome=\"ok\"} 1"));
        assert!(world.metric("xmpp_streams{domain=\"example.com\",state=\"open\"} 1"));
    }
}

#[tokio::test]
async fn a_client_that_is_faster_than_the_first_look_up_waits_for_it() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let shared = world.xmpp.shared();
    let found = shared.table.swap(Arc::new(world.table_without_nodes()));
    shared.is_looked_up.send_replace(false);
    let mut client = world.client(ClientTransport::Tls).await;
    client.send(HEADER).await;
    while shared.is_looked_up.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }

    shared.table.store(found);
    shared.is_looked_up.send_replace(true);

    client.until("</stream:features>").await;
}

#[tokio::test]
async fn a_web_page_gets_one_element_a_message() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let mut client = world.client(ClientTransport::Wss).await;
    let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com' version='1.0'/>";

    client.send(open).await;
    assert!(client.message().await.unwrap().starts_with("<open "));
    assert!(
        client
            .message()
            .await
            .unwrap()
            .starts_with("<stream:features xmlns")
    );
    client.send(&plain("alice")).await;
    assert!(client.message().await.unwrap().starts_with("<success"));
    client.send(open).await;
    assert!(client.message().await.unwrap().starts_with("<open "));
    assert!(client.message().await.unwrap().contains("<bind"));
    client
        .send("<message xmlns='jabber:client' id='m1'/>")
        .await;

    assert_eq!(
        client.message().await.unwrap(),
        "<message xmlns='jabber:client' id='m1'/>"
    );
}

#[tokio::test]
async fn a_wrong_password_three_times_ends_the_stream() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let mut client = world.client(ClientTransport::Tls).await;

    client.send(HEADER).await;
    for _ in 0..limits::SASL_FAILURES_MAX {
        client.send(&plain("mallory")).await;
    }

    assert_eq!(client.closed().await, Some(FlowClose::Unbound));
    assert_eq!(client.seen.matches("<failure").count(), 3);
    assert!(client.seen.contains("<policy-violation"), "{}", client.seen);
    assert!(client.seen.ends_with("</stream:stream>"));
    assert!(world.metric("xmpp_sign_ins_total{outcome=\"failed\"} 3"));
    let guess = Frame::AuthFailed(Some(UserTag::of("mallory")));
    assert_eq!(client.frames, [guess.clone(), guess.clone(), guess]);
}

#[tokio::test]
async fn a_domain_of_somebody_else_reaches_no_node() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let mut client = world.client(ClientTransport::Tls).await;

    client
        .send(&HEADER.replace("example.com", "other.test"))
        .await;

    assert_eq!(client.closed().await, Some(FlowClose::Unbound));
    assert!(client.seen.contains("<host-unknown"), "{}", client.seen);
    assert_eq!(node.connections(), 0);
}

#[tokio::test]
async fn the_next_node_takes_over_when_the_first_can_not_be_reached_or_verified() {
    let authority = Authority::new();
    let stranger = TestNode::start(&Authority::new()).await;
    let node = TestNode::start(&authority).await;
    let gone = TestNode::start(&authority).await.stop().await;
    let nodes = [
        starttls(gone),
        starttls(stranger.address()),
        starttls(node.address()),
    ];
    let world = world(&authority, &nodes, SessionGate::Off).await;

    let client = world.signed_in().await;

    assert_eq!(node.connections(), 1);
    assert!(!client.seen.contains("error"), "{}", client.seen);
}

#[tokio::test]
async fn without_any_node_the_client_is_told_so() {
    let authority = Authority::new();
    let gone = TestNode::start(&authority).await.stop().await;
    let world = world(&authority, &[starttls(gone)], SessionGate::Off).await;
    let mut client = world.client(ClientTransport::Tls).await;

    client.send(HEADER).await;

    assert_eq!(client.closed().await, Some(FlowClose::Unbound));
    assert!(
        client.seen.contains("<remote-connection-failed"),
        "{}",
        client.seen
    );
    assert!(world.metric("xmpp_sign_ins_total{outcome=\"no_node\"} 1"));
}

#[tokio::test]
async fn a_node_that_dies_leaves_the_client_with_an_error_between_two_stanzas() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let mut client = world.signed_in().await;

    node.stop().await;

    assert_eq!(client.closed().await, Some(FlowClose::UpstreamLost));
    let said = client.seen.rsplit("</stream:features>").next().unwrap();
    assert!(
        said.starts_with("<stream:error><remote-connection-failed"),
        "{said}"
    );
    assert!(said.ends_with("</stream:stream>"), "{said}");
}

#[tokio::test]
async fn a_redirection_is_followed_to_a_node_that_is_known_and_to_no_other() {
    let authority = Authority::new();
    let home = TestNode::start(&authority).await;
    let first = TestNode::start(&authority).await;
    first.point_at(Some(home.address().to_string()));
    let nodes = [starttls(first.address()), starttls(home.address())];
    let world = world(&authority, &nodes, SessionGate::Off).await;

    let client = world.signed_in().await;
    assert!(!client.seen.contains("see-other-host"));
    assert_eq!((first.connections(), home.connections()), (1, 1));

    first.point_at(Some("198.51.100.1:5222".to_owned()));
    let mut other = world.client(ClientTransport::Tls).await;
    other.send(HEADER).await;
    assert_eq!(other.closed().await, Some(FlowClose::Unbound));
    assert!(!other.seen.contains("198.51.100.1"), "{}", other.seen);
}

#[tokio::test]
async fn a_user_comes_back_to_the_node_of_the_last_stream() {
    let authority = Authority::new();
    let home = TestNode::start(&authority).await;
    let first = TestNode::start(&authority).await;
    first.point_at(Some(home.address().to_string()));
    let nodes = [starttls(first.address()), starttls(home.address())];
    let world = world(&authority, &nodes, SessionGate::Off).await;
    drop(world.signed_in().await);
    first.point_at(None);

    let client = world.signed_in().await;

    assert_eq!(home.connections(), 2, "the second stream moved by itself");
    assert_eq!(
        client.seen.matches("<mechanisms").count(),
        1,
        "{}",
        client.seen
    );
}

#[tokio::test]
async fn a_user_without_a_session_never_reaches_the_node_s_password_check() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::User).await;
    let mut client = world.client(ClientTransport::Tls).await;
    client.send(HEADER).await;
    client.send(&plain("alice")).await;

    client.until("<not-authorized").await;

    assert_eq!(node.attempts(), 0);
    assert_eq!(client.frames, [], "whether it was a guess nobody knows");
    assert!(world.metric("xmpp_sign_ins_total{outcome=\"denied\"} 1"));
    assert!(world.metric("xmpp_sign_ins_total{outcome=\"failed\"} 0"));
}

#[tokio::test]
async fn a_revoked_user_is_told_to_sign_in_anew() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let mut client = world.signed_in().await;

    world
        .xmpp
        .close_users(|owner| owner.user.as_deref() == Some("bob"));
    client.send("<message id='m1'/>").await;
    client.until("<message id='m1'/>").await;
    world
        .xmpp
        .close_users(|owner| owner.user.as_deref() == Some("alice"));

    assert_eq!(client.closed().await, Some(FlowClose::Revoked));
    assert!(
        client.seen.contains("<stream:error><reset"),
        "{}",
        client.seen
    );
}

#[tokio::test]
async fn a_drain_tells_every_client_and_then_takes_none() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let mut client = world.signed_in().await;
    let (xmpp, signal) = (world.xmpp.clone(), world.drain.signal());
    let draining = tokio::spawn(async move { xmpp.drain(signal).await });

    world.drain.start(Cause::Signal);

    assert_eq!(client.closed().await, Some(FlowClose::Draining));
    assert!(client.seen.contains("<system-shutdown"), "{}", client.seen);
    drop(client);
    timeout(PATIENCE, draining).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_leaves_its_node() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let client = world.signed_in().await;

    drop(client);

    timeout(PATIENCE, node.until_left()).await.unwrap();
}

#[tokio::test]
async fn a_stream_stays_small() {
    let size = size_of::<Splice>();
    assert!(size < 2048, "{size}");
}
