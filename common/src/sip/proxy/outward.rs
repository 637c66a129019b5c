//! Requests from inside: which client they are for. Never dials one.

use std::time::Instant;

use super::body::BodyDirection;
use super::context::{Arrived, Hop, Plan};
use super::inward::begins_dialog;
use super::output::RefusalReason;
use super::refuse::Refuse;
use super::{FlowId, NodePeer, Proxy, Services};
use crate::sip::flow_token::TOKEN_CHARS;
use crate::sip::message::{Message, Method};
use crate::sip::uri::Uri;
use bytes::Bytes;

/// Where a request from inside goes.
#[derive(Debug)]
struct Target {
    flow: FlowId,
    /// The flow that the token names; another one if the client came back over a new connection.
    began_on: FlowId,
    /// The client's Contact, where ours stood for it.
    uri: Option<Bytes>,
    /// Whether that was taken from the end of the Route.
    drops_last_route: bool,
}

impl Proxy {
    pub(super) fn handle_inside_request(
        &mut self,
        arrived: &Arrived,
        peer: &NodePeer,
        services: &mut Services<'_>,
        now: Instant,
    ) -> Result<(), Refuse> {
        let Some(target) = self.target(arrived)? else {
            self.answer_options(arrived);
            return Ok(());
        };
        let plan = outward_plan(&arrived.message, &target);
        let mut context = self.new_context(arrived, target.flow, plan)?;
        let node = self.location.node_at(peer.remote);
        let by_node = node.and_then(|node| self.location.registrar_of(node));
        context.registrar = by_node
            .or_else(|| self.registrar_of_flow(target.flow))
            .cloned();
        let direction = BodyDirection::ToClient;
        self.launch(context, direction, target.began_on, services, now)
    }

    pub(super) fn acknowledge_outward(
        &mut self,
        arrived: &Arrived,
        services: &mut Services<'_>,
    ) -> Result<(), Refuse> {
        let Some(target) = self.target(arrived)? else {
            return Ok(());
        };
        let plan = outward_plan(&arrived.message, &target);
        let mut context = self.new_context(arrived, target.flow, plan)?;
        context.registrar = self.registrar_of_flow(target.flow).cloned();
        self.pass_acknowledgement(context, BodyDirection::ToClient, target.began_on, services);
        Ok(())
    }

    fn registrar_of_flow(&self, flow: FlowId) -> Option<&std::sync::Arc<super::Registrar>> {
        let binding = self.registrations.flow(flow)?.bindings().first()?;
        self.location.named(&binding.registrar)
    }

    /// `None` for OPTIONS that is answered here.
    fn target(&self, arrived: &Arrived) -> Result<Option<Target>, Refuse> {
        let message = &arrived.message;
        let uri = self.check_request(arrived)?;
        let mut routes = message.routes();
        let named = routes.find_map(|route| {
            let uri = route.uri();
            let user = uri.user().filter(|_| self.names.is_own(&uri))?;
            Some(self.config.flow_token_keys.verify(user))
        });
        let forged = Refuse::new(403, RefusalReason::ForgedToken);
        let (token, contact) = match named {
            Some(token) => (token.map_err(|_| forged)?, None),
            None => match self.contact_token(&uri)? {
                Some((token, number)) => (token, Some(number)),
                None if self.is_strictly_routed(message, &uri) => {
                    return self.strict_target(message, &uri).map(Some);
                }
                None if arrived.method == Method::Options => return Ok(None),
                None if arrived.method == Method::Register => {
                    return Err(Refuse::new(403, RefusalReason::UnknownDestination));
                }
                None => return Err(Refuse::new(404, RefusalReason::UnknownDestination)),
            },
        };
        let began_on = FlowId(token.flow);
        let gone = || self.flow_gone(began_on);
        let flow = self.registrations.living(began_on).ok_or_else(gone)?;
        let state = self.registrations.flow(flow).ok_or_else(gone)?;
        if message.to_tag().is_none() && !state.is_open() {
            return Err(Refuse::new(480, RefusalReason::NotRegistered));
        }
        let uri = match contact {
            Some(number) => Some(state.contact(number).cloned().ok_or_else(gone)?),
            None => None,
        };
        Ok(Some(Target {
            flow,
            began_on,
            uri,
            drops_last_route: false,
        }))
    }

    /// RFC 3261 section 16.4: a strict router put our Record-Route where the target belongs, and the target last.
    fn is_strictly_routed(&self, message: &Message, uri: &Uri<'_>) -> bool {
        let is_route = uri.is_loose_router() && uri.user().is_some() && self.names.is_own(uri);
        is_route && message.routes().next().is_some()
    }

    fn strict_target(&self, message: &Message, uri: &Uri<'_>) -> Result<Target, Refuse> {
        let token = self
            .config
            .flow_token_keys
            .verify(uri.user().unwrap_or_default());
        let token = token.map_err(|_| Refuse::new(403, RefusalReason::ForgedToken))?;
        let began_on = FlowId(token.flow);
        let flow = self.registrations.living(began_on);
        let target = message.routes().last().map(|route| route.uri().as_bytes());
        Ok(Target {
            flow: flow.ok_or_else(|| self.flow_gone(began_on))?,
            began_on,
            uri: target.map(Bytes::copy_from_slice),
            drops_last_route: true,
        })
    }

    /// The token and the number in a Contact that stood for a client's (Contact mode).
    fn contact_token(
        &self,
        uri: &Uri<'_>,
    ) -> Result<Option<(crate::sip::flow_token::FlowToken, usize)>, Refuse> {
        let Some(user) = uri.user().filter(|_| self.names.is_own(uri)) else {
            return Ok(None);
        };
        let Some((token, rest)) = user.split_at_checked(TOKEN_CHARS) else {
            return Ok(None);
        };
        let Some(number) = rest.strip_prefix(b".").and_then(|digits| {
            let digits = str::from_utf8(digits).ok()?;
            digits.parse::<u8>().ok()
        }) else {
            return Ok(None);
        };
        match self.config.flow_token_keys.verify(token) {
            Ok(token) => Ok(Some((token, usize::from(number)))),
            Err(_) => Err(Refuse::new(403, RefusalReason::ForgedToken)),
        }
    }

    /// RFC 5626 section 5.3: 430 for registrars that know what it means.
    pub(super) fn flow_gone(&self, flow: FlowId) -> Refuse {
        let knows = self.registrations.gone(flow).has_outbound;
        let code = if knows { 430 } else { 480 };
        Refuse::new(code, RefusalReason::FlowGone)
    }
}

fn outward_plan(message: &Message, target: &Target) -> Plan {
    Plan {
        hops: smallvec::smallvec![Hop::Flow(target.flow)],
        uri: target.uri.clone(),
        drops_last_route: target.drops_last_route,
        record_route: message.to_tag().is_none() && begins_dialog(message.method()),
        ..Plan::default()
    }
}
