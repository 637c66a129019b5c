//! The shell as a whole: clients are streams of a link in this process, registrars are sockets on loopback.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::id::TrackingId;
use common::link::flow::{Decoder, Frame, Gate, encoded};
use common::link::stream_preface::{StreamPreface, TlsVersion};
use common::net::{ClientAddr, Deployment};
use common::runtime::drain::{Cause, Drain};
use common::runtime::link_streams::{self, LinkStream, Opener};
use common::sip::digest::NoHashes;
use common::sip::framing::{Framer, Item};
use common::sip::message::Message;
use common::sip::name::Name;
use common::sip::proxy::{
    Authentication, MediaPolicy, Node, NodeId, PassBodies, RegistrarMode, SessionGate, TokenPolicy,
};
use common::tls::config as tls;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use super::*;
use crate::upstream::sip::connection::Stream;

mod identity;
mod inside_tls;

/// For whatever must happen; never waited for when it does.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    sip: Sip,
    drain: Drain,
    opener: Arc<Opener>,
}

/// What differs between worlds.
struct Setup {
    users: Arc<dyn HashSource + Send + Sync>,
    session_gate: SessionGate,
    tokens: TokenPolicy,
    client_tls: ClientConfig,
    server_tls: Option<ServerConfig>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            users: Arc::new(NoHashes),
            session_gate: SessionGate::Off,
            tokens: TokenPolicy::Pass,
            client_tls: tls::sip_client(None, rustls::RootCertStore::empty()).unwrap(),
            server_tls: None,
        }
    }
}

async fn world() -> World {
    world_with(Setup::default()).await
}

async fn world_with(setup: Setup) -> World {
    let mut transports = vec![Transport::Udp, Transport::Tcp];
    transports.extend(setup.server_tls.is_some().then_some(Transport::Tls));
    let listen = transports.into_iter().map(|transport| Listen {
        transport,
        address: ([127, 0, 0, 1], 0).into(),
    });
    let edge = Domain::parse("edge1.lab.test").unwrap();
    let config = Config {
        listen: listen.collect(),
        names: Vec::new(),
        edges: vec![EdgeName {
            index: EdgeIndex(0),
            host: "edge1.lab.test:5061".parse().unwrap(),
            others: Vec::new(),
        }],
        edge_names: vec![edge.clone()],
        identity: IdentityPolicy {
            session_gate: setup.session_gate,
            may_register_others: false,
            tokens: setup.tokens,
        },
        flow_token_keys: FlowTokenKeys::new(&[7; 32], None),
        flow_timer: Duration::from_secs(120),
        connect_timeout: Duration::from_secs(2),
    };
    let share = |tls| Arc::new(ArcSwap::from_pointee(tls));
    let services = Services {
        bodies: Box::new(PassBodies),
        dead_calls: None,
        users: setup.users,
        tls: InnerTls {
            client: Arc::new(ArcSwap::from_pointee(setup.client_tls)),
            server: setup.server_tls.map(share),
        },
        metrics: SipMetrics::register(&mut Registry::default()),
    };
    let sip = Sip::start(config, services).unwrap();
    let drain = Drain::new();
    let opener = link(&sip, &drain, edge).await;
    World { sip, drain, opener }
}

/// What link client and link server do with a dialled connection.
async fn link(sip: &Sip, drain: &Drain, edge: Domain) -> Arc<Opener> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let service = sip.stream_service(drain.signal());
    let take = Arc::clone(&service.take);
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
    async fn client(&self) -> Client {
        let preface = StreamPreface {
            protocol: StreamProtocol::Sip,
            transport: ClientTransport::Tls,
            client: ClientAddr(([192, 0, 2, 7], 40000).into()),
            local: ([192, 0, 2, 1], 5061).into(),
            server_name: None,
            tls_version: TlsVersion::V1_3,
            domain: None,
            tracking: TrackingId::new([7; 16]),
        };
        Client {
            stream: self.opener.open(&preface).await.unwrap(),
            decoder: Decoder::new(),
        }
    }

    fn use_nodes(&self, nodes: &[(Transport, SocketAddr)]) {
        let nodes = nodes
            .iter()
            .zip(1..)
            .map(|((transport, address), id)| Node {
                id: NodeId(id),
                transport: *transport,
                address: *address,
                host: Host::Address(address.ip()),
            });
        self.sip.set_registrars(vec![Registrar {
            name: "lab".into(),
            hosts: vec![Host::parse("lab.test").unwrap()],
            nodes: nodes.collect(),
            mode: RegistrarMode::PathAlways,
            media: MediaPolicy::Rtp,
            authentication: Authentication::Registrar,
            deployment: Deployment::standard(),
        }]);
    }

    async fn until(&self, what: impl Fn(&Status) -> bool) {
        let waiting = async {
            while !what(&self.sip.status()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap();
    }
}

fn registrar(nodes: &[(Transport, SocketAddr)]) -> Registrar {
    let nodes = nodes
        .iter()
        .zip(1..)
        .map(|((transport, address), id)| Node {
            id: NodeId(id),
            transport: *transport,
            address: *address,
            host: Host::Address(address.ip()),
        });
    Registrar {
        name: "lab".into(),
        hosts: vec![Host::parse("lab.test").unwrap()],
        nodes: nodes.collect(),
        mode: RegistrarMode::PathAlways,
        media: MediaPolicy::Rtp,
        authentication: Authentication::Registrar,
        deployment: Deployment::standard(),
    }
}

struct Client {
    stream: LinkStream,
    decoder: Decoder,
}

impl Client {
    async fn send(&mut self, text: String) {
        let frame = encoded(&Frame::Message(Bytes::from(text))).unwrap();
        self.stream.send(frame).await.unwrap();
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(frame);
            }
            let bytes = timeout(PATIENCE, self.stream.receive()).await.unwrap()?;
            self.decoder.push(&bytes);
        }
    }

    async fn message(&mut self) -> Message {
        match self.frame().await {
            Some(Frame::Message(bytes)) => Message::parse(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The REGISTER that a registrar challenges, and the one that it accepts.
    async fn register(&mut self, user: &str, credentials: &str) {
        let cseq = 1 + usize::from(!credentials.is_empty());
        self.send(format!(
            "REGISTER sip:lab.test SIP/2.0\r\n\
             Via: SIP/2.0/TLS 192.0.2.7:40000;branch=z9hG4bK{user}{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@lab.test>;tag=f\r\n\
             To: <sip:{user}@lab.test>\r\n\
             Call-ID: register-{user}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{user}@192.0.2.7:40000;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"\r\n\
             Supported: path, outbound\r\n\
             Expires: 600\r\n{credentials}\
             Content-Length: 0\r\n\r\n"
        ))
        .await;
    }
}

const CREDENTIALS: &str = "Authorization: Digest username=\"u\", realm=\"lab.test\", nonce=\"n\", uri=\"sip:lab.test\", response=\"00000000000000000000000000000000\"\r\n";

/// The response to a request, with what every response copies of it.
fn response(request: &Message, status: &str, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, value) in [("Via", Name::Via), ("Path", Name::Path)] {
        for value in request.values(value) {
            text += &format!("{name}: {}\r\n", std::str::from_utf8(value).unwrap());
        }
    }
    for (name, value) in [
        ("From", Name::From),
        ("To", Name::To),
        ("Call-ID", Name::CallId),
        ("CSeq", Name::CSeq),
        ("Contact", Name::Contact),
    ] {
        let value = std::str::from_utf8(request.value(value).unwrap_or_default()).unwrap();
        if !value.is_empty() {
            let tag = if name == "To" { ";tag=t" } else { "" };
            text += &format!("{name}: {value}{tag}\r\n");
        }
    }
    text + extra + "Content-Length: 0\r\n\r\n"
}

fn answer(request: &Message) -> String {
    let has_credentials = request.has(Name::Authorization);
    match (request.method_token(), has_credentials) {
        (b"REGISTER", false) => {
            let challenge = "WWW-Authenticate: Digest realm=\"lab.test\", nonce=\"n\"\r\n";
            response(request, "401 Unauthorized", challenge)
        }
        (b"REGISTER", true) => response(request, "200 OK", "Expires: 600\r\n"),
        _ => response(request, "200 OK", ""),
    }
}

/// A registrar over UDP that answers everything. Reports what reached it but probes.
async fn udp_registrar() -> (SocketAddr, mpsc::Receiver<Message>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (sender, seen) = mpsc::channel(64);
    drop(tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
            let request = Message::parse(Bytes::copy_from_slice(&buffer[..len])).unwrap();
            socket
                .send_to(answer(&request).as_bytes(), peer)
                .await
                .unwrap();
            if request.method_token() != b"OPTIONS" {
                drop(sender.try_send(request));
            }
        }
    }));
    (address, seen)
}

struct TcpPeer {
    stream: Box<dyn Stream>,
    framer: Framer,
}

impl TcpPeer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Self::over(stream)
    }

    fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            framer: Framer::new(),
        }
    }

    async fn message(&mut self) -> Message {
        let mut buffer = vec![0; 65_536];
        loop {
            if let Some(Item::Message(bytes)) = self.framer.next().unwrap() {
                return Message::parse(bytes).unwrap();
            }
            let read = timeout(PATIENCE, self.stream.read(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert_ne!(read, 0, "the connection was closed");
            self.framer.push(&buffer[..read]);
        }
    }

    /// The next request that is no probe; probes are answered.
    async fn request(&mut self) -> Message {
        loop {
            let message = self.message().await;
            if message.method_token() != b"OPTIONS" {
                return message;
            }
            self.send(&answer(&message)).await;
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_registers_over_udp_and_its_gate_opens() {
    let world = world().await;
    let (registrar, mut seen) = udp_registrar().await;
    world.use_nodes(&[(Transport::Udp, registrar)]);
    let mut client = world.client().await;

    client.register("1001", "").await;
    let challenged = client.message().await;
    client.register("1001", CREDENTIALS).await;

    assert_eq!(challenged.status(), Some(401));
    let mut frames = [client.frame().await.unwrap(), client.frame().await.unwrap()];
    frames.sort_by_key(|frame| matches!(frame, Frame::Message(_)));
    assert_eq!(frames[0], Frame::Gate(Gate::Open));
    assert!(matches!(&frames[1], Frame::Message(bytes) if bytes.starts_with(b"SIP/2.0 200")));
    let first = seen.recv().await.unwrap();
    assert_eq!(first.paths().count(), 1);
    assert_eq!(world.sip.status().registrations, 1);
}

#[tokio::test]
async fn clients_share_a_connection_to_a_node_and_requests_come_back_on_it() {
    let world = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.use_nodes(&[(Transport::Tcp, listener.local_addr().unwrap())]);
    let mut node = TcpPeer::accept(&listener).await;
    let (mut one, mut other) = (world.client().await, world.client().await);
    for client in [&mut one, &mut other] {
        client.register("1001", "").await;
        let request = node.request().await;
        node.send(&answer(&request)).await;
        assert_eq!(client.message().await.status(), Some(401));
    }
    one.register("1001", CREDENTIALS).await;
    let register = node.request().await;
    node.send(&answer(&register)).await;
    while !matches!(one.frame().await.unwrap(), Frame::Gate(Gate::Open)) {}
    let path = std::str::from_utf8(register.values(Name::Path).next().unwrap())
        .unwrap()
        .to_owned();

    node.send(&format!(
        "MESSAGE sip:1001@192.0.2.7:40000;transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKm\r\nRoute: {path}\r\nMax-Forwards: 70\r\n\
         From: <sip:1002@lab.test>;tag=m\r\nTo: <sip:1001@lab.test>\r\nCall-ID: m\r\nCSeq: 1 MESSAGE\r\n\
         Content-Length: 0\r\n\r\n"
    ))
    .await;

    let message = loop {
        if let Some(Frame::Message(bytes)) = one.frame().await {
            let message = Message::parse(bytes).unwrap();
            if message.is_request() {
                break message;
            }
        }
    };
    assert_eq!(message.method_token(), b"MESSAGE");
    one.send(response(&message, "200 OK", "")).await;
    let ok = loop {
        let message = node.message().await;
        if !message.is_request() {
            break message;
        }
        node.send(&answer(&message)).await;
    };
    assert_eq!((ok.status(), ok.call_id()), (Some(200), &b"m"[..]));
    assert_eq!(world.sip.status().connections, 1);
}

#[tokio::test]
async fn a_node_that_refuses_connections_is_passed_over_at_once() {
    let world = world().await;
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (registrar, mut seen) = udp_registrar().await;
    world.use_nodes(&[(Transport::Tcp, gone), (Transport::Udp, registrar)]);
    let mut client = world.client().await;

    client.register("1001", "").await;

    assert_eq!(client.message().await.status(), Some(401));
    assert!(seen.recv().await.is_some());
    let is = |status: &Status, transport, state| {
        let mut nodes = status.nodes.iter();
        nodes.any(|node| node.transport == transport && node.state == Some(state))
    };
    world
        .until(|status| is(status, Transport::Tcp, NodeState::Down))
        .await;
    world
        .until(|status| is(status, Transport::Udp, NodeState::Up))
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten() {
    let world = world().await;
    let (registrar, _seen) = udp_registrar().await;
    world.use_nodes(&[(Transport::Udp, registrar)]);
    let client = world.client().await;
    world.until(|status| status.flows == 1).await;

    client.stream.reset();

    world.until(|status| status.flows == 0).await;
}

#[tokio::test]
async fn a_drain_sends_clients_away_and_takes_no_more() {
    let world = world().await;
    let mut client = world.client().await;
    let draining = async {
        world.drain.start(Cause::Signal);
        world.sip.drain(world.drain.signal()).await;
    };

    timeout(PATIENCE, draining).await.unwrap();

    assert_eq!(
        client.frame().await,
        Some(Frame::Close(FlowClose::Draining))
    );
    assert_eq!(client.frame().await, None);
    drop(client);
    world.until(|status| status.flows == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_nobody_waits_for_it() {
    let metrics = SipMetrics::register(&mut Registry::default());
    let mut flows = flows::Flows::new(metrics);
    let (flow, outbox) = flows.open(TrackingId::new([7; 16])).unwrap();
    let frame = Frame::Message(vec![0; 1000].into());

    let sent = (0..10_000)
        .take_while(|_| flows.send(flow, &frame).is_ok())
        .count();

    assert_eq!(sent, limits::SIP_FLOW_QUEUE_MESSAGES);
    assert!(outbox.closed().await, "abandoned, not waited for");
    assert!(flows.send(flow, &Frame::Gate(Gate::Open)).is_err());
}
