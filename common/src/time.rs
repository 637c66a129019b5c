//! Points in time that a core hands out or is handed. Reads no clock.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// When a core wants to be woken, and what for.
pub type Wakeup = (Instant, &'static str);

/// The earlier of two wake-ups, where there is any.
#[must_use]
pub fn earliest(one: Option<Wakeup>, two: Option<Wakeup>) -> Option<Wakeup> {
    match (one, two) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Wall-clock time in whole seconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This point plus `duration`, in whole seconds; saturates.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// How long after `earlier` this point is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_wake_up_wins() {
        let now = crate::testing::epoch();
        let soon = Some((now, "soon"));
        let late = Some((now + Duration::from_secs(1), "late"));

        assert_eq!(earliest(soon, late), soon);
        assert_eq!(earliest(late, soon), soon);
        assert_eq!(earliest(None, late), late);
        assert_eq!(earliest(None, None), None);
    }
}
