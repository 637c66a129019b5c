//! Bodies and calls: what the anchor is shown, and when a call begins and ends.

use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::body::{BodyContext, BodyDirection, BodyMethod, BodyVerdict, CallEnd, CallKey};
use super::config::MediaPolicy;
use super::context::{BodyChange, Context, Hop, Source};
use super::output::{Destination, Event, RefusalReason};
use super::refuse::Refuse;
use super::{FlowId, Proxy, Services};
use crate::limits;
use crate::sip::dialog::Leg;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;

/// RFC 4028 section 10: an end that hears no refresh ends the session a little before it expires; its BYE may get lost.
const SESSION_GRACE: Duration = Duration::from_secs(32);

impl Proxy {
    /// Shows a request to the anchor, if its body may matter, and notes what becomes of the body.
    pub(super) fn anchor_request(
        &mut self,
        context: &mut Context,
        direction: BodyDirection,
        began_on: FlowId,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(), Refuse> {
        context.call = self.call_of(context, direction, began_on, now)?;
        let Some(method) = body_method(context.method) else {
            return Ok(());
        };
        let request = context.request.clone();
        let verdict = self.ask(context, method, &request, None, direction, services);
        context.plan.body = match verdict {
            BodyVerdict::Pass => BodyChange::Keep,
            BodyVerdict::Replace(body) => BodyChange::Replace(body),
            BodyVerdict::Strip => BodyChange::Strip,
            BodyVerdict::Refuse {
                code, retry_after, ..
            } => {
                self.end_failed_call(context, code, CallEnd::Failed(code), services);
                let refuse = Refuse::new(code, RefusalReason::Body);
                return Err(match retry_after {
                    Some(after) => {
                        refuse.with(Name::RetryAfter, after.as_secs().max(1).to_string())
                    }
                    None => refuse,
                });
            }
        };
        Ok(())
    }

    fn call_of(
        &mut self,
        context: &Context,
        direction: BodyDirection,
        began_on: FlowId,
        now: Instant,
    ) -> Result<Option<CallKey>, Refuse> {
        let is_call = body_method(context.method).is_some() || context.method == Method::Bye;
        let request = &context.request;
        let Some(from_tag) = request.from_tag().filter(|_| is_call) else {
            return Ok(None);
        };
        let leg = Leg {
            call_id: request.call_id(),
            from_tag,
            to_tag: request.to_tag(),
            flows: [began_on, context.flow],
            is_from_client: direction == BodyDirection::FromClient,
        };
        let seed = self.hash_seed;
        let hash = |tag: &[u8]| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(leg.call_id);
            hasher.write_u8(0);
            hasher.write(tag);
            hasher.finish()
        };
        if let Some(known) = self.calls.find(&leg, hash) {
            return Ok(Some(known));
        }
        if context.method != Method::Invite || leg.to_tag.is_some() {
            return Ok(None);
        }
        let nonce = self.random_u32();
        match self.calls.begin(&leg, hash(from_tag), nonce, now) {
            Some(call) => Ok(Some(call)),
            None => Err(self.overload()),
        }
    }

    /// Shows a response to the anchor. `response` is the request itself for an error that is made here.
    pub(super) fn anchor_response(
        &mut self,
        context: &Context,
        response: &Message,
        code: u16,
        direction: BodyDirection,
        services: &mut Services<'_>,
    ) -> BodyVerdict {
        match body_method(context.method) {
            Some(method) if code > 100 => {
                self.ask(context, method, response, Some(code), direction, services)
            }
            _ => BodyVerdict::Pass,
        }
    }

    fn ask(
        &self,
        context: &Context,
        method: BodyMethod,
        message: &Message,
        code: Option<u16>,
        direction: BodyDirection,
        services: &mut Services<'_>,
    ) -> BodyVerdict {
        let (Some(call), Some(flow)) = (context.call, self.registrations.flow(context.flow)) else {
            return BodyVerdict::Pass;
        };
        // An error that is made here has no body of its own.
        let is_local = code.is_some() && message.is_request();
        let body = if is_local {
            bytes::Bytes::new()
        } else {
            message.body_bytes()
        };
        let from_caller = self.calls.is_from_caller(call, &context.request);
        let fork = if from_caller {
            message.to_tag()
        } else {
            context.request.from_tag()
        };
        let policy = context.registrar.as_ref().map(|each| each.media);
        let body_context = BodyContext {
            call,
            flow: context.flow,
            peer: &flow.peer,
            direction,
            policy: policy.unwrap_or(MediaPolicy::AsOffered),
            method,
            cseq: context.request.cseq().number,
            is_initial: context.is_initial(),
            code,
            fork,
            inner: self.inner_address(context),
            is_reliable: message.has(Name::RSeq) || code.is_some_and(|code| code >= 200),
            content_type: message.value(Name::ContentType).filter(|_| !is_local),
            call_id: message.call_id(),
        };
        match code {
            None => services.bodies.request(&body_context, &body),
            Some(_) => services.bodies.response(&body_context, &body),
        }
    }

    fn inner_address(&self, context: &Context) -> IpAddr {
        if let Source::Node(peer) = &context.source {
            return peer.remote.ip();
        }
        if let Some(Destination::Node { address, .. }) = context.branch.as_ref().map(|b| &b.to) {
            return address.ip();
        }
        match context.plan.hops.last() {
            Some(Hop::Node(id)) => self.location.node(*id).map(|node| node.address.ip()),
            Some(Hop::Address(_, address)) => Some(address.ip()),
            Some(Hop::Flow(_) | Hop::Own) | None => None,
        }
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// A response passes: what it means for its call.
    pub(super) fn note_response(
        &mut self,
        context: &mut Context,
        response: &Message,
        code: u16,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let Some(call) = context.call else {
            return;
        };
        match (context.method, code) {
            (Method::Invite, 101..=199) if !self.calls.is_answered(call) => {
                let lifetime = limits::SIP_CALL_SETUP_LIFETIME;
                self.calls.prolong(call, lifetime, now);
            }
            (Method::Invite | Method::Update, 200..=299) => {
                let expires = response.seconds(Name::SessionExpires);
                let lifetime = expires.map_or(limits::SIP_CALL_LIFETIME, |seconds| {
                    Duration::from_secs(seconds.into()).saturating_add(SESSION_GRACE)
                });
                let lifetime = lifetime.min(limits::SIP_CALL_LIFETIME);
                self.calls.prolong(call, lifetime, now);
                if context.method == Method::Invite
                    && self
                        .calls
                        .answer(call, response.to_tag().unwrap_or_default(), now)
                {
                    let flow = context.flow;
                    let ends = self.ends_of(context, response);
                    self.calls.set_ends(call, ends);
                    self.events.push_back(Event::DialogStarted { call, flow });
                } else {
                    let is_from_client = context.source.is_client();
                    let request = &context.request;
                    self.calls.refresh(call, request, response, is_from_client);
                }
            }
            (Method::Bye, 200..)
                if !is_retried(code) && self.calls.is_answered_by(call, &context.request) =>
            {
                self.end_call(call, CallEnd::Bye, services);
            }
            (Method::Invite, 300..) => {
                let how = if code == 487 {
                    CallEnd::Cancelled
                } else {
                    CallEnd::Failed(code)
                };
                self.end_failed_call(context, code, how, services);
            }
            _ => {}
        }
    }

    /// An initial INVITE failed for good.
    pub(super) fn end_failed_call(
        &mut self,
        context: &mut Context,
        code: u16,
        how: CallEnd,
        services: &mut Services<'_>,
    ) {
        let is_for_good = context.method == Method::Invite
            && context.is_initial()
            && code >= 300
            && !is_retried(code);
        if is_for_good
            && let Some(call) = context.call.take()
            && !self.calls.is_answered(call)
        {
            self.end_call(call, how, services);
        }
    }

    pub(super) fn end_call(&mut self, call: CallKey, how: CallEnd, services: &mut Services<'_>) {
        let Some(ended) = self.calls.end(call) else {
            return;
        };
        services.bodies.ended(call, how);
        let talked = ended
            .answered_at
            .map(|at| self.now.saturating_duration_since(at));
        self.events.push_back(Event::DialogEnded {
            call,
            flow: ended.flow,
            how,
            talked,
        });
    }
}

/// After these the client sends the same request again: with credentials, or with a longer session timer.
const fn is_retried(code: u16) -> bool {
    matches!(code, 401 | 407 | 422)
}

const fn body_method(method: Method) -> Option<BodyMethod> {
    if matches!(method, Method::Invite) {
        Some(BodyMethod::Invite)
    } else if matches!(method, Method::Ack) {
        Some(BodyMethod::Ack)
    } else if matches!(method, Method::Prack) {
        Some(BodyMethod::Prack)
    } else if matches!(method, Method::Update) {
        Some(BodyMethod::Update)
    } else {
        None
    }
}
