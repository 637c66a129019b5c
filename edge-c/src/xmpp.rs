//! XMPP on edge-c: each client's stream finds its node inside, signs in under the eyes of the edge, and is copied from
//! then on.
//!
//! ```text
//! edge-e ══ stream ══▶ login ─▶ (gate, homes) ─▶ upstream::xmpp ══▶ node
//!                        └─ <success/> ─▶ splice: bytes, both ways
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use common::limits;
use common::link::flow::FlowClose;
use common::link::stream_preface::{ClientTransport, StreamPreface, StreamProtocol};
use common::net::Domain;
use common::redact::Redacted;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::link_streams::{Arrived, LinkStream, Refusal};
use common::runtime::workers::start_thread;
use common::telemetry::Label;
use common::time::UnixTime;
use common::xmpp::error::Condition;
use common::xmpp::features::Offer;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::link_client::StreamService;
use crate::sessions::random::{Random as _, SystemRandom};
use crate::sessions::{Sessions, StoreState};
use crate::tokens::TokenVerifier;
use crate::upstream::xmpp::health::Change;
use crate::upstream::xmpp::probe::ProbeError;
use crate::upstream::xmpp::table::Table;
use crate::upstream::xmpp::{Dialling, Node};
use client::{Client, ClientLost};
use gate::{SessionGate, Stay};
use homes::Homes;
use login::SignedIn;
use metrics::{ClosedBy, ClosedWhy, SignInOutcome, StreamState, XmppMetrics};
use splice::{Ended, Splice};
use streams::{Owner, Place, Stop, Stream, Streams};

mod client;
mod frames;
pub mod gate;
pub mod homes;
mod login;
pub mod metrics;
mod splice;
pub mod streams;

/// What all streams share.
#[derive(Debug)]
pub struct Shared {
    /// The domains and their nodes, now.
    pub table: ArcSwap<Table>,
    /// Whether anybody has looked for the nodes yet.
    pub is_looked_up: watch::Sender<bool>,
    /// Who may try to sign in.
    pub gate: ArcSwap<SessionGate>,
    /// Who is signed in over HTTPS.
    pub sessions: Sessions,
    /// Who is known by a token; without it nobody is.
    pub tokens: Option<Arc<TokenVerifier>>,
    /// The clients' streams.
    pub streams: Arc<Streams>,
    /// Where users were.
    pub homes: Homes,
    /// What is counted.
    pub metrics: XmppMetrics,
    /// How nodes are connected to.
    pub dialling: Dialling,
    /// Ends the TLS of clients whom edge-e does not listen to; without it they are refused.
    pub client_tls: ArcSwapOption<ServerConfig>,
}

impl Shared {
    /// Waits a moment for the first look-up of nodes: edge-e may send clients before its answers are here.
    pub(crate) async fn first_look_up(&self) {
        let mut is_looked_up = self.is_looked_up.subscribe();
        let waiting = is_looked_up.wait_for(|is_done| *is_done);
        // Without an answer there is no node, and the client is told so.
        drop(tokio::time::timeout(limits::XMPP_FIRST_LOOK_UP_TIMEOUT, waiting).await);
    }

    /// Whether the owner of a stream may stay.
    #[must_use]
    pub fn stay(&self, stream: &Stream, now: UnixTime) -> Stay {
        let gate = **self.gate.load();
        let stay = |owner| gate::stay(gate, &self.sessions, owner, now);
        stream.owner().map_or(Stay::Always, stay)
    }

    /// A node could be used.
    pub fn note_success(&self, node: &Node) {
        if node.health.succeeded() == Change::Up {
            tracing::info!(node = %node.place, "XMPP node is up");
        }
        let up = self.metrics.node_up.of(&node.place.to_string());
        up.set(1);
    }

    /// A node could not be used.
    pub fn note_failure(&self, node: &Node, domain: &Domain, error: &ProbeError) {
        let name = node.place.to_string();
        self.metrics.node_failures.of(&name).inc();
        if node.health.failed() == Change::Down {
            tracing::warn!(side = "upstream", node = name, %domain, reason = %error, remedy = error.remedy(),
                "XMPP node is down");
        }
        let up = self.metrics.node_up.of(&name);
        up.set(i64::from(node.health.is_up()));
    }

    /// What a node offers to clients.
    pub fn note_offer(&self, node: &Node, offer: &Offer) {
        if !node.health.note_binding(offer.binds_channel) {
            return;
        }
        let name = node.place.to_string();
        let gauge = self.metrics.node_binds_channel.of(&name);
        gauge.set(i64::from(offer.binds_channel));
        if offer.binds_channel {
            tracing::warn!(
                side = "upstream",
                node = name,
                reason = "it offers channel binding, which can't work through two TLS connections",
                remedy = "switch it off on the node; what clients see until then: channel_binding of [[xmpp.domain]]",
                "XMPP clients may fail to sign in"
            );
        }
    }
}

/// XMPP that runs.
#[derive(Clone, Debug)]
pub struct Xmpp {
    shared: Arc<Shared>,
    runtime: Handle,
    /// The thread of its own ends when this is dropped.
    _alive: Option<Arc<watch::Sender<()>>>,
}

impl Xmpp {
    /// Serves on `runtime`, which the connections of the link live on, or on a thread of its own.
    ///
    /// # Errors
    /// The system's error if the thread can't be had.
    pub fn start(shared: Shared, runtime: Option<Handle>) -> io::Result<Self> {
        let (runtime, alive) = match runtime {
            Some(runtime) => (runtime, None),
            None => {
                let (alive, ended) = watch::channel(());
                (start_thread("edge-c-xmpp", ended)?, Some(Arc::new(alive)))
            }
        };
        Ok(Self {
            shared: Arc::new(shared),
            runtime,
            _alive: alive,
        })
    }

    /// What all streams share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Who takes the streams of clients, those of other protocols given to `others`; none any more once `drain` has begun.
    #[must_use]
    pub fn stream_service(&self, drain: Signal, others: Option<StreamService>) -> StreamService {
        let shared = Arc::clone(&self.shared);
        let take =
            move |edge: &Domain, arrived: Arrived| match (arrived.preface().protocol, &others) {
                (StreamProtocol::Xmpp | StreamProtocol::XmppTls, _) if drain.is_draining() => {
                    arrived.refuse(Refusal::Unavailable);
                }
                (StreamProtocol::Xmpp | StreamProtocol::XmppTls, _) => {
                    drop(tokio::spawn(take_stream(Arc::clone(&shared), arrived)));
                }
                (StreamProtocol::Sip, Some(others)) => (others.take)(edge, arrived),
                (StreamProtocol::Sip, None) => arrived.refuse(Refusal::NotServed),
            };
        StreamService {
            runtime: self.runtime.clone(),
            take: Arc::new(take),
        }
    }

    /// Ends the streams of users of whom `is_gone` is true.
    pub fn close_users(&self, is_gone: impl Fn(&Owner) -> bool) {
        let is_chosen = |stream: &Stream| stream.owner().is_some_and(&is_gone);
        let closed = self
            .shared
            .streams
            .stop(Stop::Revoked, usize::MAX, is_chosen);
        if closed > 0 {
            tracing::info!(
                closed,
                reason = "the session was revoked",
                "XMPP streams closed"
            );
        }
    }

    /// Ends the streams of users who were let in by a session or a token that is over by `now`, and have no other. While
    /// nobody knows who is signed in, they stay.
    pub fn close_expired(&self, now: UnixTime) {
        let shared = &self.shared;
        if shared.sessions.store_state() == StoreState::Away {
            return;
        }
        let closed = shared
            .streams
            .end_due(now, |stream| shared.stay(stream, now));
        if closed > 0 {
            tracing::info!(
                side = "local",
                closed,
                reason = "the session or the token that let the user in is over",
                remedy = "none: the client signs in again",
                "XMPP streams closed"
            );
        }
    }

    /// Waits for the drain, then sends clients away, some at a time: they all sign in elsewhere.
    pub async fn drain(&self, signal: Signal) {
        signal.draining().await;
        let _waited_for = signal.in_flight();
        loop {
            let streams = &self.shared.streams;
            streams.stop(Stop::Draining, limits::XMPP_DRAIN_BATCH, |_| true);
            if streams.count() == 0 {
                return;
            }
            tokio::time::sleep(limits::XMPP_DRAIN_INTERVAL).await;
        }
    }
}

async fn take_stream(shared: Arc<Shared>, arrived: Arrived) {
    let preface = arrived.preface().clone();
    let Some(place) = shared.streams.open() else {
        tracing::warn!(side = "local", tracking_id = %preface.tracking, reason = "more clients than one edge-c takes",
            remedy = "add another edge-c", "XMPP stream refused");
        return arrived.refuse(Refusal::Unavailable);
    };
    let tls = match preface.protocol {
        StreamProtocol::XmppTls => match shared.client_tls.load_full() {
            Some(tls) => Some(tls),
            None => {
                tracing::warn!(side = "local", tracking_id = %preface.tracking,
                    reason = "edge-e passes TLS through, and edge-c has no certificate for it",
                    remedy = "add [[xmpp.certificates]], or take passthrough out of edge-e's [xmpp]", "XMPP stream refused");
                return arrived.refuse(Refusal::NotServed);
            }
        },
        StreamProtocol::Sip | StreamProtocol::Xmpp => None,
    };
    let Ok(stream) = arrived.accept() else {
        return;
    };
    let Some(id) = draw_id() else {
        return stream.reset();
    };
    let Some(client) = Box::pin(meet(&shared, stream, &preface, tls)).await else {
        return;
    };
    // What signing in needs is not kept for the hours that the stream goes on.
    let signing_in = Box::pin(sign_in(Arc::clone(&shared), place, preface, client, id));
    if let Some((open, splice)) = signing_in.await {
        Box::pin(go_on(shared, open, splice)).await;
    }
}

/// The client at the end of its TLS.
async fn meet(
    shared: &Shared,
    stream: LinkStream,
    preface: &StreamPreface,
    tls: Option<Arc<ServerConfig>>,
) -> Option<Client> {
    let Some(tls) = tls else {
        let is_websocket = preface.transport == ClientTransport::Wss;
        return Some(Client::new(stream, is_websocket));
    };
    match Client::accept(stream, &tls).await {
        Ok(client) => Some(client),
        Err(error) => {
            shared.metrics.sign_ins.of(SignInOutcome::NoTls).inc();
            tracing::debug!(side = "downstream", tracking_id = %preface.tracking, reason = %error, "TLS failed");
            None
        }
    }
}

/// A stream whose user has signed in, as far as its end is concerned.
struct OpenStream {
    place: Place,
    node: Arc<Node>,
    tracking: common::id::TrackingId,
    since: std::time::Instant,
    _counted: Counted,
}

async fn sign_in(
    shared: Arc<Shared>,
    place: Place,
    preface: StreamPreface,
    client: Client,
    id: String,
) -> Option<(OpenStream, Splice)> {
    let signed_in = login::sign_in(&shared, place.stream(), &preface, client, id).await?;
    let SignedIn {
        client,
        connection,
        node,
        domain,
        attempt,
        token_ends,
        to_node,
    } = signed_in;
    tracing::info!(tracking_id = %preface.tracking, %domain, node = %node.place, mechanism = attempt.mechanism,
        user = attempt.user.as_deref().map(Redacted::new).map(tracing::field::display),
        transport = preface.transport.as_str(), "XMPP user signed in");
    let counted = Counted::new(&shared.metrics, &domain, StreamState::Open);
    let stream = place.stream();
    stream.owned_by(Owner {
        user: attempt.user.map(String::into_boxed_str),
        token_ends,
        domain,
        node: Arc::clone(&node),
    });
    let now = clock::unix_now();
    match shared.stay(stream, now) {
        Stay::Always => {}
        Stay::Until(end) => shared.streams.ask_at(stream, end),
        // It has just ended.
        Stay::Over => shared.streams.ask_at(stream, now),
    }
    let open = OpenStream {
        place,
        node,
        tracking: preface.tracking,
        since: clock::now(),
        _counted: counted,
    };
    Some((open, Splice::new(client, connection, to_node)))
}

async fn go_on(shared: Arc<Shared>, open: OpenStream, mut splice: Splice) {
    let ended = tokio::select! {
        ended = splice.copy(&shared.metrics) => Ok(ended),
        stop = open.place.stream().stopped() => Err(stop),
    };
    Box::pin(end(shared, open, splice, ended)).await;
}

async fn end(shared: Arc<Shared>, open: OpenStream, splice: Splice, ended: Result<Ended, Stop>) {
    let sent = splice.sent;
    let client = match ended {
        // Nobody is there to be told, and the client shall not wait.
        Ok(Ended::Node) | Err(Stop::NodeLost) => splice.client,
        Ok(Ended::Client(_)) | Err(Stop::Draining | Stop::Expired | Stop::Revoked) => {
            splice.leave_node().await
        }
    };
    let has_said_goodbye = client.place() == common::xmpp::boundaries::Place::Outside;
    let (by, why, close) = match ended {
        Err(Stop::Draining) => (ClosedBy::Local, ClosedWhy::Draining, FlowClose::Draining),
        Err(Stop::Expired) => (ClosedBy::Local, ClosedWhy::Expired, FlowClose::Revoked),
        Err(Stop::Revoked) => (ClosedBy::Local, ClosedWhy::Revoked, FlowClose::Revoked),
        Err(Stop::NodeLost) => (ClosedBy::Upstream, ClosedWhy::Lost, FlowClose::UpstreamLost),
        Ok(Ended::Node) if has_said_goodbye => {
            (ClosedBy::Upstream, ClosedWhy::Ended, FlowClose::Ended)
        }
        Ok(Ended::Node) => (ClosedBy::Upstream, ClosedWhy::Lost, FlowClose::UpstreamLost),
        Ok(Ended::Client(ClientLost::Gone)) => {
            (ClosedBy::Downstream, ClosedWhy::Ended, FlowClose::Ended)
        }
        Ok(Ended::Client(ClientLost::Malformed)) => (
            ClosedBy::Link,
            ClosedWhy::Malformed,
            FlowClose::PeerMisbehaved,
        ),
        Ok(Ended::Client(ClientLost::TooLong)) => {
            (ClosedBy::Upstream, ClosedWhy::Malformed, FlowClose::Other)
        }
    };
    shared.metrics.closed.of(by, why).inc();
    let seconds = clock::elapsed(open.since).as_secs();
    tracing::info!(side = Label::as_str(by), reason = Label::as_str(why),
        tracking_id = %open.tracking, node = %open.node.place, seconds, to_node = sent.to_node, to_client = sent.to_client,
        "XMPP stream closed");
    let id = draw_id().unwrap_or_default();
    match ended {
        Err(stop) => client.close_with(stop.condition(), close, &id).await,
        Ok(Ended::Node) if has_said_goodbye => client.close(close).await,
        Ok(Ended::Node) => {
            let condition = Condition::RemoteConnectionFailed;
            client.close_with(condition, close, &id).await;
        }
        Ok(Ended::Client(ClientLost::Gone)) => {}
        Ok(Ended::Client(ClientLost::Malformed | ClientLost::TooLong)) => {
            client
                .close_with(Condition::PolicyViolation, close, &id)
                .await;
        }
    }
}

/// One in the gauge of streams, until it is dropped.
struct Counted(Gauge);

impl Counted {
    fn new(metrics: &XmppMetrics, domain: &Domain, state: StreamState) -> Self {
        let gauge = metrics.streams.of_both(domain.as_str(), state);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The id of a stream of the edge's own (RFC 6120 section 4.7.3): nobody can guess it.
fn draw_id() -> Option<String> {
    let mut octets = [0; 16];
    SystemRandom.fill(&mut octets).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(octets)))
}

/// How long a stop waits for streams to be told.
const _: () = assert!(limits::XMPP_CLOSE_TIMEOUT.as_millis() <= Duration::from_secs(5).as_millis());

#[cfg(test)]
mod tests;
