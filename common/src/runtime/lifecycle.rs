//! From serving to the end of the process, in the order that cuts nothing it need not cut.

use std::future::Future;
use std::time::Duration;

use super::clock;
use super::drain::{Cause, Outcome, Signal};
use super::supervise::{Supervisor, VitalEnd};

/// Serves until `shutdown` resolves, somebody asks for a drain or a vital task ends; then calls `tell_peers`, waits up
/// to `grace` for what is in flight, and says which it was. Telling the peers counts against the grace.
///
/// # Errors
/// [`VitalEnd`] if a vital task ended while serving.
pub async fn until_drained<T>(
    supervisor: &Supervisor,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
    tell_peers: impl FnOnce() -> T,
) -> Result<Outcome, VitalEnd>
where
    T: Future<Output = ()>,
{
    let drain = supervisor.drain();
    let signal = drain.signal();
    // Both branches are only ever awaited here.
    tokio::select! {
        () = shutdown => { drain.start(Cause::Signal); }
        () = signal.draining() => {}
    }
    let began = clock::now();
    if tokio::time::timeout(grace, tell_peers()).await.is_err() {
        tracing::warn!(reason = "timed_out", "peers were not told of the drain");
    }
    let outcome = drain
        .finish(grace.saturating_sub(clock::elapsed(began)))
        .await;
    tracing::info!(%outcome, "drained");
    match supervisor.first_vital_end() {
        Some(end) => Err(end),
        None => Ok(outcome),
    }
}

/// Work that only a drain may end has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it returned while the process was serving")]
pub struct EndedEarly;

/// Makes a vital task of work that a drain ends: it returns when the drain is over, and not with the work.
///
/// # Errors
/// [`EndedEarly`] if the work ends before there is a drain.
pub async fn until_over(work: impl Future<Output = ()>, signal: Signal) -> Result<(), EndedEarly> {
    work.await;
    if !signal.is_draining() {
        return Err(EndedEarly);
    }
    signal.over().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::drain::Drain;

    const GRACE: Duration = Duration::from_secs(30);

    fn supervisor() -> Supervisor {
        Supervisor::new(Drain::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_tells_the_peers_before_it_waits() {
        let supervisor = supervisor();
        let guard = supervisor.drain().signal().in_flight();
        let told = async move { drop(guard) };

        let outcome = until_drained(&supervisor, async {}, GRACE, || told).await;

        let took = Duration::ZERO;
        assert_eq!(outcome, Ok(Outcome::Finished { took }));
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_can_not_be_told_do_not_prolong_the_grace() {
        let supervisor = supervisor();
        let _guard = supervisor.drain().signal().in_flight();
        let began = clock::now();

        let outcome = until_drained(&supervisor, async {}, GRACE, std::future::pending).await;

        assert_eq!(outcome, Ok(Outcome::GraceOver { cut: 1 }));
        assert_eq!(clock::elapsed(began), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_an_operator_asked_for_ends_the_same_way() {
        let supervisor = supervisor();
        supervisor.drain().start(Cause::Admin);

        let never = std::future::pending();
        let outcome = until_drained(&supervisor, never, GRACE, || async {}).await;

        assert!(matches!(outcome, Ok(Outcome::Finished { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_by_itself_is_the_end_of_a_vital_task() {
        let supervisor = supervisor();
        let signal = supervisor.drain().signal();
        drop(supervisor.spawn_vital("link", until_over(async {}, signal)));

        let end = supervisor.vital_end().await;

        assert_eq!(end.task, "link");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_a_drain_ends_is_no_failure() {
        let supervisor = supervisor();
        let (signal, drained) = (supervisor.drain().signal(), supervisor.drain().signal());
        let work = async move { drained.draining().await };
        drop(supervisor.spawn_vital("link", until_over(work, signal)));
        supervisor.drain().start(Cause::Admin);

        let never = std::future::pending();
        let outcome = until_drained(&supervisor, never, GRACE, || async {}).await;

        assert!(matches!(outcome, Ok(Outcome::Finished { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_vital_task_is_told_after_the_drain() {
        let supervisor = supervisor();
        drop(supervisor.spawn_vital("public", async { Err("broken") }));

        let never = std::future::pending();
        let outcome = until_drained(&supervisor, never, GRACE, || async {}).await;

        assert_eq!(outcome.unwrap_err().task, "public");
    }
}
