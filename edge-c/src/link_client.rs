//! Dials one edge-e and keeps the link to it: the control stream first, then as many HTTPS connections as are in use.
//!
//! Only ever dials out. What arrives on the connections is `stream`'s business.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::id::CoreId;
use common::limits;
use common::link::control::message::{Command, Policy, Report};
use common::link::control::{Control, Event};
use common::link::greeting::Purpose;
use common::link::trouble::{LastTrouble, Trouble};
use common::net::{Domain, HostPort};
use common::runtime::body::Body;
use common::runtime::drain::Signal;
use common::runtime::exchange::Kept;
use common::runtime::http_server::{self, Timeouts, Version};
use common::runtime::pongs::Pongs;
use common::runtime::progress::Counters;
use common::runtime::read_ahead::ReadAhead;
use common::runtime::workers::Workers;
use common::runtime::{clock, control};
use common::telemetry::ControlOutcome;
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_rustls::client::TlsStream;
use tracing::Instrument as _;

use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::stream::Streams;
use dial::NotDialled;
use lines::Lines;

mod dial;
mod exchanges;
mod lines;
mod media;
mod streams;

pub use media::MediaEnd;
pub use streams::{StreamService, TakeStream};

/// The product's version, as both edges state it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who is dialled, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the edge that clients use.
    pub edge: Domain,
    /// Where its link listener is.
    pub address: HostPort,
    /// The name that its certificate on the link must have.
    pub certificate_name: Domain,
    /// The local address to dial from.
    pub bind_address: Option<IpAddr>,
    /// Own name, which the own certificate has.
    pub core: Domain,
    /// Own number.
    pub core_id: CoreId,
    /// Random, new at each start.
    pub instance: u64,
    /// What HTTPS connections are: [`Purpose::HttpsPool`] or [`Purpose::HttpsShared`].
    pub https: Purpose,
    /// How many shared connections, where they are shared.
    pub shared_connections: usize,
}

/// The dialling end of the link to one edge-e.
pub struct LinkClient {
    config: Config,
    tls: Arc<ArcSwap<rustls::ClientConfig>>,
    policy: watch::Receiver<Arc<Policy>>,
    sessions: Sessions,
    streams: Arc<Streams>,
    workers: Workers,
    metrics: Metrics,
    is_up: watch::Sender<bool>,
    trouble: LastTrouble,
    https: Arc<Https>,
    stream_service: Option<StreamService>,
    media: Option<MediaEnd>,
    lines: Arc<Lines>,
    exchanges: Arc<Lines>,
    /// Requests on the connections for short exchanges.
    short_requests: Arc<Counters>,
    kept: Arc<Kept>,
}

/// The HTTPS connections of the link.
#[derive(Debug, Default)]
struct Https {
    open: AtomicUsize,
    dialling: AtomicUsize,
    /// Dials that failed since the last one that did not.
    failures: AtomicU32,
    /// Requests on all of them.
    requests: Arc<Counters>,
    /// A request has come or a connection has gone.
    changed: Notify,
    /// Counts the times that all of them were given up.
    losses: watch::Sender<u64>,
}

type Stream = TlsStream<ReadAhead<TcpStream>>;

/// edge-e closes what it does not need; it is the client on these connections.
const TIMEOUTS: Timeouts = Timeouts {
    head: limits::LINK_HEAD_TIMEOUT,
    idle: limits::LINK_HTTPS_IDLE_TIMEOUT,
    stall: limits::HTTP_STALL_TIMEOUT,
};

impl std::fmt::Debug for LinkClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkClient")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl LinkClient {
    /// A client that has not dialled yet.
    #[must_use]
    pub fn new(
        config: Config,
        tls: Arc<ArcSwap<rustls::ClientConfig>>,
        policy: watch::Receiver<Arc<Policy>>,
        sessions: Sessions,
        streams: Arc<Streams>,
        workers: Workers,
        metrics: Metrics,
    ) -> Self {
        Self {
            config,
            tls,
            policy,
            sessions,
            streams,
            workers,
            metrics,
            is_up: watch::Sender::new(false),
            trouble: LastTrouble::default(),
            https: Arc::default(),
            stream_service: None,
            media: None,
            lines: Lines::new("streams", limits::LINK_STREAM_CONNECTIONS),
            exchanges: Lines::new("exchanges", limits::EXCHANGE_CONNECTIONS),
            short_requests: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// Keeps connections for client connections too, which `service` gets.
    #[must_use]
    pub fn with_streams(mut self, service: StreamService) -> Self {
        self.stream_service = Some(service);
        self
    }

    /// Speaks for the media of this edge too.
    #[must_use]
    pub fn with_media(mut self, media: Option<MediaEnd>) -> Self {
        self.media = media;
        self
    }

    /// Whether the control stream stands, now and whenever that changes.
    #[must_use]
    pub fn is_up(&self) -> watch::Receiver<bool> {
        self.is_up.subscribe()
    }

    /// Why the control stream does not stand, if it has been tried.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.last()
    }

    /// The edge that is dialled.
    #[must_use]
    pub const fn edge(&self) -> &Domain {
        &self.config.edge
    }

    /// HTTPS connections open, and requests on them.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (
            self.https.open.load(Ordering::Relaxed) + self.exchanges.open(),
            self.https.requests.in_flight() + self.short_requests.in_flight(),
        )
    }

    /// Connections open for streams.
    #[must_use]
    pub fn stream_connections(&self) -> usize {
        self.lines.open()
    }

    /// Dials, and dials again, until the drain is over.
    pub async fn run(self: Arc<Self>, drain: Signal) {
        let span = tracing::info_span!("link", edge = %self.config.edge);
        let mut control = Control::new(clock::now());
        let dialling = async {
            let mut failures = 0_u32;
            loop {
                let started = clock::now();
                let result = self.session(&mut control, &drain).await;
                self.is_up.send_replace(false);
                if clock::elapsed(started) > limits::LINK_BACK_OFF_MAX {
                    failures = 0;
                }
                let wait = back_off(failures);
                failures = failures.saturating_add(1);
                match result {
                    Ok(reason) => {
                        let remedy = "none: dialling again";
                        tracing::warn!(side = "link", %reason, remedy, "link lost");
                        self.trouble
                            .note(format!("the link was lost: {reason}"), remedy);
                    }
                    Err(error) => self.note_failed(&error, wait),
                }
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = dialling.instrument(span) => {}
            () = drain.over() => {}
        }
    }

    fn note_failed(&self, failed: &NotDialled, wait: Duration) {
        let reason = format!("{:#}", failed.error);
        let remedy = failed.remedy();
        let retry_ms = wait.as_millis();
        tracing::warn!(side = "link", reason, retry_ms, remedy, "can't link");
        self.trouble.note(reason, remedy);
    }

    /// One life of the control stream, and the HTTPS connections beside it.
    async fn session(
        self: &Arc<Self>,
        machine: &mut Control<Command, Report>,
        drain: &Signal,
    ) -> Result<control::Ended, NotDialled> {
        let (stream, answer) = self.dial(Purpose::Control, machine.resume()).await?;
        let peer = stream
            .get_ref()
            .0
            .get_ref()
            .peer_addr()
            .map_err(NotDialled::lost)?;
        // The feed first, then the state: so nothing falls between the two.
        let (commands, mut outgoing) = mpsc::channel(limits::CONTROL_CHANNEL_MAX);
        let feed = Feed::new(self, commands);
        machine.handle_connected(
            answer.instance,
            answer.resume,
            self.config.instance,
            clock::both(),
        );
        let replayed = u64::try_from(machine.unacknowledged()).unwrap_or(u64::MAX);
        let metrics = &self.metrics.link;
        metrics
            .commands
            .of(ControlOutcome::Replayed)
            .inc_by(replayed);
        let mut pongs = Pongs::new(metrics, self.config.edge.as_str());
        self.is_up.send_replace(true);
        self.trouble.clear();
        tracing::info!(version = answer.version, "linked");
        let driving = control::drive(machine, stream, &mut outgoing, |event| {
            self.on_event(&mut pongs, &event, (peer, answer.instance))
        });
        let ended = tokio::select! {
            ended = driving => ended,
            () = feed.run(drain) => control::Ended::Shutdown,
            () = self.keep_https(drain) => control::Ended::Shutdown,
            () = self.keep_exchanges(drain) => control::Ended::Shutdown,
            () = self.keep_streams(drain) => control::Ended::Shutdown,
            () = self.keep_media() => control::Ended::Shutdown,
        };
        machine.handle_eof();
        if ended.is_silence() {
            // Nobody would tell them, and the ones that are kept ready would not be missed.
            let losses = &self.https.losses;
            losses.send_modify(|losses| *losses = losses.wrapping_add(1));
            self.exchanges.give_up();
            self.lines.give_up();
        }
        Ok(ended)
    }

    fn on_event(
        &self,
        pongs: &mut Pongs,
        event: &Event<Report>,
        peer: (SocketAddr, u64),
    ) -> Vec<Command> {
        let commands = &self.metrics.link.commands;
        match event {
            Event::Applied(_) => {
                commands.of(ControlOutcome::Applied).inc();
            }
            Event::Unknown => {
                commands.of(ControlOutcome::Rejected).inc();
            }
            Event::PeerLost | Event::PeerReset | Event::Pong { .. } => {}
        }
        match event {
            Event::PeerReset => self.whole_state(),
            Event::Pong {
                clock_offset_ms,
                round_trip,
            } => {
                pongs.note(*clock_offset_ms, *round_trip);
                Vec::new()
            }
            Event::Applied(Report::Draining) => {
                tracing::info!("the edge drains");
                Vec::new()
            }
            Event::Applied(Report::Media(report)) => {
                self.on_media(report, peer);
                Vec::new()
            }
            Event::PeerLost | Event::Unknown => Vec::new(),
        }
    }

    /// What an edge that knows nothing must know before it serves anybody: keys before domains.
    fn whole_state(&self) -> Vec<Command> {
        let state = self.sessions.filter_state();
        let revoked = state.tombstones.chunks(limits::TOMBSTONES_PER_MESSAGE);
        let mut commands = vec![Command::filter_keys(&state.keys)];
        commands.extend(revoked.map(|chunk| Command::Revoke {
            sessions: chunk.to_vec(),
        }));
        commands.push(Command::Policy(self.policy.borrow().as_ref().clone()));
        commands.extend(self.media.as_ref().map(MediaEnd::whole_state));
        commands
    }

    /// Keeps enough HTTPS connections: some spare ones, and more the more are in use.
    async fn keep_https(self: &Arc<Self>, drain: &Signal) {
        let dialling = async {
            loop {
                let changed = self.https.changed.notified();
                for _ in 0..self.missing() {
                    let dialling = Counted::one(&self.https, |https| &https.dialling);
                    let client = Arc::clone(self);
                    let drain = drain.clone();
                    let connection = async move { client.https_connection(dialling, drain).await };
                    self.workers.spawn(connection);
                }
                changed.await;
            }
        };
        tokio::select! {
            () = dialling => {}
            // A connection that is dialled during a drain closes at once, and so would the next one and the next.
            () = drain.draining() => std::future::pending().await,
        }
    }

    fn missing(&self) -> usize {
        let https = &self.https;
        let wanted = match self.config.https {
            Purpose::HttpsShared => self.config.shared_connections,
            Purpose::HttpsPool
            | Purpose::HttpsExchange
            | Purpose::Control
            | Purpose::Media
            | Purpose::Streams => {
                let busy = https.requests.in_flight();
                let spare = limits::LINK_POOL_SPARE.max(busy / 4);
                busy.saturating_add(spare).min(limits::LINK_POOL_MAX)
            }
        };
        let has_failed = https.failures.load(Ordering::Relaxed) > 0;
        let dialling = https.dialling.load(Ordering::Relaxed);
        dials(
            wanted,
            https.open.load(Ordering::Relaxed),
            dialling,
            has_failed,
        )
    }

    async fn https_connection(self: Arc<Self>, dialling: Counted, drain: Signal) {
        let losses = self.https.losses.subscribe();
        let dialled = self.dial(self.config.https, None).await;
        let stream = match dialled {
            Ok((stream, _)) => stream,
            Err(failed) => {
                let failures = self.https.failures.fetch_add(1, Ordering::Relaxed);
                let wait = back_off(failures);
                let reason = format!("{:#}", failed.error);
                if failures == 0 {
                    tracing::warn!(
                        side = "link",
                        reason,
                        remedy = failed.remedy(),
                        "can't open an HTTPS connection"
                    );
                } else {
                    tracing::debug!(
                        side = "link",
                        reason,
                        failures,
                        "still can't open an HTTPS connection"
                    );
                }
                // Whoever is told that this dial is over dials again: not at once.
                tokio::time::sleep(wait).await;
                return;
            }
        };
        if self.https.failures.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!("HTTPS connections can be opened again");
        }
        let _open = Counted::one(&self.https, |https| &https.open);
        drop(dialling);
        self.serve_https(stream, losses, &drain).await;
    }

    async fn serve_https(&self, stream: Stream, mut losses: watch::Receiver<u64>, drain: &Signal) {
        let version = match self.config.https {
            Purpose::HttpsShared => Version::LinkHttp2,
            Purpose::HttpsPool
            | Purpose::HttpsExchange
            | Purpose::Control
            | Purpose::Media
            | Purpose::Streams => Version::Http1,
        };
        let edge = Arc::new(self.config.edge.clone());
        // The drain waits until the connection ends: that is when the last body on it is sent.
        let _waited_for = drain.in_flight();
        let handler = |mut request: Request<Incoming>| {
            let kept = self.kept(&mut request);
            let in_flight = self.https.requests.begin();
            if self.missing() > 0 {
                self.https.changed.notify_one();
            }
            let answer =
                Arc::clone(&self.streams).answer(Arc::clone(&edge), request.map(Body::stream));
            async move {
                let answer = match kept {
                    Some(kept) => kept,
                    None => answer.await,
                };
                answer.map(|body| body.with_in_flight(in_flight))
            }
        };
        // Requests under way are finished after the drain has begun; what is left when it is over ends with the workers.
        let serving = http_server::serve(
            stream,
            version,
            handler,
            Arc::default(),
            TIMEOUTS,
            drain.draining(),
        );
        let edge = &self.config.edge;
        tokio::select! {
            ended = Box::pin(serving) => tracing::debug!(%edge, reason = %ended, "HTTPS connection ended"),
            // The client lives as long as this connection, so this is a loss and not the end of the sender.
            _ = losses.changed() => tracing::debug!(%edge, reason = "the edge fell silent", "HTTPS connection given up"),
        }
    }
}

/// One connection in a count, until it is dropped; whoever keeps the number is told then.
struct Counted {
    https: Arc<Https>,
    count: fn(&Https) -> &AtomicUsize,
}

impl Counted {
    fn one(https: &Arc<Https>, count: fn(&Https) -> &AtomicUsize) -> Self {
        count(https).fetch_add(1, Ordering::Relaxed);
        Self {
            https: Arc::clone(https),
            count,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.https).fetch_sub(1, Ordering::Relaxed);
        self.https.changed.notify_one();
    }
}

/// How many more connections to dial: one at a time while dials fail.
fn dials(wanted: usize, open: usize, dialling: usize, has_failed: bool) -> usize {
    let at_a_time = if has_failed {
        1
    } else {
        limits::LINK_DIALS_MAX
    };
    let missing = wanted.saturating_sub(open).saturating_sub(dialling);
    missing.min(at_a_time.saturating_sub(dialling))
}

/// Passes on to edge-e what changes here.
struct Feed<'a> {
    client: &'a LinkClient,
    commands: mpsc::Sender<Command>,
    filter: crate::sessions::FilterFeed,
    policy: watch::Receiver<Arc<Policy>>,
}

impl<'a> Feed<'a> {
    fn new(client: &'a LinkClient, commands: mpsc::Sender<Command>) -> Self {
        let mut filter = client.sessions.filter_feed();
        let mut policy = client.policy.clone();
        filter.keys.mark_unchanged();
        policy.mark_unchanged();
        Self {
            client,
            commands,
            filter,
            policy,
        }
    }

    /// Runs until the control stream is gone.
    async fn run(mut self, drain: &Signal) {
        let mut is_drain_told = false;
        loop {
            let commands = tokio::select! {
                () = drain.draining(), if !is_drain_told => {
                    is_drain_told = true;
                    vec![Command::Drain]
                }
                changed = self.filter.keys.changed() => {
                    if changed.is_err() { return }
                    vec![Command::filter_keys(&self.filter.keys.borrow_and_update())]
                }
                changed = self.policy.changed() => {
                    if changed.is_err() { return }
                    vec![Command::Policy(self.policy.borrow_and_update().as_ref().clone())]
                }
                command = next_of(self.client.media.as_ref()) => vec![command],
                revoked = self.filter.tombstones.recv() => match revoked {
                    Ok(tombstone) => vec![Command::Revoke { sessions: vec![tombstone] }],
                    Err(broadcast::error::RecvError::Lagged(_)) => self.client.whole_state(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            };
            for command in commands {
                if self.commands.send(command).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next command about media; never without media.
async fn next_of(media: Option<&MediaEnd>) -> Command {
    match media {
        Some(media) => media.next_command().await,
        None => std::future::pending().await,
    }
}

/// How long to wait after a failure that `failures` others went before: twice as long each time, and shortened by up to
/// half at random, so that cores don't dial in step.
fn back_off(failures: u32) -> Duration {
    let whole = limits::LINK_BACK_OFF_MIN
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(limits::LINK_BACK_OFF_MAX);
    let mut random = [0_u8; 1];
    // Without randomness the waits are just not spread.
    let share = aws_lc_rs::rand::fill(&mut random).map_or(0.0, |()| f64::from(random[0]) / 512.0);
    whole.saturating_sub(whole.mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        let waits: Vec<Duration> = (0..40).map(back_off).collect();

        assert!(waits[0] > limits::LINK_BACK_OFF_MIN / 2 && waits[0] <= limits::LINK_BACK_OFF_MIN);
        assert!(waits.iter().all(|wait| *wait <= limits::LINK_BACK_OFF_MAX));
        assert!(waits[39] > limits::LINK_BACK_OFF_MAX / 2);
    }

    #[test]
    fn dials_that_fail_are_repeated_one_at_a_time() {
        assert_eq!(dials(8, 0, 0, false), 8);
        assert_eq!(dials(100, 0, 0, false), limits::LINK_DIALS_MAX);
        assert_eq!(dials(100, 0, limits::LINK_DIALS_MAX, false), 0);
        assert_eq!(dials(8, 5, 2, false), 1);
        assert_eq!(dials(8, 9, 0, false), 0);

        assert_eq!(dials(8, 0, 0, true), 1);
        assert_eq!(dials(8, 0, 1, true), 0);
        assert_eq!(dials(8, 8, 0, true), 0);
    }

    #[tokio::test]
    async fn whatever_ends_a_connection_it_is_counted_no_more_and_the_keeper_is_told() {
        let https = Arc::<Https>::default();
        let open = Counted::one(&https, |https| &https.open);
        assert_eq!(https.open.load(Ordering::Relaxed), 1);

        let cut = tokio::spawn(async move {
            let _open = open;
            std::future::pending::<()>().await;
        });
        cut.abort();
        https.changed.notified().await;

        assert_eq!(https.open.load(Ordering::Relaxed), 0);
    }
}
