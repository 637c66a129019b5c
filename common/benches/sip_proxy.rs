//! What a registration and a call cost in the proxy core: parsing, checks, rewriting, transactions, timers.
#![expect(clippy::unwrap_used, reason = "a benchmark of known values")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::id::{EdgeIndex, TrackingId};
use common::net::{ClientAddr, Deployment, Host};
use common::sip::digest::NoHashes;
use common::sip::flow_token::FlowTokenKeys;
use common::sip::message::Message;
use common::sip::name::Name;
use common::sip::proxy::{
    Authentication, Config, ConnectionId, EdgeName, FlowId, FlowPeer, IdentityPolicy, InnerNames,
    MediaPolicy, Node, NodeId, NodePeer, PassBodies, Proxy, Registrar, RegistrarMode, Services,
    SessionGate, TokenPolicy, Transport,
};
use common::sip::response::Response;
use common::testing::epoch;
use divan::Bencher;

fn main() {
    divan::main();
}

const SDP: &str = "v=0\r\no=- 531538791 495064528 IN IP4 127.0.0.21\r\ns=-\r\nc=IN IP4 127.0.0.21\r\n\
    t=0 0\r\nm=audio 36090 RTP/SAVP 9 8 0 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:g9xDaa6O20UsO9vsoXQw5gJSjOp+TK4+9ahl15pY\r\n";

/// A registrar that answers at once, and a client that registered.
struct World {
    proxy: Proxy,
    now: Instant,
    count: u32,
    peer: NodePeer,
}

fn config() -> Config {
    Config {
        inner: InnerNames {
            tcp: Some("10.0.0.5:5060".parse().unwrap()),
            ..InnerNames::default()
        },
        edges: vec![EdgeName {
            index: EdgeIndex(0),
            host: "edge.lab.test:5061".parse().unwrap(),
            others: Vec::new(),
        }],
        registrars: vec![Registrar {
            name: "lab".into(),
            hosts: vec![Host::parse("lab.test").unwrap()],
            nodes: vec![Node {
                id: NodeId(1),
                transport: Transport::Tcp,
                address: "10.0.0.10:5060".parse().unwrap(),
                host: Host::parse("10.0.0.10").unwrap(),
            }],
            mode: RegistrarMode::Path,
            media: MediaPolicy::Rtp,
            authentication: Authentication::Registrar,
            deployment: Deployment::standard(),
        }],
        identity: IdentityPolicy {
            session_gate: SessionGate::Off,
            may_register_others: false,
            tokens: TokenPolicy::Pass,
        },
        flow_token_keys: FlowTokenKeys::new(&[7; 32], None),
        epoch: 1,
        flow_timer: Duration::from_secs(120),
    }
}

const FLOW: FlowId = FlowId(1);

impl World {
    fn new() -> Self {
        let now = epoch();
        let mut proxy = Proxy::new(config(), [9; 32], now);
        let peer = FlowPeer {
            edge: EdgeIndex(0),
            client: ClientAddr("203.0.113.7:40001".parse().unwrap()),
            transport: Transport::Tls,
            server_name: None,
            tracking: TrackingId::new([7; 16]),
        };
        proxy.handle_flow_opened(FLOW, peer, now);
        let mut world = Self {
            proxy,
            now,
            count: 0,
            peer: NodePeer {
                transport: Transport::Tcp,
                local: "10.0.0.5:5060".parse().unwrap(),
                remote: "10.0.0.10:5060".parse().unwrap(),
                connection: Some(ConnectionId(1)),
            },
        };
        world.register(401);
        world.register(200);
        world
    }

    /// One input and everything that comes of it; returns the last message that was sent.
    fn run(&mut self, act: impl FnOnce(&mut Proxy, &mut Services<'_>, Instant)) -> Option<Bytes> {
        // Ten milliseconds between two messages: timers of the last half minute are waiting.
        self.now += Duration::from_millis(10);
        let mut services = Services {
            bodies: &mut PassBodies,
            hashes: &NoHashes,
        };
        act(&mut self.proxy, &mut services, self.now);
        let mut last = None;
        while let Some(transmit) = self.proxy.poll_transmit() {
            last = Some(transmit.bytes);
        }
        while self.proxy.poll_event().is_some() {}
        if self
            .proxy
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            self.proxy.handle_timeout(&mut services, self.now);
            while self.proxy.poll_transmit().is_some() {}
        }
        last
    }

    fn client(&mut self, text: String) -> Bytes {
        self.run(|proxy, services, now| {
            proxy.handle_flow_message(FLOW, text.into(), services, now);
        })
        .unwrap()
    }

    fn node(&mut self, bytes: Bytes) -> Bytes {
        let peer = self.peer;
        self.run(|proxy, services, now| proxy.handle_node_message(peer, bytes, services, now))
            .unwrap()
    }

    fn register(&mut self, code: u16) {
        self.count += 1;
        let sent = self.client(register_text(self.count));
        let request = Message::parse(sent).unwrap();
        let mut response = Response::new(&request, code).to_tag(b"r");
        response = if code == 401 {
            response.header(
                Name::WwwAuthenticate,
                "Digest realm=\"lab.test\", nonce=\"n\", qop=\"auth\"",
            )
        } else {
            response.header(Name::Contact, request.value(Name::Contact).unwrap())
        };
        self.node(response.to_bytes());
    }

    /// INVITE, 180, 200, ACK, BYE, 200.
    fn call(&mut self) {
        self.count += 1;
        let invite = self.client(request_text("INVITE", self.count, "", "", SDP));
        let request = Message::parse(invite).unwrap();
        let answer = |code| {
            let mut response = Response::new(&request, code).to_tag(b"callee");
            response = response.header(
                Name::RecordRoute,
                "<sip:10.0.0.10;transport=tcp;lr;ftag=80804012baf93787>",
            );
            for value in request.values(Name::RecordRoute) {
                response = response.header(Name::RecordRoute, value);
            }
            response
        };
        self.node(answer(180).to_bytes());
        let ok = self.node(
            answer(200)
                .body("application/sdp", SDP.as_bytes())
                .to_bytes(),
        );
        let ok = Message::parse(ok).unwrap();
        let route = String::from_utf8_lossy(ok.value(Name::RecordRoute).unwrap());
        let route = format!("Route: {route}\r\n");
        self.client(request_text("ACK", self.count, ";tag=callee", &route, ""));
        self.count += 1;
        let bye = self.client(request_text("BYE", self.count, ";tag=callee", &route, ""));
        let bye = Message::parse(bye).unwrap();
        self.node(Response::new(&bye, 200).to_bytes());
    }
}

fn register_text(cseq: u32) -> String {
    format!(
        "REGISTER sip:lab.test;transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bKc3b97fbc4ee0{cseq};rport\r\n\
         Contact: <sip:1001-0x557f79bbe710@127.0.0.21:5172;transport=tls>;expires=120;\
         +sip.instance=\"<urn:uuid:11111111-1111-4111-8111-111111111111>\";reg-id=1\r\n\
         Max-Forwards: 70\r\nTo: <sip:1001@lab.test>\r\nFrom: <sip:1001@lab.test>;tag=f389aa7a2f0cc40a\r\n\
         Authorization: Digest username=\"1001\", realm=\"lab.test\", nonce=\"n\", uri=\"sip:lab.test\", \
         response=\"8db570bed38fc4723e716a2a675019e3\", cnonce=\"a5fb0eb6620479ec\", qop=auth, nc=00000001\r\n\
         Call-ID: d1d68be697f4232d\r\nCSeq: {cseq} REGISTER\r\nUser-Agent: baresip v1.0.0 (x86_64/linux)\r\n\
         Supported: gruu, outbound, path\r\n\
         Allow: INVITE,ACK,BYE,CANCEL,OPTIONS,NOTIFY,SUBSCRIBE,INFO,MESSAGE,REFER\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn request_text(method: &str, cseq: u32, to_tag: &str, route: &str, body: &str) -> String {
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:1002@lab.test;transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bK{method}{cseq};rport\r\n{route}\
         Contact: <sip:1001@lab.test;gr=urn:uuid:11111111-1111-4111-8111-111111111111>\r\n\
         Max-Forwards: 70\r\nTo: <sip:1002@lab.test;transport=tls>{to_tag}\r\n\
         From: <sip:1001@lab.test>;tag=80804012baf93787\r\nCall-ID: 2535a99ad3987f3d\r\n\
         CSeq: {cseq} {method}\r\nUser-Agent: baresip v1.0.0 (x86_64/linux)\r\n\
         Allow: INVITE,ACK,BYE,CANCEL,OPTIONS,NOTIFY,SUBSCRIBE,INFO,MESSAGE,REFER\r\n\
         Supported: gruu,path,outbound\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A refresh and its 200: two messages in, two out.
#[divan::bench]
fn refresh(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    bencher.bench_local(|| world.register(200));
}

/// A call of a client: six messages in, six out.
#[divan::bench]
fn call(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    bencher.bench_local(|| world.call());
}

/// What of a call is spent here on playing the client and the registrar: subtract it.
#[divan::bench]
fn call_without_the_core(bencher: Bencher<'_, '_>) {
    let invite = Bytes::from(request_text("INVITE", 1, "", "", SDP));
    bencher.bench_local(|| {
        let request = Message::parse(invite.clone()).unwrap();
        let ringing = Response::new(&request, 180).header(Name::RecordRoute, "<sip:10.0.0.10;lr>");
        let ok = Response::new(&request, 200).body("application/sdp", SDP.as_bytes());
        let texts = [
            request_text("INVITE", 1, "", "", SDP),
            request_text("ACK", 1, "", "", ""),
            request_text("BYE", 1, "", "", ""),
        ];
        let bye = Message::parse(texts[2].clone().into()).unwrap();
        let done = Response::new(&bye, 200);
        (ringing.to_bytes(), ok.to_bytes(), done.to_bytes(), texts)
    });
}
