//! The shell around the proxy core: what arrives goes in, what comes out is sent or told at once.
//!
//! Everything around it lives on one thread, so nobody ever waits for the lock, and a message crosses no thread between a
//! client's stream and a registrar's socket. The lock is what lets the tasks of that thread share the core.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use common::link::flow::FlowClose;
use common::runtime::clock;
use common::sip::digest::HashSource;
use common::sip::message::Message;
use common::sip::proxy::{
    BodyAnchor, CallKey, ConnectionId, FlowId, FlowPeer, NodePeer, Proxy, Registrar, TransmitId,
};
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::flows::Flows;
use super::metrics::SipMetrics;
use crate::upstream::sip::outbox::Outbox;
use crate::upstream::sip::probe::Probes;
use crate::upstream::sip::{Dialling, Inner, NewConnection, connection};
pub(super) use state::octets;

use state::Core;

mod state;

/// What a shell is made of.
pub struct Parts {
    /// The core.
    pub proxy: Proxy,
    /// Rewrites bodies.
    pub bodies: Box<dyn BodyAnchor + Send>,
    /// Knows users.
    pub users: Arc<dyn HashSource + Send + Sync>,
    /// The sockets towards the inside.
    pub inner: Inner<Ticket>,
    /// How connections are dialled.
    pub dialling: Dialling,
    /// Which nodes answer.
    pub probes: Probes,
    /// What is counted.
    pub metrics: SipMetrics,
    /// The thread.
    pub runtime: Handle,
}

/// The shell. Shared by the tasks of its thread.
pub struct Shell {
    core: Mutex<Core>,
    dialling: Dialling,
    runtime: Handle,
    /// The next deadline came nearer.
    timer: Notify,
    own: Weak<Self>,
}

/// Who wants to know that a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// The core.
    Core(TransmitId),
    /// The prober, of this node.
    Probe(common::sip::proxy::NodeId),
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EndOnDrop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndOnDrop")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").finish_non_exhaustive()
    }
}

impl Shell {
    /// A shell that nothing has reached yet. [`Self::run`] is its clock.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let core = Core {
            proxy: parts.proxy,
            bodies: parts.bodies,
            users: parts.users,
            flows: Flows::new(parts.metrics.clone()),
            inner: parts.inner,
            probes: parts.probes,
            registrars: Vec::new(),
            metrics: parts.metrics,
            failed: Vec::new(),
            dials: Vec::new(),
            armed: None,
        };
        Arc::new_cyclic(|own| Self {
            core: Mutex::new(core),
            dialling: parts.dialling,
            runtime: parts.runtime,
            timer: Notify::new(),
            own: Weak::clone(own),
        })
    }

    /// Calls the core whenever it has asked for it. Never ends.
    pub async fn run(&self) {
        loop {
            let armed = self.lock().armed;
            let wait = async {
                match armed {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            // Both are cancel safe: the deadline is read anew.
            tokio::select! {
                () = wait => self.input(|core, now| {
                    core.armed = None;
                    core.handle_timeout(now);
                }),
                () = self.timer.notified() => {}
            }
        }
    }

    /// A client's stream has arrived; `None` if there are too many.
    #[must_use]
    pub fn open_flow(&self, peer: FlowPeer) -> Option<(FlowId, Arc<Outbox<()>>)> {
        self.input(|core, now| {
            let (flow, outbox) = core.flows.open(peer.tracking)?;
            core.proxy.handle_flow_opened(flow, peer, now);
            Some((flow, outbox))
        })
    }

    /// A client sent a message.
    pub fn flow_message(&self, flow: FlowId, message: Bytes) {
        self.input(|core, now| {
            core.metrics.from_clients.inc();
            core.with_services(|proxy, services| {
                proxy.handle_flow_message(flow, message, services, now);
            });
        });
    }

    /// A client's stream has ended.
    pub fn close_flow(&self, flow: FlowId) {
        self.input(|core, now| {
            core.flows.remove(flow);
            core.with_services(|proxy, services| proxy.handle_flow_closed(flow, services, now));
        });
    }

    /// As [`Self::close_flow`], a little later: for a task that panics, since a second panic would end the process.
    fn close_flow_later(&self, flow: FlowId) {
        if let Some(shell) = self.own.upgrade() {
            drop(self.runtime.spawn(async move { shell.close_flow(flow) }));
        }
    }

    /// A client's task has ended, whichever way.
    pub fn leave(&self, flow: FlowId) {
        if std::thread::panicking() {
            self.close_flow_later(flow);
        } else {
            self.close_flow(flow);
        }
    }

    /// An element inside sent a message.
    pub fn node_message(&self, peer: NodePeer, message: Bytes) {
        self.input(|core, now| {
            core.metrics.from_inside.inc();
            if let Some(answer) = core.probes.answer(&message) {
                let change = core.probes.handle_answer(answer, now);
                core.note_change(change, now);
                return;
            }
            core.with_services(|proxy, services| {
                proxy.handle_node_message(peer, message, services, now);
            });
        });
    }

    /// A call is dead: both its ends are told.
    pub fn hang_up(&self, call: CallKey) {
        self.input(|core, now| {
            core.with_services(|proxy, services| proxy.hang_up(call, services, now));
        });
    }

    /// A connection was accepted inside; `None` if there are too many.
    #[must_use]
    pub fn enter_connection(&self) -> Option<(ConnectionId, Arc<Outbox<Ticket>>)> {
        self.lock().inner.enter(None)
    }

    /// A connection inside has ended, with these messages neither sent nor answered.
    pub fn connection_ended(&self, id: ConnectionId, unsent: Vec<Ticket>, reason: &str) {
        self.input(|core, now| {
            core.inner.remove(id);
            for ticket in unsent {
                core.note_failed(ticket, reason, now);
            }
        });
    }

    /// These are the registrars from now on.
    pub fn set_registrars(&self, registrars: Vec<Registrar>) {
        self.input(|core, now| {
            core.probes.watch(&registrars, now);
            core.metrics.note_nodes(&core.probes);
            core.registrars.clone_from(&registrars);
            core.proxy.set_registrars(registrars);
            core.handle_timeout(now);
        });
    }

    /// Tells edge-e to close clients: those that `is_chosen` picks by the users they registered as, at most `max`.
    /// Returns how many.
    pub fn close_flows(
        &self,
        reason: FlowClose,
        max: usize,
        is_chosen: impl FnMut(&super::flows::Flow) -> bool,
    ) -> usize {
        self.input(|core, _| core.flows.close_chosen(reason, max, is_chosen))
    }

    /// What runs a function over every node, whether it answers, and the connections inside.
    #[must_use]
    pub fn status(&self) -> super::Status {
        let core = self.lock();
        let nodes = core.probes.states();
        let nodes = nodes.map(|(registrar, node, state)| super::NodeStatus {
            registrar: Arc::clone(registrar),
            transport: node.transport,
            address: node.address,
            host: node.host.clone(),
            state,
        });
        super::Status {
            nodes: nodes.collect(),
            flows: core.flows.count(),
            registrations: core.flows.bindings(),
            dialogs: core.flows.dialogs(),
            connections: core.inner.connections(),
        }
    }

    /// Puts something in, and sends and tells whatever comes out.
    fn input<R>(&self, handle: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let now = clock::now();
        let mut core = self.lock();
        let result = handle(&mut core, now);
        core.settle(now);
        let dials = std::mem::take(&mut core.dials);
        let is_nearer = core.arm(now);
        drop(core);
        for dial in dials {
            self.dial(dial);
        }
        if is_nearer {
            self.timer.notify_one();
        }
        result
    }

    fn dial(&self, new: NewConnection<Ticket>) {
        let Some(shell) = self.own.upgrade() else {
            return;
        };
        drop(
            self.runtime
                .spawn(async move { shell.run_dialled(new).await }),
        );
    }

    async fn run_dialled(&self, new: NewConnection<Ticket>) {
        let NewConnection { id, target, outbox } = new;
        let _ended = EndOnDrop {
            shell: self,
            id,
            outbox: &outbox,
        };
        match connection::dial(&self.dialling, &target).await {
            Ok(connected) => {
                let peer = NodePeer {
                    transport: target.transport,
                    local: connected.local,
                    remote: target.address,
                    connection: Some(id),
                };
                self.run_connection(id, peer, connected.stream, &outbox, None)
                    .await;
            }
            Err(error) => {
                let unsent = outbox.abandon();
                let reason = error.to_string();
                tracing::debug!(side = "upstream", transport = target.transport.uri_name(), address = %target.address,
                    reason, "can't connect inside");
                self.connection_ended(id, unsent, &reason);
            }
        }
    }

    /// Reads and writes a connection inside until it ends. `certificate` is that of a peer which opened it.
    pub async fn run_connection(
        &self,
        id: ConnectionId,
        peer: NodePeer,
        stream: Box<dyn connection::Stream>,
        outbox: &Outbox<Ticket>,
        certificate: Option<&CertificateDer<'static>>,
    ) {
        // What is true of a connection, its first request says.
        let mut certificate = certificate;
        let received = |message: Bytes| {
            if let Some(certificate) = certificate.take()
                && let Some(port) = lent_port(&message)
            {
                let address = SocketAddr::new(peer.remote.ip(), port);
                self.lock().inner.lend(id, address, certificate.clone());
            }
            self.node_message(peer, message);
        };
        let (ended, mut unsent) = connection::run(stream, outbox, received).await;
        unsent.extend(outbox.abandon());
        let reason = ended.to_string();
        tracing::debug!(side = "upstream", transport = peer.transport.uri_name(), remote = %peer.remote, reason,
            "connection inside ended");
        self.connection_ended(id, unsent, &reason);
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic in the core is that of one message; the others go on.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever ends the task of a connection, the connection is gone from the tables.
pub struct EndOnDrop<'a> {
    /// Whose connection.
    pub shell: &'a Shell,
    /// Which.
    pub id: ConnectionId,
    /// What it was to send.
    pub outbox: &'a Outbox<Ticket>,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        let unsent = self.outbox.abandon();
        let id = self.id;
        if !std::thread::panicking() {
            self.shell.connection_ended(id, unsent, GIVEN_UP);
        } else if let Some(shell) = self.shell.own.upgrade() {
            // A second panic would end the process.
            let ending = async move { shell.connection_ended(id, unsent, GIVEN_UP) };
            drop(self.shell.runtime.spawn(ending));
        }
    }
}

/// The port for which whoever sent this lends its connection (RFC 5923 section 6): `alias` in the topmost Via.
fn lent_port(message: &Bytes) -> Option<u16> {
    let message = Message::parse(message.clone()).ok()?;
    let via = message.top_via().filter(|_| message.is_request())?;
    let is_lent = via.params().has("alias");
    is_lent.then(|| via.port().unwrap_or(SIPS_PORT))
}

const SIPS_PORT: u16 = 5061;
const GIVEN_UP: &str = "the connection was given up";
