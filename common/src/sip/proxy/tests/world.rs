//! A small world in memory: clients on flows, registrar nodes, a clock that tests move.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::id::{EdgeIndex, TrackingId};
use crate::net::{ClientAddr, Deployment, Host};
use crate::redact::Secret;
use crate::sip::auth::TokenFault;
use crate::sip::digest::{Algorithm, HashSource};
use crate::sip::flow_token::FlowTokenKeys;
use crate::sip::identity::Aor;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::proxy::*;
use crate::sip::response::Response;
use crate::testing::epoch;

pub(super) const ALICE: FlowId = FlowId(0xa11c_e000_0000_0001);
pub(super) const BOB: FlowId = FlowId(0xb0b0_0000_0000_0002);

/// Writes down what it is shown and does what it is told.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    pub(super) shown: Vec<String>,
    pub(super) ended: Vec<(CallKey, CallEnd)>,
    pub(super) verdict: Option<BodyVerdict>,
}

impl Bodies {
    fn show(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict {
        let arrow = match context.direction {
            BodyDirection::FromClient => "in",
            BodyDirection::ToClient => "out",
        };
        let code = context
            .code
            .map_or(String::new(), |code| format!(" {code}"));
        let fork = context.fork.map_or(String::new(), |tag| {
            format!(" fork={}", String::from_utf8_lossy(tag))
        });
        let (method, length) = (context.method, body.len());
        self.shown
            .push(format!("{arrow} {method:?}{code}{fork} {length}"));
        self.verdict.clone().unwrap_or(BodyVerdict::Pass)
    }
}

impl BodyAnchor for Bodies {
    fn request(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict {
        self.show(context, body)
    }

    fn response(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict {
        self.show(context, body)
    }

    fn ended(&mut self, call: CallKey, how: CallEnd) {
        self.ended.push((call, how));
    }
}

/// User 1001 with the password "secret" and the token "good"; a session from one address.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) signed_in: Option<IpAddr>,
}

impl HashSource for Users {
    fn ha1(&self, username: &str, realm: &str, algorithm: Algorithm) -> Option<Secret<String>> {
        (username == "1001").then(|| {
            Secret::new(algorithm.hash(&[username.as_bytes(), realm.as_bytes(), b"secret"]))
        })
    }

    fn is_signed_in(&self, username: &str, address: Option<IpAddr>) -> bool {
        let is_there = |at: IpAddr| address.is_none_or(|address| address == at);
        username == "1001" && self.signed_in.is_some_and(is_there)
    }

    fn check_token(&self, aor: &Aor, token: &str) -> Result<(), TokenFault> {
        match token {
            "good" if aor.as_str() == "1001@lab.test" => Ok(()),
            "over" => Err(TokenFault::Expired),
            "made-up" => Err(TokenFault::Forged),
            "early" => Err(TokenFault::Unavailable),
            _ => Err(TokenFault::Refused),
        }
    }

    fn authorization_server(&self, _: &Aor) -> Option<String> {
        Some("https://idp.lab.test".to_owned())
    }
}

pub(super) struct World {
    pub(super) proxy: Proxy,
    pub(super) now: Instant,
    pub(super) bodies: Bodies,
    pub(super) users: Users,
    pub(super) sent: VecDeque<Transmit>,
    pub(super) events: Vec<Event>,
}

pub(super) fn node(id: u32, transport: Transport) -> Node {
    Node {
        id: NodeId(id),
        transport,
        address: format!("10.0.0.{}:5060", 9 + id).parse().unwrap(),
        host: Host::parse(&format!("node{id}.lab.test")).unwrap(),
    }
}

pub(super) fn registrar() -> Registrar {
    Registrar {
        name: "lab".into(),
        hosts: vec![Host::parse("lab.test").unwrap()],
        nodes: vec![node(1, Transport::Tcp)],
        mode: RegistrarMode::Path,
        media: MediaPolicy::Rtp,
        authentication: Authentication::Registrar,
        deployment: Deployment::standard(),
    }
}

pub(super) fn config() -> Config {
    Config {
        inner: InnerNames {
            udp: Some("10.0.0.5:5060".parse().unwrap()),
            tcp: Some("10.0.0.5:5060".parse().unwrap()),
            tls: Some("10.0.0.5:5061".parse().unwrap()),
            aliases: vec![Host::parse("192.168.2.100").unwrap()],
        },
        edges: vec![EdgeName {
            index: EdgeIndex(0),
            host: "edge.lab.test:5061".parse().unwrap(),
            others: Vec::new(),
        }],
        registrars: vec![registrar()],
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

impl World {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        let now = epoch();
        let mut world = Self {
            proxy: Proxy::new(config, [9; 32], now),
            now,
            bodies: Bodies::default(),
            users: Users::default(),
            sent: VecDeque::new(),
            events: Vec::new(),
        };
        world.open(ALICE);
        world.open(BOB);
        world
    }

    pub(super) fn open(&mut self, flow: FlowId) {
        let peer = FlowPeer {
            edge: EdgeIndex(0),
            client: ClientAddr("203.0.113.7:40001".parse().unwrap()),
            transport: Transport::Tls,
            server_name: None,
            tracking: TrackingId::new([7; 16]),
        };
        self.proxy.handle_flow_opened(flow, peer, self.now);
        self.drain();
    }

    pub(super) fn run(&mut self, act: impl FnOnce(&mut Proxy, &mut Services<'_>, Instant)) {
        let mut services = Services {
            bodies: &mut self.bodies,
            hashes: &self.users,
        };
        act(&mut self.proxy, &mut services, self.now);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(transmit) = self.proxy.poll_transmit() {
            self.sent.push_back(transmit);
        }
        while let Some(event) = self.proxy.poll_event() {
            self.events.push(event);
        }
    }

    /// A client sends; lines may end in a plain line feed.
    pub(super) fn client(&mut self, flow: FlowId, text: impl AsRef<[u8]>) {
        let bytes = wire(text.as_ref());
        self.run(|proxy, services, now| proxy.handle_flow_message(flow, bytes, services, now));
    }

    /// A node of the registrar sends.
    pub(super) fn node(&mut self, text: impl AsRef<[u8]>) {
        self.node_over(Transport::Tcp, text);
    }

    pub(super) fn node_over(&mut self, transport: Transport, text: impl AsRef<[u8]>) {
        let bytes = wire(text.as_ref());
        let peer = NodePeer {
            transport,
            local: "10.0.0.5:5060".parse().unwrap(),
            remote: "10.0.0.10:5060".parse().unwrap(),
            connection: transport.is_reliable().then_some(ConnectionId(1)),
        };
        self.run(|proxy, services, now| proxy.handle_node_message(peer, bytes, services, now));
    }

    pub(super) fn close(&mut self, flow: FlowId) {
        self.run(|proxy, services, now| proxy.handle_flow_closed(flow, services, now));
    }

    pub(super) fn fail(&mut self, id: TransmitId) {
        self.run(|proxy, services, now| proxy.handle_transmit_failed(id, services, now));
    }

    /// Lets time pass, waking the core whenever it wants.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.proxy.poll_timeout()
            && at <= end
        {
            self.now = at;
            self.run(Proxy::handle_timeout);
        }
        self.now = end;
    }

    /// The next message, which must go to a node.
    pub(super) fn node_gets(&mut self) -> Message {
        self.node_gets_with_id().0
    }

    pub(super) fn node_gets_with_id(&mut self) -> (Message, TransmitId, Option<NodeId>) {
        let transmit = self.sent.pop_front().expect("something for a node");
        let Destination::Node { node, .. } = transmit.to else {
            panic!("not for a node: {}", show(&transmit.bytes));
        };
        let message = Message::parse(transmit.bytes).expect("what was sent can be read");
        (message, transmit.id, node)
    }

    /// The next message, which must go to this client.
    pub(super) fn client_gets(&mut self, flow: FlowId) -> Message {
        let transmit = self.sent.pop_front().expect("something for a client");
        assert_eq!(
            transmit.to,
            Destination::Flow(flow),
            "{}",
            show(&transmit.bytes)
        );
        Message::parse(transmit.bytes).expect("what was sent can be read")
    }

    /// Nothing else was sent.
    pub(super) fn assert_silent(&self) {
        let all: Vec<_> = self.sent.iter().map(|t| show(&t.bytes)).collect();
        assert!(all.is_empty(), "{all:#?}");
    }

    /// Registers `user` on a flow, with a challenge.
    pub(super) fn register(&mut self, flow: FlowId, user: &str) {
        self.client(flow, register(user, 1, ""));
        let request = self.node_gets();
        self.node(challenge(&request));
        assert_eq!(self.client_gets(flow).status(), Some(401));
        self.client(flow, register(user, 2, CREDENTIALS));
        let request = self.node_gets();
        self.node(accept(&request, 3600, ""));
        assert_eq!(self.client_gets(flow).status(), Some(200));
        self.assert_silent();
    }

    pub(super) fn refusals(&self) -> Vec<RefusalReason> {
        let refusal = |event: &Event| {
            if let Event::Refused { reason, .. } = event {
                Some(*reason)
            } else {
                None
            }
        };
        self.events.iter().filter_map(refusal).collect()
    }
}

pub(super) const CREDENTIALS: &str = "Authorization: Digest username=\"1001\", realm=\"lab.test\", \
     nonce=\"n1\", uri=\"sip:lab.test\", response=\"r\", qop=auth, nc=00000001, cnonce=\"c\"\n";

fn wire(text: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(text);
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    text.into_bytes().into()
}

pub(super) fn show(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The host part of the Contact of a client: private, and never used for routing.
pub(super) fn contact(user: &str) -> String {
    format!("sip:{user}-0x55@127.0.0.21:5172;transport=tls")
}

pub(super) fn register(user: &str, cseq: u32, extra: &str) -> String {
    register_for(user, cseq, 3600, extra)
}

pub(super) fn register_for(user: &str, cseq: u32, expires: u32, extra: &str) -> String {
    format!(
        "REGISTER sip:lab.test;transport=tls SIP/2.0\n\
         Via: SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bKreg{user}{cseq};rport\n\
         Contact: <{contact}>;expires={expires};+sip.instance=\"<urn:uuid:{user}>\";reg-id=1\n\
         Max-Forwards: 70\n\
         To: <sip:{user}@lab.test>\n\
         From: <sip:{user}@lab.test>;tag=reg{user}\n\
         Call-ID: register-{user}\n\
         CSeq: {cseq} REGISTER\n\
         Supported: gruu, outbound, path\n\
         {extra}Content-Length: 0\n\n",
        contact = contact(user),
    )
}

pub(super) fn reply(request: &Message, code: u16, extra: &str) -> String {
    let mut response = Response::new(request, code).to_tag(b"registrar");
    for line in extra.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    show(&response.to_bytes())
}

pub(super) fn challenge(request: &Message) -> String {
    reply(
        request,
        401,
        "WWW-Authenticate: Digest realm=\"lab.test\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\n",
    )
}

/// 200 to a REGISTER: the contacts of the request, kept for `expires` seconds.
pub(super) fn accept(request: &Message, expires: u32, extra: &str) -> String {
    assert_eq!(request.method(), Method::Register);
    let mut lines = String::from(extra);
    for contact in request.contacts().filter_map(|contact| contact.address()) {
        let uri = String::from_utf8_lossy(contact.uri().as_bytes()).into_owned();
        lines.push_str(&format!("Contact: <{uri}>;expires={expires}\n"));
    }
    lines.push_str("Require: outbound\n");
    reply(request, 200, &lines)
}

pub(super) const SDP: &str = "v=0\no=- 1 1 IN IP4 127.0.0.21\ns=-\nc=IN IP4 127.0.0.21\nt=0 0\n\
     m=audio 36090 RTP/SAVP 0\n";

/// INVITE of a registered client.
pub(super) fn invite(from: &str, to: &str, cseq: u32, extra: &str) -> String {
    let length = SDP.len() + SDP.lines().count();
    format!(
        "INVITE sip:{to}@lab.test;transport=tls SIP/2.0\n\
         Via: SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bKinv{cseq};rport\n\
         Contact: <{contact}>\n\
         Max-Forwards: 70\n\
         To: <sip:{to}@lab.test;transport=tls>\n\
         From: <sip:{from}@lab.test>;tag=caller\n\
         Call-ID: call-{from}\n\
         CSeq: {cseq} INVITE\n\
         {extra}Content-Type: application/sdp\n\
         Content-Length: {length}\n\n{SDP}",
        contact = contact(from),
    )
}

/// A request inside the dialog of [`invite`].
pub(super) fn within(method: &str, from: &str, to: &str, cseq: u32, routes: &str) -> String {
    format!(
        "{method} sip:{to}@10.0.0.10:5060;transport=tcp SIP/2.0\n\
         Via: SIP/2.0/TLS 127.0.0.21:5172;branch=z9hG4bK{method}{cseq};rport\n\
         {routes}Max-Forwards: 70\n\
         To: <sip:{to}@lab.test;transport=tls>;tag=callee\n\
         From: <sip:{from}@lab.test>;tag=caller\n\
         Call-ID: call-{from}\n\
         CSeq: {cseq} {method}\n\
         Content-Length: 0\n\n"
    )
}

/// The Route headers of a caller, from the response that made the dialog.
pub(super) fn routes_of_caller(response: &Message) -> String {
    let mut routes: Vec<String> = response
        .record_routes()
        .map(|route| format!("Route: {}\n", String::from_utf8_lossy(route.as_bytes())))
        .collect();
    routes.reverse();
    routes.concat()
}

/// A call of Alice's that rings inside, and the INVITE as it got there.
pub(super) fn ringing() -> (World, Message) {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let request = world.node_gets();
    world.node(reply(&request, 180, ""));
    world.client_gets(ALICE);
    (world, request)
}

/// All values of a header as text.
pub(super) fn values(message: &Message, name: Name) -> Vec<String> {
    message
        .values(name)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}
