use std::sync::Arc;
use std::time::Duration;

use certs::{Authority, Leaf};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::client::{Linked, TrunkClient};
use super::server::TrunkServer;
use super::*;
use crate::id::{AllocId, CoreId};
use crate::link::greeting::{Answer, Hello, PROTOCOL, Purpose, RefusalKind};
use crate::media::class::Component;
use crate::media::trunk_frame::Head;
use crate::net::Domain;
use crate::redact::Secret;
use crate::runtime::clock;
use crate::runtime::udp::BulkSocket;
use crate::runtime::udp::poll::{Poller, Token};
use crate::tls::config as tls;

const CORE: CoreId = CoreId(1);

fn certified(identity: &certs::Identity) -> CertifiedKey {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    CertifiedKey::from_der(chain, key, &tls::provider()).unwrap()
}

/// Both ends of a trunk on loopback, driven by one thread.
struct Pair {
    client: TrunkClient,
    server: TrunkServer,
    poller: Poller,
    linked: Linked,
    server_tls: Arc<quinn_proto::ServerConfig>,
    to_core: Vec<Vec<u8>>,
    to_edge: Vec<Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        let authority = Authority::new("link").unwrap();
        let mut anchors = RootCertStore::empty();
        let pem = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        anchors.add(pem).unwrap();
        let edge = Leaf::server(&["edge1.link".to_owned()]);
        let core = Leaf::client(&["core1.link".to_owned()]);
        let edge = certified(&authority.issue(&edge).unwrap());
        let core = certified(&authority.issue(&core).unwrap());
        let server_tls = tls::link_server(edge, anchors.clone()).unwrap();
        let client_tls = tls::link_client(core, anchors).unwrap();

        let socket = BulkSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.socket().local_addr().unwrap();
        let server_tls = Arc::new(settings::server(&server_tls).unwrap());
        let server = TrunkServer::new(vec![socket], &server_tls, Box::new(gate), clock::now());
        let client = TrunkClient::new(None, clock::now()).unwrap();
        let poller = Poller::new().unwrap();
        for socket in client.sockets().into_iter().chain(server.sockets()) {
            poller.add(socket, Token(0)).unwrap();
        }
        let linked = Linked {
            address,
            instance: 1,
            certificate_name: Domain::parse("edge1.link").unwrap(),
            tls: Arc::new(client_tls),
            hello: hello("nonce"),
        };
        Self {
            client,
            server,
            poller,
            linked,
            server_tls,
            to_core: Vec::new(),
            to_edge: Vec::new(),
        }
    }

    /// A server that knows nothing of the one before it, at the same address.
    fn restart_server(&mut self) {
        let address = self.linked.address;
        let elsewhere = BulkSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let idle = TrunkServer::new(
            vec![elsewhere],
            &self.server_tls,
            Box::new(gate),
            clock::now(),
        );
        drop(std::mem::replace(&mut self.server, idle));
        let socket = BulkSocket::bind(address).unwrap();
        self.server =
            TrunkServer::new(vec![socket], &self.server_tls, Box::new(gate), clock::now());
        for socket in self.server.sockets() {
            self.poller.add(socket, Token(0)).unwrap();
        }
    }

    fn link(&mut self) {
        self.server.set_nonce(CORE, Secret::new("nonce".to_owned()));
        self.client.handle().linked(self.linked.clone());
    }

    /// Lets both ends work until `is_done`, and no longer than some seconds.
    fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = clock::now() + Duration::from_secs(10);
        while clock::now() < end {
            let now = clock::now();
            let Self {
                to_core, to_edge, ..
            } = self;
            self.client
                .receive(now, &mut |frame| to_core.push(frame.to_vec()));
            self.server
                .receive(now, &mut |_, frame| to_edge.push(frame.to_vec()));
            self.client.flush(now);
            self.server.flush(now);
            if is_done(self) {
                return true;
            }
            let wakeups =
                crate::time::earliest(self.client.poll_timeout(), self.server.poll_timeout());
            let until = wakeups.map_or(end, |(at, _)| at.min(end));
            self.poller.wait(Some(until), clock::now()).unwrap();
        }
        false
    }

    fn stands(&self) -> bool {
        self.client.path() == TrunkPath::Quic && self.server.path(CORE) == TrunkPath::Quic
    }
}

fn gate(hello: &Hello, names: &[Domain]) -> Result<Answer, Answer> {
    let is_named = names.iter().any(|name| name.as_str() == hello.core);
    if is_named {
        Ok(welcome())
    } else {
        Err(refused())
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

fn refused() -> Answer {
    Answer::Refused {
        reason: "not you".to_owned(),
        remedy: String::new(),
        version: String::new(),
        kind: RefusalKind::default(),
    }
}

fn hello(nonce: &str) -> Hello {
    Hello {
        version: String::new(),
        protocol: PROTOCOL,
        core: "core1.link".to_owned(),
        core_id: CORE,
        instance: 1,
        purpose: Purpose::Media,
        resume: None,
        nonce: Some(Secret::new(nonce.to_owned())),
    }
}

fn frame(alloc: u32, len: usize) -> Vec<u8> {
    let head = Head::to_client(AllocId(alloc), Component::Rtp).encode();
    head.into_iter().chain(vec![7; len]).collect()
}

#[test]
fn frames_of_any_length_cross_both_ways() {
    let mut pair = Pair::new();
    pair.link();
    assert!(pair.run_until(Pair::stands));

    let mut frames: Vec<Vec<u8>> = (0..100).map(|n| frame(n, 172)).collect();
    frames.extend([frame(200, 1), frame(201, 1200), frame(202, 1460)]);
    for frame in &frames {
        pair.client.send(MediaClass::Audio, frame);
        pair.server.send(CORE, MediaClass::Video, frame);
    }
    let all = frames.len();
    assert!(pair.run_until(|pair| pair.to_core.len() == all && pair.to_edge.len() == all));

    for mut arrived in [pair.to_core.clone(), pair.to_edge.clone()] {
        arrived.sort();
        frames.sort();
        assert_eq!(arrived, frames);
    }
    assert_eq!(pair.client.counts().dropped, 0);
}

#[test]
fn without_the_nonce_of_the_control_stream_there_is_no_trunk() {
    let mut pair = Pair::new();
    pair.server
        .set_nonce(CORE, Secret::new("another".to_owned()));
    pair.client.handle().linked(pair.linked.clone());

    assert!(pair.run_until(|pair| pair.client.counts().failures > 0));
    assert_eq!(pair.server.path(CORE), TrunkPath::Down);

    pair.server.set_nonce(CORE, Secret::new("nonce".to_owned()));
    assert!(pair.run_until(Pair::stands));
}

#[test]
fn a_core_that_the_gate_refuses_gets_no_trunk() {
    let mut pair = Pair::new();
    pair.linked.hello.core = "core2.link".to_owned();
    pair.link();

    assert!(pair.run_until(|pair| pair.client.counts().failures > 1));
    assert_eq!(pair.server.path(CORE), TrunkPath::Down);
}

#[test]
fn a_trunk_to_an_edge_that_was_restarted_is_dialled_again() {
    let mut pair = Pair::new();
    pair.link();
    assert!(pair.run_until(Pair::stands));

    pair.restart_server();
    assert_eq!(pair.server.path(CORE), TrunkPath::Down);
    pair.linked.instance = 2;
    pair.link();

    assert!(pair.run_until(Pair::stands));
}

#[test]
fn where_udp_is_blocked_frames_go_over_tcp_until_it_is_not() {
    let mut pair = Pair::new();
    let blocked = BulkSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let open = pair.linked.address;
    pair.linked.address = blocked.socket().local_addr().unwrap();
    pair.link();
    let wants_tcp = pair.client.handle().wants_tcp();
    assert!(pair.run_until(|_| *wants_tcp.borrow()));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (pipe, end) = pipe::pipe(crate::runtime::udp::poll::Waker::new().unwrap());
    runtime.spawn(pair.client.handle().pipe().drive(here));
    runtime.spawn(end.drive(there));
    pair.server.attach(CORE, pipe);
    let is_tcp = |pair: &Pair| pair.client.path() == TrunkPath::Tcp;
    assert!(pair.run_until(is_tcp));
    let sent = frame(1, 172);
    pair.client.send(MediaClass::Audio, &sent);
    pair.server.send(CORE, MediaClass::Audio, &sent);
    assert!(pair.run_until(|pair| pair.to_core == [sent.clone()]));
    assert!(pair.run_until(|pair| pair.to_edge == [sent.clone()]));

    pair.linked.address = open;
    pair.link();
    assert!(pair.run_until(Pair::stands));
    assert!(!*wants_tcp.borrow());
}

#[test]
fn a_frame_allocates_nothing_of_its_own() {
    let mut pair = Pair::new();
    pair.link();
    assert!(pair.run_until(Pair::stands));
    let sent = frame(1, 172);
    let mut received = 0;
    let mut turn = |pair: &mut Pair| {
        let now = clock::now();
        for _ in 0..FRAMES_PER_TURN {
            pair.client.send(MediaClass::Audio, &sent);
        }
        pair.client.flush(now);
        pair.server.receive(now, &mut |_, _| received += 1);
        pair.server.flush(now);
        pair.client.receive(now, &mut |_| {});
    };
    (0..20).for_each(|_| turn(&mut pair));

    let counted = allocation_counter::measure(|| (0..100).for_each(|_| turn(&mut pair)));

    // What QUIC remembers of a packet is shared by the seven frames in it; system calls and acknowledgements cost some.
    let frames = 100 * FRAMES_PER_TURN;
    assert!(received >= frames, "{received}");
    let per_frame = counted.count_total * 100 / frames;
    assert!(per_frame <= 50, "{per_frame} allocations in 100 frames");
}

const FRAMES_PER_TURN: u64 = 70;
