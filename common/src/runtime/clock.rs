//! The clocks. Everything else is handed the time.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clocks"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::link::control;
use crate::time::UnixTime;

/// The monotonic clock that timers use; virtual in tests with paused time.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago `then` was.
#[must_use]
pub fn elapsed(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> UnixTime {
    UnixTime(unix_ms() / 1000)
}

/// Milliseconds since 1970; 0 for a clock set before that.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Both clocks, as a control stream wants them.
#[must_use]
pub fn both() -> control::Now {
    control::Now {
        instant: now(),
        unix_ms: unix_ms(),
    }
}
