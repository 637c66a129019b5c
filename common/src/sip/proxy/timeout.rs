//! What happens when time passes, and when something could not be sent.

use std::time::Instant;

use super::body::CallEnd;
use super::context::{Context, Hop};
use super::forward::transmit_parts;
use super::output::{NodeFailure, TransmitId};
use super::refuse::NOBODY_CARES;
use super::slots::SlotKey;
use super::{FlowId, Proxy, Services};
use crate::limits;
use crate::sip::transaction::timer::{GIVE_UP, RINGING_MAX};
use crate::sip::transaction::{Resend, Timer};

impl Proxy {
    pub(super) fn fire(&mut self, services: &mut Services<'_>, now: Instant) {
        while let Some((key, timer)) = self.timers.pop_due(now) {
            self.with_context(key, services, now, |proxy, key, context, services, now| {
                proxy.fire_one(key, context, timer, services, now);
            });
        }
        self.registrations.expire(now, &mut self.events);
        while let Some(call) = self.calls.expired(now) {
            self.end_dead_call(call, CallEnd::Expired, services, now);
        }
    }

    fn fire_one(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        timer: Timer,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        match timer {
            Timer::G | Timer::H | Timer::I | Timer::J | Timer::L | Timer::Trying => {
                let step = context.server.handle_timer(timer);
                self.serve(key, context, step, now);
            }
            Timer::A | Timer::B | Timer::D | Timer::M => {
                self.fire_client(key, context, timer, services, now);
            }
            Timer::E | Timer::F | Timer::K if is_cancelling(context) => {
                self.fire_cancel(key, context, timer, now);
            }
            Timer::E | Timer::F | Timer::K => {
                self.fire_client(key, context, timer, services, now);
            }
            Timer::C => self.fire_ringing(key, context, services, now),
            Timer::Cancelled => {
                if context.is_cancelled && context.server.is_pending() {
                    self.answer_here(key, context, 487, &[], services, now);
                    // A 2xx that comes all the same has to be ended.
                    self.timers.start(Timer::Cancelled, GIVE_UP, key, now);
                } else if let Some(branch) = &context.branch
                    && branch.client.is_pending()
                {
                    abandon_branch(context);
                }
            }
            Timer::Node => {
                let is_silent = context
                    .branch
                    .as_ref()
                    .is_some_and(|branch| !branch.is_heard);
                if is_silent && !context.plan.hops.is_empty() {
                    let failure = NodeFailure::NoAnswer;
                    self.fail_over(key, context, failure, None, services, now);
                }
            }
        }
    }

    fn fire_client(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        timer: Timer,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let Some(branch) = context.branch.as_mut() else {
            return;
        };
        let step = branch.client.handle_timer(timer);
        let again = (branch.to.clone(), branch.bytes.clone());
        self.start_timers(key, step, now);
        if step.send == Some(Resend::Last) {
            let (to, bytes) = again;
            self.transmit(to, bytes, NOBODY_CARES);
        }
        if step.is_timed_out {
            let failure = NodeFailure::NoAnswer;
            self.fail_over(key, context, failure, None, services, now);
        }
    }

    fn fire_cancel(&mut self, key: SlotKey, context: &mut Context, timer: Timer, now: Instant) {
        let Some(branch) = context.branch.as_mut() else {
            return;
        };
        let Some((client, bytes)) = branch.cancel.as_mut() else {
            return;
        };
        let step = client.handle_timer(timer);
        let (to, bytes) = (branch.to.clone(), bytes.clone());
        if step.is_timed_out {
            branch.cancel = None;
        }
        self.start_timers(key, step, now);
        if step.send == Some(Resend::Last) {
            self.transmit(to, bytes, NOBODY_CARES);
        }
    }

    /// Timer C (RFC 3261 section 16.8).
    fn fire_ringing(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let Some(branch) = context.branch.as_mut() else {
            return;
        };
        if !branch.client.is_pending() {
            return;
        }
        if std::mem::take(&mut branch.is_ringing) {
            self.timers.start(Timer::C, RINGING_MAX, key, now);
            return;
        }
        self.cancel_branch(key, context, now);
        self.answer_here(key, context, 408, &[], services, now);
    }

    pub(super) fn fail_transmit(
        &mut self,
        id: TransmitId,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        if id == NOBODY_CARES {
            return;
        }
        let (key, attempt) = transmit_parts(id);
        self.with_context(key, services, now, |proxy, key, context, services, now| {
            let is_waiting = context
                .branch
                .as_ref()
                .is_some_and(|branch| !branch.is_heard && branch.client.is_pending());
            if context.attempt == attempt && is_waiting {
                let failure = NodeFailure::Unreachable;
                proxy.fail_over(key, context, failure, None, services, now);
            }
        });
    }

    /// Ends the transactions of a flow that closed.
    pub(super) fn orphan(&mut self, flow: FlowId, services: &mut Services<'_>, now: Instant) {
        let keys = match self.registrations.flow_mut(flow) {
            Some(state) => std::mem::take(&mut state.transactions),
            None => return,
        };
        for key in keys {
            self.with_context(key, services, now, |proxy, key, context, services, now| {
                let is_to_client = context
                    .branch
                    .as_ref()
                    .is_some_and(|branch| branch.hop == Hop::Flow(flow));
                if is_to_client {
                    abandon_branch(context);
                    let code = proxy.flow_gone_now(flow);
                    context.failure = Some(code);
                    if context.server.is_pending() {
                        proxy.answer_here(key, context, code, &[], services, now);
                    }
                    return;
                }
                // Nobody waits for the answer: what still rings is told to stop.
                context.is_cancelled = true;
                context.is_abandoned = true;
                if context.server.is_pending() {
                    proxy.cancel_branch(key, context, now);
                    proxy.end_failed_call(context, 480, CallEnd::FlowClosed, services);
                }
            });
        }
    }

    /// What a request to a flow that closes at this moment is answered with.
    fn flow_gone_now(&self, flow: FlowId) -> u16 {
        let knows = self
            .registrations
            .flow(flow)
            .is_some_and(|state| state.bindings().iter().any(|binding| binding.has_outbound));
        if knows { 430 } else { 480 }
    }

    /// Keeps the timer queue from growing with timers of what is over.
    pub(super) fn tidy_timers(&mut self) {
        let contexts = &self.contexts;
        let matters = |key: SlotKey, timer: Timer| {
            let context = contexts.get(key);
            context.is_some_and(|context| context.minds(timer))
        };
        self.timers.drop_fronts(matters);
        let living = contexts.len().saturating_mul(4);
        if self.timers.len() > limits::SIP_STALE_TIMERS_MAX.saturating_add(living) {
            self.timers.sweep(matters);
        }
    }
}

fn is_cancelling(context: &Context) -> bool {
    context
        .branch
        .as_ref()
        .is_some_and(|branch| branch.cancel.is_some())
}

/// No answer of the hop is waited for any more.
fn abandon_branch(context: &mut Context) {
    context.branch = None;
}
