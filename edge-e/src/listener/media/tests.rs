use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use certs::{Authority, Leaf};
use common::id::AllocId;
use common::link::control::message::MediaReport;
use common::link::greeting::{Answer, Hello, PROTOCOL, Purpose};
use common::media::class::{Component, Generation, MediaClass, Slot};
use common::media::trunk_frame::{HEAD_BYTES, Head};
use common::net::Domain;
use common::redact::Secret;
use common::runtime::clock;
use common::runtime::trunk::client::{Linked, TrunkClient};
use common::runtime::trunk::{MediaTrunk as _, TrunkPath};
use common::runtime::udp::poll::{Poller, Token};
use common::tls::config as tls;
use prometheus_client::registry::Registry;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

const CORE: CoreId = CoreId(1);
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A media thread, and an edge-c that speaks to it over a control channel and a real trunk.
struct Scene {
    media: MediaHandle,
    reports: mpsc::Receiver<Report>,
    trunk: TrunkClient,
    poller: Poller,
    registry: Registry,
    /// What has come over the trunk and was not asked for yet.
    arrived: Vec<(Head, Vec<u8>)>,
}

fn certified(identity: &certs::Identity) -> CertifiedKey {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    CertifiedKey::from_der(chain, key, &tls::provider()).unwrap()
}

impl Scene {
    /// With the trunk up.
    fn new() -> Self {
        let authority = Authority::new("link").unwrap();
        let mut anchors = RootCertStore::empty();
        let pem = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        anchors.add(pem).unwrap();
        let edge = Leaf::server(&["edge1.link".to_owned()]);
        let core = Leaf::client(&["core1.link".to_owned()]);
        let edge = certified(&authority.issue(&edge).unwrap());
        let core = certified(&authority.issue(&core).unwrap());
        let trunk = BulkSocket::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        let address = trunk.socket().local_addr().unwrap();
        let mut registry = Registry::default();
        let parts = Parts {
            ports: MediaPorts {
                listen: vec![LOOPBACK],
                advertised: vec![[192, 0, 2, 1].into()],
                ports: 20_000..=29_999,
            },
            trunks: vec![trunk],
            tls: Arc::new(tls::link_server(edge, anchors.clone()).unwrap()),
            gate: Box::new(|_, _| Ok(welcome())),
            metrics: MediaMetrics::register(&mut registry),
        };
        let (media, _ended) = start(parts).unwrap();
        let (sender, reports) = mpsc::channel(64);
        media.linked(CORE, sender);
        let mut scene = Self {
            media,
            reports,
            trunk: TrunkClient::new(Some(LOOPBACK), clock::now()).unwrap(),
            poller: Poller::new().unwrap(),
            registry,
            arrived: Vec::new(),
        };
        for socket in scene.trunk.sockets() {
            scene.poller.add(socket, Token(0)).unwrap();
        }
        let MediaReport::Nonce { nonce } = scene.report() else {
            panic!("the nonce comes first");
        };
        scene.trunk.handle().linked(Linked {
            address,
            instance: 1,
            certificate_name: Domain::parse("edge1.link").unwrap(),
            tls: Arc::new(tls::link_client(core, anchors).unwrap()),
            hello: hello(nonce),
        });
        scene.run_until(|scene| scene.trunk.path() == TrunkPath::Quic);
        scene
    }

    fn report(&mut self) -> MediaReport {
        match self.reports.blocking_recv() {
            Some(Report::Media(report)) => report,
            other => panic!("not about media: {other:?}"),
        }
    }

    fn command(&self, command: MediaCommand) {
        assert!(self.media.command(CORE, command));
    }

    /// Lets the trunk work until `is_done`.
    fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        let end = clock::now() + Duration::from_secs(10);
        while !is_done(self) {
            let now = clock::now();
            assert!(now < end, "it never came to that");
            let arrived = &mut self.arrived;
            self.trunk.receive(now, &mut |frame| {
                let (head, packet) = Head::decode(frame).unwrap();
                arrived.push((head, packet.to_vec()));
            });
            self.trunk.flush(now);
            if is_done(self) {
                return;
            }
            let until = now + Duration::from_millis(20);
            self.poller.wait(Some(until), now).unwrap();
        }
    }

    fn allocate(&mut self, alloc: AllocId) -> (SocketAddr, SocketAddr) {
        self.command(MediaCommand::Allocate {
            alloc,
            class: MediaClass::Audio,
            flow_address: Some(LOOPBACK),
            port: None,
        });
        match self.report() {
            MediaReport::Allocated { rtp, rtcp, .. } => (
                SocketAddr::new(LOOPBACK, rtp),
                SocketAddr::new(LOOPBACK, rtcp),
            ),
            other @ (MediaReport::Nonce { .. } | MediaReport::Refused { .. }) => {
                panic!("no ports: {other:?}")
            }
        }
    }

    /// The next packet of a client, as edge-c gets it.
    fn next_packet(&mut self) -> (Head, Vec<u8>) {
        self.run_until(|scene| !scene.arrived.is_empty());
        self.arrived.remove(0)
    }

    fn send_to_client(&mut self, alloc: AllocId, component: Component, packet: &[u8]) {
        let head = Head::to_client(alloc, component).encode();
        let frame = [&head[..], packet].concat();
        assert!(frame.len() > HEAD_BYTES);
        self.trunk.send(MediaClass::Audio, &frame);
        self.trunk.flush(clock::now());
    }

    fn latch(&self, head: &Head) {
        self.command(MediaCommand::Latch {
            alloc: head.alloc,
            component: head.component,
            slot: head.slot,
            generation: head.generation,
        });
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Until the thread has published a line that says so.
    fn wait_for_metric(&mut self, line: &str) {
        self.run_until(|scene| scene.metrics().contains(line));
    }
}

fn welcome() -> Answer {
    Answer::Welcome {
        version: String::new(),
        protocol: PROTOCOL,
        edge: "edge1".to_owned(),
        instance: 1,
        resume: None,
    }
}

fn hello(nonce: Secret<String>) -> Hello {
    Hello {
        version: String::new(),
        protocol: PROTOCOL,
        core: "core1.link".to_owned(),
        core_id: CORE,
        instance: 1,
        purpose: Purpose::Media,
        resume: None,
        nonce: Some(nonce),
    }
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

const ALLOC: AllocId = AllocId(0x00c0_ffee);

#[test]
fn a_call_passes_both_ways_once_its_source_is_latched() {
    let mut scene = Scene::new();
    let (rtp, rtcp) = scene.allocate(ALLOC);
    assert_eq!((rtp.port() % 2, rtcp.port()), (0, rtp.port() + 1));
    let phone = client();
    phone.send_to(b"first", rtp).unwrap();
    let (head, packet) = scene.next_packet();
    assert_eq!(
        (head.alloc, head.slot, &packet[..]),
        (ALLOC, Slot(1), &b"first"[..])
    );

    scene.send_to_client(ALLOC, Component::Rtp, b"too early");
    scene.wait_for_metric("media_drops_total{reason=\"not_latched\"} 1");
    scene.latch(&head);
    phone.send_to(b"second", rtp).unwrap();
    let (head, packet) = scene.next_packet();
    assert_eq!((head.slot, &packet[..]), (Slot::LATCHED, &b"second"[..]));

    scene.send_to_client(ALLOC, Component::Rtp, b"answer");
    assert_eq!(receive(&phone), (b"answer".to_vec(), rtp));
    scene.wait_for_metric("media_latches_total 1");
    scene.wait_for_metric("media_packets_total{direction=\"down\"} 1");
}

#[test]
fn a_stranger_gets_nothing_however_much_it_sends() {
    let mut scene = Scene::new();
    let (rtp, _) = scene.allocate(ALLOC);
    let (phone, stranger) = (client(), client());
    phone.send_to(b"phone", rtp).unwrap();
    let (head, _) = scene.next_packet();
    scene.latch(&head);

    for _ in 0..100 {
        stranger.send_to(b"stranger", rtp).unwrap();
    }
    scene.wait_for_metric("media_drops_total{reason=\"candidate_rate\"}");
    scene.send_to_client(ALLOC, Component::Rtp, b"for the phone");

    assert_eq!(receive(&phone).0, b"for the phone");
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv_from(&mut [0; 16]).is_err());
    let passed = scene
        .arrived
        .iter()
        .filter(|(_, packet)| packet == b"stranger");
    assert!(passed.count() <= 11);
}

#[test]
fn released_ports_are_closed_and_unknown_allocations_do_nothing() {
    let mut scene = Scene::new();
    let (rtp, _) = scene.allocate(ALLOC);
    let again = scene.allocate(ALLOC);
    assert_eq!(again.0, rtp);

    scene.command(MediaCommand::Keep { allocs: Vec::new() });
    scene.command(MediaCommand::Latch {
        alloc: ALLOC,
        component: Component::Rtp,
        slot: Slot(1),
        generation: Generation(1),
    });
    let (other, _) = scene.allocate(AllocId(2));

    assert_ne!(other, rtp);
    // Nobody listens there any more, so it can be had.
    assert!(UdpSocket::bind(rtp).is_ok());
}

#[test]
fn ports_that_another_process_has_are_passed_over() {
    let taken = client().local_addr().unwrap();
    let even = taken.port() & !1;
    let _taken = UdpSocket::bind(taken);
    let mut ports = ports::Ports::new(&MediaPorts {
        listen: vec![LOOPBACK],
        advertised: vec![LOOPBACK],
        ports: even..=even | 1,
    });

    let refused = ports.open(MediaClass::Audio.dscp(), clock::now());

    assert!(
        matches!(refused, Err(ports::NoPorts::Exhausted)),
        "{refused:?}"
    );
}

#[test]
fn connectivity_checks_under_the_password_are_answered_before_the_latch() {
    use stun_types::attribute::Username;
    use stun_types::message::{
        BINDING, IntegrityAlgorithm, Message, MessageIntegrityCredentials, MessageWrite as _,
        MessageWriteExt as _, MessageWriteVec, ShortTermCredentials,
    };
    let mut scene = Scene::new();
    let (rtp, _) = scene.allocate(ALLOC);
    scene.command(MediaCommand::Ice {
        alloc: ALLOC,
        ufrag: "edge".to_owned(),
        password: Secret::new("password".to_owned()),
    });
    let check = |password: &str| {
        let key = ShortTermCredentials::new(password.to_owned());
        let key = MessageIntegrityCredentials::ShortTerm(key);
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        let name = Username::new("edge:phone").unwrap();
        request.add_attribute(&name).unwrap();
        request
            .add_message_integrity(&key, IntegrityAlgorithm::Sha1)
            .unwrap();
        request.finish()
    };
    let phone = client();

    phone.send_to(&check("wrong"), rtp).unwrap();
    scene.wait_for_metric("media_drops_total{reason=\"check\"} 1");
    let right = check("password");
    phone.send_to(&right, rtp).unwrap();

    let (answer, from) = receive(&phone);
    assert_eq!((from, &answer[..2]), (rtp, &[1, 1][..]));
    assert_eq!(answer[8..20], right[8..20]);
}
