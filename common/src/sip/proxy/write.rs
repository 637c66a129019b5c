//! Messages as they are written for the next hop: Via, Route, Record-Route, Max-Forwards and what must not pass.

use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use smallvec::SmallVec;

use super::config::Transport;
use super::context::{BodyChange, Context, Hop, Source};
use super::slots::SlotKey;
use super::{FlowId, Proxy};
use crate::sip::edit::Edit;
use crate::sip::message::{Message, Method};
use crate::sip::name::Name;
use crate::sip::topology::{HiddenRoute, identity_mark};

/// The URI parameter that holds a [`HiddenRoute`].
pub(super) const HIDDEN: &str = "h";
const MAX_FORWARDS: u8 = 70;
const BRANCH_BYTES: usize = 9;

/// A branch of this proxy: which request, which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BranchId {
    pub(super) key: SlotKey,
    pub(super) attempt: u8,
}

impl BranchId {
    /// The branch of a request that has no transaction: an ACK to a 2xx.
    pub(super) const fn stateless(nonce: u32) -> Self {
        let key = SlotKey {
            place: u32::MAX,
            nonce,
        };
        Self { key, attempt: 0 }
    }

    pub(super) fn text(self) -> String {
        let mut bytes = [0; BRANCH_BYTES];
        let fields = self.key.to_u64().to_be_bytes().into_iter();
        let fields = fields.chain(std::iter::once(self.attempt));
        bytes
            .iter_mut()
            .zip(fields)
            .for_each(|(to, from)| *to = from);
        let mut text = String::from("z9hG4bK");
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    /// Reads what stands behind the magic cookie.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; BRANCH_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        let key = SlotKey::from_u64(u64::from_be_bytes(*number));
        let attempt = *rest.first()?;
        (length == BRANCH_BYTES).then_some(Self { key, attempt })
    }
}

impl Proxy {
    /// The request for one hop; `carried` says by what if not by the hop's own transport.
    pub(super) fn write_request(
        &self,
        context: &Context,
        hop: Hop,
        branch: BranchId,
        carried: Option<Transport>,
    ) -> Bytes {
        match hop {
            Hop::Flow(flow) => self.write_outward(context, flow, branch),
            Hop::Node(_) | Hop::Address(..) | Hop::Own => {
                let transport = self.transport_of(hop);
                self.write_inward(context, transport, carried.unwrap_or(transport), branch)
            }
        }
    }

    pub(super) fn transport_of(&self, hop: Hop) -> Transport {
        match hop {
            Hop::Address(transport, _) => transport,
            Hop::Node(id) => self
                .location
                .node(id)
                .map_or(Transport::Tcp, |node| node.transport),
            Hop::Flow(flow) => self
                .registrations
                .flow(flow)
                .map_or(Transport::Tls, |flow| flow.peer.transport),
            Hop::Own => Transport::Tcp,
        }
    }

    /// From a client to the inside. `carried` stands in Via alone: later requests may come by the usual transport.
    fn write_inward(
        &self,
        context: &Context,
        transport: Transport,
        carried: Transport,
        branch: BranchId,
    ) -> Bytes {
        let request = &context.request;
        let mut edit = Edit::new(request);
        let via = format!(
            "SIP/2.0/{} {};branch={}{}",
            carried.via_name(),
            self.names.inner(carried),
            branch.text(),
            // RFC 5923: the registrar may send requests of its own on this connection.
            if transport == Transport::Tls {
                ";alias"
            } else {
                ""
            },
        );
        match context.source {
            // Registrars count hops (RFC 5626 section 6): what ends a registration looks like what began it.
            Source::Own(_) if context.method == Method::Register => {
                edit.push_via(via);
                return finish_request(context, edit);
            }
            Source::Own(_) => {
                edit.remove(Name::Via).insert_top(Name::Via, via);
            }
            Source::Flow(..) | Source::Node(_) => {
                edit.push_via(via).stamp_via(context.source.address());
            }
        }
        for name in [
            Name::Route,
            Name::RecordRoute,
            Name::Path,
            Name::PAssertedIdentity,
            Name::PAssertedService,
        ] {
            if request.has(name) {
                edit.remove(name);
            }
        }
        if !context.plan.routes.is_empty() {
            edit.insert_before(Name::Route, &context.plan.routes);
        }
        if context.plan.record_route
            && let Some((inner, outer)) = self.record_route(context.flow, transport)
        {
            edit.insert_top(Name::RecordRoute, inner);
            edit.insert_top(Name::RecordRoute, outer);
        }
        if let Some(register) = &context.register {
            self.write_register(context, register, transport, &mut edit);
        }
        finish_request(context, edit)
    }

    /// From the inside to a client: only our own Via and Record-Route, so that nothing of the inside shows.
    fn write_outward(&self, context: &Context, flow: FlowId, branch: BranchId) -> Bytes {
        let request = &context.request;
        let mut edit = Edit::new(request);
        edit.remove(Name::Via);
        if let Some(peer) = self.registrations.flow(flow).map(|flow| &flow.peer) {
            let via = format!(
                "SIP/2.0/{} {};branch={}",
                peer.transport.via_name(),
                self.names.edge(peer),
                branch.text()
            );
            edit.insert_top(Name::Via, via);
        }
        let own: SmallVec<[&[u8]; 4]> = request
            .routes()
            .take_while(|route| self.names.is_own(&route.uri()))
            .map(|route| route.as_bytes())
            .collect();
        for route in own {
            edit.drop_value(route);
        }
        if context.plan.drops_last_route
            && let Some(last) = request.routes().last()
        {
            edit.drop_value(last.as_bytes());
        }
        if request.has(Name::RecordRoute) {
            edit.remove(Name::RecordRoute);
        }
        if context.plan.record_route {
            let routes = comma_list(request.values(Name::RecordRoute));
            if let Some(value) = self.outer_route(flow, request, Name::To, routes) {
                edit.insert_top(Name::RecordRoute, value);
            }
        }
        finish_request(context, edit)
    }

    /// The two Record-Route values towards the inside: the side that faces it, and the side that faces the client
    /// (RFC 5658 section 5).
    pub(super) fn record_route(
        &self,
        flow: FlowId,
        transport: Transport,
    ) -> Option<(String, String)> {
        let flow = self.registrations.flow(flow)?;
        let inner = self.inner_uri(flow.token, transport);
        let outer = format!(
            "<sip:{}@{};transport={};lr>",
            flow.token,
            self.names.edge(&flow.peer),
            flow.peer.transport.uri_name(),
        );
        Some((format!("<{inner};lr>"), outer))
    }

    pub(super) fn inner_uri(&self, user: impl std::fmt::Display, transport: Transport) -> String {
        format!(
            "sip:{user}@{};transport={}",
            self.names.inner(transport),
            transport.uri_name()
        )
    }

    /// The one Record-Route value that a client sees; `routes` are hidden in it. `own` says where the client's identity
    /// stands in `message`.
    pub(super) fn outer_route(
        &self,
        flow: FlowId,
        message: &Message,
        own: Name,
        routes: Vec<u8>,
    ) -> Option<String> {
        let flow = self.registrations.flow(flow)?;
        let identity = message.addresses(own).next()?.uri();
        let hidden = HiddenRoute {
            identity: identity_mark(
                &identity.user_decoded().unwrap_or_default(),
                identity.host(),
            ),
            routes,
        };
        let sealed = hidden.seal(&self.config.flow_token_keys, message.call_id());
        Some(format!(
            "<sip:{}@{};transport={};lr;{HIDDEN}={}>",
            flow.token,
            self.names.edge(&flow.peer),
            flow.peer.transport.uri_name(),
            sealed.unwrap_or_default(),
        ))
    }
}

/// What every request gets: the Request-URI, Max-Forwards and the body.
fn finish_request(context: &Context, mut edit: Edit<'_>) -> Bytes {
    if let Some(uri) = &context.plan.uri {
        edit.replace_start_uri(uri);
    }
    // RFC 3261 section 16.6 step 3.
    let hops = context.request.max_forwards();
    edit.set_max_forwards(hops.map_or(MAX_FORWARDS, |hops| hops.saturating_sub(1)));
    change_body(&context.plan.body, &mut edit);
    edit.into_bytes()
}

pub(super) fn change_body(change: &BodyChange, edit: &mut Edit<'_>) {
    match change {
        BodyChange::Keep => {}
        BodyChange::Replace(body) => {
            edit.set_body(body.clone());
        }
        BodyChange::Strip => {
            edit.remove(Name::ContentType).set_body(Bytes::new());
        }
    }
}

/// Values parted by commas.
pub(super) fn comma_list<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut list = Vec::new();
    for value in values {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value);
    }
    list
}

/// The Via values of a request, the topmost one with the address that the request came from.
pub(super) fn stamped_vias(request: &Message, source: &Source) -> Vec<Vec<u8>> {
    let mut vias = request.values(Name::Via);
    let Some(top) = vias.next() else {
        return Vec::new();
    };
    let mut stamped = Vec::with_capacity(top.len().saturating_add(48));
    let mut edit = Edit::new(request);
    edit.stamp_via(source.address());
    edit.finish_part(top, &mut stamped);
    std::iter::once(stamped)
        .chain(vias.map(<[u8]>::to_vec))
        .collect()
}

/// An ACK to a final error or a CANCEL: what of the request it belongs to has to stand in it (RFC 3261 sections 9.1 and
/// 17.1.1.3). `to` is the To of the response, for an ACK.
pub(super) fn derive(
    sent: &Message,
    method: Method,
    to: Option<&[u8]>,
    extra: &[u8],
) -> Option<Bytes> {
    let mut out = Vec::with_capacity(512);
    let uri = sent.uri()?;
    let via = sent.value(Name::Via)?;
    put(
        &mut out,
        &[
            method.as_str().as_bytes(),
            b" ",
            uri.as_bytes(),
            b" SIP/2.0\r\n",
        ],
    );
    put(&mut out, &[b"Via: ", via, b"\r\n"]);
    for route in sent.values(Name::Route) {
        put(&mut out, &[b"Route: ", route, b"\r\n"]);
    }
    put(
        &mut out,
        &[b"Max-Forwards: 70\r\nFrom: ", sent.value(Name::From)?],
    );
    put(
        &mut out,
        &[b"\r\nTo: ", to.or_else(|| sent.value(Name::To))?],
    );
    put(&mut out, &[b"\r\nCall-ID: ", sent.call_id(), b"\r\n"]);
    // Writing to a vector cannot fail.
    drop(write!(out, "CSeq: {} {method}\r\n", sent.cseq().number));
    put(&mut out, &[extra, b"Content-Length: 0\r\n\r\n"]);
    Some(out.into())
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_reads_back_and_others_do_not() {
        let branch = BranchId {
            key: SlotKey {
                place: 7,
                nonce: 0xdead_beef,
            },
            attempt: 3,
        };

        let text = branch.text();

        let rest = text.strip_prefix("z9hG4bK").unwrap();
        assert_eq!(BranchId::parse(rest.as_bytes()), Some(branch));
        assert_eq!(BranchId::parse(b"e2d4038029400e870aba3b1122a47dd8.0"), None);
        assert_eq!(BranchId::parse(b""), None);
    }
}
