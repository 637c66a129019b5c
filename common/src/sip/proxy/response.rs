//! Responses on their way back: to the transaction that waits for them, changed for whoever asked (RFC 3261 section 16.7).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::body::{BodyDirection, BodyVerdict};
use super::context::{Context, Hop, Source};
use super::output::{Event, NodeFailure, RefusalReason};
use super::refuse::{NOBODY_CARES, side};
use super::slots::SlotKey;
use super::write::{BranchId, comma_list, derive, stamped_vias};
use super::{FlowId, Proxy, Services};
use crate::sip::auth::AuthScheme;
use crate::sip::edit::Edit;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::transaction::{Resend, Timer};

impl Proxy {
    pub(super) fn handle_response(
        &mut self,
        message: &Message,
        code: u16,
        source: &Source,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let branch = message.top_via().and_then(|via| {
            let text = via.branch()?.strip_prefix(b"z9hG4bK")?;
            BranchId::parse(text)
        });
        let is_ours = branch.is_some_and(|branch| {
            self.contexts
                .get(branch.key)
                .is_some_and(|context| is_expected(context, source))
        });
        let Some(branch) = branch.filter(|_| is_ours) else {
            self.refuse_stray(source);
            return;
        };
        self.with_context(
            branch.key,
            services,
            now,
            |proxy, key, context, services, now| {
                let method = message.cseq().method;
                if method == Method::Cancel && context.method == Method::Invite {
                    answer_cancel(context, code);
                } else if method != context.method {
                    proxy.refuse_stray(source);
                } else if branch.attempt == context.attempt {
                    proxy.take_response(key, context, message, code, services, now);
                } else if method == Method::Invite && (200..300).contains(&code) {
                    // A node that was given up answered after all: its 2xx must pass, or nobody would end that call.
                    proxy.pass_response(key, context, message, code, services, now);
                }
            },
        );
    }

    fn refuse_stray(&mut self, source: &Source) {
        self.events.push_back(Event::Refused {
            from: side(source),
            code: None,
            reason: RefusalReason::StrayResponse,
        });
    }

    fn take_response(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        message: &Message,
        code: u16,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let Some(branch) = context.branch.as_mut() else {
            return;
        };
        let step = branch.client.handle_response(code);
        let is_first = !branch.is_heard;
        branch.is_heard = true;
        branch.is_ringing |= (101..200).contains(&code);
        let hop = branch.hop;
        self.start_timers(key, step, now);
        if step.send == Some(Resend::Acknowledgement) {
            self.acknowledge(context, message);
        }
        if let Hop::Node(node) = hop
            && is_first
            && code != 503
            && self.location.recover(node, now)
        {
            self.events.push_back(Event::NodeRecovered(node));
        }
        if !step.deliver {
            return;
        }
        if context.method == Method::Invite && (200..300).contains(&code) {
            context.settle();
        }
        if code < 200 && (context.is_cancelled || context.has_failed) {
            self.cancel_branch(key, context, now);
        }
        if context.has_failed && !(200..300).contains(&code) {
            return; // whoever called was told that nobody answers
        }
        match code {
            ..=100 => {}
            503 => {
                let retry_after = message.seconds(Name::RetryAfter);
                let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds.into()));
                if matches!(hop, Hop::Flow(_)) {
                    context.failure = Some(500);
                    self.attempt_next(key, context, services, now);
                } else {
                    let failure = NodeFailure::Overloaded;
                    self.fail_over(key, context, failure, retry_after, services, now);
                }
            }
            // RFC 4320 section 4.2: a 408 to anything but INVITE comes too late to be of use.
            408 if context.method != Method::Invite => context.is_abandoned = true,
            _ => self.pass_response(key, context, message, code, services, now),
        }
    }

    /// RFC 3261 section 17.1.1.3.
    fn acknowledge(&mut self, context: &mut Context, response: &Message) {
        let Some(branch) = context.branch.as_mut() else {
            return;
        };
        if branch.acknowledgement.is_none()
            && let Ok(sent) = Message::parse(branch.bytes.clone())
        {
            branch.acknowledgement = derive(&sent, Method::Ack, response.value(Name::To), b"");
        }
        if let Some(bytes) = branch.acknowledgement.clone() {
            let to = branch.to.clone();
            self.transmit(to, bytes, NOBODY_CARES);
        }
    }

    /// Writes the response for whoever sent the request.
    fn pass_response(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        message: &Message,
        code: u16,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        if context.register.is_some() {
            self.pass_register_response(key, context, message, code, services, now);
            return;
        }
        // The request came from the client: its answer goes there.
        let direction = if context.source.is_client() {
            BodyDirection::ToClient
        } else {
            BodyDirection::FromClient
        };
        let is_success = context.method == Method::Invite && (200..300).contains(&code);
        if is_success && (context.has_failed || context.is_abandoned) {
            self.decline(context, message, services, now);
            return;
        }
        let verdict = self.anchor_response(context, message, code, direction, services);
        self.note_response(context, message, code, services, now);
        let bytes = match direction {
            BodyDirection::ToClient => self.response_to_client(context, message, code, verdict),
            BodyDirection::FromClient => self.response_to_inside(context, message, code, verdict),
        };
        self.answer(key, context, code, bytes, now);
    }

    fn response_to_client(
        &self,
        context: &Context,
        message: &Message,
        code: u16,
        verdict: BodyVerdict,
    ) -> Bytes {
        let mut edit = Edit::new(message);
        edit.pop_via();
        if message.has(Name::RecordRoute) {
            edit.remove(Name::RecordRoute);
            if context.plan.record_route
                && (101..300).contains(&code)
                && let Some(value) = self.route_for_caller(context, message)
            {
                edit.insert_top(Name::RecordRoute, value);
            }
        }
        if matches!(code, 401 | 407) {
            strip_auth_int(message, &mut edit);
        }
        change_response_body(verdict, &mut edit);
        edit.into_bytes()
    }

    /// The Record-Route values above our own belong to elements that the client's requests reach through us; the client
    /// would walk them from the bottom up (RFC 3261 section 12.1.2).
    fn route_for_caller(&self, context: &Context, message: &Message) -> Option<String> {
        let routes = self.routes_above(context.flow, message)?;
        self.outer_route(context.flow, message, Name::From, routes)
    }

    /// These values as a Route of the client.
    pub(super) fn routes_above(&self, flow: FlowId, message: &Message) -> Option<Vec<u8>> {
        let token = self.registrations.flow(flow)?.token;
        let mut above: Vec<&[u8]> = message
            .record_routes()
            .take_while(|route| {
                let uri = route.uri();
                uri.user() != Some(token.as_bytes()) || !self.names.is_own(&uri)
            })
            .map(|route| route.as_bytes())
            .collect();
        above.reverse();
        Some(comma_list(above))
    }

    fn response_to_inside(
        &self,
        context: &Context,
        message: &Message,
        code: u16,
        verdict: BodyVerdict,
    ) -> Bytes {
        let request = &context.request;
        let mut edit = Edit::new(message);
        edit.remove(Name::Via);
        for via in stamped_vias(request, &context.source) {
            edit.insert_top(Name::Via, via);
        }
        // The client's copy of the route may say anything: ours is put back.
        if message.has(Name::RecordRoute) {
            edit.remove(Name::RecordRoute);
        }
        if context.plan.record_route && (101..300).contains(&code) {
            let transport = match &context.source {
                Source::Node(peer) => peer.transport,
                Source::Flow(..) | Source::Own(_) => super::Transport::Tcp,
            };
            if let Some((inner, outer)) = self.record_route(context.flow, transport) {
                edit.insert_top(Name::RecordRoute, outer);
                edit.insert_top(Name::RecordRoute, inner);
            }
            for value in request.values(Name::RecordRoute) {
                edit.insert_top(Name::RecordRoute, value);
            }
        }
        for name in [Name::PAssertedIdentity, Name::PAssertedService] {
            if message.has(name) {
                edit.remove(name);
            }
        }
        change_response_body(verdict, &mut edit);
        edit.into_bytes()
    }

    /// Asks the next hop to give up, if it has said anything yet; otherwise that waits until it does (RFC 3261
    /// section 9.1).
    pub(super) fn cancel_branch(&mut self, key: SlotKey, context: &mut Context, now: Instant) {
        let Some(branch) = context.branch.as_mut() else {
            return;
        };
        let is_invite = context.method == Method::Invite;
        if !is_invite || !branch.client.is_proceeding() || branch.cancel.is_some() {
            return;
        }
        let Ok(sent) = Message::parse(branch.bytes.clone()) else {
            return;
        };
        let Some(bytes) = derive(&sent, Method::Cancel, None, &context.cancel_reason) else {
            return;
        };
        let to = branch.to.clone();
        let is_reliable = branch.is_reliable;
        let (client, step) = crate::sip::transaction::NonInviteClient::new(is_reliable);
        if let Some(branch) = context.branch.as_mut() {
            branch.cancel = Some((client, bytes.clone()));
        }
        self.transmit(to, bytes, NOBODY_CARES);
        self.start_timers(key, step, now);
        let give_up = crate::sip::transaction::timer::GIVE_UP;
        self.timers.start(Timer::Cancelled, give_up, key, now);
    }
}

/// Only whoever the request was sent to may answer it.
fn is_expected(context: &Context, source: &Source) -> bool {
    let hop = context.branch.as_ref().map(|branch| branch.hop);
    match (hop, source) {
        (Some(Hop::Flow(asked)), Source::Flow(flow, _)) => asked == *flow,
        (Some(Hop::Node(_) | Hop::Address(..) | Hop::Own), Source::Node(_)) => true,
        _ => false,
    }
}

fn answer_cancel(context: &mut Context, code: u16) {
    if let Some(branch) = context.branch.as_mut()
        && let Some((client, _)) = branch.cancel.as_mut()
    {
        let _ = client.handle_response(code);
        if code >= 200 {
            branch.cancel = None;
        }
    }
}

fn change_response_body(verdict: BodyVerdict, edit: &mut Edit<'_>) {
    match verdict {
        BodyVerdict::Pass => {}
        BodyVerdict::Replace(body) => {
            edit.set_body(body);
        }
        BodyVerdict::Strip | BodyVerdict::Refuse { .. } => {
            edit.remove(Name::ContentType).set_body(Bytes::new());
        }
    }
}

/// `auth-int` covers the body, which is rewritten on the way: the client must not use it.
pub(super) fn strip_auth_int(message: &Message, edit: &mut Edit<'_>) {
    for (_, challenge) in message.challenges() {
        if challenge.scheme() != AuthScheme::Digest {
            continue;
        }
        let Some(qop) = challenge
            .params()
            .find(|param| param.name.eq_ignore_ascii_case(b"qop"))
        else {
            continue;
        };
        let tokens = || {
            qop.value
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
        };
        let is_int = |token: &&[u8]| token.eq_ignore_ascii_case(b"auth-int");
        if !tokens().any(|token| is_int(&token)) {
            continue;
        }
        let kept: Vec<&[u8]> = tokens().filter(|token| !is_int(token)).collect();
        if kept.is_empty() {
            edit.remove_field_of(challenge.as_bytes());
        } else {
            let mut text = b"qop=\"".to_vec();
            text.extend_from_slice(&kept.join(&b","[..]));
            text.push(b'"');
            edit.replace(qop.whole, text);
        }
    }
}
