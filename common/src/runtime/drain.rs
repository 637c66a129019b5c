//! An orderly stop: stop accepting, tell peers, let requests in flight finish for a while, say which it was.
//!
//! A [`Drain`] starts and awaits the stop, a [`Signal`] hears of it, an [`InFlight`] holds it up. Three phases, never
//! back: serving, draining, over. Closes no socket itself: whoever owns one listens to its signal.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use super::clock;

/// Why a process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `POST /drain` on the admin listener.
    Admin,
    /// SIGTERM or SIGINT.
    Signal,
    /// A task that the process can't do without has ended.
    VitalTask,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Signal => "signal",
            Self::VitalTask => "vital_task",
        })
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything in flight finished.
    Finished {
        /// After how long.
        took: Duration,
    },
    /// The grace was over first.
    GraceOver {
        /// How many were cut off.
        cut: usize,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished { took } => write!(f, "all finished after {} ms", took.as_millis()),
            Self::GraceOver { cut } => write!(f, "grace over, {cut} cut off"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining(Cause),
    Over,
}

#[derive(Debug, Default)]
struct Count {
    in_flight: AtomicUsize,
    none_left: Notify,
}

/// Starts the stop and waits for it. Clones are the same drain.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    count: Arc<Count>,
}

/// Hears of the stop. Cheap to clone; one for each task.
#[derive(Clone, Debug)]
pub struct Signal {
    phase: watch::Receiver<Phase>,
    count: Arc<Count>,
}

/// Something that a drain waits for, as long as this value lives.
#[derive(Debug)]
#[must_use = "what is dropped is not waited for"]
pub struct InFlight(Arc<Count>);

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A drain that has not started.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            count: Arc::default(),
        }
    }

    /// A signal that hears of this drain.
    #[must_use]
    pub fn signal(&self) -> Signal {
        Signal {
            phase: self.phase.subscribe(),
            count: Arc::clone(&self.count),
        }
    }

    /// Starts it. The first cause counts; `false` if it had started before.
    pub fn start(&self, cause: Cause) -> bool {
        let has_started = self.phase.send_if_modified(|phase| {
            let is_first = *phase == Phase::Serving;
            if is_first {
                *phase = Phase::Draining(cause);
            }
            is_first
        });
        if has_started {
            let in_flight = self.in_flight();
            tracing::info!(reason = %cause, in_flight, "draining: no new connections");
        }
        has_started
    }

    /// How many things in flight it would wait for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.count.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until nothing is in flight, for at most `grace`; then it is over for whoever is left. To be called once
    /// the drain has started and the peers were told.
    pub async fn finish(&self, grace: Duration) -> Outcome {
        let began = clock::now();
        let idle = tokio::time::timeout(grace, self.count.idle()).await;
        let outcome = match idle {
            Ok(()) => Outcome::Finished {
                took: clock::elapsed(began),
            },
            Err(_) => Outcome::GraceOver {
                cut: self.in_flight(),
            },
        };
        self.phase.send_replace(Phase::Over);
        outcome
    }
}

impl Count {
    async fn idle(&self) {
        loop {
            // Enlisted before the count is read, so that a last guard dropped in between is not missed.
            let mut none_left = std::pin::pin!(self.none_left.notified());
            none_left.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            none_left.await;
        }
    }
}

impl Signal {
    /// Whether nothing new may be accepted.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// Why, once it has started.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match *self.phase.borrow() {
            Phase::Draining(cause) => Some(cause),
            Phase::Serving | Phase::Over => None,
        }
    }

    /// Resolves when nothing new may be accepted. Cancel safe.
    pub async fn draining(&self) {
        self.reached(|phase| *phase != Phase::Serving).await;
    }

    /// Resolves when what is still in flight must be cut off. Cancel safe.
    pub async fn over(&self) {
        self.reached(|phase| *phase == Phase::Over).await;
    }

    /// Holds a drain up until the value is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.count.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(Arc::clone(&self.count))
    }

    async fn reached(&self, is_reached: impl FnMut(&Phase) -> bool) {
        let mut phase = self.phase.clone();
        // A drain that nobody holds any more can't let anybody finish either: the process is going down.
        drop(phase.wait_for(is_reached).await);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

/// Takes SIGTERM and SIGINT over from now on; the future resolves at the first of them.
///
/// # Errors
/// If the process may not handle signals.
pub fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        // Both branches are cancel safe: a signal that is not taken stays noted.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_drain_with_nothing_in_flight_ends_at_once() {
        let drain = Drain::new();

        drain.start(Cause::Signal);

        let took = Duration::ZERO;
        assert_eq!(drain.finish(GRACE).await, Outcome::Finished { took });
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_last_one_in_flight() {
        let drain = Drain::new();
        let signal = drain.signal();
        for seconds in [3, 7] {
            let guard = signal.in_flight();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                drop(guard);
            });
        }

        drain.start(Cause::Admin);

        let took = Duration::from_secs(7);
        assert_eq!(drain.finish(GRACE).await, Outcome::Finished { took });
        assert_eq!(drain.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_ends_and_whoever_is_left_is_told() {
        let drain = Drain::new();
        let signal = drain.signal();
        let guard = signal.in_flight();
        let left = tokio::spawn(async move {
            signal.over().await;
            drop(guard);
        });

        drain.start(Cause::Signal);

        assert_eq!(drain.finish(GRACE).await, Outcome::GraceOver { cut: 1 });
        left.await.unwrap();
        assert_eq!(drain.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_cause_counts_and_everybody_hears_of_it() {
        let drain = Drain::new();
        let early = drain.signal();
        assert!(!early.is_draining());
        assert_eq!(early.cause(), None);

        assert!(drain.start(Cause::VitalTask));
        assert!(!drain.start(Cause::Signal));

        early.draining().await;
        drain.signal().draining().await;
        assert_eq!(early.cause(), Some(Cause::VitalTask));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_is_over_does_not_start_again() {
        let drain = Drain::new();
        drain.start(Cause::Signal);
        drain.finish(GRACE).await;

        assert!(!drain.start(Cause::Admin));
        assert!(drain.signal().is_draining());
    }
}
