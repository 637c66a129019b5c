use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::id::{AllocId, TrackingId};
use common::link::control::message::{MediaCommand, MediaReport};
use common::media::class::{Component, Generation, MediaClass, Slot};
use common::media::plan::{
    ClockRates, Direction, InnerLeg, OuterLeg, PlanChange, SrtpKeys, SrtpSuite, StopReason,
    StreamId, StreamKind, StreamPlan,
};
use common::media::rtp::RtpHeader;
use common::media::srtp::{Receiver, Sender};
use common::media::trunk_frame::Head;
use common::net::ClientAddr;
use common::runtime::trunk::TrunkPath;
use common::runtime::udp;
use common::sip::proxy::{
    self, BodyContext, BodyDirection, BodyMethod, BodyVerdict, CallEnd, CallKey, FlowId, FlowPeer,
    Transport,
};
use common::time::Wakeup;
use prometheus_client::registry::Registry;

use super::engine::{EngineHandle, Order, Parts};
use super::table::InnerPorts;
use super::*;

const EDGE: EdgeIndex = EdgeIndex(0);
const ALLOC: AllocId = AllocId(77);

/// A trunk whose other end is a socket of the test: each datagram is a frame.
struct TestTrunk {
    socket: UdpSocket,
    peer: SocketAddr,
    buffer: Vec<u8>,
}

impl MediaTrunk for TestTrunk {
    fn send(&mut self, _: MediaClass, frame: &[u8]) {
        self.socket.send_to(frame, self.peer).unwrap();
    }

    fn flush(&mut self, _: Instant) {}

    fn receive(&mut self, _: Instant, sink: &mut dyn FnMut(&mut [u8])) {
        while let Ok((len, _)) = self.socket.recv_from(&mut self.buffer) {
            sink(&mut self.buffer[..len]);
        }
    }

    fn poll_timeout(&self) -> Option<Wakeup> {
        None
    }

    fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.socket.as_fd()]
    }

    fn path(&self) -> TrunkPath {
        TrunkPath::Quic
    }
}

/// A socket that gives up waiting after a while, so that a failure ends the test.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

/// edge-e's end of a trunk, and edge-c's.
fn trunk() -> (UdpSocket, Box<TestTrunk>) {
    let far = socket();
    let near = udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let trunk = TestTrunk {
        peer: far.local_addr().unwrap(),
        socket: near,
        buffer: vec![0; 4096],
    };
    far.connect(trunk.socket.local_addr().unwrap()).unwrap();
    (far, Box::new(trunk))
}

fn keys(seed: u8) -> SrtpKeys {
    SrtpKeys::new(SrtpSuite::AeadAes256Gcm, &[seed; 44], None).unwrap()
}

fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 7, 0, 0, 0, 9]);
    packet.extend(payload);
    packet
}

/// A client behind edge-e.
struct Client {
    send: Sender,
    receive: Receiver,
}

impl Client {
    fn frame(&mut self, slot: u8, packet: &[u8]) -> Vec<u8> {
        let head = Head::whole(ALLOC, Component::Rtp, Slot(slot), Generation(1)).encode();
        let mut frame = [&head[..], packet].concat();
        frame.resize(frame.len() + 40, 0);
        let header = RtpHeader::decode(packet).unwrap();
        let buffer = &mut frame[head.len()..];
        let len = self.send.seal_rtp(buffer, packet.len(), &header).unwrap();
        frame.truncate(head.len() + len);
        frame
    }

    fn read(&mut self, frame: &[u8]) -> Vec<u8> {
        let (head, packet) = Head::decode(frame).unwrap();
        assert_eq!(head, Head::to_client(ALLOC, Component::Rtp));
        let mut packet = packet.to_vec();
        let header = RtpHeader::decode(&packet).unwrap();
        let len = self.receive.open_rtp(&mut packet, &header).unwrap();
        packet.truncate(len);
        packet
    }
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 4096];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, from)
}

fn plan(port: common::media::plan::InnerPortId, phone: &UdpSocket) -> StreamPlan {
    let mut clock_rates = ClockRates::default();
    clock_rates.insert(0, 8000);
    StreamPlan {
        outer: OuterLeg {
            edge: EDGE,
            alloc: ALLOC,
            flow_address: None,
            rtcp_mux: true,
            receive: [keys(1)].into_iter().collect(),
            send: Some(keys(2)),
            ice: None,
        },
        inner: InnerLeg {
            port,
            rtcp_mux: false,
            remote: Some(phone.local_addr().unwrap()),
            remote_rtcp: None,
            protection: None,
        },
        class: MediaClass::Audio,
        kind: StreamKind::Rtp { clock_rates },
        direction: Direction::Both,
    }
}

/// An engine with one stream between a client and a phone.
struct Stage {
    engine: EngineHandle,
    far: UdpSocket,
    link: MediaLink,
    happened: mpsc::Receiver<Happened>,
    client: Client,
    phone: UdpSocket,
    inner: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        let config = config();
        let metrics = MediaMetrics::register(&mut Registry::default());
        let desk = SharedDesk::new(&config, tokio::sync::mpsc::channel(1).0, metrics.clone());
        let (outbox, link) = MediaLink::new(EDGE, desk);
        let (far, trunk) = trunk();
        let (teller, happened) = mpsc::channel();
        let engine = engine::start(Parts {
            trunks: vec![trunk],
            names: vec!["edge1".into()],
            outboxes: vec![outbox],
            silence_max: config.silence_max,
            teller: Box::new(move |told| teller.send(told).unwrap()),
            metrics,
        })
        .unwrap();
        let any = || udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let ports = InnerPorts {
            id: common::media::plan::InnerPortId(5),
            family: common::media::supply::Family::V4,
            rtp: any(),
            rtcp: any(),
        };
        let inner = ports.rtp.local_addr().unwrap();
        let phone = socket();
        let plan = plan(ports.id, &phone);
        assert!(engine.order(Order::Open(ports)));
        let start = PlanChange::Start(StreamId(1), Box::new(plan));
        assert!(engine.order(Order::Plan(start)));
        engine.wake();
        Self {
            engine,
            far,
            link,
            happened,
            client: Client {
                send: Sender::new(&keys(1)).unwrap(),
                receive: Receiver::new(&[keys(2)]).unwrap(),
            },
            phone,
            inner,
        }
    }
}

fn config() -> Config {
    Config {
        listen: vec!["127.0.0.1".parse().unwrap()],
        ports: 20_000..=60_000,
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        silence_max: limits::MEDIA_SILENCE_MAX,
    }
}

#[tokio::test]
async fn voices_go_both_ways_and_the_latch_is_commanded() {
    let mut stage = Stage::new();
    let hello = stage.client.frame(2, &rtp(1, b"hello"));
    stage.far.send(&hello).unwrap();
    let (heard, from) = receive(&stage.phone);
    assert_eq!((heard, from), (rtp(1, b"hello"), stage.inner));

    stage
        .phone
        .send_to(&rtp(9, b"answer"), stage.inner)
        .unwrap();
    let (frame, _) = receive(&stage.far);
    assert_eq!(stage.client.read(&frame), rtp(9, b"answer"));

    let command = stage.link.next_command().await;
    let expected = MediaCommand::Latch {
        alloc: ALLOC,
        component: Component::Rtp,
        slot: Slot(2),
        generation: Generation(1),
    };
    assert_eq!(command, expected);
}

#[tokio::test]
async fn what_is_not_authentic_reaches_nobody() {
    let mut stage = Stage::new();
    let mut stranger = Client {
        send: Sender::new(&keys(66)).unwrap(),
        receive: Receiver::default(),
    };
    for sequence in 0..3 {
        let forged = stranger.frame(3, &rtp(sequence, b"evil"));
        stage.far.send(&forged).unwrap();
    }
    stage.far.send(b"no frame").unwrap();
    let hello = stage.client.frame(1, &rtp(1, b"hello"));
    stage.far.send(&hello).unwrap();

    let (heard, _) = receive(&stage.phone);

    assert_eq!(heard, rtp(1, b"hello"), "the first that reaches the phone");
    let rejected = stage.link.next_command().await;
    assert!(matches!(
        rejected,
        MediaCommand::Reject { slot: Slot(3), .. }
    ));
    let latched = stage.link.next_command().await;
    assert!(matches!(latched, MediaCommand::Latch { slot: Slot(1), .. }));
}

#[test]
fn a_stream_that_stops_is_summed_up_and_its_ports_are_closed() {
    let mut stage = Stage::new();
    for sequence in [1, 2, 4] {
        let frame = stage.client.frame(1, &rtp(sequence, b"x"));
        stage.far.send(&frame).unwrap();
        drop(receive(&stage.phone));
    }

    let stop = PlanChange::Stop(StreamId(1), StopReason::Bye);
    assert!(stage.engine.order(Order::Plan(stop)));
    stage.engine.wake();

    let wait = Duration::from_secs(10);
    let Ok(Happened::Ended(StreamId(1), StopReason::Bye, summary)) =
        stage.happened.recv_timeout(wait)
    else {
        panic!("the stream has not ended");
    };
    assert_eq!((summary.outer.received, summary.outer.lost), (3, 1));
    assert_eq!(summary.inner.sent, 3);
    assert!(
        UdpSocket::bind(stage.inner).is_ok(),
        "the port is free again"
    );
}

/// The whole of edge-c's media with a link that the test answers.
struct Desk {
    bodies: Box<dyn BodyAnchor + Send>,
    link: Arc<MediaLink>,
    far: UdpSocket,
    peer: FlowPeer,
}

impl Desk {
    /// Answers what is asked for until ports are there.
    async fn new() -> Self {
        let metrics = MediaMetrics::register(&mut Registry::default());
        let (far, trunk) = trunk();
        let edge = EdgeMedia {
            name: "edge1".into(),
            trunk,
        };
        let media = Media::start(&config(), vec![edge], metrics).unwrap();
        let link = media.link(EDGE).unwrap();
        let bodies = media.bodies();
        let mut stocked = media.stocked();
        drop(tokio::spawn(media.run()));
        assert_eq!(
            link.whole_state(),
            MediaCommand::Keep { allocs: Vec::new() }
        );
        let peer = FlowPeer {
            edge: EDGE,
            client: ClientAddr("198.51.100.7:5000".parse().unwrap()),
            transport: Transport::Tls,
            server_name: None,
            tracking: TrackingId::new([7; 16]),
        };
        let mut ports = (36_000..).step_by(2);
        let mut audio = 0;
        while audio < 1 {
            let MediaCommand::Allocate { alloc, class, .. } = link.next_command().await else {
                continue;
            };
            audio += u32::from(class == MediaClass::Audio);
            let rtp = ports.next().unwrap();
            link.report(MediaReport::Allocated {
                alloc,
                rtp,
                rtcp: rtp + 1,
                addresses: vec!["203.0.113.10".parse().unwrap()],
            });
        }
        stocked.wait_for(|is_stocked| *is_stocked).await.unwrap();
        Self {
            bodies,
            link,
            far,
            peer,
        }
    }

    fn pass(&mut self, direction: BodyDirection, code: Option<u16>, body: &str) -> String {
        let context = BodyContext {
            call: CallKey(1),
            flow: FlowId(1),
            peer: &self.peer,
            direction,
            policy: proxy::MediaPolicy::Rtp,
            method: BodyMethod::Invite,
            cseq: 1,
            is_initial: true,
            code,
            fork: code.map(|_| &b"fork"[..]),
            inner: "127.0.0.1".parse().unwrap(),
            is_reliable: false,
            content_type: Some(b"application/sdp"),
            call_id: b"secret-call@example.com",
        };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let verdict = match code {
            None => self.bodies.request(&context, &body),
            Some(_) => self.bodies.response(&context, &body),
        };
        let BodyVerdict::Replace(body) = verdict else {
            panic!("{verdict:?}");
        };
        String::from_utf8(body.to_vec()).unwrap()
    }
}

fn sdp(address: &str, port: u16, profile: &str, crypto: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\n{crypto}"
    )
}

/// Key and salt of the first `a=crypto` line.
fn crypto_of(sdp: &str) -> SrtpKeys {
    use base64::Engine as _;
    let line = sdp
        .lines()
        .find(|line| line.starts_with("a=crypto:"))
        .unwrap();
    let suite = line.split(' ').nth(1).and_then(SrtpSuite::parse).unwrap();
    let (_, inline) = line.split_once("inline:").unwrap();
    let inline = inline.split(['|', ' ']).next().unwrap();
    let material = base64::engine::general_purpose::STANDARD
        .decode(inline)
        .unwrap();
    SrtpKeys::new(suite, &material, None).unwrap()
}

fn port_of(sdp: &str) -> u16 {
    let line = sdp
        .lines()
        .find(|line| line.starts_with("m=audio "))
        .unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_call_from_the_offer_to_the_voices_and_its_end() {
    use base64::Engine as _;
    let mut desk = Desk::new().await;
    let phone = socket();
    let inline = base64::engine::general_purpose::STANDARD.encode([1_u8; 30]);
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{inline}\r\n");

    // The client offers SRTP; the phone sees RTP at an inner port of edge-c.
    let offer = sdp("192.168.1.5", 4000, "RTP/SAVP", &crypto);
    let inside = desk.pass(BodyDirection::FromClient, None, &offer);
    assert!(
        inside.contains("RTP/AVP 0") && inside.contains("c=IN IP4 127.0.0.1"),
        "{inside}"
    );
    assert!(
        !inside.contains("crypto") && !inside.contains("192.168.1.5"),
        "{inside}"
    );
    let inner: SocketAddr = format!("127.0.0.1:{}", port_of(&inside)).parse().unwrap();

    // The phone answers; the client sees SRTP at edge-e's public port.
    let answer = sdp(
        "127.0.0.1",
        phone.local_addr().unwrap().port(),
        "RTP/AVP",
        "",
    );
    let outside = desk.pass(BodyDirection::ToClient, Some(200), &answer);
    assert!(
        outside.contains("RTP/SAVP 0") && outside.contains("203.0.113.10"),
        "{outside}"
    );

    // Voices, as soon as edge-e forwards them.
    let alloc = loop {
        if let MediaCommand::FlowAddress { alloc, address, .. } = desk.link.next_command().await {
            assert_eq!(address, desk.peer.client.0.ip());
            break alloc;
        }
    };
    let own = SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &[1; 30], None).unwrap();
    let mut sender = Sender::new(&own).unwrap();
    let mut receiver = Receiver::new(&[crypto_of(&outside)]).unwrap();
    let packet = rtp(1, b"hello");
    let head = Head::whole(alloc, Component::Rtp, Slot(1), Generation(1)).encode();
    let mut frame = [&head[..], &packet, &[0; 40]].concat();
    let header = RtpHeader::decode(&packet).unwrap();
    let len = sender
        .seal_rtp(&mut frame[6..], packet.len(), &header)
        .unwrap();
    desk.far.send(&frame[..6 + len]).unwrap();
    assert_eq!(receive(&phone).0, packet);
    phone.send_to(&rtp(5, b"answer"), inner).unwrap();
    let (frame, _) = receive(&desk.far);
    let mut packet = Head::decode(&frame).unwrap().1.to_vec();
    let header = RtpHeader::decode(&packet).unwrap();
    let len = receiver.open_rtp(&mut packet, &header).unwrap();
    assert_eq!(packet[..len], rtp(5, b"answer"));

    // The end: the public port is given back.
    desk.bodies.ended(CallKey(1), CallEnd::Bye);
    loop {
        if let MediaCommand::Release { alloc: released } = desk.link.next_command().await
            && released == alloc
        {
            break;
        }
    }
}

#[tokio::test]
async fn after_a_reset_spare_ports_are_asked_for_anew_and_only_those_in_use_are_kept() {
    let desk = Desk::new().await;

    let keep = desk.link.whole_state();

    assert_eq!(keep, MediaCommand::Keep { allocs: Vec::new() });
    // What was spare is released, and as much is asked for again.
    while !matches!(desk.link.next_command().await, MediaCommand::Release { .. }) {}
    loop {
        if let MediaCommand::Allocate {
            class: MediaClass::Audio,
            ..
        } = desk.link.next_command().await
        {
            break;
        }
    }
}
