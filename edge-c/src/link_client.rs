//! Dials one edge-e and keeps the link to it: the control stream first, then as many HTTPS connections as are in use.
//!
//! Only ever dials out. What arrives on the connections is `stream`'s business.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::id::CoreId;
use common::limits;
use common::link::control::Control;
use common::link::control::message::{Command, Policy, Report};
use common::link::greeting::Purpose;
use common::link::trouble::{LastTrouble, Trouble};
use common::net::{Domain, HostPort};
use common::policy::rate_limit::{Rate, TokenBuckets};
use common::runtime::drain::Signal;
use common::runtime::exchange::Kept;
use common::runtime::lean_tls::LeanTls;
use common::runtime::pongs::Pongs;
use common::runtime::progress::Counters;
use common::runtime::workers::Workers;
use common::runtime::{clock, control};
use common::telemetry::ControlOutcome;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;

use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::stream::Streams;
use dial::NotDialled;
use feed::Feed;
use https::Https;
use lines::Lines;

mod cluster;
mod dial;
mod exchanges;
mod feed;
mod https;
mod lines;
mod media;
mod streams;

pub use cluster::Cluster;
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
    /// Up, and the edge does not drain.
    is_live: watch::Sender<bool>,
    cluster: Option<Cluster>,
    trouble: LastTrouble,
    https: Arc<Https>,
    stream_service: Option<StreamService>,
    media: Option<MediaEnd>,
    lines: Arc<Lines>,
    exchanges: Arc<Lines>,
    /// Requests on the connections for short exchanges.
    short_requests: Arc<Counters>,
    kept: Arc<Kept>,
    /// Refused addresses, and users (`true`), that this edge may still tell the others.
    bans: Mutex<TokenBuckets<bool>>,
}

const BANS: Rate = Rate {
    burst: match NonZeroU32::new(limits::BANS_PER_EDGE_MAX) {
        Some(burst) => burst,
        None => NonZeroU32::MIN,
    },
    interval: limits::BAN_PER_EDGE_INTERVAL,
};

type Stream = LeanTls<TcpStream>;

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
            is_live: watch::Sender::new(false),
            cluster: None,
            trouble: LastTrouble::default(),
            https: Arc::default(),
            stream_service: None,
            media: None,
            lines: Lines::new("streams", limits::LINK_STREAM_CONNECTIONS),
            exchanges: Lines::new("exchanges", limits::EXCHANGE_CONNECTIONS),
            short_requests: Arc::default(),
            kept: Arc::default(),
            bans: Mutex::new(TokenBuckets::new(BANS, 2)),
        }
    }

    /// Keeps connections for client connections too, which `service` gets.
    #[must_use]
    pub fn with_streams(mut self, service: StreamService) -> Self {
        self.stream_service = Some(service);
        self
    }

    /// Tells this edge of the others.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
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

    /// Whether the control stream stands and the edge does not drain, now and whenever that changes.
    #[must_use]
    pub fn is_live(&self) -> watch::Receiver<bool> {
        self.is_live.subscribe()
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

    /// Whether clients that arrive now can be served: the control stream stands, and a connection for their streams if
    /// there shall be any.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        *self.is_up.borrow() && (self.stream_service.is_none() || self.lines.open() > 0)
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
                self.is_live.send_replace(false);
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
        let peer = stream.io().peer_addr().map_err(NotDialled::lost)?;
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
        self.is_live.send_replace(true);
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
}
