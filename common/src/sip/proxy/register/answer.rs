//! The registrar's answer to a REGISTER: what it proves, the binding that it makes, and what the client is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::config::Authentication;
use super::super::context::{Context, Hop};
use super::super::output::{Event, Proof, RefusalReason, Side, UnboundReason};
use super::super::response::strip_auth_int;
use super::super::slots::SlotKey;
use super::super::{FlowId, Proxy, Services};
use super::{Credentials, Register, RegisteredContact};
use crate::limits;
use crate::sip::address::NameAddr;
use crate::sip::edit::Edit;
use crate::sip::identity::Aor;
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::registration::Binding;

impl Proxy {
    pub(in crate::sip::proxy) fn pass_register_response(
        &mut self,
        key: SlotKey,
        context: &mut Context,
        message: &Message,
        code: u16,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let Some(mut register) = context.register.take() else {
            return;
        };
        match code {
            401 | 407 if is_proved_for_edge(context, &register) => {
                self.events.push_back(Event::Refused {
                    from: Side::Flow(context.flow),
                    code: Some(500),
                    reason: RefusalReason::Untrusted,
                });
                self.answer_here(key, context, 500, &[], services, now);
                return;
            }
            421 if !register.needs_path && message.has_option(Name::Require, "path") => {
                register.needs_path = true;
                let again = context.branch.as_ref().map(|branch| branch.hop);
                context.plan.hops.extend(again);
                context.register = Some(register);
                self.attempt_next(key, context, services, now);
                return;
            }
            401 | 407 => self.note_challenge(context.flow, &register, message, now),
            403 if register.credentials == Credentials::Answer => {
                let (flow, aor) = (context.flow, Some(register.aor.clone()));
                self.events
                    .push_back(Event::AuthenticationFailed { flow, aor });
            }
            200..=299 => {
                let proof = register.proof.or_else(|| {
                    let is_answer = [Credentials::Answer, Credentials::Token];
                    let is_answer = is_answer.contains(&register.credentials);
                    is_answer.then_some(Proof::Challenge)
                });
                let Some(proof) = proof else {
                    self.events.push_back(Event::Refused {
                        from: Side::Flow(context.flow),
                        code: Some(403),
                        reason: RefusalReason::Unproved,
                    });
                    if register.contacts.iter().any(|each| each.expires > 0) {
                        self.unregister(context, services, now);
                    }
                    self.answer_here(key, context, 403, &[], services, now);
                    return;
                };
                if !self.settle(context, &register, message, proof, now) {
                    let refuse = self.overload();
                    let headers: Vec<(Name, &str)> = refuse
                        .headers
                        .iter()
                        .map(|(name, value)| (*name, value.as_str()))
                        .collect();
                    self.answer_here(key, context, refuse.code, &headers, services, now);
                    return;
                }
            }
            _ => {}
        }
        let bytes = self.register_response(context, &register, message, code);
        context.register = Some(register);
        self.answer(key, context, code, bytes, now);
    }

    fn note_challenge(
        &mut self,
        flow: FlowId,
        register: &Register,
        message: &Message,
        now: Instant,
    ) {
        let is_stale = message
            .challenges()
            .any(|(_, challenge)| challenge.is_stale());
        if register.credentials == Credentials::Answer && !is_stale {
            let aor = Some(register.aor.clone());
            self.events
                .push_back(Event::AuthenticationFailed { flow, aor });
        }
        if let Some(state) = self.registrations.flow_mut(flow)
            && message.challenges().next().is_some()
        {
            state.challenge(register.aor.clone(), now);
        }
    }

    /// Makes, refreshes or ends the binding; `false` if there is no room.
    fn settle(
        &mut self,
        context: &Context,
        register: &Register,
        message: &Message,
        proof: Proof,
        now: Instant,
    ) -> bool {
        let flow = context.flow;
        let is_query = register.contacts.is_empty() && !register.is_wildcard;
        if is_query {
            return true;
        }
        let granted = register
            .contacts
            .iter()
            .filter_map(|contact| Some((self.granted(context, contact, message)?, contact)))
            .max_by_key(|(seconds, _)| *seconds)
            .filter(|(seconds, _)| *seconds > 0);
        let Some((seconds, contact)) = granted else {
            let reason = UnboundReason::Unregistered;
            let aor = &register.aor;
            self.registrations
                .unbind(flow, aor, reason, &mut self.events);
            return true;
        };
        let expires = Duration::from_secs(seconds.min(limits::SIP_EXPIRES_MAX).into());
        let until = now.checked_add(expires.saturating_add(limits::SIP_EXPIRY_GRACE));
        let (Some(expires_at), Some(registrar)) = (until, &context.registrar) else {
            return false;
        };
        let node = match context.branch.as_ref().map(|branch| branch.hop) {
            Some(Hop::Node(node)) => Some(node),
            Some(Hop::Address(..) | Hop::Flow(_) | Hop::Own) | None => None,
        };
        let implicit = message
            .addresses(Name::PAssociatedUri)
            .filter_map(|address| Aor::of(&address.uri()))
            .filter(|aor| *aor != register.aor);
        let service_routes = message
            .values(Name::ServiceRoute)
            .map(Bytes::copy_from_slice);
        let binding = Binding {
            aor: register.aor.clone(),
            implicit: implicit.take(limits::SIP_IMPLICIT_AORS_MAX).collect(),
            client: contact.client,
            expires_at,
            registrar: Arc::clone(&registrar.name),
            node,
            service_routes: service_routes
                .take(limits::SIP_SERVICE_ROUTES_MAX)
                .collect(),
            proof,
            has_outbound: message.has_option(Name::Require, "outbound"),
        };
        self.registrations
            .bind(flow, binding, expires, &mut self.events)
    }

    /// For how long the registrar keeps a contact: what it says beside it, else for all, else what was asked for. `None`
    /// if it lists contacts and this is not among them.
    fn granted(
        &self,
        context: &Context,
        contact: &RegisteredContact,
        message: &Message,
    ) -> Option<u32> {
        let general = || message.expires().unwrap_or(contact.expires);
        if contact.expires == 0 {
            return Some(0);
        }
        let mut listed = message
            .contacts()
            .filter_map(|each| each.address())
            .peekable();
        if listed.peek().is_none() {
            return Some(general());
        }
        let found = listed.find(|each| self.is_contact(context, contact, each));
        found.map(|each| each.expires().unwrap_or_else(general))
    }

    /// Whether an address in the registrar's answer is the one that the client registered.
    fn is_contact(
        &self,
        context: &Context,
        contact: &RegisteredContact,
        listed: &NameAddr<'_>,
    ) -> bool {
        let uri = listed.uri();
        match contact.number {
            Some(number) => {
                let token = self.registrations.flow(context.flow).map(|flow| flow.token);
                let user = token.map(|token| format!("{token}.{number}"));
                uri.user() == user.as_deref().map(str::as_bytes)
            }
            None if uri.as_bytes() == &*contact.uri => true,
            None => {
                crate::sip::uri::Uri::parse(&contact.uri).is_ok_and(|own| own.is_equivalent(&uri))
            }
        }
    }

    fn register_response(
        &self,
        context: &Context,
        register: &Register,
        message: &Message,
        code: u16,
    ) -> Bytes {
        let mut edit = Edit::new(message);
        edit.pop_via();
        // Both say how the inside is reached; the route is imposed here (RFC 3608 section 6.3 lets a proxy do so).
        for name in [Name::Path, Name::ServiceRoute] {
            if message.has(name) {
                edit.remove(name);
            }
        }
        if matches!(code, 401 | 407) {
            strip_auth_int(message, &mut edit);
        }
        if (200..300).contains(&code) {
            for contact in message.contacts().filter_map(|contact| contact.address()) {
                let mut numbered = register
                    .contacts
                    .iter()
                    .filter(|each| each.number.is_some());
                if let Some(known) = numbered.find(|each| self.is_contact(context, each, &contact))
                {
                    edit.replace(contact.uri().as_bytes(), &known.uri);
                }
            }
            // RFC 5626 section 5.4.
            if message.has_option(Name::Require, "outbound") && !message.has(Name::FlowTimer) {
                edit.append(
                    Name::FlowTimer,
                    self.config.flow_timer.as_secs().to_string(),
                );
            }
        }
        edit.into_bytes()
    }
}

/// Whether edge-c has taken the registrar's place, and let the client in.
fn is_proved_for_edge(context: &Context, register: &Register) -> bool {
    let is_proved = matches!(register.proof, Some(Proof::EdgeDigest | Proof::Token));
    let registrar = context.registrar.as_ref();
    is_proved && registrar.is_some_and(|one| one.authentication != Authentication::Registrar)
}
