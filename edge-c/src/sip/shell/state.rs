//! The proxy core and everything that it is connected to: what it wants is sent, told and dialled here. Waits for nothing.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use common::limits;
use common::link::flow::{self, FlowClose, Frame, Gate};
use common::policy::jail::UserTag;
use common::sip::digest::HashSource;
use common::sip::proxy::{
    BodyAnchor, CloseReason, Destination, Event, FlowId, Proxy, Registrar, Services, Transmit,
    TransmitId,
};

use super::super::flows::Flows;
use super::super::metrics::SipMetrics;
use super::super::tell;
use super::Ticket;
use crate::upstream::sip::probe::{Change, Probe, Probes};
use crate::upstream::sip::{Inner, NewConnection, Sent, Target};

/// What the tasks of the thread share.
pub(super) struct Core {
    pub(super) proxy: Proxy,
    pub(super) bodies: Box<dyn BodyAnchor + Send>,
    pub(super) users: Arc<dyn HashSource + Send + Sync>,
    pub(super) flows: Flows,
    pub(super) inner: Inner<Ticket>,
    pub(super) probes: Probes,
    pub(super) registrars: Vec<Registrar>,
    pub(super) metrics: SipMetrics,
    /// What could not be sent since the core was told last.
    pub(super) failed: Vec<TransmitId>,
    /// Connections to be dialled.
    pub(super) dials: Vec<NewConnection<Ticket>>,
    /// When the timer fires.
    pub(super) armed: Option<Instant>,
}

impl Core {
    pub(super) fn with_services(&mut self, handle: impl FnOnce(&mut Proxy, &mut Services<'_>)) {
        let mut services = Services {
            bodies: self.bodies.as_mut(),
            hashes: self.users.as_ref(),
        };
        handle(&mut self.proxy, &mut services);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.with_services(|proxy, services| proxy.handle_timeout(services, now));
        let (probes, changes) = self.probes.handle_timeout(now);
        for change in changes {
            self.note_change(Some(change), now);
        }
        for Probe { node, bytes } in probes {
            let target = Target {
                transport: node.transport,
                address: node.address,
                tls_name: (node.transport == common::sip::proxy::Transport::Tls)
                    .then(|| node.host.clone()),
            };
            let sent = self.inner.send(target, None, bytes, Ticket::Probe(node.id));
            self.note_sent(sent, now);
        }
    }

    /// Drains the core: its order is messages, then events, then what could not be sent, until nothing is left. But a gate
    /// opens before the message is sent that lets the client go on, and a guess counts before it is answered: it may be quick.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            let mut events = Vec::new();
            while let Some(event) = self.proxy.poll_event() {
                let is_first = matches!(
                    event,
                    Event::GateOpen(_) | Event::AuthenticationFailed { .. }
                );
                if is_first {
                    self.on_event(event);
                } else {
                    events.push(event);
                }
            }
            while let Some(transmit) = self.proxy.poll_transmit() {
                self.transmit(transmit, now);
            }
            for event in events {
                self.on_event(event);
            }
            if self.failed.is_empty() {
                return;
            }
            for id in std::mem::take(&mut self.failed) {
                self.with_services(|proxy, services| {
                    proxy.handle_transmit_failed(id, services, now);
                });
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit, now: Instant) {
        let Transmit {
            to,
            bytes,
            answers,
            id,
        } = transmit;
        match to {
            Destination::Flow(flow) => {
                self.metrics.note_to_client(&bytes, answers);
                if self.flows.send(flow, &Frame::Message(bytes)).is_err() {
                    self.failed.push(id);
                }
            }
            Destination::Node {
                transport,
                address,
                tls_name,
                connection,
                node: _,
            } => {
                self.metrics.to_inside.inc();
                let target = Target {
                    transport,
                    address,
                    tls_name,
                };
                let sent = self.inner.send(target, connection, bytes, Ticket::Core(id));
                self.note_sent(sent, now);
            }
        }
    }

    fn note_sent(&mut self, sent: Sent<Ticket>, now: Instant) {
        match sent {
            Sent::Queued => {}
            Sent::Dial(new) => self.dials.push(new),
            Sent::Failed(ticket, reason) => self.note_failed(ticket, reason, now),
        }
    }

    pub(super) fn note_failed(&mut self, ticket: Ticket, reason: &str, now: Instant) {
        match ticket {
            Ticket::Core(id) => self.failed.push(id),
            Ticket::Probe(node) => {
                let change = self.probes.handle_failed(node, reason.to_owned(), now);
                self.note_change(change, now);
            }
        }
    }

    pub(super) fn note_change(&mut self, change: Option<Change>, now: Instant) {
        let Some(change) = change else { return };
        self.metrics.note_node(&change);
        tell::node_changed(&change);
        self.proxy.set_node_state(change.node.id, change.state, now);
    }

    fn on_event(&mut self, event: Event) {
        self.metrics.note_event(&event);
        let tracking = tell::flow_of(&event).and_then(|flow| self.flows.tracking(flow));
        tell::event(&event, tracking, &self.registrars);
        match event {
            Event::Bound { flow, aor, .. } => self.flows.bound(flow, aor),
            Event::Unbound { flow, aor, .. } => self.flows.unbound(flow, &aor),
            Event::GateOpen(flow) => self.command(flow, &Frame::Gate(Gate::Open)),
            Event::GateClosed(flow) => self.command(flow, &Frame::Gate(Gate::Register)),
            Event::CloseFlow { flow, reason } => self.flows.close(flow, close_reason(reason)),
            Event::DialogStarted { flow, .. } => self.flows.dialog_started(flow),
            Event::DialogEnded { flow, talked, .. } => {
                if talked.is_some() {
                    self.flows.dialog_ended(flow);
                }
            }
            Event::AuthenticationFailed { flow, aor } => {
                let user = aor.map(|aor| UserTag::of(aor.as_str()));
                self.command(flow, &Frame::AuthFailed(user));
            }
            Event::Refused { .. } | Event::NodeFailed { .. } | Event::NodeRecovered(_) => {}
        }
    }

    fn command(&mut self, flow: FlowId, frame: &Frame) {
        if self.flows.send(flow, frame).is_err() {
            tracing::trace!("a flow was gone before a command reached it");
        }
    }

    /// Sets the timer; whether it has come nearer.
    pub(super) fn arm(&mut self, now: Instant) -> bool {
        let core = self.proxy.poll_timeout().map(|(at, _)| at);
        let next = core.into_iter().chain(self.probes.next()).min();
        // Nothing of SIP has to be so exact: transactions that end one after the other end together.
        let soonest = now.checked_add(limits::SIP_TIMER_SLACK);
        let next = next.max(next.and(soonest));
        let is_nearer = match (next, self.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            // One that is too early does no harm, and is not worth waking anybody for.
            (None, _) => false,
        };
        if is_nearer {
            self.armed = next;
        }
        is_nearer
    }
}

const fn close_reason(reason: CloseReason) -> FlowClose {
    match reason {
        CloseReason::Malformed => FlowClose::PeerMisbehaved,
        CloseReason::Overload => FlowClose::Overloaded,
        CloseReason::Replaced => FlowClose::Other,
    }
}

/// A frame in its octets; the core makes no message that is too long for one.
pub(in crate::sip) fn octets(frame: &Frame) -> Option<Bytes> {
    flow::encoded(frame)
        .ok()
        .filter(|octets| octets.len() <= limits::SIP_FLOW_QUEUE_BYTES)
}
