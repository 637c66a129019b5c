//! Every task has a name and somebody who notices how it ends.
//!
//! An ordinary task, such as a connection, may end or panic: that is counted, and the rest goes on. A *vital* task,
//! such as an accept loop, must not end while the process serves: if it does, the process stops in order and
//! [`Supervisor::vital_end`] says why. Restarts nothing: what a service manager can do it does better.

use std::fmt;
use std::future::Future;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::drain::{Cause, Drain};

/// How a vital task ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vital task {task} {how}")]
pub struct VitalEnd {
    /// Its name.
    pub task: &'static str,
    /// What happened.
    pub how: How,
}

/// What ended a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Another task stopped it.
    Cancelled,
    /// It said why.
    Failed(String),
    /// It panicked; the panic itself is in the log.
    Panicked,
    /// It just returned.
    Returned,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("was cancelled"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Panicked => f.write_str("panicked"),
            Self::Returned => f.write_str("ended"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

/// Spawns tasks and notices how they end. Clones are the same supervisor.
#[derive(Clone, Debug)]
pub struct Supervisor {
    drain: Drain,
    first_end: watch::Sender<Option<VitalEnd>>,
    panics: Family<TaskLabel, Counter>,
}

impl Supervisor {
    /// A supervisor that starts `drain` when a vital task ends.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        Self {
            drain,
            first_end: watch::Sender::new(None),
            panics: Family::default(),
        }
    }

    /// The drain that a vital end starts.
    #[must_use]
    pub const fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "task_panics",
            "Tasks that panicked; any at all is a bug worth a report",
            self.panics.clone(),
        );
    }

    /// Spawns a task that may end.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut watcher = self.watcher(name, false);
        let supervised = async move {
            future.await;
            watcher.saw(How::Returned);
        };
        tokio::spawn(supervised.instrument(tracing::error_span!("task", task = name)))
    }

    /// Spawns a task without which the process can't do its work.
    pub fn spawn_vital<F, E>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let mut watcher = self.watcher(name, true);
        let supervised = async move {
            let result = future.await;
            watcher.saw(result.map_or_else(|why| How::Failed(why.to_string()), |()| How::Returned));
        };
        tokio::spawn(supervised.instrument(tracing::error_span!("task", task = name)))
    }

    /// Resolves when the first vital task has ended while the process was serving. Cancel safe.
    pub async fn vital_end(&self) -> VitalEnd {
        let mut first_end = self.first_end.subscribe();
        // The sender lives in `self`, so waiting can't fail; if it could, nobody would ever hear of an end.
        let found = first_end.wait_for(Option::is_some).await;
        match found.ok().and_then(|end| end.clone()) {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// The end of a vital task, if there was one.
    #[must_use]
    pub fn first_vital_end(&self) -> Option<VitalEnd> {
        self.first_end.borrow().clone()
    }

    fn watcher(&self, task: &'static str, is_vital: bool) -> Watcher {
        Watcher {
            supervisor: self.clone(),
            task,
            is_vital,
            how: How::Cancelled,
        }
    }

    fn ended(&self, task: &'static str, how: How) {
        if self.drain.signal().is_draining() {
            return;
        }
        let end = VitalEnd { task, how };
        tracing::error!(task, reason = %end.how, "vital task ended: stopping");
        self.first_end.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(end);
            is_first
        });
        self.drain.start(Cause::VitalTask);
    }
}

/// Lives inside the task and sees from its drop how the task ended: a panic is caught by tokio, out of reach of the
/// code after an `.await`.
#[derive(Debug)]
struct Watcher {
    supervisor: Supervisor,
    task: &'static str,
    is_vital: bool,
    how: How,
}

impl Watcher {
    fn saw(&mut self, how: How) {
        self.how = how;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut how = std::mem::replace(&mut self.how, How::Cancelled);
        if std::thread::panicking() {
            how = How::Panicked;
            let label = TaskLabel { task: self.task };
            self.supervisor.panics.get_or_create(&label).inc();
            tracing::error!(task = self.task, "task panicked");
        }
        if self.is_vital {
            self.supervisor.ended(self.task, how);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn supervisor() -> (Drain, Supervisor) {
        let drain = Drain::new();
        (drain.clone(), Supervisor::new(drain))
    }

    fn metrics(supervisor: &Supervisor) -> String {
        let mut registry = Registry::default();
        supervisor.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn an_ordinary_task_that_panics_is_counted_and_nothing_else_happens() {
        let (drain, supervisor) = supervisor();

        let panics = async { panic!("by intention") };
        supervisor.spawn("connection", panics).await.unwrap_err();
        supervisor.spawn("connection", async {}).await.unwrap();

        assert!(metrics(&supervisor).contains("task_panics_total{task=\"connection\"} 1\n"));
        assert!(!drain.signal().is_draining());
        assert_eq!(supervisor.first_vital_end(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_vital_task_that_ends_stops_the_process_and_says_how() {
        for (task, how) in [
            ("returns", How::Returned),
            ("fails", How::Failed("no more sockets".to_owned())),
            ("panics", How::Panicked),
        ] {
            let (drain, supervisor) = supervisor();

            drop(supervisor.spawn_vital(task, async move {
                match task {
                    "fails" => Err("no more sockets"),
                    "panics" => panic!("by intention"),
                    _ => Ok(()),
                }
            }));

            assert_eq!(supervisor.vital_end().await, VitalEnd { task, how });
            assert_eq!(drain.signal().cause(), Some(Cause::VitalTask));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_vital_task_that_was_aborted_counts_as_ended() {
        let (_drain, supervisor) = supervisor();
        let task =
            supervisor.spawn_vital("listener", std::future::pending::<Result<(), Infallible>>());

        task.abort();

        let end = supervisor.vital_end().await;
        assert_eq!(end.to_string(), "the vital task listener was cancelled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_vital_task_may_end_once_the_process_drains() {
        let (drain, supervisor) = supervisor();
        let signal = drain.signal();
        let task = supervisor.spawn_vital("listener", async move {
            signal.draining().await;
            Ok::<_, Infallible>(())
        });

        drain.start(Cause::Signal);
        task.await.unwrap();

        assert_eq!(supervisor.first_vital_end(), None);
        assert_eq!(drain.signal().cause(), Some(Cause::Signal));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_vital_end_is_the_one_that_is_told() {
        let (drain, supervisor) = supervisor();
        drop(supervisor.spawn_vital("one", async { Err("first") }));
        supervisor.vital_end().await;

        supervisor
            .spawn_vital("two", async { Err("second") })
            .await
            .unwrap();

        assert_eq!(supervisor.first_vital_end().unwrap().task, "one");
        assert!(drain.signal().is_draining());
    }
}
