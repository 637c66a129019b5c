//! One edge-c: the connections to it, and what it has said.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use common::id::CoreId;
use common::limits;
use common::link::control::Control;
use common::link::control::message::{
    Command, EdgeState, MediaCommand, MediaRefusal, MediaReport, Policy, Report,
};
use common::link::pick::Candidate;
use common::net::Domain;
use common::runtime::clock;
use common::runtime::exchange::Lines;
use common::runtime::http_pool::{Exhausted, Lease, Pool};
use common::runtime::link_streams::Opener;
use tokio::sync::{Notify, mpsc, watch};

use super::lock;

/// One edge-c.
#[derive(Debug)]
pub struct Core {
    pub(super) id: CoreId,
    pub(super) name: Domain,
    pub(super) pool: Arc<Pool>,
    pub(super) exchanges: Lines,
    pub(super) streams: Opener,
    pub(super) connections: AtomicUsize,
    pub(super) control: tokio::sync::Mutex<ControlSide>,
    pub(super) superseded: Notify,
    /// Counts the times that everything it had open was given up.
    pub(super) losses: watch::Sender<u64>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) policy: Mutex<Option<Policy>>,
    /// What it says of the edges of the cluster.
    pub(super) edges: Mutex<Vec<EdgeState>>,
    pub(super) is_connected: AtomicBool,
    /// When it was last connected, while it is not.
    pub(super) last_seen: Mutex<Instant>,
    pub(super) is_draining: AtomicBool,
}

/// The control stream of a core, and what waits to be reported to it.
#[derive(Debug)]
pub struct ControlSide {
    /// The machine; outlives connections.
    pub machine: Control<Report, Command>,
    /// What to say next.
    pub reports: mpsc::Receiver<Report>,
}

impl Core {
    pub(super) fn new(id: CoreId, name: Domain) -> Self {
        let (reports, waiting) = mpsc::channel(limits::CONTROL_CHANNEL_MAX);
        let control = ControlSide {
            machine: Control::new(clock::now()),
            reports: waiting,
        };
        Self {
            id,
            name,
            pool: Pool::new(),
            exchanges: Lines::default(),
            streams: Opener::new(),
            connections: AtomicUsize::new(0),
            control: tokio::sync::Mutex::new(control),
            superseded: Notify::new(),
            losses: watch::Sender::new(0),
            reports,
            policy: Mutex::new(None),
            edges: Mutex::default(),
            is_connected: AtomicBool::new(false),
            last_seen: Mutex::new(clock::now()),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Its number, which stands in its cookies.
    pub const fn id(&self) -> CoreId {
        self.id
    }

    /// Its name, which its certificate has.
    pub const fn name(&self) -> &Domain {
        &self.name
    }

    /// The connections it dialled for HTTPS requests.
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The connections it dialled for short exchanges.
    pub const fn exchanges(&self) -> &Lines {
        &self.exchanges
    }

    /// The connections it dialled for client connections.
    pub const fn streams(&self) -> &Opener {
        &self.streams
    }

    /// Link connections of any purpose.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a link connection until the guard is dropped.
    pub fn count_connection(&self) -> CountedConnection<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        CountedConnection(&self.connections)
    }

    /// What is told to the core on its control stream.
    pub const fn reports(&self) -> &mpsc::Sender<Report> {
        &self.reports
    }

    /// Takes the control stream over from the connection that drives it now.
    pub async fn take_control(&self) -> tokio::sync::MutexGuard<'_, ControlSide> {
        self.superseded.notify_waiters();
        self.control.lock().await
    }

    /// Resolves when a newer connection wants the control stream.
    pub async fn superseded(&self) {
        self.superseded.notified().await;
    }

    /// Ends every connection, the control stream too.
    pub(super) fn dismiss(&self) {
        self.give_up_connections();
        self.superseded.notify_waiters();
    }

    /// Gives up every connection, with the requests and streams on it: the other end is gone without a word.
    pub fn give_up_connections(&self) {
        self.pool.clear();
        self.exchanges.clear();
        self.streams.clear();
        self.losses
            .send_modify(|losses| *losses = losses.wrapping_add(1));
    }

    /// Changes when the connections that are open now are given up.
    pub fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// A connection to send a request on.
    ///
    /// # Errors
    /// [`Exhausted`] at once if the core is away or going, else after a short wait.
    pub async fn lease(&self) -> Result<Lease, Exhausted> {
        if let Some(lease) = self.pool.try_lease() {
            return Ok(lease);
        }
        // Nobody dials any more: waiting would only put the answer off.
        if !self.is_available() {
            return Err(Exhausted);
        }
        self.pool
            .lease(limits::LINK_LEASE_TIMEOUT, limits::LINK_WAITING_MAX)
            .await
    }

    /// Answers a command about media on an edge that has none; `false` if it makes no sense there.
    pub(super) fn refuse_media(&self, command: &MediaCommand) -> bool {
        let MediaCommand::Allocate { alloc, .. } = command else {
            return false;
        };
        let refused = MediaReport::Refused {
            alloc: *alloc,
            reason: MediaRefusal::NotConfigured,
        };
        self.reports.try_send(Report::Media(refused)).is_ok()
    }

    /// Whether its control stream stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Whether it has said that it goes away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Notes that the control stream stands, or doesn't any more.
    pub fn set_connected(&self, is_connected: bool, now: Instant) {
        *lock(&self.last_seen) = now;
        self.is_connected.store(is_connected, Ordering::Relaxed);
    }

    pub(super) fn is_gone(&self, now: Instant) -> bool {
        let away = now.saturating_duration_since(*lock(&self.last_seen));
        !self.is_connected() && away >= limits::CORE_GONE_AFTER
    }

    pub(super) fn is_available(&self) -> bool {
        self.is_connected() && !self.is_draining()
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            core: self.id,
            load: self.pool.busy().saturating_add(self.exchanges.busy()),
            is_available: self.is_available(),
        }
    }
}

/// A link connection that counts until this is dropped.
#[derive(Debug)]
pub struct CountedConnection<'a>(&'a AtomicUsize);

impl Drop for CountedConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
