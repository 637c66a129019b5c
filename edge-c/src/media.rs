//! Media of calls on edge-c: who relays what is decided by the `desk`, relayed by the `engine`.
//!
//! ```text
//! SIP thread ── bodies ─▶ desk ── orders ─▶ engine (thread "media") ══ trunk ══ edge-e
//!                          ▲ └── commands ─▶ control stream of each edge-e ◀── latch, reject
//!                          └──── reports, ends of streams: media task
//! ```

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::id::EdgeIndex;
use common::limits;
use common::runtime::clock;
use common::runtime::trunk::MediaTrunk;
use common::sip::proxy::{BodyAnchor, CallKey};
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};

mod bodies;
mod control;
mod desk;
mod engine;
pub mod metrics;
mod ports;
mod quality;
mod random;
mod table;

pub use control::MediaLink;

use desk::SharedDesk;
use engine::Happened;
use metrics::MediaMetrics;

/// `[media]`: where media is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Inside addresses of edge-c, one of each family at most.
    pub listen: Vec<IpAddr>,
    /// UDP ports of inner legs.
    pub ports: RangeInclusive<u16>,
    /// Where inner legs may go.
    pub networks: Vec<IpNet>,
    /// For how long a client may be silent in a call before the call is over.
    pub silence_max: Duration,
}

/// The media of one edge-e.
pub struct EdgeMedia {
    /// Its name, for metrics.
    pub name: Arc<str>,
    /// The trunk to it.
    pub trunk: Box<dyn MediaTrunk + Send>,
}

impl std::fmt::Debug for EdgeMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeMedia")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Media that runs.
#[derive(Debug)]
pub struct Media {
    desk: SharedDesk,
    links: Vec<Arc<MediaLink>>,
    happened: mpsc::Receiver<Happened>,
    /// Until SIP takes it.
    dead_calls: Mutex<Option<mpsc::Receiver<CallKey>>>,
    /// Whether ports have once been ready.
    stocked: watch::Sender<bool>,
}

impl Media {
    /// Starts the engine for these edges, in the order of the configuration.
    ///
    /// # Errors
    /// The system's error if there is no thread or no socket.
    pub fn start(
        config: &Config,
        edges: Vec<EdgeMedia>,
        metrics: MediaMetrics,
    ) -> io::Result<Self> {
        let (dead, dead_calls) = mpsc::channel(limits::MEDIA_DEAD_CALLS_MAX);
        let desk = SharedDesk::new(config, dead, metrics.clone());
        let pairs = (0_u16..).zip(&edges);
        let (outboxes, links): (Vec<_>, Vec<_>) = pairs
            .map(|(index, _)| MediaLink::new(EdgeIndex(index), desk.clone()))
            .unzip();
        let (teller, happened) = mpsc::channel(limits::MEDIA_ORDERS_MAX);
        let (names, trunks) = edges
            .into_iter()
            .map(|edge| (edge.name, edge.trunk))
            .unzip();
        let engine = engine::start(engine::Parts {
            trunks,
            names,
            outboxes: outboxes.clone(),
            silence_max: config.silence_max,
            teller: Box::new(move |told| {
                // Full only if the media task hangs; then a line in the log is the smallest loss.
                drop(teller.try_send(told));
            }),
            metrics,
        })?;
        desk.lock().attach(engine, outboxes);
        Ok(Self {
            desk,
            links: links.into_iter().map(Arc::new).collect(),
            happened,
            dead_calls: Mutex::new(Some(dead_calls)),
            stocked: watch::Sender::new(false),
        })
    }

    /// What rewrites bodies of SIP messages.
    #[must_use]
    pub fn bodies(&self) -> Box<dyn BodyAnchor + Send> {
        Box::new(bodies::Bodies(self.desk.clone()))
    }

    /// Calls whose clients have been silent for too long: SIP ends them. `None` if somebody takes them already.
    #[must_use]
    pub fn dead_calls(&self) -> Option<mpsc::Receiver<CallKey>> {
        let mut calls = self
            .dead_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        calls.take()
    }

    /// The media's end of the link to an edge-e.
    #[must_use]
    pub fn link(&self, edge: EdgeIndex) -> Option<Arc<MediaLink>> {
        self.links.get(usize::from(edge.0)).cloned()
    }

    /// Becomes true when there are ports for a first call.
    #[must_use]
    pub fn stocked(&self) -> watch::Receiver<bool> {
        self.stocked.subscribe()
    }

    /// Replaces where inner legs may go, while calls go on.
    #[must_use]
    pub fn networks(&self) -> Networks {
        Networks(self.desk.clone())
    }

    /// Keeps ports ready and notes how streams end; never returns.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(limits::MEDIA_SWEEP_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                told = self.happened.recv() => {
                    // The engine has said why.
                    let Some(told) = told else { return };
                    self.desk.lock().happened(told);
                    continue;
                }
                // A call changes several things in a row: they are done together.
                () = self.desk.changed() => self.desk.pause().await,
                _ = tick.tick() => {}
            }
            let is_stocked = self.desk.tick(clock::now());
            if is_stocked && !*self.stocked.borrow() {
                self.stocked.send_replace(true);
            }
        }
    }
}

/// Where inner legs may go, for a reload.
#[derive(Clone, Debug)]
pub struct Networks(SharedDesk);

impl Networks {
    /// Replaces them.
    pub fn replace(&self, networks: Vec<IpNet>) {
        self.0.lock().set_networks(networks);
    }
}

#[cfg(test)]
mod tests;
