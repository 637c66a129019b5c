//! What the `sip_proxy` fuzz target drives: four clients, a registrar with two nodes, messages in any order and form.

#![expect(
    clippy::indexing_slicing,
    reason = "a fuzz target reports by panicking; its tables are as long as their masks"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Authentication, CallKey, Config, Destination, EdgeName, Event, FlowId, FlowPeer,
    IdentityPolicy, InnerNames, MediaPolicy, Node, NodeId, NodePeer, PassBodies, Proxy, Registrar,
    RegistrarMode, Services, SessionGate, TokenPolicy, Transmit, Transport,
};
use crate::id::{EdgeIndex, TrackingId};
use crate::limits;
use crate::net::{ClientAddr, Deployment, Host, HostPort};
use crate::sip::digest::NoHashes;
use crate::sip::flow_token::FlowTokenKeys;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::response::Response;

const FLOWS: u8 = 4;
const PENDING_MAX: usize = 32;
const METHODS: [&str; 8] = [
    "INVITE",
    "BYE",
    "MESSAGE",
    "SUBSCRIBE",
    "OPTIONS",
    "UPDATE",
    "PRACK",
    "REFER",
];
const CODES: [u16; 16] = [
    100, 180, 183, 200, 202, 302, 401, 404, 407, 408, 422, 486, 487, 500, 503, 603,
];
const PAUSES_MS: [u64; 8] = [0, 1, 200, 5_000, 33_000, 181_000, 600_000, 3_700_000];

/// Reads steps out of `bytes`. Nothing may panic; whatever is sent can be read; no request of a client gets more final errors
/// than it was sent times; in the end nothing is left.
pub fn steps(bytes: &[u8]) {
    let mut world = World::new();
    let mut rest = bytes;
    while let [op, first, second, tail @ ..] = rest {
        rest = world.step(*op, *first, *second, tail);
    }
    world.finish();
}

struct World {
    proxy: Proxy,
    now: Instant,
    /// Requests that were sent on, and what identifies the sending.
    pending: Vec<(Transmit, Message)>,
    /// Routes that the pair handed out.
    routes: Vec<String>,
    cseq: u32,
    /// The call that was answered last.
    call: Option<CallKey>,
    /// How often each request of a client was sent.
    asked: BTreeMap<(FlowId, Vec<u8>), u32>,
    refused: BTreeMap<(FlowId, Vec<u8>), u32>,
}

impl World {
    fn new() -> Self {
        let now = crate::testing::epoch();
        Self {
            proxy: Proxy::new(config(), [3; 32], now),
            now,
            pending: Vec::new(),
            routes: Vec::new(),
            cseq: 0,
            call: None,
            asked: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    fn step<'a>(&mut self, op: u8, first: u8, second: u8, rest: &'a [u8]) -> &'a [u8] {
        let flow = FlowId(u64::from(first % FLOWS));
        match op % 12 {
            0 => self.open(flow),
            1 => self.run(|proxy, services, now| proxy.handle_flow_closed(flow, services, now)),
            2 | 3 => {
                let text = self.register(flow, second);
                self.client(flow, &text);
            }
            4 | 5 => {
                let text = self.request(flow, second);
                self.client(flow, &text);
            }
            6 => self.cancel_or_acknowledge(flow, second),
            7 | 8 => self.reply(first, second),
            9 => {
                let text = self.inside(first, second);
                self.node(text.into());
            }
            10 if second == 0xff => {
                if let Some(call) = self.call {
                    self.run(|proxy, services, now| proxy.hang_up(call, services, now));
                }
            }
            10 => self.pass(first),
            _ => return self.raw(flow, second, rest),
        }
        rest
    }

    fn open(&mut self, flow: FlowId) {
        let peer = FlowPeer {
            edge: EdgeIndex(0),
            client: ClientAddr(SocketAddr::from(([192, 0, 2, 7], 40_000))),
            transport: Transport::Tls,
            server_name: None,
            tracking: TrackingId::new([7; 16]),
        };
        self.proxy.handle_flow_opened(flow, peer, self.now);
        self.drain();
    }

    fn register(&mut self, flow: FlowId, variant: u8) -> String {
        self.cseq += u32::from(variant & 1 == 0);
        let user = 1000 + flow.0 + u64::from(variant >> 6);
        let contact = match variant >> 1 & 3 {
            0 => "Contact: <sip:a@192.0.2.7>;expires=0\r\n".to_owned(),
            1 => "Contact: *\r\nExpires: 0\r\n".to_owned(),
            _ => format!(
                "Contact: <sip:{user}@192.0.2.7>;+sip.instance=\"<urn:{}>\"\r\n",
                variant >> 5
            ),
        };
        let credentials = if variant & 8 == 0 {
            "Authorization: Digest username=\"u\", realm=\"r\", nonce=\"n\", response=\"r\"\r\n"
        } else {
            ""
        };
        format!(
            "REGISTER sip:lab.test SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bKr{cseq}\r\n\
             From: <sip:{user}@lab.test>;tag=r\r\nTo: <sip:{user}@lab.test>\r\nCall-ID: r{user}\r\n\
             CSeq: {cseq} REGISTER\r\nSupported: path\r\n{contact}{credentials}Content-Length: 0\r\n\r\n",
            cseq = self.cseq,
        )
    }

    fn request(&mut self, flow: FlowId, variant: u8) -> String {
        self.cseq += u32::from(variant & 8 == 0);
        let method = METHODS[usize::from(variant & 7)];
        let to_tag = if variant & 16 == 0 { "" } else { ";tag=callee" };
        let route = self.route(variant & 32 != 0);
        format!(
            "{method} sip:2000@10.0.0.10:5060 SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bKq{cseq}\r\n{route}\
             From: <sip:{user}@lab.test>;tag=caller\r\nTo: <sip:2000@lab.test>{to_tag}\r\n\
             Call-ID: q{call}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@192.0.2.7>\r\n\
             Content-Length: 0\r\n\r\n",
            user = 1000 + flow.0,
            call = variant >> 6,
            cseq = self.cseq,
        )
    }

    fn route(&self, is_wanted: bool) -> String {
        let last = self.routes.last().filter(|_| is_wanted);
        last.map_or_else(String::new, |route| format!("Route: {route}\r\n"))
    }

    fn cancel_or_acknowledge(&mut self, flow: FlowId, variant: u8) {
        let method = if variant & 1 == 0 { "CANCEL" } else { "ACK" };
        let route = self.route(variant & 2 != 0);
        let text = format!(
            "{method} sip:2000@10.0.0.10:5060 SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bKq{cseq}\r\n{route}\
             From: <sip:{user}@lab.test>;tag=caller\r\nTo: <sip:2000@lab.test>;tag=callee\r\n\
             Call-ID: q{call}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
            user = 1000 + flow.0,
            call = variant >> 6,
            cseq = self.cseq,
        );
        self.run(|proxy, services, now| {
            proxy.handle_flow_message(flow, text.into(), services, now);
        });
    }

    fn inside(&self, first: u8, second: u8) -> String {
        let method = METHODS[usize::from(first & 7)];
        let route = self.route(true);
        let to_tag = if first & 8 == 0 { "" } else { ";tag=callee" };
        format!(
            "{method} sip:1000@192.0.2.7 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.10;branch=z9hG4bKi{second}\r\n{route}\
             From: <sip:2000@lab.test>;tag=caller\r\nTo: <sip:1000@lab.test>{to_tag}\r\n\
             Record-Route: <sip:10.0.0.10;lr>\r\nCall-ID: i{call}\r\nCSeq: {second} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            call = first >> 6,
        )
    }

    /// Answers something that was sent on, or says that it could not be sent.
    fn reply(&mut self, which: u8, variant: u8) {
        if self.pending.is_empty() {
            return;
        }
        let at = usize::from(which) % self.pending.len();
        let (transmit, request) = self.pending[at].clone();
        if variant & 0x80 != 0 {
            let id = transmit.id;
            self.run(|proxy, services, now| proxy.handle_transmit_failed(id, services, now));
            return;
        }
        let code = CODES[usize::from(variant & 15)];
        let mut response = Response::new(&request, code).to_tag(b"callee");
        if code == 401 {
            response = response.header(
                "WWW-Authenticate",
                "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            );
        }
        if request.method() == Method::Invite && code < 300 {
            response = response.header(Name::Contact, "<sip:2000@10.0.0.41>");
        }
        for value in request
            .values(Name::RecordRoute)
            .chain(request.values(Name::Contact))
        {
            let is_route = request.method() != Method::Register;
            let name = if is_route {
                Name::RecordRoute
            } else {
                Name::Contact
            };
            response = response.header(name, value);
        }
        let bytes = response.to_bytes();
        match transmit.to {
            Destination::Flow(flow) => self.run(|proxy, services, now| {
                proxy.handle_flow_message(flow, bytes, services, now);
            }),
            Destination::Node { .. } => self.node(bytes),
        }
    }

    /// The bytes that follow, as they are.
    fn raw<'a>(&mut self, flow: FlowId, length: u8, rest: &'a [u8]) -> &'a [u8] {
        let (message, rest) = rest.split_at(usize::from(length).min(rest.len()));
        let bytes = Bytes::copy_from_slice(message);
        if length & 1 == 0 {
            self.node(bytes);
        } else {
            self.run(|proxy, services, now| {
                proxy.handle_flow_message(flow, bytes, services, now);
            });
        }
        rest
    }

    fn client(&mut self, flow: FlowId, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        if let Ok(message) = Message::parse(bytes.clone()) {
            *self.asked.entry((flow, name_of(&message))).or_default() += 1;
        }
        self.run(|proxy, services, now| proxy.handle_flow_message(flow, bytes, services, now));
    }

    fn node(&mut self, bytes: Bytes) {
        let peer = NodePeer {
            transport: Transport::Udp,
            local: SocketAddr::from(([10, 0, 0, 5], 5060)),
            remote: SocketAddr::from(([10, 0, 0, 10], 5060)),
            connection: None,
        };
        self.run(|proxy, services, now| proxy.handle_node_message(peer, bytes, services, now));
    }

    fn pass(&mut self, which: u8) {
        let pause = PAUSES_MS[usize::from(which & 7)];
        self.pass_for(Duration::from_millis(pause));
    }

    fn pass_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.proxy.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.run(Proxy::handle_timeout);
        }
        self.now = end;
    }

    fn run(&mut self, act: impl FnOnce(&mut Proxy, &mut Services<'_>, Instant)) {
        let mut services = Services {
            bodies: &mut PassBodies,
            hashes: &NoHashes,
        };
        act(&mut self.proxy, &mut services, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.proxy.poll_event() {
            if let Event::DialogStarted { call, .. } = event {
                self.call = Some(call);
            }
        }
        while let Some(transmit) = self.proxy.poll_transmit() {
            let message = Message::parse(transmit.bytes.clone());
            let message = match message {
                Ok(message) => message,
                // What a peer sent may be answered although it can't be read in full.
                Err(error) => {
                    assert!(error.message().is_some_and(|m| !m.is_request()), "{error}");
                    continue;
                }
            };
            for name in [Name::Path, Name::RecordRoute] {
                let values = message.values(name).map(String::from_utf8_lossy);
                self.routes.extend(values.map(Cow::into_owned));
            }
            let surplus = self.routes.len().saturating_sub(PENDING_MAX);
            self.routes.drain(..surplus);
            if message.is_request() {
                if self.pending.len() >= PENDING_MAX {
                    self.pending.remove(0);
                }
                self.pending.push((transmit, message));
            } else {
                self.count(&transmit.to, &message);
            }
        }
    }

    fn count(&mut self, to: &Destination, response: &Message) {
        let Destination::Flow(flow) = to else { return };
        if response.status().is_none_or(|code| code < 300) {
            return;
        }
        let key = (*flow, name_of(response));
        let Some(asked) = self.asked.get(&key) else {
            return;
        };
        let refused = self.refused.entry(key).or_default();
        *refused += 1;
        assert!(
            *refused <= *asked,
            "more than one final error for one request"
        );
    }

    fn finish(&mut self) {
        for flow in 0..FLOWS {
            let flow = FlowId(u64::from(flow));
            self.run(|proxy, services, now| proxy.handle_flow_closed(flow, services, now));
        }
        self.pass_for(Duration::from_secs(600));
        assert_eq!(self.proxy.transactions(), 0, "transactions are left");
        assert_eq!(self.proxy.bindings(), 0, "bindings are left");
        self.pass_for(limits::SIP_CALL_LIFETIME + limits::SIP_CALL_SETUP_LIFETIME);
        assert_eq!(self.proxy.calls(), 0, "calls are left");
        assert_eq!(self.proxy.poll_timeout(), None, "something still waits");
    }
}

/// Branch and CSeq.
fn name_of(message: &Message) -> Vec<u8> {
    let via = message.top_via();
    let mut name = via
        .and_then(|via| via.branch())
        .unwrap_or_default()
        .to_vec();
    name.extend_from_slice(message.value(Name::CSeq).unwrap_or_default());
    name
}

fn config() -> Config {
    let host = |text: &str| match Host::parse(text) {
        Ok(host) => host,
        Err(error) => unreachable!("{error}"),
    };
    let node = |id: u32, transport| Node {
        id: NodeId(id),
        transport,
        address: SocketAddr::from(([10, 0, 0, 10], 5060)),
        host: host("node.lab.test"),
    };
    let name = |text: &str| HostPort {
        host: host(text),
        port: 5060,
    };
    Config {
        inner: InnerNames {
            udp: Some(name("10.0.0.5")),
            ..InnerNames::default()
        },
        edges: vec![EdgeName {
            index: EdgeIndex(0),
            host: name("edge.lab.test"),
            others: Vec::new(),
        }],
        registrars: vec![Registrar {
            name: "lab".into(),
            hosts: vec![host("lab.test")],
            nodes: vec![node(1, Transport::Udp), node(2, Transport::Tcp)],
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
        flow_token_keys: FlowTokenKeys::new(&[1; 32], None),
        epoch: 1,
        flow_timer: Duration::from_secs(120),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::steps;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn no_order_of_messages_breaks_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            steps(&bytes);
        }
    }
}
