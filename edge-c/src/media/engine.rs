//! The media thread: owns the inner sockets and the trunks, and passes packets between them as plans say.
//!
//! ```text
//! edge-e ══ trunk ══▶ Head ─▶ stream of (edge, alloc) ─▶ Session ─▶ inner socket ──▶ phone
//!        ◀══════════ Head ◀── Session ◀── stream of the port ◀── inner socket ◀──
//! ```
//!
//! What edge-e sends is passed on as it comes; what the inside sends is gathered for [`limits::MEDIA_GATHER_INSIDE`] while it
//! flows, and mostly looked at when edge-e's packets come. Per packet it allocates nothing, takes no lock and logs nothing. A
//! packet is read and written by a system call of its own: an inner socket has one stream, so that there is hardly ever a
//! second packet to share one with; the trunk batches. Not here: who decides what is relayed (`desk`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use common::id::EdgeIndex;
use common::limits;
use common::media::plan::{InnerPortId, PlanChange, StopReason, StreamId};
use common::media::session::Summary;
use common::runtime::clock;
use common::runtime::trunk::MediaTrunk;
use common::runtime::udp::poll::{Token, Waker};
use common::runtime::udp::watch::Watch;

use super::control::Outbox;
use super::metrics::MediaMetrics;
use super::table::{InnerPorts, Table};

/// What the engine is told.
#[derive(Debug)]
pub(super) enum Order {
    /// New inner ports, for a stream to come.
    Open(InnerPorts),
    /// Inner ports that no stream will use.
    Close(InnerPortId),
    /// A stream begins, changes or ends.
    Plan(PlanChange),
}

/// What happened to a stream.
#[derive(Debug)]
pub(super) enum Happened {
    /// It is over, and this was measured.
    Ended(StreamId, StopReason, Box<Summary>),
    /// Its client is heard again.
    Heard(StreamId),
    /// Its client has been silent for too long.
    Silent(StreamId),
}

/// The way to the engine, from any thread.
#[derive(Clone, Debug)]
pub(super) struct EngineHandle {
    orders: SyncSender<Order>,
    waker: Waker,
}

impl EngineHandle {
    /// Tells the engine to do something, which it does before it looks at the next packet; `false` if it has more orders
    /// than it can do. It sleeps on if there is no packet: see [`Self::wake`].
    pub(super) fn order(&self, order: Order) -> bool {
        match self.orders.try_send(order) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Lets it follow its orders now: ports that it is to hear of, and what is to be told of streams that end.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }
}

/// Who the engine tells what happened. Called in its thread: must not wait.
pub(super) type Teller = Box<dyn Fn(Happened) + Send>;

/// What an engine is made of.
pub(super) struct Parts {
    /// The trunk of each edge-e, by its index.
    pub(super) trunks: Vec<Box<dyn MediaTrunk + Send>>,
    /// The name of each edge-e.
    pub(super) names: Vec<Arc<str>>,
    /// The way to the control stream of each edge-e.
    pub(super) outboxes: Vec<Arc<Outbox>>,
    /// For how long a client may be silent.
    pub(super) silence_max: Duration,
    /// Who is told.
    pub(super) teller: Teller,
    /// What is counted.
    pub(super) metrics: MediaMetrics,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("trunks", &self.trunks.len())
            .finish_non_exhaustive()
    }
}

/// Starts the thread; it ends when the last handle is dropped.
///
/// # Errors
/// The system's error.
pub(super) fn start(parts: Parts) -> io::Result<EngineHandle> {
    let (orders, queue) = sync_channel(limits::MEDIA_ORDERS_MAX);
    let waker = Waker::new()?;
    let engine = Engine::new(parts, queue, waker.clone())?;
    thread::Builder::new()
        .name("media".to_owned())
        .spawn(move || engine.run())?;
    Ok(EngineHandle { orders, waker })
}

const WAKER: Token = Token(u64::MAX);
/// Tokens of trunks are below the waker's by the edge's index; those of inner ports count up from zero.
const TRUNKS: u64 = u64::MAX - 1 - u16::MAX as u64;

struct Engine {
    watch: Watch,
    waker: Waker,
    queue: Receiver<Order>,
    trunks: Vec<Trunk>,
    table: Table,
    silence_max: Duration,
    teller: Teller,
    metrics: MediaMetrics,
    /// When streams are next looked through for silent ones.
    sweep: Instant,
}

struct Trunk {
    name: Arc<str>,
    trunk: Box<dyn MediaTrunk + Send>,
    is_ready: bool,
}

impl Engine {
    fn new(parts: Parts, queue: Receiver<Order>, waker: Waker) -> io::Result<Self> {
        let watch = Watch::new(limits::MEDIA_GATHER_INSIDE)?;
        watch.add_prompt(&waker, WAKER)?;
        for (index, trunk) in (0_u16..).zip(&parts.trunks) {
            for socket in trunk.sockets() {
                watch.add_prompt(socket, Token(TRUNKS + u64::from(index)))?;
            }
        }
        let trunks = parts.names.into_iter().zip(parts.trunks);
        let trunks = trunks.map(|(name, trunk)| Trunk {
            name,
            trunk,
            is_ready: true,
        });
        Ok(Self {
            watch,
            waker,
            queue,
            trunks: trunks.collect(),
            table: Table::new(parts.outboxes),
            silence_max: parts.silence_max,
            teller: parts.teller,
            metrics: parts.metrics,
            sweep: clock::now(),
        })
    }

    fn run(mut self) {
        loop {
            let now = clock::now();
            // First the waker, then the orders, so that one that comes meanwhile wakes anew; then the packets that they are for.
            if self.is_called() {
                self.waker.settle();
            }
            if self.take_orders(now).is_err() {
                return;
            }
            let waited = self.turn(now).and_then(|()| {
                if now >= self.sweep {
                    self.sweep(now);
                }
                self.watch.wait(Some(self.wake_at()), clock::now())
            });
            if let Err(error) = waited {
                tracing::error!(side = "local", reason = %error, remedy = "restart edge-c", "media can't wait for sockets");
                return;
            }
        }
    }

    /// Whether somebody has called the waker.
    fn is_called(&self) -> bool {
        self.prompts().any(|token| token == WAKER)
    }

    fn prompts(&self) -> impl Iterator<Item = Token> {
        (0..).map_while(|number| self.watch.prompt(number))
    }

    /// Passes on what has arrived and is not left to be gathered.
    fn turn(&mut self, now: Instant) -> io::Result<()> {
        for number in 0.. {
            let Some(token) = self.watch.prompt(number) else {
                break;
            };
            if let Some(trunk) = trunk_of(token).and_then(|at| self.trunks.get_mut(at)) {
                trunk.is_ready = true;
            }
        }
        for (index, trunk) in (0_u16..).zip(&mut self.trunks) {
            let is_due = trunk.trunk.poll_timeout().is_some_and(|(at, _)| at <= now);
            if std::mem::take(&mut trunk.is_ready) || is_due {
                let table = &mut self.table;
                trunk.trunk.receive(now, &mut |frame| {
                    table.handle_trunk(EdgeIndex(index), frame, now);
                });
            }
        }
        let Self {
            watch,
            trunks,
            table,
            ..
        } = self;
        let mut send = |edge: EdgeIndex, class, frame: &[u8]| {
            if let Some(trunk) = trunks.get_mut(usize::from(edge.0)) {
                trunk.trunk.send(class, frame);
            }
        };
        watch.gather(now, |token| table.handle_ready(token, now, &mut send))?;
        for trunk in trunks {
            trunk.trunk.flush(now);
        }
        Ok(())
    }

    fn take_orders(&mut self, now: Instant) -> Result<(), TryRecvError> {
        loop {
            match self.queue.try_recv() {
                Ok(Order::Open(ports)) => {
                    if let Err(error) = self.table.open(ports, &self.watch) {
                        tracing::warn!(side = "local", reason = %error, remedy = "raise the limit of open files", "an inner port is not heard");
                    }
                }
                Ok(Order::Close(port)) => self.table.close(port),
                Ok(Order::Plan(change)) => {
                    if let Some(happened) = self.table.follow(change, now) {
                        (self.teller)(happened);
                    }
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(gone @ TryRecvError::Disconnected) => return Err(gone),
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.sweep = now.checked_add(limits::MEDIA_SWEEP_INTERVAL).unwrap_or(now);
        for happened in self.table.silent(self.silence_max, now) {
            (self.teller)(happened);
        }
        self.metrics.publish(&self.table.take_counts());
        for trunk in &self.trunks {
            self.metrics.set_path(&trunk.name, trunk.trunk.path());
        }
    }

    fn wake_at(&self) -> Instant {
        let timeouts = self.trunks.iter();
        let timeouts = timeouts.filter_map(|trunk| trunk.trunk.poll_timeout());
        timeouts.map(|(at, _)| at).fold(self.sweep, Instant::min)
    }
}

fn trunk_of(token: Token) -> Option<usize> {
    usize::try_from(token.0.checked_sub(TRUNKS)?).ok()
}
