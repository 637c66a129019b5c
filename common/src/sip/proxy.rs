//! The proxy core of edge-c: transactions, routing, identity and bindings of every flow. Owns no socket and reads no
//! clock; bodies are rewritten by a [`BodyAnchor`].
//!
//! Four kinds of methods, as in every core: getters; inputs `handle_*(.., now)`; commands `set_*`; outputs, drained after
//! every input and command: [`Proxy::poll_transmit`], [`Proxy::poll_event`], then [`Proxy::poll_timeout`]. An input never
//! fails: what is wrong with a message is an answer and an [`Event::Refused`].

mod body;
mod config;
mod output;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

pub use body::{
    BodyAnchor, BodyContext, BodyDirection, BodyMethod, BodyVerdict, CallEnd, CallKey, PassBodies,
};
pub use config::{
    Authentication, Config, EdgeName, IdentityPolicy, InnerNames, MediaPolicy, Node, NodeId,
    Registrar, RegistrarMode, SessionGate, Transport,
};
pub use output::{
    CloseReason, Destination, Event, NodeFailure, Proof, RefusalReason, Side, Transmit, TransmitId,
    UnboundReason,
};

use crate::id::EdgeIndex;
use crate::net::{ClientAddr, Domain};
use crate::sip::digest::HashSource;
use crate::time::Wakeup;

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
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Proxy {
    /// A core without flows. `seed` comes from a random source.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let _ = seed;
        Self {
            config,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A client connection arrived.
    pub fn handle_flow_opened(&mut self, flow: FlowId, peer: FlowPeer, now: Instant) {
        let _ = (flow, peer, now);
    }

    /// A client sent one whole message.
    pub fn handle_flow_message(
        &mut self,
        flow: FlowId,
        message: Bytes,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let _ = (flow, message, now, services.hashes);
    }

    /// A client connection ended, whoever ended it.
    pub fn handle_flow_closed(&mut self, flow: FlowId, services: &mut Services<'_>, now: Instant) {
        let _ = (flow, now, services.hashes);
    }

    /// An element inside sent one whole message.
    pub fn handle_node_message(
        &mut self,
        peer: NodePeer,
        message: Bytes,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let _ = (peer, message, now, services.hashes);
    }

    /// What was to be sent could not be: not written, or its connection ended before anything came back.
    pub fn handle_transmit_failed(
        &mut self,
        transmit: TransmitId,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let _ = (transmit, now, services.hashes);
    }

    /// Time passed; early and late calls are harmless.
    pub fn handle_timeout(&mut self, services: &mut Services<'_>, now: Instant) {
        let _ = (now, services.hashes);
    }

    /// Replaces the registrars; bindings whose registrar is gone end with the next input.
    pub fn set_registrars(&mut self, registrars: Vec<Registrar>) {
        self.config.registrars = registrars;
    }

    /// Replaces the public names of the edges.
    pub fn set_edges(&mut self, edges: Vec<EdgeName>) {
        self.config.edges = edges;
    }

    /// What a probe found out about a node.
    pub fn set_node_state(&mut self, node: NodeId, state: NodeState, now: Instant) {
        let _ = (node, state, now);
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
        None
    }
}
