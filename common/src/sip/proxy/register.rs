//! REGISTER: who may register what, and the way back to the client. What the answer brings about: `answer`.

mod answer;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::config::{Authentication, Registrar, RegistrarMode, SessionGate, Transport};
use super::context::{Arrived, Context, Hop, Plan};
use super::output::{Event, Proof, RefusalReason};
use super::refuse::Refuse;
use super::{FlowId, Proxy, Services, token};
use crate::limits;
use crate::sip::address::{Contact, NameAddr};
use crate::sip::digest::Realm;
use crate::sip::edit::Edit;
use crate::sip::identity::Aor;
use crate::sip::message::Message;
use crate::sip::name::Name;

const UNKNOWN: Refuse = Refuse::new(404, RefusalReason::UnknownDestination);

/// What has to be known of a REGISTER when its answer comes.
#[derive(Debug)]
pub(super) struct Register {
    aor: Aor,
    contacts: SmallVec<[RegisteredContact; 1]>,
    /// `Contact: *`.
    is_wildcard: bool,
    /// What proved the identity before the registrar says anything.
    proof: Option<Proof>,
    credentials: Credentials,
    /// Nobody has proved anything yet, and it takes contacts away: the registrar shall ask for proof, and do nothing else.
    is_query: bool,
    /// Whether the registrar said that it needs a Path (RFC 3261 section 21.4.16).
    needs_path: bool,
}

/// What its credentials are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credentials {
    /// They answer a challenge of the registrar on this flow.
    Answer,
    /// There are none, or they don't matter any more.
    Pass,
    /// They are taken off: they were for the edge, or answer no challenge of this flow.
    TakeOff,
    /// They answer a challenge by a token: one that is out of date is no attack.
    Token,
}

#[derive(Debug)]
struct RegisteredContact {
    uri: Bytes,
    /// What the client asks for; 0 unregisters.
    expires: u32,
    /// Tells one client from another.
    client: u64,
    /// The number that stands for it, in Contact mode.
    number: Option<usize>,
}

impl Proxy {
    pub(super) fn register(
        &mut self,
        arrived: &Arrived,
        flow: FlowId,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(), Refuse> {
        let (registrar, register) = self.check_register(arrived, flow, services, now)?;
        let state = self.registrations.flow(flow);
        let binding = state.and_then(|state| state.binding(&register.aor));
        let sticky = binding.and_then(|binding| binding.node);
        let nodes = self.location.candidates(&registrar, sticky, now);
        if nodes.is_empty() {
            return Err(Refuse::new(480, RefusalReason::NoNode));
        }
        let plan = Plan {
            hops: nodes.into_iter().rev().map(Hop::Node).collect(),
            ..Plan::default()
        };
        let mut context = self.new_context(arrived, flow, plan)?;
        context.registrar = Some(registrar);
        context.register = Some(Box::new(register));
        self.admit(context, services, now);
        Ok(())
    }

    fn check_register(
        &mut self,
        arrived: &Arrived,
        flow: FlowId,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(Arc<Registrar>, Register), Refuse> {
        let message = &arrived.message;
        self.check_request(arrived)?;
        self.client_route(message, flow)?;
        let malformed = || Refuse::new(400, RefusalReason::Malformed);
        let to = message.to().ok_or_else(malformed)?.uri();
        let from = message.from().ok_or_else(malformed)?.uri();
        let aor = Aor::of(&to).ok_or(UNKNOWN)?;
        let registrar = self.location.registrar_for(to.host()).cloned();
        let registrar = registrar.ok_or(UNKNOWN)?;
        if !self.config.identity.may_register_others && !aor.is(&from) {
            return Err(Refuse::new(403, RefusalReason::ThirdParty));
        }
        let is_wildcard = check_wildcard(message)?;
        let session = self.check_session(message, &aor, flow, services)?;
        let token = self.check_token(message, flow, std::slice::from_ref(&aor), services)?;
        let edge = match token {
            Some(_) => None,
            None => self.check_digest(arrived, &registrar, &aor, flow, services, now)?,
        };
        let state = self.registrations.flow_mut(flow);
        let state = state.ok_or(Refuse::new(480, RefusalReason::FlowGone))?;
        let bound = state.binding(&aor);
        let is_full = state.bindings().len() >= limits::SIP_BINDINGS_PER_FLOW_MAX;
        if bound.is_none() && is_full {
            return Err(Refuse::new(403, RefusalReason::BindingsFull));
        }
        let is_for_edge = token.is_some() && registrar.authentication != Authentication::Registrar;
        let proof = edge
            .or(token)
            .or(session)
            .or_else(|| bound.map(|binding| binding.proof));
        let is_challenged = state.is_challenged(&aor, now);
        let has_credentials =
            message.has(Name::Authorization) || message.has(Name::ProxyAuthorization);
        let mut contacts: SmallVec<[RegisteredContact; 1]> = SmallVec::new();
        for contact in message.contacts().filter_map(|contact| contact.address()) {
            let mut contact = self.registered_contact(message, &aor, &contact);
            if registrar.mode == RegistrarMode::Contact {
                let state = self.registrations.flow_mut(flow);
                contact.number = state.and_then(|state| state.contact_number(&contact.uri));
                if contact.number.is_none() {
                    return Err(Refuse::new(403, RefusalReason::BindingsFull));
                }
            }
            contacts.push(contact);
        }
        let is_answer = has_credentials && is_challenged;
        let is_removal = is_wildcard
            || (!contacts.is_empty() && contacts.iter().all(|contact| contact.expires == 0));
        let register = Register {
            aor,
            contacts,
            is_wildcard,
            proof,
            is_query: is_removal && proof.is_none() && !is_answer,
            credentials: if edge.is_some() || is_for_edge {
                Credentials::TakeOff
            } else if is_answer && token::has_token(message) {
                Credentials::Token
            } else if is_answer {
                Credentials::Answer
            } else if has_credentials && proof.is_none() {
                // They would let a 200 come that nobody proved: without them the registrar has to challenge.
                Credentials::TakeOff
            } else {
                Credentials::Pass
            },
            needs_path: false,
        };
        Ok((registrar, register))
    }

    fn registered_contact(
        &self,
        message: &Message,
        aor: &Aor,
        contact: &NameAddr<'_>,
    ) -> RegisteredContact {
        let default = message.expires().unwrap_or(limits::SIP_EXPIRES_DEFAULT);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.hash_seed);
        hasher.write(aor.as_str().as_bytes());
        match contact.params().value("+sip.instance") {
            Some(instance) => {
                hasher.write_u8(1);
                hasher.write(instance);
                hasher.write_u8(0);
                hasher.write(contact.params().value("reg-id").unwrap_or_default());
            }
            None => {
                hasher.write_u8(2);
                hasher.write(contact.uri().as_bytes());
            }
        }
        RegisteredContact {
            uri: Bytes::copy_from_slice(contact.uri().as_bytes()),
            expires: contact.expires().unwrap_or(default),
            client: hasher.finish(),
            number: None,
        }
    }

    /// The live HTTPS session, if one is asked for.
    fn check_session(
        &self,
        message: &Message,
        aor: &Aor,
        flow: FlowId,
        services: &Services<'_>,
    ) -> Result<Option<Proof>, Refuse> {
        let gate = self.config.identity.session_gate;
        if gate == SessionGate::Off {
            return Ok(None);
        }
        let address = self
            .registrations
            .flow(flow)
            .map(|state| state.peer.client.0.ip());
        let address = address.filter(|_| gate == SessionGate::UserAndAddress);
        let username = message.credentials().find_map(|(_, each)| each.username());
        let username = username
            .as_deref()
            .and_then(|name| str::from_utf8(name).ok());
        // Credentials that nobody has checked yet may open the gate, but prove nothing: only the AoR's own user does.
        let is_named = |name: &str| services.hashes.is_signed_in(name, address);
        if is_named(aor.user()) {
            return Ok(address.map(|_| Proof::Session));
        }
        if username.is_some_and(is_named) {
            return Ok(None);
        }
        Err(Refuse::new(403, RefusalReason::NoSession))
    }

    fn check_digest(
        &mut self,
        arrived: &Arrived,
        registrar: &Registrar,
        aor: &Aor,
        flow: FlowId,
        services: &Services<'_>,
        now: Instant,
    ) -> Result<Option<Proof>, Refuse> {
        let Authentication::Edge { realm, algorithms } = &registrar.authentication else {
            return Ok(None);
        };
        let realm = Realm {
            name: realm,
            algorithms,
            flow: flow.0,
        };
        let state = self.registrations.flow_mut(flow);
        let state = state.ok_or(Refuse::new(480, RefusalReason::FlowGone))?;
        let counts = &mut state.nonces;
        let verdict =
            self.nonces
                .verify(&arrived.message, realm, aor, counts, services.hashes, now);
        match verdict {
            Ok(()) => Ok(Some(Proof::EdgeDigest)),
            Err(wrong) => {
                if wrong.is_failure() {
                    let aor = Some(aor.clone());
                    self.events
                        .push_back(Event::AuthenticationFailed { flow, aor });
                }
                let mut refuse = Refuse::new(401, RefusalReason::WrongDigest);
                for challenge in self.nonces.challenges(realm, wrong.is_stale(), now) {
                    refuse = refuse.with(Name::WwwAuthenticate, challenge);
                }
                Err(refuse)
            }
        }
    }

    /// What a REGISTER gets beside what every request gets: the way back.
    pub(super) fn write_register(
        &self,
        context: &Context,
        register: &Register,
        transport: Transport,
        edit: &mut Edit<'_>,
    ) {
        let request = &context.request;
        let Some(flow) = self.registrations.flow(context.flow) else {
            return;
        };
        let mode = context.registrar.as_ref().map(|registrar| registrar.mode);
        let has_path = request.has_option(Name::Supported, "path");
        if register.is_query {
            edit.remove(Name::Contact).remove(Name::Expires);
        }
        match mode {
            Some(RegistrarMode::Path) if !has_path && !register.needs_path => {}
            Some(RegistrarMode::Path | RegistrarMode::PathAlways) => {
                let path = self.inner_uri(flow.token, transport);
                edit.insert_top(Name::Path, format!("<{path};lr;ob>"));
                if !has_path {
                    edit.append(Name::Supported, "path");
                }
            }
            Some(RegistrarMode::Contact) if register.is_query => {}
            Some(RegistrarMode::Contact) => {
                let contacts = request.contacts().filter_map(|contact| contact.address());
                for (contact, known) in contacts.zip(&register.contacts) {
                    let Some(number) = known.number else { continue };
                    let user = format!("{}.{number}", flow.token);
                    edit.replace(contact.uri().as_bytes(), self.inner_uri(user, transport));
                }
            }
            None => {}
        }
        if register.credentials == Credentials::TakeOff {
            edit.remove(Name::Authorization)
                .remove(Name::ProxyAuthorization);
        }
    }
}

/// `*` stands alone and ends everything (RFC 3261 section 10.2.2); other contacts are few.
fn check_wildcard(message: &Message) -> Result<bool, Refuse> {
    let too_many = Refuse::new(403, RefusalReason::TooManyContacts);
    let count = message.contacts().count();
    if count > limits::SIP_CONTACTS_PER_REGISTER_MAX {
        return Err(too_many);
    }
    let is_wildcard = message
        .contacts()
        .any(|contact| matches!(contact, Contact::Any));
    if is_wildcard && (count > 1 || message.expires() != Some(0)) {
        return Err(Refuse::new(400, RefusalReason::TooManyContacts));
    }
    Ok(is_wildcard)
}
