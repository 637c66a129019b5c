//! Waiting for something that another process will do, with a deadline. Never a sleep and a hope.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Asks again and again until the answer is `Some`, at most for `limit`.
///
/// The error names what was awaited and carries the last reason, if the attempts gave one.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let outcome = attempt();
        if let Ok(Some(value)) = outcome {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            let late = format!("Failed to see {what} within {limit:?}");
            match outcome {
                Ok(_) => bail!(late),
                Err(error) => return Err(error).context(late),
            }
        }
        thread::sleep(PACE);
    }
}

/// Like [`until`], for a condition.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(condition()?.then_some(())))
}

/// How long a peer may take to start on a busy two-core machine.
pub const START_LIMIT: Duration = Duration::from_secs(20);

/// Between two attempts; short against every limit, long enough to leave the CPU to the awaited.
const PACE: Duration = Duration::from_millis(20);
