//! Answers that the proxy gives by itself, without a transaction: the same request gets the same answer, and its ACK is
//! known by the tag.

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;

use super::context::{Arrived, Source};
use super::output::{Destination, Event, RefusalReason, Side, Transmit, TransmitId};
use super::{NodePeer, OWN_ADDRESS, OWN_CONNECTION, Proxy, Transport};
use crate::limits;
use crate::sip::message::{Message, Method, ParseError};
use crate::sip::name::Name;
use crate::sip::response::{Response, respond_to_malformed};
use crate::sip::uri::{Scheme, Uri};
use crate::sip::via::{Rport, Via};

/// A request is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refuse {
    pub(super) code: u16,
    pub(super) reason: RefusalReason,
    pub(super) headers: Vec<(Name, String)>,
}

impl Refuse {
    pub(super) const fn new(code: u16, reason: RefusalReason) -> Self {
        Self {
            code,
            reason,
            headers: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: Name, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Of what no transaction will report a failure.
pub(super) const NOBODY_CARES: TransmitId = TransmitId(u64::MAX);

impl Proxy {
    /// RFC 3261 section 16.3. Returns the Request-URI.
    pub(super) fn check_request<'a>(&self, arrived: &'a Arrived) -> Result<Uri<'a>, Refuse> {
        let message = &arrived.message;
        let malformed = Refuse::new(400, RefusalReason::Malformed);
        let uri = message.uri().ok_or(malformed)?;
        if uri.scheme() == Scheme::Other {
            return Err(Refuse::new(416, RefusalReason::UnknownDestination));
        }
        if message.max_forwards() == Some(0) && arrived.method != Method::Options {
            return Err(Refuse::new(483, RefusalReason::MaxForwards));
        }
        if message.value(Name::MaxBreadth) == Some(b"0") {
            return Err(Refuse::new(440, RefusalReason::MaxBreadth));
        }
        let is_answered = !matches!(arrived.method, Method::Ack | Method::Cancel);
        if is_answered && message.has(Name::ProxyRequire) {
            let unsupported = message.option_tags(Name::ProxyRequire);
            let unsupported = super::write::comma_list(unsupported);
            let unsupported = String::from_utf8_lossy(&unsupported).into_owned();
            let refuse = Refuse::new(420, RefusalReason::ProxyRequire);
            return Err(refuse.with(Name::Unsupported, unsupported));
        }
        Ok(uri)
    }

    /// Answers and reports; a request without a transaction here.
    pub(super) fn refuse(&mut self, arrived: &Arrived, refuse: &Refuse) {
        let is_answered = arrived.method != Method::Ack;
        self.events.push_back(Event::Refused {
            from: side(&arrived.source),
            code: is_answered.then_some(refuse.code),
            reason: refuse.reason,
        });
        if !is_answered {
            return;
        }
        let tag = self.local_tag(arrived.server_key);
        let mut response = Response::new(&arrived.message, refuse.code)
            .to_tag(tag.as_bytes())
            .source(arrived.source.address());
        for (name, value) in &refuse.headers {
            response = response.header(*name, value);
        }
        let bytes = response.to_bytes();
        self.send_back(&arrived.source, &arrived.message, bytes);
    }

    /// A refusal for overload: come back later, but not all at once.
    pub(super) fn overload(&mut self) -> Refuse {
        let least = limits::SIP_OVERLOAD_RETRY_AFTER.as_secs();
        let jitter = u64::from(self.random_u32()) % least.max(1);
        let after = least.saturating_add(jitter).to_string();
        Refuse::new(503, RefusalReason::Overload).with(Name::RetryAfter, after)
    }

    /// A message that cannot be read.
    pub(super) fn refuse_malformed(&mut self, error: &ParseError, source: &Source) {
        let tag = self.local_tag(0);
        let answer = respond_to_malformed(error, tag.as_bytes());
        self.events.push_back(Event::Refused {
            from: side(source),
            code: answer.as_ref().map(|_| error.status()),
            reason: RefusalReason::Malformed,
        });
        if let (Some(answer), Some(message)) = (answer, error.message()) {
            self.send_back(source, message, answer);
        }
    }

    /// OPTIONS to the proxy itself, or from a client that is not registered.
    pub(super) fn answer_options(&mut self, arrived: &Arrived) {
        let tag = self.local_tag(arrived.server_key);
        let bytes = Response::new(&arrived.message, 200)
            .to_tag(tag.as_bytes())
            .source(arrived.source.address())
            .header(Name::Supported, "path, outbound")
            .to_bytes();
        self.send_back(&arrived.source, &arrived.message, bytes);
    }

    /// The To tag of an answer made here.
    pub(super) fn local_tag(&self, server_key: u64) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.tag_seed);
        hasher.write_u64(server_key);
        format!("{:016x}", hasher.finish())
    }

    /// Sends a response the way its request came (RFC 3261 section 18.2.2, RFC 3581 section 4).
    pub(super) fn send_back(&mut self, source: &Source, request: &Message, bytes: Bytes) {
        let to = match source {
            Source::Flow(flow, _) => Destination::Flow(*flow),
            Source::Own(_) => return, // nobody waits for it
            Source::Node(peer) if peer.connection == Some(OWN_CONNECTION) => {
                self.loopback.push_back(bytes);
                return;
            }
            Source::Node(peer) => Destination::Node {
                transport: peer.transport,
                address: return_address(peer, request.top_via()),
                tls_name: None,
                connection: peer.connection,
                node: None,
            },
        };
        self.transmits.push_back(Transmit {
            to,
            bytes,
            answers: Some(request.method()),
            id: NOBODY_CARES,
        });
    }
}

fn return_address(peer: &NodePeer, via: Option<Via<'_>>) -> std::net::SocketAddr {
    let mut address = peer.remote;
    let is_asked = via.is_some_and(|via| via.rport() != Rport::Absent);
    if !is_asked || peer.transport != Transport::Udp {
        let secure = peer.transport == Transport::Tls;
        let default = if secure { 5061 } else { 5060 };
        address.set_port(via.and_then(|via| via.port()).unwrap_or(default));
    }
    address
}

pub(super) const fn side(source: &Source) -> Side {
    match source {
        Source::Flow(flow, _) => Side::Flow(*flow),
        Source::Node(peer) => Side::Node(peer.remote),
        Source::Own(_) => Side::Node(OWN_ADDRESS),
    }
}
