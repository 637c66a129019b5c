//! Requests of the proxy itself, in the name of one end to the other: BYE to both ends of a dead call, ACK and BYE to an
//! answer that nobody waits for any more.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::body::{BodyDirection, CallEnd, CallKey};
use super::config::Registrar;
use super::context::{Context, Hop, Plan, Source};
use super::inward::Speaker;
use super::refuse::NOBODY_CARES;
use super::write::{BranchId, comma_list};
use super::{FlowId, Proxy, Services};
use crate::limits;
use crate::sip::dialog::Ends;
use crate::sip::edit::Edit;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::topology::HiddenRoute;

/// RFC 3326, with the cause of ITU-T Q.850 for a timer that ran out.
const NO_MEDIA: &str = "Q.850;cause=102;text=\"no media\"";
const EXPIRED: &str = "Q.850;cause=102;text=\"session expired\"";
const TOO_LATE: &str = "SIP;cause=487;text=\"answered too late\"";

impl Proxy {
    /// Ends a call that its ends have forgotten: the phones learn of it, and nobody pays for it any longer.
    pub(super) fn end_dead_call(
        &mut self,
        call: CallKey,
        how: CallEnd,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let ends = self.calls.take_ends(call);
        self.end_call(call, how, services);
        let Some((ends, flow)) = ends else { return };
        let reason = if how == CallEnd::NoMedia {
            NO_MEDIA
        } else {
            EXPIRED
        };
        for direction in [BodyDirection::ToClient, BodyDirection::FromClient] {
            self.say_bye(&ends, flow, direction, reason, services, now);
        }
    }

    /// A 2xx came after the INVITE had been answered here: RFC 3261 section 13.2.2.4 asks for an ACK and a BYE, and nobody
    /// else can send them.
    pub(super) fn decline(
        &mut self,
        context: &mut Context,
        response: &Message,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let direction = if context.source.is_client() {
            BodyDirection::FromClient
        } else {
            BodyDirection::ToClient
        };
        let Some(ends) = self.ends_of(context, response) else {
            return;
        };
        // Once more if it got lost: the 2xx came again.
        self.acknowledge_late(&ends, context.flow, direction, now);
        let tag = response.to_tag().unwrap_or_default();
        let is_known = context.declined.iter().any(|known| known == tag);
        if !is_known && context.declined.len() < limits::SIP_FORKS_DECLINED_MAX {
            context.declined.push(Bytes::copy_from_slice(tag));
            self.say_bye(&ends, context.flow, direction, TOO_LATE, services, now);
        }
    }

    /// What a later request needs to know, from the INVITE and its 2xx.
    pub(super) fn ends_of(&self, context: &Context, response: &Message) -> Option<Ends> {
        let is_client_caller = context.source.is_client();
        let routes = if is_client_caller {
            self.routes_above(context.flow, response)
                .unwrap_or_default()
        } else {
            comma_list(context.request.values(Name::RecordRoute))
        };
        let registrar = Arc::clone(&context.registrar.as_ref()?.name);
        Ends::new(
            &context.request,
            response,
            is_client_caller,
            routes,
            registrar,
        )
    }

    fn acknowledge_late(
        &mut self,
        ends: &Ends,
        flow: FlowId,
        direction: BodyDirection,
        now: Instant,
    ) {
        let Some(mut context) = self.own_context(ends, flow, Method::Ack, direction, "", now)
        else {
            return;
        };
        let Some(hop) = context.plan.hops.pop() else {
            return;
        };
        let branch = BranchId::stateless(self.random_u32());
        let written = self.write_for(&context, hop, branch, now);
        self.transmit(written.to, written.bytes, NOBODY_CARES);
    }

    fn say_bye(
        &mut self,
        ends: &Ends,
        flow: FlowId,
        direction: BodyDirection,
        reason: &str,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let context = self.own_context(ends, flow, Method::Bye, direction, reason, now);
        if let Some(context) = context.filter(|_| !self.contexts.is_full()) {
            self.admit(context, services, now);
        }
    }

    /// A request that nobody sent here; `None` if there is no way to its destination.
    fn own_context(
        &mut self,
        ends: &Ends,
        flow: FlowId,
        method: Method,
        direction: BodyDirection,
        reason: &str,
        now: Instant,
    ) -> Option<Context> {
        let is_from_client = direction == BodyDirection::FromClient;
        let request = ends.request(method, is_from_client, reason)?;
        let registrar = self.location.named(&ends.registrar).cloned();
        let (plan, flow) = if is_from_client {
            let speaker = Speaker {
                registrar: Arc::clone(registrar.as_ref()?),
                node: None,
                service_routes: Vec::new(),
            };
            let hidden = HiddenRoute {
                routes: ends.routes.clone(),
                ..HiddenRoute::default()
            };
            (
                self.inward_plan(&request, Some(&hidden), &speaker, now),
                flow,
            )
        } else {
            let flow = self.registrations.living(flow)?;
            let plan = Plan {
                hops: smallvec::smallvec![Hop::Flow(flow)],
                ..Plan::default()
            };
            (plan, flow)
        };
        Some(self.context_of(request, flow, direction, plan, registrar))
    }

    /// The registrar keeps contacts that nobody has proved: they go again, before anybody is called there.
    pub(super) fn unregister(
        &mut self,
        context: &Context,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let Some(branch) = &context.branch else {
            return;
        };
        let Some(request) = unregistering(&branch.bytes) else {
            return;
        };
        let plan = Plan {
            hops: smallvec::smallvec![branch.hop],
            ..Plan::default()
        };
        let registrar = context.registrar.clone();
        let direction = BodyDirection::FromClient;
        let own = self.context_of(request, context.flow, direction, plan, registrar);
        if !self.contexts.is_full() {
            self.admit(own, services, now);
        }
    }

    fn context_of(
        &mut self,
        request: Message,
        flow: FlowId,
        direction: BodyDirection,
        plan: Plan,
        registrar: Option<Arc<Registrar>>,
    ) -> Context {
        let server_key = u64::from(self.random_u32()) << 32 | u64::from(self.random_u32());
        let source = Source::Own(direction);
        Context {
            registrar,
            ..Context::new(request, source, server_key, flow, plan)
        }
    }
}

/// A REGISTER that takes back what `sent` has registered.
fn unregistering(sent: &Bytes) -> Option<Message> {
    let sent = Message::parse(sent.clone()).ok()?;
    let mut edit = Edit::new(&sent);
    edit.pop_via();
    let number = sent.cseq().number.checked_add(1)?;
    edit.set(Name::CSeq, format!("{number} REGISTER"));
    edit.set(Name::Expires, "0");
    for contact in sent.contacts().filter_map(|contact| contact.address()) {
        if let Some(expires) = contact.params().find("expires") {
            edit.replace(expires.whole, "expires=0");
        }
    }
    Message::parse(edit.into_bytes()).ok()
}
