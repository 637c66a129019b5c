//! Public HTTPS on 8443: TLS, the gates, and on to a core. Refuses early; allows nothing by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::fields;
use common::id::TrackingId;
use common::limits;
use common::link::preface;
use common::net::ClientAddr;
use common::policy::jail::Offence;
use common::runtime::body::Body;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::http_server::{self, Timeouts, Version};
use common::runtime::progress::Counters;
use common::runtime::request_count::Counted;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::cores::Cores;
use crate::listener::front::{self, Established, Failure, Front, peer_text};
use crate::listener::websocket::{self, Upgrading, Websockets};
use crate::metrics::Refusal as Label;

mod claimed;
mod gates;
mod refused;
mod relay;

use claimed::Claimed;
use gates::Gated;
use refused::Refused;

/// What every connection of this listener shares.
#[derive(Debug)]
pub struct Https {
    /// Who is linked, and what they said.
    pub(crate) cores: Arc<Cores>,
    /// Limits by address, certificates, what is counted, who drives the connections.
    pub(crate) front: Front,
    /// How long clients may take.
    pub(crate) timeouts: Timeouts,
    /// What a WebSocket becomes, if there are any.
    pub(crate) websockets: Option<Websockets>,
    /// When this process began: until a while later, a core that has not come may still come.
    pub(crate) started: Instant,
}

/// How long clients may take; `stall` is for a request under way.
#[must_use]
pub const fn timeouts(stall: Duration) -> Timeouts {
    Timeouts {
        head: limits::HTTP_HEAD_TIMEOUT,
        idle: limits::HTTP_IDLE_TIMEOUT,
        stall,
    }
}

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
        let front = self.front.clone();
        let speak = move |established| Arc::clone(&self).connection(established);
        front.serve(listener, drain, speak).await;
    }

    async fn connection(self: Arc<Self>, established: Established) {
        let Established {
            stream,
            agreed,
            peer,
            local,
            drain,
        } = established;
        let version = if agreed.alpn.as_deref() == Some(b"h2") {
            Version::Http2
        } else {
            Version::Http1
        };
        let upgrading = self
            .websockets
            .clone()
            .map(|websockets| Upgrading::new(websockets, peer, local, &agreed));
        let counters: Arc<Counters> = Arc::default();
        let timeouts = self.timeouts;
        let connection = Arc::new(Connection {
            https: self,
            upgrading,
            client: ClientAddr(peer),
            id: front::random(),
            requests: AtomicU64::new(0),
        });
        let handler = |request| Arc::clone(&connection).answer(request);
        let start = clock::now();
        let ended = Box::pin(http_server::serve(
            stream.busy(),
            version,
            handler,
            Arc::clone(&counters),
            timeouts,
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

impl Connection {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let tracking = self.next_tracking_id();
        let mut response = self.respond(tracking, request).await;
        // In place of whatever an inner server calls it: the id by which both edges log the request.
        let fields = response.headers_mut();
        fields.insert(preface::TRACKING, preface::value(&tracking));
        response
    }

    async fn respond(
        &self,
        tracking: TrackingId,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let upgrading = self.upgrading.as_ref();
        let websocket = upgrading.and_then(|upgrading| upgrading.answer(&mut request, tracking));
        if let Some(answer) = websocket {
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
        let counted = Counted::begin(&self.https.front.metrics.requests);
        let (route, gated) = self.gate(&head);
        let result = match gated {
            Ok(Gated::Answer(document)) => Ok(xml(document)),
            Ok(Gated::Relay(core)) => {
                let relayed = self.relay(&core, tracking, head, body).await;
                relayed.map(|response| self.answered(response, None))
            }
            Ok(Gated::SignIn(core, claimed)) => {
                let relayed = self.relay(&core, tracking, head, body).await;
                relayed.map(|response| self.answered(response, claimed.as_ref()))
            }
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

    /// What the link has brought, as the client gets it.
    fn answered(&self, mut response: Response<Body>, claimed: Option<&Claimed>) -> Response<Body> {
        if response.headers_mut().remove(preface::AUTH).is_some() {
            match claimed {
                Some(Claimed { tag, .. }) => {
                    let offence = Offence::WrongPassword(Some(*tag));
                    self.count_failure(offence, claimed, "a wrong password");
                }
                None => self.count_failure(Offence::Forgery, None, "forged credentials"),
            }
        }
        fields::strip_hop_by_hop(response.headers_mut());
        response
    }

    fn count_failure(&self, offence: Offence, claimed: Option<&Claimed>, what: &'static str) {
        self.https.front.count_failure(&Failure {
            client: self.client.0.ip(),
            offence,
            user: claimed.map(|claimed| &claimed.name),
            what,
            now: clock::now(),
        });
    }

    fn refuse(&self, tracking: TrackingId, refused: &Refused) -> Response<Body> {
        let Refused {
            refusal,
            label,
            reason,
            remedy,
        } = refused;
        self.https.front.metrics.refusals.of(*label).inc();
        tracing::info!(
            tracking_id = %tracking, side = refusal.side().label(), reason, remedy, status = refusal.status().as_u16(),
            client = %peer_text(self.client.0), "refused"
        );
        let realm = self.https.cores.realm();
        refusal.response(&realm).map(|()| Body::empty())
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

fn xml(document: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::bytes(document));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/xml;charset=UTF-8"),
    );
    response
}
