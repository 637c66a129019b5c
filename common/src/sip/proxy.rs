//! The proxy core of edge-c: transactions, routing, identity and bindings of every flow. Owns no socket and reads no
//! clock; bodies are rewritten by a [`BodyAnchor`].
//!
//! Four kinds of methods, as in every core: getters; inputs `handle_*(.., now)`; commands `set_*`; outputs, drained after
//! every input and command: [`Proxy::poll_transmit`], [`Proxy::poll_event`], then [`Proxy::poll_timeout`]. An input never
//! fails: what is wrong with a message is an answer and an [`Event::Refused`].

mod anchor;
mod body;
mod cancel;
mod config;
mod context;
mod forward;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;
mod hang_up;
mod inward;
mod names;
mod output;
mod outward;
mod refuse;
mod register;
mod response;
mod send;
pub(in crate::sip) mod slots;
mod timeout;
mod token;
mod write;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;

pub use body::{
    BodyAnchor, BodyContext, BodyDirection, BodyMethod, BodyVerdict, CallEnd, CallKey, PassBodies,
};
pub use config::{
    Authentication, Config, EdgeName, IdentityPolicy, InnerNames, MediaPolicy, Node, NodeId,
    Registrar, RegistrarMode, SessionGate, TokenPolicy, Transport,
};
pub use output::{
    CloseReason, Destination, Event, NodeFailure, Proof, RefusalReason, Side, Transmit, TransmitId,
    UnboundReason,
};

use crate::id::{EdgeIndex, TrackingId};
use crate::limits;
use crate::net::{ClientAddr, Domain};
use crate::sip::dialog::Calls;
use crate::sip::digest::{HashSource, Nonces};
use crate::sip::flow_token::FlowToken;
use crate::sip::location::Location;
use crate::sip::message::{Message, Method, Start};
use crate::sip::registration::Registrations;
use crate::sip::transaction::TimerQueue;
use crate::time::{Wakeup, earliest};
use context::{Arrived, Context, Source};
use names::Names;
use slots::{SlotKey, Slots};

/// Stands for the way from this proxy to itself.
const OWN_CONNECTION: ConnectionId = ConnectionId(u64::MAX);
const OWN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One client connection. The shell draws it at random and never uses one twice: it stands in flow tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// One connection to or from an element inside, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Who is at the other end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPeer {
    /// The edge-e that accepted the client.
    pub edge: EdgeIndex,
    /// The client, as that edge-e saw it.
    pub client: ClientAddr,
    /// [`Transport::Tls`] or [`Transport::Wss`].
    pub transport: Transport,
    /// The name that the client asked for in TLS.
    pub server_name: Option<Domain>,
    /// What the connection is called in the logs of both edges.
    pub tracking: TrackingId,
}

/// Who sent a message from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePeer {
    /// How it came.
    pub transport: Transport,
    /// The own address it came to.
    pub local: SocketAddr,
    /// Where it came from.
    pub remote: SocketAddr,
    /// The connection it came on; `None` for UDP.
    pub connection: Option<ConnectionId>,
}

/// Whether a probe reached a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It answered.
    Up,
    /// It did not.
    Down,
}

/// What the core asks while it handles an input.
#[expect(
    missing_debug_implementations,
    reason = "two borrowed trait objects have nothing to print"
)]
pub struct Services<'a> {
    /// Rewrites bodies.
    pub bodies: &'a mut dyn BodyAnchor,
    /// Knows users.
    pub hashes: &'a dyn HashSource,
}

/// The proxy core.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    names: Names,
    location: Location,
    registrations: Registrations,
    contexts: Slots<Context>,
    /// Server transactions by a hash of what RFC 3261 section 17.2.3 compares. The hash is keyed, so that nobody can look
    /// for two that agree.
    servers: HashMap<u64, SlotKey>,
    calls: Calls,
    nonces: Nonces,
    /// Elements that refused TCP, and until when they are not asked again.
    only_udp: BTreeMap<SocketAddr, Instant>,
    timers: TimerQueue<SlotKey>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// Messages from this proxy to itself.
    loopback: VecDeque<Bytes>,
    /// Time as the last input said; never goes back.
    now: Instant,
    hash_seed: u64,
    tag_seed: u64,
    random_seed: u64,
    random_count: u64,
}

impl Proxy {
    /// A core without flows. `seed` comes from a random source.
    #[must_use]
    pub fn new(mut config: Config, seed: [u8; 32], now: Instant) -> Self {
        let registrars = std::mem::take(&mut config.registrars);
        let part = |label: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&seed);
            hasher.write_u64(label);
            hasher.finish()
        };
        Self {
            names: Names::new(&config.inner, &config.edges),
            location: Location::new(registrars),
            registrations: Registrations::default(),
            contexts: Slots::new(limits::SIP_TRANSACTIONS_MAX),
            servers: HashMap::new(),
            calls: Calls::new(),
            nonces: Nonces::new(&seed, now),
            only_udp: BTreeMap::new(),
            timers: TimerQueue::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            loopback: VecDeque::new(),
            now,
            hash_seed: part(1),
            tag_seed: part(2),
            random_seed: part(3),
            random_count: 0,
            config,
        }
    }

    /// How many flows there are.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.registrations.flows_len()
    }

    /// How many AoRs are bound to flows.
    #[must_use]
    pub fn bindings(&self) -> usize {
        self.registrations.bindings_len()
    }

    /// How many requests are on their way or remembered for retransmissions.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.contexts.len()
    }

    /// How many legs of calls there are, ringing ones among them.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// A client connection arrived.
    pub fn handle_flow_opened(&mut self, flow: FlowId, peer: FlowPeer, now: Instant) {
        self.advance(now);
        let token = self.config.flow_token_keys.make(FlowToken {
            flow: flow.0,
            epoch: self.config.epoch,
        });
        if !self.registrations.open(flow, peer, token) {
            let reason = CloseReason::Overload;
            self.events.push_back(Event::CloseFlow { flow, reason });
        }
    }

    /// A client sent one whole message.
    pub fn handle_flow_message(
        &mut self,
        flow: FlowId,
        message: Bytes,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let now = self.advance(now);
        let client = self
            .registrations
            .flow(flow)
            .map(|state| state.peer.client.0);
        let Some(client) = client else {
            return; // it closed meanwhile
        };
        self.take(Source::Flow(flow, client), message, services, now);
        self.settle_down(services, now);
    }

    /// A client connection ended, whoever ended it.
    pub fn handle_flow_closed(&mut self, flow: FlowId, services: &mut Services<'_>, now: Instant) {
        let now = self.advance(now);
        self.orphan(flow, services, now);
        self.registrations.close(flow, &mut self.events);
        self.settle_down(services, now);
    }

    /// An element inside sent one whole message.
    pub fn handle_node_message(
        &mut self,
        peer: NodePeer,
        message: Bytes,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let now = self.advance(now);
        self.take(Source::Node(peer), message, services, now);
        self.settle_down(services, now);
    }

    /// What was to be sent could not be: not written, or its connection ended before anything came back.
    pub fn handle_transmit_failed(
        &mut self,
        transmit: TransmitId,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let now = self.advance(now);
        self.fail_transmit(transmit, services, now);
        self.settle_down(services, now);
    }

    /// Both ends of a call are told that it is over, because nobody speaks any more.
    pub fn hang_up(&mut self, call: CallKey, services: &mut Services<'_>, now: Instant) {
        let now = self.advance(now);
        self.end_dead_call(call, CallEnd::NoMedia, services, now);
        self.settle_down(services, now);
    }

    /// Time passed; early and late calls are harmless.
    pub fn handle_timeout(&mut self, services: &mut Services<'_>, now: Instant) {
        let now = self.advance(now);
        self.fire(services, now);
        self.settle_down(services, now);
    }

    /// Replaces the registrars; bindings whose registrar is gone end.
    pub fn set_registrars(&mut self, registrars: Vec<Registrar>) {
        self.location.replace(registrars);
        let location = &self.location;
        self.registrations
            .retain_registrars(|name| location.named(name).is_some(), &mut self.events);
    }

    /// Replaces the public names of the edges.
    pub fn set_edges(&mut self, edges: Vec<EdgeName>) {
        self.config.edges = edges;
        self.names = Names::new(&self.config.inner, &self.config.edges);
    }

    /// What a probe found out about a node.
    pub fn set_node_state(&mut self, node: NodeId, state: NodeState, now: Instant) {
        self.advance(now);
        self.location.set_state(node, state);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] should be called, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let timer = self.timers.next().map(|at| (at, "transaction"));
        let binding = self.registrations.next_expiry();
        let binding = binding.map(|at| (at, "registration expiry"));
        let call = self.calls.next_expiry().map(|at| (at, "call expiry"));
        earliest(earliest(timer, binding), call)
    }

    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Everything that an input set off inside has to be done before the next one.
    fn settle_down(&mut self, services: &mut Services<'_>, now: Instant) {
        while let Some(message) = self.loopback.pop_front() {
            let peer = NodePeer {
                transport: Transport::Tcp,
                local: OWN_ADDRESS,
                remote: OWN_ADDRESS,
                connection: Some(OWN_CONNECTION),
            };
            self.take(Source::Node(peer), message, services, now);
        }
        self.tidy_timers();
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    fn take(&mut self, source: Source, message: Bytes, services: &mut Services<'_>, now: Instant) {
        let message = match Message::parse(message) {
            Ok(message) => message,
            Err(error) => {
                self.refuse_malformed(&error, &source);
                return;
            }
        };
        let method = match message.start() {
            Start::Request { method, .. } => method,
            Start::Status { code, .. } => {
                self.handle_response(&message, code, &source, services, now);
                return;
            }
        };
        let server_key = self.server_key(&message, method, &source);
        let arrived = Arrived {
            message,
            method,
            source,
            server_key,
        };
        self.handle_request(&arrived, services, now);
    }

    fn handle_request(&mut self, arrived: &Arrived, services: &mut Services<'_>, now: Instant) {
        if arrived.method == Method::Ack {
            self.handle_acknowledgement(arrived, services, now);
            return;
        }
        if arrived.method == Method::Cancel {
            self.handle_cancel(arrived, services, now);
            return;
        }
        if let Some(key) = self.servers.get(&arrived.server_key).copied() {
            self.with_context(key, services, now, |proxy, key, context, _, now| {
                let step = context.server.handle_request();
                proxy.serve(key, context, step, now);
            });
            return;
        }
        let handled = match &arrived.source {
            Source::Flow(flow, _) => self.handle_client_request(arrived, *flow, services, now),
            Source::Node(peer) => self.handle_inside_request(arrived, peer, services, now),
            Source::Own(_) => Ok(()), // sent without coming in
        };
        if let Err(refuse) = handled {
            self.refuse(arrived, &refuse);
        }
    }

    /// RFC 3261 section 17.2.3: branch, sent-by and method, INVITE for the ACK and the CANCEL of an INVITE. A branch
    /// without the magic cookie (RFC 2543) is no name: Call-ID, From tag, CSeq and the whole Via stand in.
    fn server_key(&self, message: &Message, method: Method, source: &Source) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.hash_seed);
        match source {
            Source::Flow(flow, _) => hasher.write_u64(flow.0),
            Source::Own(_) => {}
            Source::Node(peer) => {
                hasher.write_u8(u8::from(peer.connection == Some(OWN_CONNECTION)));
            }
        }
        if matches!(method, Method::Ack | Method::Cancel) {
            hasher.write(Method::Invite.as_str().as_bytes());
        } else {
            hasher.write(message.method_token());
        }
        let Some(via) = message.top_via() else {
            return hasher.finish();
        };
        if let Some(branch) = via.unique_branch() {
            hasher.write_u8(1);
            hasher.write(branch);
            hasher.write_u8(0);
            hasher.write(via.sent_by());
        } else {
            hasher.write_u8(2);
            hasher.write(message.call_id());
            hasher.write(message.from_tag().unwrap_or_default());
            hasher.write_u32(message.cseq().number);
            hasher.write(via.as_bytes());
        }
        hasher.finish()
    }

    /// Unpredictable to whoever does not know the seed.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "half of the hash is random enough"
    )]
    fn random_u32(&mut self) -> u32 {
        self.random_count = self.random_count.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.random_seed);
        hasher.write_u64(self.random_count);
        hasher.finish() as u32
    }

    #[cfg(debug_assertions)]
    fn check_invariants(&self) {
        debug_assert!(self.servers.len() <= self.contexts.len());
        debug_assert!(self.calls.len() <= limits::SIP_CALLS_MAX as usize);
        self.registrations.check_invariants();
    }
}

#[cfg(test)]
mod tests;
