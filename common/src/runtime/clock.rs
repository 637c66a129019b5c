//! The one place that reads clocks. Everything else is handed the time.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::time::UnixTime;

/// The monotonic time now: tokio's, so that a paused clock in a test is believed.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this function is where the clock is read"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall-clock time now; 1970 if the clock is set before that.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this function is where the clock is read"
)]
pub fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.map_or(0, |duration| duration.as_secs()))
}
