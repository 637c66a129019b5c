use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use certs::{Authority, Leaf};
use common::id::CoreId;
use common::link::control::message::{Command, Policy};
use common::link::flow::{Decoder, FlowClose, Frame, Gate};
use common::policy::jail::JailPolicy;
use common::runtime::drain::{Cause, Drain};
use common::runtime::link_streams::{Arrived as Stream, serve};
use common::runtime::workers::Workers;
use common::tls::config::{Certificates, provider, public_server};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::metrics::xmpp::XmppClosed;

mod passthrough;

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const LONG: Duration = Duration::from_secs(60);
/// Enough to connect on a busy machine.
const SHORT: Duration = Duration::from_secs(2);

/// An edge that listens, a core that serves example.com, and a drain.
struct Scene {
    xmpp: Arc<Xmpp>,
    at: SocketAddr,
    client_tls: ClientConfig,
    arrived: mpsc::Receiver<Stream>,
    drain: Drain,
    _workers: Workers,
    /// Cuts the link when it is dropped.
    link: watch::Sender<()>,
}

fn pki() -> (rustls::ServerConfig, ClientConfig) {
    let authority = Authority::new("public").unwrap();
    let identity = authority
        .issue(&Leaf::server(&["example.com".to_owned()]))
        .unwrap();
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let key = CertifiedKey::from_der(chain, key, &provider()).unwrap();
    let server = public_server(Arc::new(Certificates::new(key, Vec::new()))).unwrap();
    let mut anchors = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    anchors.add(anchor).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(anchors)
        .with_no_client_auth();
    (server, client)
}

fn admission() -> Arc<Admission> {
    Admission::new(config::Limits {
        connections_max: 10_000,
        connections_per_address_max: 10_000,
        connections_per_second_per_address: 10_000,
        sign_in_per_address: common::config::section::Rate {
            count: 10,
            window: LONG,
        },
        jail: JailPolicy::default(),
    })
}

fn settings(login_timeout: Duration) -> config::Xmpp {
    config::Xmpp {
        listen: Vec::new(),
        is_passthrough: false,
        websocket_origins: vec!["https://chat.example.com".parse().unwrap()],
        login_timeout,
        unauthenticated_max: 100,
        unauthenticated_per_address_max: 20,
    }
}

/// For clients in web pages.
pub(crate) fn xmpp(cores: Arc<Cores>, admission: Arc<Admission>) -> Arc<Xmpp> {
    let metrics = Metrics::register(&mut common::telemetry::registry("edge-e"));
    let (tls, _) = pki();
    Arc::new(Xmpp::new(cores, admission, metrics, settings(LONG), &tls))
}

async fn scene(login_timeout: Duration) -> Scene {
    scene_with(settings(login_timeout)).await
}

async fn scene_with(settings: config::Xmpp) -> Scene {
    let (server_tls, client_tls) = pki();
    let metrics = Metrics::register(&mut common::telemetry::registry("edge-e"));
    let cores: Arc<Cores> = Arc::default();
    let (link, arrived) = link(&cores).await;
    let admission = admission();
    let xmpp = Arc::new(Xmpp::new(
        cores,
        Arc::clone(&admission),
        metrics.clone(),
        settings,
        &server_tls,
    ));
    let workers = Workers::start("test", NonZeroUsize::new(1)).unwrap();
    let front = Front {
        admission,
        tls: Arc::new(server_tls),
        metrics,
        workers: workers.clone(),
        listener: Listener::Xmpp,
    };
    let listener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let at = listener.local_addr().unwrap();
    let drain = Drain::new();
    drop(tokio::spawn(Arc::clone(&xmpp).serve(
        front,
        listener,
        drain.signal(),
    )));
    Scene {
        xmpp,
        at,
        client_tls,
        arrived,
        drain,
        _workers: workers,
        link,
    }
}

async fn link(cores: &Cores) -> (watch::Sender<()>, mpsc::Receiver<Stream>) {
    let core = cores
        .join(CoreId(1), &Domain::parse("c1.link").unwrap())
        .unwrap();
    core.set_connected(true, clock::now());
    let policy = Policy {
        realm: "edge".into(),
        domains: Vec::new(),
        xmpp_domains: vec![Domain::parse("example.com").unwrap()],
        serves_sessions_of: Vec::new(),
    };
    cores.apply(&core, Command::Policy(policy));
    let (near, far) = tokio::io::duplex(1 << 16);
    let (sender, arrived) = mpsc::channel(64);
    let (alive, mut ended) = watch::channel(());
    let driven = Arc::clone(&core);
    drop(tokio::spawn(
        async move { driven.streams().drive(near).await },
    ));
    drop(tokio::spawn(async move {
        let take = move |stream| drop(sender.try_send(stream));
        tokio::select! {
            ended = serve(far, std::future::pending(), || {}, take) => drop(ended),
            _ = ended.changed() => {}
        }
    }));
    while core.streams().connections() == 0 {
        tokio::task::yield_now().await;
    }
    (alive, arrived)
}

impl Scene {
    async fn connect(&self) -> TcpStream {
        self.connect_from(Ipv4Addr::LOCALHOST).await
    }

    async fn connect_from(&self, address: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(self.at).await.unwrap()
    }

    async fn tls(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("example.com").unwrap();
        let connector = TlsConnector::from(Arc::new(self.client_tls.clone()));
        connector.connect(name, stream).await
    }

    /// A client that asked for TLS and has it.
    async fn started(&self) -> TlsStream<TcpStream> {
        let mut stream = self.connect().await;
        say(&mut stream, HEADER).await;
        hear(&mut stream, "</stream:features>").await;
        say(&mut stream, STARTTLS).await;
        hear(
            &mut stream,
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        )
        .await;
        self.tls(stream).await.unwrap()
    }

    /// A client with a stream, and the core's side of it.
    async fn joined(&mut self) -> (TlsStream<TcpStream>, Core) {
        let mut client = self.started().await;
        say(&mut client, HEADER).await;
        let mut core = self.accept().await;
        assert_eq!(core.next().await, Some(message(HEADER)));
        (client, core)
    }

    async fn accept(&mut self) -> Core {
        let arrived = self.arrived.recv().await.unwrap();
        Core {
            preface: arrived.preface().clone(),
            stream: arrived.accept().unwrap(),
            decoder: Decoder::new(),
        }
    }

    /// A client may see its end before it is counted.
    async fn expect_refusals(&self, reason: XmppRefusal, count: u64) {
        let counted = async {
            while self.refusals(reason) != count {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(LONG, counted).await;
        assert!(waited.is_ok(), "{reason}: {}", self.refusals(reason));
    }

    fn refusals(&self, reason: XmppRefusal) -> u64 {
        self.xmpp.metrics.xmpp.refusals.of(reason).get()
    }
}

/// The core's side of a stream.
struct Core {
    preface: StreamPreface,
    stream: LinkStream,
    decoder: Decoder,
}

impl Core {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(frame);
            }
            self.decoder.push(&self.stream.receive().await?);
        }
    }

    async fn tell(&mut self, frame: Frame) {
        let encoded = common::link::flow::encoded(&frame).unwrap();
        self.stream.send(encoded).await.unwrap();
    }
}

fn message(text: &str) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
}

async fn say<T: tokio::io::AsyncWrite + Unpin>(stream: &mut T, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// What comes up to `end`.
async fn hear<T: AsyncRead + Unpin>(stream: &mut T, end: &str) -> String {
    let mut heard = String::new();
    while !heard.ends_with(end) {
        let octet = stream.read_u8().await.unwrap();
        heard.push(char::from(octet));
    }
    heard
}

/// Everything until the end, and whether that was an orderly one.
async fn hear_all<T: AsyncRead + Unpin>(stream: &mut T) -> (String, bool) {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(LONG, stream.read_to_end(&mut heard)).await;
    (
        String::from_utf8(heard).unwrap(),
        end.expect("nobody closes it").is_ok(),
    )
}

#[tokio::test]
async fn a_client_that_asks_for_tls_gets_a_stream_to_the_core_of_its_domain() {
    let mut scene = scene(LONG).await;
    let (mut client, mut core) = scene.joined().await;

    core.tell(message("<stream:features/>")).await;
    core.tell(Frame::Gate(Gate::Open)).await;
    hear(&mut client, "<stream:features/>").await;
    // Whitespace keeps connections open; it passes like anything else.
    say(&mut client, " ").await;

    assert_eq!(core.next().await, Some(message(" ")));
    assert_eq!(core.preface.protocol, StreamProtocol::Xmpp);
    assert_eq!(
        core.preface.domain.as_ref().unwrap().as_str(),
        "example.com"
    );
    assert_eq!(core.preface.server_name, core.preface.domain);
    assert_eq!(core.preface.tls_version, TlsVersion::V1_3);
    let streams = &scene.xmpp.metrics.xmpp.streams;
    assert_eq!(streams.of(XmppTransport::StartTls).get(), 1);
}

#[tokio::test]
async fn direct_tls_needs_the_right_protocol_or_none() {
    let mut scene = scene(LONG).await;
    for (alpn, is_welcome) in [("", true), ("xmpp-client", true), ("h2", false)] {
        let offered = (!alpn.is_empty()).then(|| alpn.as_bytes().to_vec());
        scene.client_tls.alpn_protocols = offered.into_iter().collect();
        let stream = scene.connect().await;

        let client = scene.tls(stream).await;

        assert_eq!(client.is_ok(), is_welcome, "{alpn}");
        if let Ok(mut client) = client {
            say(&mut client, HEADER).await;
            assert_eq!(scene.accept().await.next().await, Some(message(HEADER)));
        }
    }
    let streams = &scene.xmpp.metrics.xmpp.streams;
    assert_eq!(streams.of(XmppTransport::Direct).get(), 2);
}

#[tokio::test]
async fn a_domain_that_nobody_serves_is_refused_before_and_after_tls() {
    let mut scene = scene(LONG).await;
    let other = HEADER.replace("example.com", "other.test");
    let mut plain = scene.connect().await;
    let mut client = scene.started().await;

    say(&mut plain, &other).await;
    say(&mut client, &other).await;

    for (heard, is_orderly) in [hear_all(&mut plain).await, hear_all(&mut client).await] {
        assert!(heard.contains("<stream:stream"), "{heard}");
        assert!(heard.contains("<host-unknown"), "{heard}");
        assert!(heard.ends_with("</stream:stream>"), "{heard}");
        assert!(is_orderly);
    }
    assert!(scene.arrived.try_recv().is_err());
    scene.expect_refusals(XmppRefusal::UnknownDomain, 2).await;
}

#[tokio::test]
async fn nothing_but_starttls_is_heard_before_tls() {
    let mut scene = scene(LONG).await;
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
    let huge = "x".repeat(70_000);
    for said in [
        format!("{HEADER}{auth}"),
        format!("{HEADER}{STARTTLS}{auth}"),
        format!("{HEADER}{STARTTLS}\n"),
        format!("{HEADER}<a>{huge}"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".to_owned(),
    ] {
        let mut stream = scene.connect().await;
        // The edge may have closed before it has all of it.
        drop(stream.write_all(said.as_bytes()).await);

        let mut heard = Vec::new();
        drop(stream.read_to_end(&mut heard).await);

        let heard = String::from_utf8(heard).unwrap();
        assert!(!heard.contains("<proceed"), "{said:.90} {heard}");
    }
    scene.expect_refusals(XmppRefusal::BadStream, 6).await;
    assert!(scene.arrived.try_recv().is_err());
}

#[tokio::test]
async fn plaintext_in_place_of_a_handshake_reaches_nobody() {
    let mut scene = scene(LONG).await;
    let mut stream = scene.connect().await;
    say(&mut stream, HEADER).await;
    hear(&mut stream, "</stream:features>").await;
    say(&mut stream, STARTTLS).await;
    hear(
        &mut stream,
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    )
    .await;

    say(&mut stream, HEADER).await;

    let mut heard = Vec::new();
    drop(stream.read_to_end(&mut heard).await);
    assert!(!heard.starts_with(b"<"), "an alert at most");
    assert!(scene.arrived.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_client_is_closed_however_busy_it_is() {
    let scene = scene(SHORT).await;
    let mut silent = scene.connect().await;
    let mut client = scene.started().await;
    let mut dripping = scene.connect().await;
    let drip = async {
        for octet in HEADER.bytes() {
            if dripping.write_all(&[octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };

    let (_, silent, heard) = tokio::join!(drip, hear_all(&mut silent), hear_all(&mut client));

    assert_eq!(silent.0, "");
    assert_eq!(heard.0, "", "it has said nothing");
    scene.expect_refusals(XmppRefusal::TimedOut, 3).await;
}

#[tokio::test]
async fn a_core_that_never_opens_the_gate_has_its_client_closed() {
    let mut scene = scene(SHORT).await;
    let (mut client, mut core) = scene.joined().await;

    let (_, is_orderly) = hear_all(&mut client).await;

    assert!(is_orderly);
    assert_eq!(core.next().await, None);
    let closed = &scene.xmpp.metrics.xmpp.closed;
    assert_eq!(closed.of(XmppClosed::TimedOut).get(), 1);
}

#[tokio::test]
async fn limits_end_with_authentication() {
    let mut scene = scene(SHORT).await;
    let (mut client, mut core) = scene.joined().await;
    core.tell(Frame::Gate(Gate::Open)).await;
    core.tell(message("<success/>")).await;
    hear(&mut client, "<success/>").await;
    // The time for the login is over for certain, as it began earlier.
    tokio::time::sleep(SHORT).await;
    let sent = "x".repeat(3 * limits::XMPP_LOGIN_BYTES_MAX);

    let mut received = 0;
    let receive = async {
        while received < sent.len() {
            let Some(Frame::Message(said)) = core.next().await else {
                panic!("the stream ended after {received}");
            };
            received += said.len();
        }
    };
    tokio::join!(say(&mut client, &sent), receive);

    assert_eq!(received, sent.len());
    let clients = &scene.xmpp.metrics.xmpp.clients;
    assert_eq!(clients.of(XmppState::Open).get(), 1);
    assert_eq!(clients.of(XmppState::Authenticating).get(), 0);
}

#[tokio::test]
async fn a_client_that_sends_too_much_before_it_is_authenticated_is_closed() {
    let mut scene = scene(LONG).await;
    let (mut client, mut core) = scene.joined().await;
    let huge = "x".repeat(2 * limits::XMPP_LOGIN_BYTES_MAX);
    let drained = tokio::spawn(async move {
        let mut received = 0;
        while let Some(Frame::Message(said)) = core.next().await {
            received += said.len();
        }
        received
    });

    drop(client.write_all(huge.as_bytes()).await);

    assert!(drained.await.unwrap() <= limits::XMPP_LOGIN_BYTES_MAX);
    let closed = &scene.xmpp.metrics.xmpp.closed;
    assert_eq!(closed.of(XmppClosed::TooMuch).get(), 1);
}

#[tokio::test]
async fn silent_connections_of_one_address_do_not_keep_another_out() {
    let scene = scene(LONG).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(scene.connect().await);
    }

    let mut other = scene.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await;
    say(&mut other, HEADER).await;

    hear(&mut other, "</stream:features>").await;
    assert!(scene.refusals(XmppRefusal::OverAddress) >= 500);
    assert_eq!(scene.refusals(XmppRefusal::OverTotal), 0);
}

#[tokio::test]
async fn what_the_core_says_last_is_heard_before_the_goodbye() {
    let mut scene = scene(LONG).await;
    let (mut client, mut core) = scene.joined().await;

    core.tell(message("<stream:error/></stream:stream>")).await;
    core.tell(Frame::Close(FlowClose::Revoked)).await;

    let (heard, is_orderly) = hear_all(&mut client).await;
    assert_eq!(heard, "<stream:error/></stream:stream>");
    assert!(is_orderly);
    let closed = &scene.xmpp.metrics.xmpp.closed;
    while closed.of(XmppClosed::Core).get() != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn wrong_passwords_count_against_the_address() {
    let mut scene = scene(LONG).await;
    let (mut client, mut core) = scene.joined().await;
    for _ in 0..=limits::JAIL_FAILURES_MAX.get() {
        core.tell(Frame::AuthFailed(None)).await;
    }
    core.tell(message("<failure/>")).await;
    hear(&mut client, "<failure/>").await;

    assert_eq!(scene.xmpp.admission.jailed(clock::now()), 1);
}

#[tokio::test]
async fn a_link_that_is_cut_ends_its_streams_in_order() {
    let mut scene = scene(LONG).await;
    let (mut client, core) = scene.joined().await;

    drop((scene.link, core));

    let (heard, is_orderly) = hear_all(&mut client).await;
    assert!(heard.contains("<remote-connection-failed"), "{heard}");
    assert!(is_orderly);
}

#[tokio::test]
async fn without_a_core_a_client_is_told_so() {
    let mut scene = scene(LONG).await;
    for core in scene.xmpp.cores.all() {
        core.give_up_connections();
    }
    let mut client = scene.started().await;
    say(&mut client, HEADER).await;

    let (heard, _) = hear_all(&mut client).await;

    assert!(heard.contains("<remote-connection-failed"), "{heard}");
    scene.expect_refusals(XmppRefusal::NoLink, 1).await;
    scene.arrived.close();
}

#[tokio::test]
async fn a_drain_closes_clients_in_order() {
    let mut scene = scene(LONG).await;
    let (mut client, mut core) = scene.joined().await;
    core.tell(message(HEADER)).await;
    core.tell(message("<iq><a x='>'/></iq>")).await;
    hear(&mut client, "</iq>").await;
    let (mut cut, mut midway) = scene.joined().await;
    midway.tell(message(HEADER)).await;
    midway.tell(message("<iq>")).await;
    hear(&mut cut, "<iq>").await;

    scene.drain.start(Cause::Signal);

    let (heard, is_orderly) = hear_all(&mut client).await;
    assert!(heard.contains("<system-shutdown"), "{heard}");
    assert!(heard.ends_with("</stream:stream>") && is_orderly, "{heard}");
    let (heard, is_orderly) = hear_all(&mut cut).await;
    assert_eq!(heard, "", "nothing is put into an element");
    assert!(is_orderly);
    assert_eq!(core.next().await, None);
    scene.drain.finish(LONG).await;
    let closed = &scene.xmpp.metrics.xmpp.closed;
    assert_eq!(closed.of(XmppClosed::Drained).get(), 2);
}
