use std::time::Duration;

use common::id::{CoreId, TrackingId};
use common::link::control::message::{Command as CoreCommand, DomainPolicy, Policy};
use common::link::stream_preface::{ClientTransport, StreamProtocol, TlsVersion};
use common::net::ClientAddr;
use common::policy::jail::{JailPolicy, UserTag};
use common::runtime::drain::Drain;
use common::runtime::link_streams::{Arrived, LinkStream, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::admission::Admission;
use crate::config;
use crate::cores::{Core, Cores};
use crate::listener::sip::client::TlsClient;
use crate::metrics::Metrics;

/// A client, the edge between, and what a core would see.
struct Scene {
    sip: Arc<Sip>,
    client: DuplexStream,
    arrived: mpsc::Receiver<Arrived>,
    flow: JoinHandle<()>,
    drain: Drain,
}

pub(crate) fn sip() -> Arc<Sip> {
    let limits = config::Limits {
        connections_max: 10,
        connections_per_address_max: 10,
        connections_per_second_per_address: 10,
        sign_in_per_address: common::config::section::Rate {
            count: 10,
            window: Duration::from_secs(60),
        },
        jail: JailPolicy::default(),
    };
    let mut registry = common::telemetry::registry("edge-e");
    Arc::new(Sip {
        cores: Arc::default(),
        admission: Admission::new(limits),
        metrics: Metrics::register(&mut registry),
        settings: config::Sip {
            listen: Vec::new(),
            websocket_origins: vec!["https://phone.example.com".parse().unwrap()],
            messages_per_second: 20,
            messages_burst: 60,
        },
    })
}

/// Links a core that serves `domain`; its streams arrive in the channel.
pub(crate) async fn link(
    cores: &Cores,
    id: u8,
    domain: &str,
) -> (Arc<Core>, mpsc::Receiver<Arrived>) {
    let name = Domain::parse(&format!("c{id}.link")).unwrap();
    let core = cores.join(CoreId(id), &name).unwrap();
    core.set_connected(true, clock::now());
    let domains = vec![DomainPolicy {
        name: Domain::parse(domain).unwrap(),
        sso_document: String::new(),
        is_sso_asked: false,
        is_sso_relayed: false,
    }];
    let realm = "edge".into();
    cores.apply(
        &core,
        CoreCommand::Policy(Policy {
            realm,
            domains,
            xmpp_domains: vec![Domain::parse(domain).unwrap()],
            serves_sessions_of: Vec::new(),
        }),
    );
    let (near, far) = tokio::io::duplex(1 << 16);
    let (sender, arrived) = mpsc::channel(16);
    let driven = Arc::clone(&core);
    drop(tokio::spawn(
        async move { driven.streams().drive(near).await },
    ));
    drop(tokio::spawn(serve(
        far,
        std::future::pending(),
        || {},
        move |stream| drop(sender.try_send(stream)),
    )));
    while core.streams().connections() == 0 {
        tokio::task::yield_now().await;
    }
    (core, arrived)
}

fn preface() -> StreamPreface {
    StreamPreface {
        protocol: StreamProtocol::Sip,
        transport: ClientTransport::Tls,
        client: ClientAddr(([192, 0, 2, 7], 4711).into()),
        local: ([192, 0, 2, 1], 5061).into(),
        server_name: None,
        tls_version: TlsVersion::V1_3,
        domain: None,
        tracking: TrackingId::new([7; 16]),
    }
}

async fn scene() -> Scene {
    let sip = sip();
    let (_, arrived) = link(&sip.cores, 1, "example.com").await;
    connect(sip, arrived)
}

fn connect(sip: Arc<Sip>, arrived: mpsc::Receiver<Arrived>) -> Scene {
    let (client, edge) = tokio::io::duplex(4096);
    let drain = Drain::new();
    let flow = Flow::new(
        Arc::clone(&sip),
        TlsClient::new(edge),
        preface(),
        drain.signal(),
    );
    Scene {
        sip,
        client,
        arrived,
        flow: tokio::spawn(flow.run()),
        drain,
    }
}

pub(crate) fn request(method: &str, domain: &str) -> String {
    format!(
        "{method} sip:{domain} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.1:5;branch=z9hG4bK1\r\nFrom: <sip:a@{domain}>;tag=f\r\n\
         To: <sip:a@{domain}>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

pub(crate) const RINGING: &str = "SIP/2.0 180 Ringing\r\nContent-Length: 0\r\n\r\n";

impl Scene {
    /// Registers, and gives the core's side.
    async fn registered(&mut self) -> LinkStream {
        self.say(&request("REGISTER", "example.com")).await;
        let mut stream = self.arrived.recv().await.unwrap().accept().unwrap();
        assert_eq!(
            next_frame(&mut stream).await,
            Some(message(&request("REGISTER", "example.com")))
        );
        stream
    }

    async fn say(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let mut bytes = [0; 4096];
        let count = self.client.read(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }
}

pub(crate) fn message(text: &str) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) async fn tell(stream: &mut LinkStream, frame: Frame) {
    stream.send(frames::encoded(&frame).unwrap()).await.unwrap();
}

pub(crate) async fn next_frame(stream: &mut LinkStream) -> Option<Frame> {
    let mut decoder = Decoder::new();
    loop {
        decoder.push(&stream.receive().await?);
        if let Some(frame) = decoder.next().unwrap() {
            return Some(frame);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_cross_as_they_are_and_in_both_directions() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;

    tell(&mut core, message(RINGING)).await;
    assert_eq!(scene.hear().await, RINGING);

    tell(&mut core, Frame::Gate(Command::Open)).await;
    tell(&mut core, message(RINGING)).await;
    assert_eq!(scene.hear().await, RINGING);
    scene.say(&request("INVITE", "example.com")).await;
    assert_eq!(
        next_frame(&mut core).await,
        Some(message(&request("INVITE", "example.com")))
    );
    let up = scene
        .sip
        .metrics
        .sip
        .messages
        .of(SipDirection::Up, SipClass::Invite);
    assert_eq!(up.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_a_registration_reaches_a_core_at_first() {
    let mut scene = scene().await;

    scene.say(&request("INVITE", "example.com")).await;

    assert!(scene.hear().await.starts_with("SIP/2.0 403 Forbidden\r\n"));
    assert!(scene.arrived.try_recv().is_err());
    scene.say("\r\n\r\n").await;
    assert_eq!(scene.hear().await, "\r\n");
    assert!(scene.arrived.try_recv().is_err());
    assert_eq!(
        scene
            .sip
            .metrics
            .sip
            .keep_alives
            .of(SipKeepAlive::Ping)
            .get(),
        1
    );
    assert_eq!(
        scene
            .sip
            .metrics
            .sip
            .refusals
            .of(SipRefusal::NotRegistered)
            .get(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn the_core_that_serves_the_domain_gets_the_flow() {
    let sip = sip();
    let (_, mut other) = link(&sip.cores, 1, "example.org").await;
    let (_, arrived) = link(&sip.cores, 2, "example.com").await;
    let mut scene = connect(sip, arrived);

    scene.say(&request("REGISTER", "example.com")).await;

    let arrived = scene.arrived.recv().await.unwrap();
    assert_eq!(
        arrived.preface().client,
        ClientAddr(([192, 0, 2, 7], 4711).into())
    );
    assert!(other.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_core_a_client_is_told_to_come_back() {
    let sip = sip();
    let mut scene = connect(sip, mpsc::channel(1).1);

    scene.say(&request("REGISTER", "example.com")).await;

    let answer = scene.hear().await;
    assert!(
        answer.starts_with("SIP/2.0 503 Service Unavailable\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    assert_eq!(
        scene.sip.metrics.sip.refusals.of(SipRefusal::NoLink).get(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_core_closes_a_client_after_its_last_message() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;

    tell(&mut core, message(RINGING)).await;
    tell(&mut core, Frame::Close(FlowClose::Revoked)).await;

    let mut heard = String::new();
    scene.client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, RINGING);
    scene.flow.await.unwrap();
    assert_eq!(scene.sip.metrics.sip.closed.of(SipClosed::Core).get(), 1);
    assert_eq!(next_frame(&mut core).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_its_stream_and_the_other_way_round() {
    let mut left = scene().await;
    let mut core = left.registered().await;
    drop(left.client);
    assert_eq!(next_frame(&mut core).await, None);

    let mut lost = scene().await;
    let core = lost.registered().await;
    core.reset();
    assert_eq!(lost.hear().await, "");
    assert_eq!(lost.sip.metrics.sip.closed.of(SipClosed::Link).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_count_against_the_address() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;

    for _ in 0..=limits::JAIL_FAILURES_MAX.get() {
        tell(&mut core, Frame::AuthFailed(None)).await;
    }
    tell(&mut core, message(RINGING)).await;

    assert_eq!(scene.hear().await, RINGING);
    assert_eq!(scene.sip.admission.jailed(clock::now()), 1);
}

#[tokio::test(start_paused = true)]
async fn who_guesses_for_one_user_hears_every_answer_and_the_address_is_not_blocked() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;
    let wrong = || Frame::AuthFailed(Some(UserTag::of("1001@example.com")));

    for _ in 0..=limits::JAIL_FAILURES_MAX.get() {
        tell(&mut core, wrong()).await;
        tell(&mut core, message(RINGING)).await;
        assert_eq!(scene.hear().await, RINGING);
    }

    assert_eq!(scene.sip.admission.jailed(clock::now()), 0);
    assert_eq!(scene.sip.admission.jailed_users(clock::now()), 1);
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_guessing_at_a_blocked_address_is_closed_after_the_answer() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;
    for _ in 0..=limits::JAIL_FAILURES_MAX.get() {
        tell(&mut core, Frame::AuthFailed(None)).await;
    }

    tell(&mut core, Frame::AuthFailed(None)).await;
    tell(&mut core, message(RINGING)).await;

    let mut heard = String::new();
    scene.client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, RINGING);
    scene.flow.await.unwrap();
    assert_eq!(scene.sip.metrics.sip.closed.of(SipClosed::Jailed).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed() {
    let mut scene = scene().await;

    assert_eq!(scene.hear().await, "");

    scene.flow.await.unwrap();
    assert_eq!(scene.sip.metrics.sip.closed.of(SipClosed::Silent).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed_and_stops_nobody_before_that() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;
    tell(&mut core, Frame::Gate(Command::Open)).await;
    let long = format!("MESSAGE sip:a@b SIP/2.0\r\nX: {}\r\n\r\n", "x".repeat(8000));

    tell(&mut core, message(&long)).await;
    scene.say(&request("OPTIONS", "example.com")).await;
    assert_eq!(
        next_frame(&mut core).await,
        Some(message(&request("OPTIONS", "example.com")))
    );

    scene.flow.await.unwrap();
    assert_eq!(
        scene.sip.metrics.sip.closed.of(SipClosed::SlowReader).get(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_talks_is_closed_as_well() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;
    let long = format!("MESSAGE sip:a@b SIP/2.0\r\nX: {}\r\n\r\n", "x".repeat(8000));
    tell(&mut core, message(&long)).await;

    let mut client = scene.client;
    let talking = tokio::spawn(async move {
        while client.write_all(b"\r\n\r\n").await.is_ok() {
            tokio::time::sleep(limits::SIP_WRITE_TIMEOUT / 4).await;
        }
    });

    scene.flow.await.unwrap();
    talking.await.unwrap();
    assert_eq!(
        scene.sip.metrics.sip.closed.of(SipClosed::SlowReader).get(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_reaches_the_core_slowly_and_whole() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;
    let start = clock::now();

    let flood = request("OPTIONS", "example.com").repeat(100);
    let mut client = scene.client;
    drop(tokio::spawn(async move {
        client.write_all(flood.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    }));
    let mut decoder = Decoder::new();
    let mut count = 0;
    while count < 100 {
        decoder.push(&core.receive().await.unwrap());
        while decoder.next().unwrap().is_some() {
            count += 1;
        }
    }

    let took = clock::elapsed(start);
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_talk_that_is_under_way_go_on() {
    let mut scene = scene().await;
    let mut core = scene.registered().await;
    let started = clock::now();

    scene.drain.start(common::runtime::drain::Cause::Signal);
    tokio::time::sleep(limits::SIP_DRAIN_QUIET / 2).await;
    tell(&mut core, message(RINGING)).await;
    assert_eq!(scene.hear().await, RINGING);
    assert_eq!(scene.hear().await, "");

    let took = clock::elapsed(started);
    assert_eq!(took.as_secs(), (limits::SIP_DRAIN_QUIET * 3 / 2).as_secs());
    assert_eq!(scene.sip.metrics.sip.closed.of(SipClosed::Drained).get(), 1);
}
