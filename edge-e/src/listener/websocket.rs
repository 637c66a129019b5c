//! SIP over WebSocket (RFC 7118) at `/<B64(domain)>/sip` on the HTTPS port: the upgrade of an HTTP/1.1 connection, and the
//! client's side of the flow that it becomes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::http::fields;
use common::id::TrackingId;
use common::limits;
use common::link::stream_preface::{ClientTransport, StreamPreface, StreamProtocol, TlsVersion};
use common::mra::access::{Refusal, Verb};
use common::mra::edge_path::EdgePath;
use common::net::{ClientAddr, Domain};
use common::runtime::body::Body;
use common::runtime::drain::Signal;
use common::sip::gate::Gate;
use futures_util::{Sink, Stream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Interval;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::listener::front;
use crate::listener::sip::client::Client;
use crate::listener::sip::flow::Flow;
use crate::listener::sip::{self, Sip};
use crate::metrics::SipRefusal;

/// What an HTTP connection knows of itself that a flow wants to know, and the WebSocket it becomes.
#[derive(Debug)]
pub(super) struct Upgrading {
    sip: Arc<Sip>,
    client: SocketAddr,
    local: SocketAddr,
    server_name: Option<Domain>,
    tls_version: TlsVersion,
    agreed: Mutex<Option<Agreed>>,
}

/// A request that was answered with 101.
#[derive(Debug)]
struct Agreed {
    domain: Domain,
    upgrade: OnUpgrade,
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

impl Upgrading {
    /// Of a connection that may become a WebSocket.
    pub(super) fn new(
        sip: Arc<Sip>,
        client: SocketAddr,
        local: SocketAddr,
        tls: &ServerConnection,
    ) -> Self {
        Self {
            sip,
            client,
            local,
            server_name: sip::server_name(tls),
            tls_version: sip::tls_version(tls),
            agreed: Mutex::new(None),
        }
    }

    /// The answer to a request for a SIP WebSocket; `None` for any other request.
    pub(super) fn answer(
        &self,
        request: &mut Request<Incoming>,
    ) -> Option<Result<Response<Body>, Refused>> {
        if !request.headers().contains_key(UPGRADE) {
            return None;
        }
        let path = request.uri().path_and_query()?.as_str();
        let Ok(EdgePath::Verb {
            domain,
            verb: Verb::Sip,
            ..
        }) = EdgePath::parse(path)
        else {
            return None;
        };
        let upgrade = hyper::upgrade::on(&mut *request);
        let (method, version) = (request.method().clone(), request.version());
        let answer = self
            .check_domain(&domain)
            .and_then(|()| check(&method, version, request.headers()))
            .and_then(|key| self.check_origin(request.headers()).map(|()| key));
        Some(answer.map(|key| {
            let agreed = Agreed { domain, upgrade };
            *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
            switching(&key)
        }))
    }

    fn check_domain(&self, domain: &Domain) -> Result<(), Refused> {
        self.sip.cores.check_domain(domain).map_err(|_| Refused {
            refusal: Refusal::DomainUnknown,
            reason: "no core serves the domain",
            remedy: "add a [[domain]] to edge-c if it is yours",
        })
    }

    /// A page of any site makes a browser open a WebSocket; only those of ours may (RFC 6455 section 10.2).
    fn check_origin(&self, fields: &HeaderMap) -> Result<(), Refused> {
        let mut origins = fields.get_all(ORIGIN).iter();
        let origin = origins
            .next()
            .map(|value| value.to_str().unwrap_or_default());
        let is_one = origins.next().is_none();
        let allowed = &self.sip.settings.websocket_origins;
        if is_one && allowed.iter().any(|one| one.admits(origin)) {
            return Ok(());
        }
        self.sip.metrics.sip.refusals.of(SipRefusal::Origin).inc();
        Err(Refused {
            refusal: Refusal::NotAllowed,
            reason: "a web page of this origin may not open a WebSocket",
            remedy: "add it to [sip] websocket_origins if the page is yours",
        })
    }

    /// Goes on as a flow if the connection became a WebSocket; to be called when HTTP has ended on it.
    pub(super) async fn run(&self, drain: Signal) {
        let agreed = self
            .agreed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Agreed { domain, upgrade }) = agreed else {
            return;
        };
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(side = "downstream", reason = %error, "connection gone before it was a WebSocket");
                return;
            }
        };
        let preface = StreamPreface {
            protocol: StreamProtocol::Sip,
            transport: ClientTransport::Wss,
            client: ClientAddr(self.client),
            local: self.local,
            server_name: self.server_name.clone(),
            tls_version: self.tls_version,
            domain: Some(domain),
            tracking: TrackingId::new(front::random()),
        };
        let client = WebSocketClient::new(TokioIo::new(upgraded)).await;
        Flow::new(Arc::clone(&self.sip), client, preface, drain)
            .run()
            .await;
    }
}

/// Whether a request asks for a WebSocket of SIP, properly (RFC 6455 section 4.2.1, RFC 7118 section 4); gives its key.
fn check(method: &Method, version: Version, fields: &HeaderMap) -> Result<String, Refused> {
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
    if !has_word(fields, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return bad("the subprotocol sip is not offered");
    }
    let mut keys = fields.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next().and_then(|key| key.to_str().ok()), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|key| key.len() == 16) => {
            Ok(key.to_owned())
        }
        _ => bad("no proper Sec-WebSocket-Key"),
    }
}

const SUBPROTOCOL: &str = "sip";

/// Whether a word is in a comma list, in any letter case.
fn has_word(fields: &HeaderMap, name: &http::HeaderName, word: &str) -> bool {
    let values = fields.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut words = texts.flat_map(|text| text.split(','));
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

fn switching(key: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
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

/// A client on a WebSocket: each message is one message of SIP.
#[derive(Debug)]
struct WebSocketClient<T> {
    socket: WebSocketStream<T>,
    pings: Interval,
    is_flushed: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocketClient<T> {
    async fn new(io: T) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(limits::SIP_WEBSOCKET_READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * limits::FLOW_MESSAGE_BYTES_MAX)
            .max_message_size(Some(limits::SIP_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(limits::SIP_MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let mut pings = tokio::time::interval(limits::SIP_WEBSOCKET_PING_INTERVAL);
        pings.reset();
        Self {
            socket,
            pings,
            is_flushed: true,
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_ready(cx).map_err(failed)
    }

    fn start(&mut self, message: Message) -> io::Result<()> {
        self.is_flushed = false;
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(failed)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client for WebSocketClient<T> {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        gate: &mut Gate,
        now: Instant,
    ) -> Poll<io::Result<bool>> {
        match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(false)),
            Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            Some(Ok(Message::Text(text))) => gate.handle_websocket_message(text.as_bytes(), now),
            Some(Ok(Message::Binary(bytes))) => gate.handle_websocket_message(&bytes, now),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                gate.handle_keep_alive(now);
                // The answer to a ping waits in the socket.
                self.is_flushed = false;
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        if self.pings.poll_tick(cx).is_ready() && self.poll_ready(cx)?.is_ready() {
            self.start(Message::Ping(Bytes::new()))?;
        }
        while !waiting.is_empty() {
            ready!(self.poll_ready(cx))?;
            let Some(first) = waiting.pop_front() else {
                break;
            };
            self.start(message_of(first))?;
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(failed)?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failed)
    }
}

/// Text if it is text: browsers hand binary messages to other code (RFC 7118 section 5.2 allows both).
fn message_of(bytes: Bytes) -> Message {
    tungstenite::Utf8Bytes::try_from(bytes.clone())
        .map_or_else(|_| Message::Binary(bytes), Message::Text)
}

fn failed(error: tungstenite::Error) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests;
