//! Public HTTPS on 8443: TLS, the gates, and on to a core. Refuses early; allows nothing by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::fields;
use common::id::TrackingId;
use common::limits;
use common::link::preface::{self, Preface};
use common::mra::access::{Refusal, Verb};
use common::mra::cookie;
use common::mra::edge_path::EdgePath;
use common::net::{ClientAddr, Domain};
use common::redact::Redacted;
use common::runtime::body::Body;
use common::runtime::drain::Signal;
use common::runtime::exchange;
use common::runtime::http_pool::SendError;
use common::runtime::http_server::{self, Timeouts, Version};
use common::runtime::progress::Counters;
use common::runtime::request_count::Counted;
use common::runtime::workers::Workers;
use common::runtime::{clock, listen};
use common::telemetry::{Direction, HandshakeOutcome, Route};
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::admission::{Admission, Admitted, NotAdmitted};
use crate::cores::{Core, Cores, NoRoute};
use crate::gate;
use crate::listener::websocket::{self, Upgrading, Websockets};
use crate::metrics::{self, Listener, Metrics, Refusal as Label};

/// What every connection of this listener shares.
#[derive(Debug)]
pub struct Https {
    /// Who is linked, and what they said.
    pub cores: Arc<Cores>,
    /// Limits by address.
    pub admission: Arc<Admission>,
    /// Certificates, ALPN, tickets.
    pub tls: Arc<rustls::ServerConfig>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who drives the connections.
    pub workers: Workers,
    /// What a WebSocket becomes, if there are any.
    pub websockets: Option<Websockets>,
    /// When this process began: until a while later, a core that has not come may still come.
    pub started: Instant,
}

const TIMEOUTS: Timeouts = Timeouts {
    head: limits::HTTP_HEAD_TIMEOUT,
    idle: limits::HTTP_IDLE_TIMEOUT,
    stall: limits::HTTP_STALL_TIMEOUT,
};

/// One client connection, as far as its requests need to know.
#[derive(Debug)]
struct Connection {
    https: Arc<Https>,
    client: ClientAddr,
    /// First half of the tracking ids of its requests.
    id: [u8; 8],
    requests: AtomicU64,
    /// If a WebSocket may come of it.
    upgrading: Option<Upgrading>,
}

impl Https {
    /// Accepts until the drain starts.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, drain: Signal) {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listen::accept(&listener) => accepted,
                () = drain.draining() => return,
            };
            let admitted = self.admission.admit(peer.ip(), clock::now());
            self.metrics
                .connections
                .of(Listener::Public, outcome(&admitted))
                .inc();
            match admitted {
                Ok(admitted) => self.spawn(stream, peer, admitted, drain.clone()),
                // It was told when it was blocked; a line for each try would be a gift to whoever wants to fill the disk.
                Err(NotAdmitted::Jailed) => {
                    tracing::debug!(side = "downstream", client = %peer_text(peer), "connection of a blocked address refused");
                }
                Err(reason) => {
                    tracing::info!(side = "downstream", client = %peer_text(peer), %reason,
                    remedy = "raise it in [limits] if these are your users", "connection refused");
                }
            }
        }
    }

    fn spawn(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        admitted: Admitted,
        drain: Signal,
    ) {
        let https = Arc::clone(self);
        // What is still open when the drain is over ends with the worker threads.
        let connection = move |stream| async move {
            let _in_flight = drain.in_flight();
            let open = https.metrics.open.of(Listener::Public).clone();
            open.inc();
            https.connection(stream, peer, &drain).await;
            open.dec();
            drop(admitted);
        };
        if let Err(error) = self.workers.spawn_with(stream, connection) {
            tracing::debug!(side = "local", reason = %error, "connection gone before it was served");
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, drain: &Signal) {
        if let Err(error) = listen::configure(&stream) {
            tracing::debug!(side = "downstream", reason = %error, "connection gone before it was served");
            return;
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let accepting =
            tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        let handshake = accepting
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let outcome = HandshakeOutcome::of(&handshake);
        self.metrics.handshakes.of(Listener::Public, outcome).inc();
        let stream = match handshake {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(side = "downstream", client = %peer_text(peer), reason = %error, "TLS failed");
                return;
            }
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let version = if is_http2 {
            Version::Http2
        } else {
            Version::Http1
        };
        let counters: Arc<Counters> = Arc::default();
        let (tcp, tls) = stream.get_ref();
        let upgrading = self.websockets.clone().and_then(|websockets| {
            let local = tcp.local_addr().ok()?;
            Some(Upgrading::new(websockets, peer, local, tls))
        });
        let connection = Arc::new(Connection {
            https: self,
            upgrading,
            client: ClientAddr(peer),
            id: random_id(),
            requests: AtomicU64::new(0),
        });
        let handler = |request| Arc::clone(&connection).answer(request);
        let start = clock::now();
        let ended = Box::pin(http_server::serve(
            stream,
            version,
            handler,
            Arc::clone(&counters),
            TIMEOUTS,
            drain.draining(),
        ))
        .await;
        tracing::debug!(
            client = %peer_text(peer), reason = %ended, requests = counters.requests(), read = counters.read(),
            written = counters.written(), duration_ms = clock::elapsed(start).as_millis(), "connection_closed"
        );
        if let Some(upgrading) = &connection.upgrading {
            Box::pin(upgrading.run(drain.clone())).await;
        }
    }
}

/// A refusal on its way to the client, and what log and metric say of it.
struct Refused {
    refusal: Refusal,
    label: Label,
    reason: &'static str,
    remedy: &'static str,
}

impl Refused {
    const fn new(
        refusal: Refusal,
        label: Label,
        reason: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            refusal,
            label,
            reason,
            remedy,
        }
    }
}

/// Nobody but the client can mend it.
const CLIENT: &str = "none: the client is at fault";

const SIGN_IN_AGAIN: &str = "none: the client signs in again by itself";

/// What the gates found out, and so where the request goes.
enum Gated {
    /// edge-e has the answer: this document.
    Answer(Bytes),
    /// A core has it.
    Relay(Arc<Core>),
}

impl Connection {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        let tracking = self.next_tracking_id();
        let upgrading = self.upgrading.as_ref();
        if let Some(answer) = upgrading.and_then(|upgrading| upgrading.answer(&mut request)) {
            return answer.unwrap_or_else(|refused| {
                let label = Label::BadRequest;
                let websocket::Refused {
                    refusal,
                    reason,
                    remedy,
                } = refused;
                self.refuse(tracking, &Refused::new(refusal, label, reason, remedy))
            });
        }
        let version = request.version();
        let (mut head, body) = request.into_parts();
        preface::strip(&mut head.headers);
        let counted = Counted::begin(&self.https.metrics.requests);
        let (route, gated) = self.gate(&head);
        let result = match gated {
            Ok(Gated::Answer(document)) => Ok(xml(document)),
            Ok(Gated::Relay(core)) => self.relay(&core, tracking, head, body).await,
            Err(refused) => {
                if version == http::Version::HTTP_2 {
                    discard(body).await;
                }
                Err(refused)
            }
        };
        let mut response = result.unwrap_or_else(|refused| self.refuse(tracking, &refused));
        tracing::debug!(tracking_id = %tracking, %route, status = response.status().as_u16(),
            duration_us = counted.elapsed().as_micros(), "answered");
        counted.end(route, response.status());
        if version == http::Version::HTTP_2 {
            response.headers_mut().remove(CONNECTION);
        }
        response
    }

    /// Everything edge-e decides, in order: form, path, domain, then verb or session.
    fn gate(&self, head: &request::Parts) -> (Route, Result<Gated, Refused>) {
        if let Err((refusal, reason)) =
            gate::check(&head.method, &head.uri, head.version, &head.headers)
        {
            let is_method = refusal == Refusal::Unsupported;
            let label = if is_method {
                Label::UnsupportedMethod
            } else {
                Label::BadRequest
            };
            return (
                Route::Other,
                Err(Refused::new(refusal, label, reason, CLIENT)),
            );
        }
        let path = head
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        let Ok(path) = EdgePath::parse(path) else {
            let refused = Refused::new(
                Refusal::NotFound,
                Label::BadPath,
                "not an edge path",
                CLIENT,
            );
            return (Route::Other, Err(refused));
        };
        if let Err(missing) = self.https.cores.check_domain(path.domain()) {
            return (Route::Other, Err(no_route(missing)));
        }
        match path {
            EdgePath::Verb {
                domain,
                verb: Verb::GetEdgeSso,
                ..
            } => (Route::EdgeSso, self.edge_sso(head, &domain)),
            EdgePath::Verb {
                domain,
                verb: Verb::GetEdgeConfig,
                ..
            } => (Route::EdgeConfig, self.edge_config(head, &domain)),
            EdgePath::Verb {
                verb: Verb::Fedlet | Verb::Sip | Verb::Xmpp,
                ..
            } => {
                let refused = Refused::new(
                    Refusal::NotFound,
                    Label::NotFound,
                    "the verb is switched off",
                    "none",
                );
                (Route::Other, Err(refused))
            }
            EdgePath::Sso { domain, .. } => (Route::Sso, self.sso_page(&domain)),
            EdgePath::Proxied { domain, .. } => (Route::Proxied, self.proxied(head, &domain)),
        }
    }

    fn edge_sso(&self, head: &request::Parts, domain: &Domain) -> Result<Gated, Refused> {
        only_get(&head.method)?;
        self.limit_sign_in()?;
        if self.https.cores.asks_for_sso(domain) {
            return self.to_any_core(domain);
        }
        let document = self.https.cores.sso_document(domain).map_err(no_route)?;
        Ok(Gated::Answer(document))
    }

    fn edge_config(&self, head: &request::Parts, domain: &Domain) -> Result<Gated, Refused> {
        only_get(&head.method)?;
        self.limit_sign_in()?;
        self.https
            .cores
            .route(domain, None, clock::now())
            .map(Gated::Relay)
            .map_err(no_route)
    }

    /// edge-c has the list of pages, and its own limit by address: a page has many parts, and is no sign-in.
    fn sso_page(&self, domain: &Domain) -> Result<Gated, Refused> {
        if self.https.cores.relays_sso(domain) {
            return self.to_any_core(domain);
        }
        let reason = "single sign-on is switched off";
        Err(Refused::new(
            Refusal::NotFound,
            Label::NotFound,
            reason,
            "none",
        ))
    }

    fn to_any_core(&self, domain: &Domain) -> Result<Gated, Refused> {
        let core = self.https.cores.route(domain, None, clock::now());
        core.map(Gated::Relay).map_err(no_route)
    }

    fn proxied(&self, head: &request::Parts, domain: &Domain) -> Result<Gated, Refused> {
        let cores = &self.https.cores;
        let checked = cores
            .check_session(&head.headers, clock::unix_now())
            .map_err(|refused| self.refuse_session(refused, head))?;
        cores
            .route(domain, Some(checked.core), clock::now())
            .map(Gated::Relay)
            .map_err(no_route)
    }

    fn count_failure(&self, what: &'static str) {
        let address = self.client.0.ip();
        if let Some(block) = self.https.admission.fail(address, clock::now()) {
            tracing::warn!(
                side = "downstream", client = %peer_text(self.client.0), seconds = block.as_secs(),
                reason = "too many authorisation failures", last = what,
                remedy = "ends by itself; /status shows the address; [limits] jail exempt lets it in at once",
                "address blocked"
            );
        }
    }

    fn refuse_session(&self, refused: cookie::Refused, head: &request::Parts) -> Refused {
        // A session that has ended, or whose key nobody knows any more, is an honest client's.
        if matches!(
            refused,
            cookie::Refused::Malformed | cookie::Refused::BadTag
        ) {
            self.count_failure("a forged session cookie");
        }
        let is_young = clock::elapsed(self.https.started) < limits::CORE_GONE_AFTER;
        let label = match refused {
            // A restart of this edge must not end the sessions of the core that links last.
            cookie::Refused::UnknownKey
                if is_young && self.https.cores.is_of_absent_core(&head.headers) =>
            {
                return link_down("the core that issued the session has not linked yet");
            }
            cookie::Refused::Missing => Label::NoSession,
            cookie::Refused::Expired => Label::Expired,
            cookie::Refused::Revoked => Label::Revoked,
            cookie::Refused::Malformed | cookie::Refused::UnknownKey | cookie::Refused::BadTag => {
                Label::UnknownSession
            }
        };
        Refused::new(
            Refusal::SignInRequired,
            label,
            refused.label(),
            SIGN_IN_AGAIN,
        )
    }

    fn limit_sign_in(&self) -> Result<(), Refused> {
        let admission = &self.https.admission;
        admission
            .admit_sign_in(self.client.0.ip(), clock::now())
            .map_err(|too_often| {
                let refusal = Refusal::TooManySignIns {
                    retry_after: too_often.retry_after,
                };
                let remedy = "raise [limits] sign_in_per_address for large offices";
                Refused::new(
                    refusal,
                    Label::RateLimited,
                    "sign_in_per_address exceeded",
                    remedy,
                )
            })
    }

    async fn relay(
        &self,
        core: &Core,
        tracking: TrackingId,
        mut head: request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refused> {
        prepare(
            &mut head,
            Preface {
                client: self.client,
                tracking,
            },
        );
        // A safe request without a body can be sent again when a link breaks under it (RFC 9110 section 9.2.2).
        let is_repeatable = head.method.is_safe() && http_body::Body::is_end_stream(&body);
        let bytes = &self.https.metrics.requests.body_bytes;
        if !is_repeatable {
            let body = Body::stream(body).with_meter(bytes.of(Direction::Up));
            return self.relay_by_pool(core, tracking, head, Some(body)).await;
        }
        match core.exchanges().ask(&head).await {
            Ok(exchange::Answer::Whole(response)) => {
                let down = bytes.of(Direction::Down);
                let response = response.map(|body| Body::bytes(body).with_meter(down));
                return Ok(self.answered(response));
            }
            Ok(exchange::Answer::Elsewhere(token)) => preface::fetch_kept(&mut head.headers, token),
            Err(exchange::NoAnswer) => {}
        }
        self.relay_by_pool(core, tracking, head, None).await
    }

    /// Sends the request on a connection that it has for itself. Without a body it may be sent again.
    async fn relay_by_pool(
        &self,
        core: &Core,
        tracking: TrackingId,
        head: request::Parts,
        body: Option<Body>,
    ) -> Result<Response<Body>, Refused> {
        let mut spare = body.is_none().then(|| head.clone());
        let mut request = Request::from_parts(head, body.unwrap_or_else(Body::empty));
        for _ in 0..=limits::LINK_RETRIES_MAX {
            let mut lease = core
                .lease()
                .await
                .map_err(|_| link_down("no connection to the core is free"))?;
            match lease.send(request).await {
                Ok(response) => {
                    let down = self.https.metrics.requests.body_bytes.of(Direction::Down);
                    let stream = |body| Body::stream(body).with_lease(lease).with_meter(down);
                    return Ok(self.answered(response.map(stream)));
                }
                Err(SendError {
                    request: Some(unsent),
                    ..
                }) => request = *unsent,
                Err(SendError {
                    error,
                    request: None,
                }) => {
                    tracing::debug!(side = "link", tracking_id = %tracking, reason = %error, "link broke under a request");
                    let Some(mut again) = spare.take() else {
                        return Err(link_down("the link broke under the request"));
                    };
                    // What was kept may have been handed out.
                    again.headers.remove(preface::KEPT);
                    request = Request::from_parts(again, Body::empty());
                }
            }
        }
        Err(link_down("every link connection broke"))
    }

    /// What the link has brought, as the client gets it.
    fn answered(&self, mut response: Response<Body>) -> Response<Body> {
        if response.headers_mut().remove(preface::AUTH).is_some() {
            self.count_failure("a wrong password");
        }
        fields::strip_hop_by_hop(response.headers_mut());
        response
    }

    fn refuse(&self, tracking: TrackingId, refused: &Refused) -> Response<Body> {
        let Refused {
            refusal,
            label,
            reason,
            remedy,
        } = refused;
        self.https.metrics.refusals.of(*label).inc();
        tracing::info!(
            tracking_id = %tracking, side = refusal.side().label(), reason, remedy, status = refusal.status().as_u16(),
            client = %peer_text(self.client.0), "refused"
        );
        let mut response = refusal
            .response(&self.https.cores.realm())
            .map(|()| Body::empty());
        response
            .headers_mut()
            .insert(preface::TRACKING, preface::value(&tracking));
        response
    }

    fn next_tracking_id(&self) -> TrackingId {
        let count = self.requests.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(self.id.iter().chain(&count)) {
            *to = *from;
        }
        TrackingId::new(bytes)
    }
}

/// Reads a small body to its end: a client that is refused while it still sends may see the reset of its stream and
/// not the answer (RFC 9113 section 8.1 asks it to read on; not all do).
async fn discard(mut body: Incoming) {
    let reading = async {
        let mut left = limits::REFUSED_BODY_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(len) else {
                return;
            };
            left = rest;
        }
    };
    if tokio::time::timeout(limits::REFUSED_BODY_TIMEOUT, reading)
        .await
        .is_err()
    {
        tracing::debug!(side = "downstream", "a refused request's body did not end");
    }
}

fn outcome(admitted: &Result<Admitted, NotAdmitted>) -> metrics::Admission {
    match admitted {
        Ok(_) => metrics::Admission::Admitted,
        Err(NotAdmitted::AddressFull) => metrics::Admission::OverAddress,
        Err(NotAdmitted::Jailed) => metrics::Admission::Jailed,
        Err(NotAdmitted::Full) => metrics::Admission::OverTotal,
        Err(NotAdmitted::TooOften) => metrics::Admission::OverRate,
    }
}

/// Makes the head of the request on the link: origin-form target, one Host, one Cookie, the preface.
fn prepare(head: &mut request::Parts, preface: Preface) {
    if let Some(host) = head
        .uri
        .authority()
        .and_then(|a| HeaderValue::try_from(a.as_str()).ok())
    {
        head.headers.entry(HOST).or_insert(host);
    }
    fields::strip_hop_by_hop(&mut head.headers);
    fields::join_cookies(&mut head.headers);
    preface.write(&mut head.headers);
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = head.uri.path_and_query().cloned();
    head.uri = http::Uri::from_parts(uri).unwrap_or_default();
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
}

fn only_get(method: &Method) -> Result<(), Refused> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let reason = "the verb is asked with another method than GET";
    Err(Refused::new(
        Refusal::NotFound,
        Label::UnsupportedMethod,
        reason,
        CLIENT,
    ))
}

fn no_route(no_route: NoRoute) -> Refused {
    match no_route {
        NoRoute::DomainUnknown => Refused::new(
            Refusal::DomainUnknown,
            Label::UnknownDomain,
            "no core serves the domain",
            "add a [[domain]] to edge-c if it is yours",
        ),
        NoRoute::LinkDown => link_down("no core is linked"),
        NoRoute::SessionLost => Refused::new(
            Refusal::SignInRequired,
            Label::UnknownSession,
            "the core that issued the session is gone",
            SIGN_IN_AGAIN,
        ),
    }
}

const fn link_down(reason: &'static str) -> Refused {
    let refusal = Refusal::LinkDown {
        retry_after: RETRY_AFTER,
    };
    Refused::new(
        refusal,
        Label::NoLink,
        reason,
        "look at edge-c and its log: it dials this edge",
    )
}

const RETRY_AFTER: Duration = limits::LINK_DOWN_RETRY_AFTER;

fn xml(document: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::bytes(document));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/xml;charset=UTF-8"),
    );
    response
}

/// Unpredictable, but not a secret: a failure of the random source only makes ids repeat.
fn random_id() -> [u8; 8] {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!(
            side = "local",
            reason = "the random source failed",
            "tracking ids may repeat"
        );
    }
    bytes
}

/// A client's address is personal data: logs show its hash.
fn peer_text(peer: SocketAddr) -> Redacted<String> {
    Redacted::new(peer.ip().to_string())
}
