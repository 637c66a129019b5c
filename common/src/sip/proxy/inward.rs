//! Requests of clients: what they may ask for, whose name they may speak in, and where their requests go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::body::BodyDirection;
use super::config::{NodeId, Registrar, Transport};
use super::context::{Arrived, Hop, Plan};
use super::output::RefusalReason;
use super::refuse::Refuse;
use super::write::{HIDDEN, comma_list};
use super::{FlowId, Proxy, Services};
use crate::sip::address::NameAddr;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::registration::Flow;
use crate::sip::topology::{HiddenRoute, identity_mark};
use crate::sip::uri::Uri;

/// What the Route of a client's request says.
#[derive(Debug, Default)]
pub(super) struct ClientRoute {
    /// Of the dialog that the request belongs to, if it was made by this pair.
    pub(super) hidden: Option<HiddenRoute>,
    /// The flow on which that dialog began.
    pub(super) flow: Option<FlowId>,
}

/// For whom a request is sent.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) registrar: Arc<Registrar>,
    pub(super) node: Option<NodeId>,
    pub(super) service_routes: Vec<Bytes>,
}

impl Proxy {
    pub(super) fn handle_client_request(
        &mut self,
        arrived: &Arrived,
        flow: FlowId,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(), Refuse> {
        if arrived.method == Method::Register {
            return self.register(arrived, flow, services, now);
        }
        let Some((route, speaker)) = self.may_pass(arrived, flow)? else {
            self.answer_options(arrived);
            return Ok(());
        };
        self.check_speakers_token(arrived, flow, services)?;
        let plan = self.inward_plan(&arrived.message, route.hidden.as_ref(), &speaker, now);
        let mut context = self.new_context(arrived, flow, plan)?;
        context.registrar = Some(speaker.registrar);
        let began_on = route.flow.unwrap_or(flow);
        self.launch(context, BodyDirection::FromClient, began_on, services, now)
    }

    /// Checks in the order of what is cheapest; `None` for OPTIONS that is answered here.
    fn may_pass(
        &self,
        arrived: &Arrived,
        flow: FlowId,
    ) -> Result<Option<(ClientRoute, Speaker)>, Refuse> {
        let message = &arrived.message;
        let uri = self.check_request(arrived)?;
        let state = self.registrations.flow(flow);
        let state = state.ok_or(Refuse::new(480, RefusalReason::FlowGone))?;
        if arrived.method == Method::Options && (!state.is_open() || self.names.is_own(&uri)) {
            return Ok(None);
        }
        if !state.is_open() {
            return Err(Refuse::new(403, RefusalReason::NotRegistered));
        }
        let route = self.client_route(message, flow)?;
        let speaker = self.speaker(message, arrived.method, flow, &route)?;
        Ok(Some((route, speaker)))
    }

    /// Only our own routes may stand in a client's request, and those of its registrar (RFC 3608).
    pub(super) fn client_route(
        &self,
        message: &Message,
        flow: FlowId,
    ) -> Result<ClientRoute, Refuse> {
        let mut found = ClientRoute::default();
        for route in message.routes() {
            let uri = route.uri();
            if !self.names.is_own(&uri) {
                if self.is_service_route(flow, &route) {
                    continue;
                }
                return Err(Refuse::new(403, RefusalReason::ForeignRoute));
            }
            // Without a user part it is a preloaded Route from provisioning.
            let Some(user) = uri.user() else { continue };
            let token = self.config.flow_token_keys.verify(user);
            let token = token.map_err(|_| Refuse::new(403, RefusalReason::ForgedToken))?;
            let token_flow = FlowId(token.flow);
            if token_flow != flow && self.registrations.living(token_flow) != Some(flow) {
                return Err(Refuse::new(403, RefusalReason::ForeignRoute));
            }
            found.flow = Some(token_flow);
            if let Some(sealed) = uri.params().value(HIDDEN) {
                let keys = &self.config.flow_token_keys;
                found.hidden = HiddenRoute::open(sealed, keys, message.call_id());
            }
        }
        Ok(found)
    }

    fn is_service_route(&self, flow: FlowId, route: &NameAddr<'_>) -> bool {
        let flow = self.registrations.flow(flow);
        let bindings = flow.map(Flow::bindings).unwrap_or_default();
        let mut routes = bindings.iter().flat_map(|binding| &binding.service_routes);
        routes.any(|each| {
            NameAddr::parse(each).is_ok_and(|each| each.uri().is_equivalent(&route.uri()))
        })
    }

    /// Outside a dialog that began here From must be an AoR of the flow; within it, what the client was then.
    fn speaker(
        &self,
        message: &Message,
        method: Method,
        flow: FlowId,
        route: &ClientRoute,
    ) -> Result<Speaker, Refuse> {
        let foreign = Refuse::new(403, RefusalReason::ForeignIdentity);
        let state = self
            .registrations
            .flow(flow)
            .ok_or_else(|| foreign.clone())?;
        let is_bound = |uri: &Uri<'_>| state.binding_by(|aor| aor.is(uri));
        let from = message.from().ok_or_else(|| foreign.clone())?.uri();
        let is_dialog = message.to_tag().is_some()
            && route.hidden.as_ref().is_some_and(|hidden| {
                let user = from.user_decoded().unwrap_or_default();
                hidden.identity == identity_mark(&user, from.host())
            });
        let binding = is_bound(&from);
        if binding.is_none() && !is_dialog && !is_anonymous(&from) {
            return Err(foreign);
        }
        let mut claimed = message.addresses(Name::PPreferredIdentity);
        // In an INVITE it names whoever sent the REFER (RFC 3892 section 2.2).
        let mut referred = message
            .addresses(Name::ReferredBy)
            .filter(|_| method == Method::Refer);
        if !claimed.all(|each| is_bound(&each.uri()).is_some())
            || !referred.all(|each| is_bound(&each.uri()).is_some())
        {
            return Err(foreign);
        }
        let binding = binding.or_else(|| state.bindings().first());
        let registrar = binding.and_then(|binding| self.location.named(&binding.registrar));
        match (binding, registrar) {
            (Some(binding), Some(registrar)) => Ok(Speaker {
                registrar: Arc::clone(registrar),
                node: binding.node,
                service_routes: binding.service_routes.clone(),
            }),
            _ => Err(Refuse::new(480, RefusalReason::NoNode)),
        }
    }

    pub(super) fn inward_plan(
        &self,
        message: &Message,
        hidden: Option<&HiddenRoute>,
        speaker: &Speaker,
        now: Instant,
    ) -> Plan {
        let is_initial = message.to_tag().is_none();
        let mut plan = Plan {
            record_route: is_initial && begins_dialog(message.method()),
            ..Plan::default()
        };
        let nodes = self
            .location
            .candidates(&speaker.registrar, speaker.node, now);
        let nodes = nodes.into_iter().map(Hop::Node);
        if is_initial {
            plan.routes = comma_list(speaker.service_routes.iter().map(|route| &**route));
            let first = speaker.service_routes.first();
            match first.and_then(|route| self.hop_of(NameAddr::parse(route).ok()?.uri())) {
                Some(hop) => plan.hops.push(hop),
                None => plan.hops.extend(nodes.rev()),
            }
            return plan;
        }
        // A dialog stays where it is, unless its element has no address here: then the registrar routes it.
        if let Some(hidden) = hidden {
            plan.routes.clone_from(&hidden.routes);
        }
        let first = first_address(&plan.routes);
        let target = if plan.routes.is_empty() {
            message.uri()
        } else {
            None
        };
        let hop = match (first, target) {
            (Some(route), _) => self.hop_of(route.uri()),
            (None, Some(uri)) => self.location.node_named(&uri).map(Hop::Node),
            (None, None) => None,
        };
        let mut nodes = nodes;
        plan.hops.extend(hop.or_else(|| nodes.next()));
        plan
    }

    /// Where a route that came from inside leads.
    fn hop_of(&self, uri: Uri<'_>) -> Option<Hop> {
        if self.names.is_own(&uri) {
            return Some(Hop::Own);
        }
        if let Some(node) = self.location.node_named(&uri) {
            return Some(Hop::Node(node));
        }
        let ip = crate::sip::uri::to_ip(uri.host())?;
        let transport = match uri.transport() {
            Some(text) if text.eq_ignore_ascii_case(b"tls") => Transport::Tls,
            Some(text) if text.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
            _ => Transport::Udp,
        };
        let default = if transport == Transport::Tls {
            5061
        } else {
            5060
        };
        let port = uri.port().unwrap_or(default);
        Some(Hop::Address(transport, SocketAddr::new(ip, port)))
    }

    /// An ACK to a 2xx: forwarded without a transaction and never answered (RFC 3261 section 16.11).
    pub(super) fn acknowledge_inward(
        &mut self,
        arrived: &Arrived,
        flow: FlowId,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(), Refuse> {
        let Some((route, speaker)) = self.may_pass(arrived, flow)? else {
            return Ok(());
        };
        let plan = self.inward_plan(&arrived.message, route.hidden.as_ref(), &speaker, now);
        let mut context = self.new_context(arrived, flow, plan)?;
        context.registrar = Some(speaker.registrar);
        let began_on = route.flow.unwrap_or(flow);
        self.pass_acknowledgement(context, BodyDirection::FromClient, began_on, services);
        Ok(())
    }
}

fn first_address(routes: &[u8]) -> Option<NameAddr<'_>> {
    let first = crate::sip::scan::Elements::new(routes).next()?;
    NameAddr::parse(first).ok()
}

/// RFC 3323 section 4.1.1.3: it claims to be nobody.
fn is_anonymous(from: &Uri<'_>) -> bool {
    from.host().eq_ignore_ascii_case(b"anonymous.invalid")
}

/// Methods whose first request begins a dialog (RFC 3261 section 12, RFC 6665, RFC 3515).
pub(super) const fn begins_dialog(method: Method) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer)
}
