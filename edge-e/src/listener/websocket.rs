//! SIP and XMPP over WebSocket (RFC 7118, RFC 7395) at `/<B64(domain)>/sip` and `/<B64(domain)>/xmpp` on the HTTPS port:
//! the upgrade of an HTTP/1.1 connection, and what becomes of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::http::fields;
use common::id::TrackingId;
use common::limits;
use common::link::stream_preface::{ClientTransport, StreamPreface, StreamProtocol, TlsVersion};
use common::mra::access::{Refusal, Verb};
use common::mra::edge_path::EdgePath;
use common::net::{ClientAddr, Domain};
use common::runtime::body::Body;
use common::runtime::drain::Signal;
use common::runtime::lean_tls;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::listener::sip::flow::Flow;
use crate::listener::sip::{self, Sip};
use crate::listener::xmpp::Xmpp;
use crate::metrics::SipRefusal;
use crate::metrics::xmpp::XmppRefusal;

mod socket;

use socket::Socket;

/// What a WebSocket may become.
#[derive(Clone, Debug)]
pub struct Websockets {
    /// SIP, if there is any.
    pub sip: Option<Arc<Sip>>,
    /// XMPP, if there is any.
    pub xmpp: Option<Arc<Xmpp>>,
}

/// What one becomes.
#[derive(Clone, Debug)]
enum Service {
    Sip(Arc<Sip>),
    Xmpp(Arc<Xmpp>),
}

/// What an HTTP connection knows of itself that a flow wants to know, and the WebSocket it becomes.
#[derive(Debug)]
pub(super) struct Upgrading {
    websockets: Websockets,
    client: SocketAddr,
    local: SocketAddr,
    server_name: Option<Domain>,
    tls_version: TlsVersion,
    agreed: Mutex<Option<Agreed>>,
}

/// A request that was answered with 101.
#[derive(Debug)]
struct Agreed {
    service: Service,
    domain: Domain,
    upgrade: OnUpgrade,
    tracking: TrackingId,
}

/// Why there is no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The answer.
    pub(super) refusal: Refusal,
    /// For the log.
    pub(super) reason: &'static str,
    /// For the log.
    pub(super) remedy: &'static str,
}

impl Websockets {
    fn of(&self, verb: Verb) -> Option<Service> {
        match verb {
            Verb::Sip => self.sip.clone().map(Service::Sip),
            Verb::Xmpp => self.xmpp.clone().map(Service::Xmpp),
            Verb::Fedlet | Verb::GetEdgeConfig | Verb::GetEdgeSso => None,
        }
    }
}

impl Service {
    /// RFC 7118 section 4, RFC 7395 section 3.1.
    const fn subprotocol(&self) -> &'static str {
        match self {
            Self::Sip(_) => "sip",
            Self::Xmpp(_) => "xmpp",
        }
    }

    fn check_domain(&self, domain: &Domain) -> Result<(), Refused> {
        let (checked, remedy) = match self {
            Self::Sip(sip) => (
                sip.cores.check_domain(domain),
                "add a [[domain]] to edge-c if it is yours",
            ),
            Self::Xmpp(xmpp) => (
                xmpp.cores().check_xmpp_domain(domain),
                "add it to [[xmpp.domain]] of edge-c if it is yours",
            ),
        };
        checked.map_err(|_| Refused {
            refusal: Refusal::DomainUnknown,
            reason: "no core serves the domain",
            remedy,
        })
    }

    /// A page of any site makes a browser open a WebSocket; only those of ours may (RFC 6455 section 10.2).
    fn check_origin(&self, fields: &HeaderMap) -> Result<(), Refused> {
        let mut origins = fields.get_all(ORIGIN).iter();
        let origin = origins
            .next()
            .map(|value| value.to_str().unwrap_or_default());
        let is_one = origins.next().is_none();
        let allowed = match self {
            Self::Sip(sip) => &sip.settings.websocket_origins,
            Self::Xmpp(xmpp) => xmpp.origins(),
        };
        if is_one && allowed.iter().any(|one| one.admits(origin)) {
            return Ok(());
        }
        let remedy = match self {
            Self::Sip(sip) => {
                sip.metrics.sip.refusals.of(SipRefusal::Origin).inc();
                "add it to [sip] websocket_origins if the page is yours"
            }
            Self::Xmpp(xmpp) => {
                xmpp.count_refusal(XmppRefusal::Origin);
                "add it to [xmpp] websocket_origins if the page is yours"
            }
        };
        Err(Refused {
            refusal: Refusal::NotAllowed,
            reason: "a web page of this origin may not open a WebSocket",
            remedy,
        })
    }
}

impl Upgrading {
    /// Of a connection that may become a WebSocket.
    pub(super) fn new(
        websockets: Websockets,
        client: SocketAddr,
        local: SocketAddr,
        tls: &lean_tls::Agreed,
    ) -> Self {
        Self {
            websockets,
            client,
            local,
            server_name: sip::server_name(tls.server_name.as_deref()),
            tls_version: sip::tls_version(tls.version),
            agreed: Mutex::new(None),
        }
    }

    /// The answer to a request for a WebSocket, which is known by `tracking` from then on; `None` for any other request.
    pub(super) fn answer(
        &self,
        request: &mut Request<Incoming>,
        tracking: TrackingId,
    ) -> Option<Result<Response<Body>, Refused>> {
        if !request.headers().contains_key(UPGRADE) {
            return None;
        }
        let path = request.uri().path_and_query()?.as_str();
        let Ok(EdgePath::Verb { domain, verb, .. }) = EdgePath::parse(path) else {
            return None;
        };
        let service = self.websockets.of(verb)?;
        let upgrade = hyper::upgrade::on(&mut *request);
        let (method, version) = (request.method().clone(), request.version());
        let subprotocol = service.subprotocol();
        let answer = service
            .check_domain(&domain)
            .and_then(|()| check(&method, version, request.headers(), subprotocol))
            .and_then(|key| service.check_origin(request.headers()).map(|()| key));
        Some(answer.map(|key| {
            let agreed = Agreed {
                service,
                domain,
                upgrade,
                tracking,
            };
            *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
            switching(&key, subprotocol)
        }))
    }

    /// Goes on as what the connection became, if it became a WebSocket; to be called when HTTP has ended on it.
    pub(super) async fn run(&self, drain: Signal) {
        let agreed = self
            .agreed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Agreed {
            service,
            domain,
            upgrade,
            tracking,
        }) = agreed
        else {
            return;
        };
        let upgraded = match upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                tracing::debug!(side = "downstream", reason = %error, "connection gone before it was a WebSocket");
                return;
            }
        };
        let preface = StreamPreface {
            protocol: match service {
                Service::Sip(_) => StreamProtocol::Sip,
                Service::Xmpp(_) => StreamProtocol::Xmpp,
            },
            transport: ClientTransport::Wss,
            client: ClientAddr(self.client),
            local: self.local,
            server_name: self.server_name.clone(),
            tls_version: self.tls_version,
            domain: Some(domain.clone()),
            tracking,
        };
        match service {
            Service::Sip(sip) => {
                let client = Socket::new(upgraded, limits::SIP_MESSAGE_BYTES_MAX).await;
                Flow::new(sip, client, preface, drain).run().await;
            }
            Service::Xmpp(xmpp) => {
                let client = Socket::new(upgraded, limits::FLOW_MESSAGE_BYTES_MAX).await;
                xmpp.websocket(client, &domain, &preface, drain).await;
            }
        }
    }
}

/// Whether a request asks for a WebSocket, properly (RFC 6455 section 4.2.1); gives its key.
fn check(
    method: &Method,
    version: Version,
    fields: &HeaderMap,
    subprotocol: &str,
) -> Result<String, Refused> {
    let bad = |reason| {
        Err(Refused {
            refusal: Refusal::BadRequest,
            reason,
            remedy: "none: the client is at fault",
        })
    };
    if *method != Method::GET || version != Version::HTTP_11 {
        return bad("a WebSocket is asked for with GET and HTTP/1.1");
    }
    if fields.len() > limits::HTTP_FIELDS_MAX
        || fields::bytes(fields) > limits::HTTP_FIELDS_BYTES_MAX
    {
        return bad("the head is too large");
    }
    if fields.get_all(HOST).iter().count() != 1 {
        return bad("not one Host field");
    }
    if fields.contains_key(TRANSFER_ENCODING) || fields.contains_key(CONTENT_LENGTH) {
        return bad("a WebSocket is asked for without a body");
    }
    if !has_word(fields, &UPGRADE, "websocket") || !has_word(fields, &CONNECTION, "upgrade") {
        return bad("an upgrade to something else than a WebSocket");
    }
    if fields.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        return bad("another version of WebSocket than 13");
    }
    if !has_word(fields, &SEC_WEBSOCKET_PROTOCOL, subprotocol) {
        return bad("the subprotocol of the path's last segment is not offered");
    }
    let mut keys = fields.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next().and_then(|key| key.to_str().ok()), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|key| key.len() == 16) => {
            Ok(key.to_owned())
        }
        _ => bad("no proper Sec-WebSocket-Key"),
    }
}

/// Whether a word is in a comma list, in any letter case.
fn has_word(fields: &HeaderMap, name: &http::HeaderName, word: &str) -> bool {
    let values = fields.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut words = texts.flat_map(|text| text.split(','));
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

fn switching(key: &str, subprotocol: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(subprotocol),
    );
    if let Ok(accept) = HeaderValue::try_from(accept(key)) {
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Proves that this is no answer to something else (RFC 6455 section 4.2.2); SHA-1 is no weakness there.
fn accept(key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests;
