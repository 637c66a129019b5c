//! A request on its way: its context, its attempts one after the other, and what happens when one fails.

use std::time::{Duration, Instant};

use super::body::{BodyDirection, BodyVerdict, CallEnd};
use super::context::{Arrived, BodyChange, Branch, Client, Context, Hop, Plan, Server, Source};
use super::output::{Destination, Event, NodeFailure, RefusalReason, Transmit, TransmitId};
use super::refuse::{NOBODY_CARES, Refuse, side};
use super::send::Written;
use super::slots::SlotKey;
use super::write::BranchId;
use super::{FlowId, OWN_CONNECTION, Proxy, Services};
use crate::limits;
use crate::sip::message::Method;
use crate::sip::name::Name;
use crate::sip::response::Response;
use crate::sip::transaction::timer::RINGING_MAX;
use crate::sip::transaction::{Resend, Step, Timer};

impl Proxy {
    /// A context that is not yet in the table.
    pub(super) fn new_context(
        &mut self,
        arrived: &Arrived,
        flow: FlowId,
        plan: Plan,
    ) -> Result<Context, Refuse> {
        let is_busy = self
            .registrations
            .flow(flow)
            .is_none_or(|state| state.transactions.len() >= limits::SIP_TRANSACTIONS_PER_FLOW_MAX);
        if is_busy || self.contexts.is_full() {
            return Err(self.overload());
        }
        let message = arrived.message.clone();
        let (source, server_key) = (arrived.source, arrived.server_key);
        Ok(Context::new(message, source, server_key, flow, plan))
    }

    /// Shows the body to the anchor and sends the request on.
    pub(super) fn launch(
        &mut self,
        mut context: Context,
        direction: BodyDirection,
        began_on: FlowId,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(), Refuse> {
        self.anchor_request(&mut context, direction, began_on, services, now)?;
        self.admit(context, services, now);
        Ok(())
    }

    /// Puts the context into the table and makes the first attempt.
    pub(super) fn admit(&mut self, context: Context, services: &mut Services<'_>, now: Instant) {
        let nonce = self.random_u32();
        let (server_key, flow) = (context.server_key, context.flow);
        let (_, step) = Server::new(context.method, context.source.is_reliable());
        let Ok(key) = self.contexts.insert(nonce, context) else {
            return; // checked when the context was made
        };
        self.servers.insert(server_key, key);
        if let Some(flow) = self.registrations.flow_mut(flow) {
            flow.transactions.push(key);
        }
        self.start_timers(key, step, now);
        self.with_context(key, services, now, |proxy, key, context, services, now| {
            proxy.attempt_next(key, context, services, now);
        });
    }

    /// Takes a context out of the table while something is done with it, and forgets it if it is over then.
    pub(super) fn with_context(
        &mut self,
        key: SlotKey,
        services: &mut Services<'_>,
        now: Instant,
        act: impl FnOnce(&mut Self, SlotKey, &mut Context, &mut Services<'_>, Instant),
    ) {
        let Some(mut context) = self.contexts.take(key) else {
            return;
        };
        act(self, key, &mut context, services, now);
        if !context.is_over() {
            self.contexts.put_back(key, context);
            return;
        }
        self.contexts.free(key);
        if self.servers.get(&context.server_key) == Some(&key) {
            self.servers.remove(&context.server_key);
        }
        if let Some(flow) = self.registrations.flow_mut(context.flow)
            && let Some(at) = flow.transactions.iter().position(|each| *each == key)
        {
            flow.transactions.swap_remove(at);
        }
    }

    /// Sends the request to the next hop of its plan, or gives up.
    pub(super) fn attempt_next(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let next = if context.is_cancelled {
            None
        } else {
            context.plan.hops.pop()
        };
        let Some(hop) = next else {
            self.give_up(key, context, services, now);
            return;
        };
        context.attempt = context.attempt.wrapping_add(1);
        let branch = BranchId {
            key,
            attempt: context.attempt,
        };
        let Written {
            bytes,
            to,
            is_reliable,
        } = self.write_for(context, hop, branch, now);
        let (client, step) = Client::new(context.method, is_reliable);
        context.branch = Some(Branch {
            client,
            hop,
            to: to.clone(),
            is_reliable,
            bytes: bytes.clone(),
            acknowledgement: None,
            cancel: None,
            is_heard: false,
            is_ringing: false,
        });
        self.transmit(to, bytes, transmit_id(key, context.attempt));
        self.start_timers(key, step, now);
        if context.method == Method::Invite {
            self.timers.start(Timer::C, RINGING_MAX, key, now);
        }
        if !context.plan.hops.is_empty() {
            let after = limits::SIP_NODE_ANSWER_TIMEOUT;
            self.timers.start(Timer::Node, after, key, now);
        }
    }

    /// Nothing is left to try.
    fn give_up(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        if !context.server.is_pending() {
            return;
        }
        if context.is_cancelled {
            self.answer_here(key, context, 487, &[], services, now);
            return;
        }
        match context.failure {
            Some(code) => self.answer_here(key, context, code, &[], services, now),
            // RFC 4320 section 4.2: no 408 to anything but INVITE; the client's own timer has fired by now.
            None if context.method != Method::Invite => context.is_abandoned = true,
            None => self.answer_here(key, context, 408, &[], services, now),
        }
    }

    /// The attempt failed without an answer worth passing: on to the next hop.
    pub(super) fn fail_over(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        failure: NodeFailure,
        retry_after: Option<Duration>,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let hop = context.branch.as_ref().map(|branch| branch.hop);
        if failure == NodeFailure::Unreachable && self.returns_to_udp(context, now) {
            self.attempt_next(key, context, services, now);
            return;
        }
        if let Some(Hop::Node(node)) = hop {
            let pause = self.location.pause(node, retry_after, now);
            self.events.push_back(Event::NodeFailed {
                node,
                reason: failure,
                pause,
            });
        }
        context.failure = match (failure, hop) {
            (_, Some(Hop::Flow(flow))) => Some(self.flow_gone(flow).code),
            // RFC 3261 sections 16.7 step 6 and 16.9: what one node cannot do is not our own 503.
            (NodeFailure::Overloaded | NodeFailure::Unreachable, _) => Some(500),
            (NodeFailure::NoAnswer, _) => context.failure,
        };
        if failure == NodeFailure::Unreachable {
            context.branch = None; // nothing was sent
        }
        if context.is_abandoned {
            return;
        }
        self.attempt_next(key, context, services, now);
    }

    pub(super) fn transmit(&mut self, to: Destination, bytes: bytes::Bytes, id: TransmitId) {
        if let Destination::Node {
            connection: Some(OWN_CONNECTION),
            ..
        } = to
        {
            self.loopback.push_back(bytes);
            return;
        }
        self.transmits.push_back(Transmit {
            to,
            bytes,
            answers: None,
            id,
        });
    }

    pub(super) fn start_timers(&mut self, key: SlotKey, step: Step, now: Instant) {
        for (timer, after) in step.timers.into_iter().flatten() {
            self.timers.start(timer, after, key, now);
        }
    }

    /// What the server transaction wants to be sent by itself.
    pub(super) fn serve(&mut self, key: SlotKey, context: &mut Context, step: Step, now: Instant) {
        self.start_timers(key, step, now);
        match step.send {
            Some(Resend::Last) => {
                if let Some(last) = context.last.clone() {
                    let (source, request) = (context.source, context.request.clone());
                    self.send_back(&source, &request, last);
                }
            }
            Some(Resend::Trying) => {
                let source = context.source;
                let bytes = Response::new(&context.request, 100)
                    .source(source.address())
                    .to_bytes();
                if !source.is_reliable() {
                    context.last = Some(bytes.clone());
                }
                let request = context.request.clone();
                self.send_back(&source, &request, bytes);
            }
            Some(Resend::Acknowledgement) | None => {}
        }
    }

    /// Sends a response towards whoever sent the request, if its transaction lets it pass.
    pub(super) fn answer(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        code: u16,
        bytes: bytes::Bytes,
        now: Instant,
    ) {
        let step = context.server.handle_answer(code);
        if !step.deliver {
            return;
        }
        context.has_failed |= code >= 300;
        if !context.source.is_reliable() {
            context.last = Some(bytes.clone());
        }
        let (source, request) = (context.source, context.request.clone());
        self.send_back(&source, &request, bytes);
        self.start_timers(key, step, now);
    }

    /// Answers a request that is in the table by itself.
    pub(super) fn answer_here(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        code: u16,
        headers: &[(Name, &str)],
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let tag = self.local_tag(context.server_key);
        let mut response = Response::new(&context.request, code)
            .to_tag(tag.as_bytes())
            .source(context.source.address());
        for (name, value) in headers {
            response = response.header(*name, value);
        }
        let bytes = response.to_bytes();
        let is_own = matches!(context.source, Source::Own(_));
        if context.failure.is_some() && code >= 300 && !is_own {
            self.events.push_back(Event::Refused {
                from: side(&context.source),
                code: Some(code),
                reason: if matches!(context.source, Source::Flow(..)) {
                    RefusalReason::NoNode
                } else {
                    RefusalReason::FlowGone
                },
            });
        }
        self.tell_anchor_of_failure(context, code, services);
        self.answer(key, context, code, bytes, now);
    }

    /// A final error that was made here: the offer of the request comes to nothing.
    fn tell_anchor_of_failure(
        &mut self,
        context: &mut Context,
        code: u16,
        services: &mut Services<'_>,
    ) {
        let direction = if context.source.is_client() {
            BodyDirection::FromClient
        } else {
            BodyDirection::ToClient
        };
        let request = context.request.clone();
        let verdict = self.anchor_response(context, &request, code, direction, services);
        debug_assert!(!matches!(verdict, BodyVerdict::Refuse { .. }) || code >= 100);
        let how = if code == 487 {
            CallEnd::Cancelled
        } else {
            CallEnd::Failed(code)
        };
        self.end_failed_call(context, code, how, services);
    }

    /// Sends an ACK to a 2xx on; nothing is kept of it.
    pub(super) fn pass_acknowledgement(
        &mut self,
        mut context: Context,
        direction: BodyDirection,
        began_on: FlowId,
        services: &mut Services<'_>,
    ) {
        let now = self.now;
        // An ACK cannot be refused: without its body the other side ends the call.
        let anchored = self.anchor_request(&mut context, direction, began_on, services, now);
        if anchored.is_err() {
            context.plan.body = BodyChange::Strip;
        }
        let Some(hop) = context.plan.hops.pop() else {
            return;
        };
        let branch = BranchId::stateless(self.random_u32());
        let written = self.write_for(&context, hop, branch, now);
        self.transmit(written.to, written.bytes, NOBODY_CARES);
    }
}

/// The place in the lower 24 bits of the upper half, the attempt above it: see [`limits::SIP_TRANSACTIONS_MAX`].
const ATTEMPT_SHIFT: u32 = 56;
const _: () = assert!(limits::SIP_TRANSACTIONS_MAX < 1 << 24);

pub(super) const fn transmit_id(key: SlotKey, attempt: u8) -> TransmitId {
    TransmitId(key.to_u64() | ((attempt as u64) << ATTEMPT_SHIFT))
}

pub(super) const fn transmit_parts(id: TransmitId) -> (SlotKey, u8) {
    let attempt = (id.0 >> ATTEMPT_SHIFT) as u8;
    let key = id.0 & ((1 << ATTEMPT_SHIFT) - 1);
    (SlotKey::from_u64(key), attempt)
}
