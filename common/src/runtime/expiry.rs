//! When the certificates in use expire: for the metric, and once a day for the log when it is near.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::certificate::Facts;
use crate::limits;
use crate::runtime::clock;
use crate::telemetry::Certificates;
use crate::time::UnixTime;

/// The certificates in use.
#[derive(Debug)]
pub struct Expiry {
    metrics: Certificates,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The key of the configuration, and until when.
    in_use: Vec<(String, UnixTime)>,
    told: Option<Instant>,
}

impl Expiry {
    /// None in use yet.
    #[must_use]
    pub fn new(metrics: Certificates) -> Self {
        Self {
            metrics,
            state: Mutex::default(),
        }
    }

    /// These are in use from now on: the key that names each, and its chain.
    pub fn replace<'a>(&self, in_use: impl IntoIterator<Item = (String, &'a Path)>) {
        // A chain that can't be read isn't in use: who loads it has refused it.
        let read = |(key, chain)| Some((key, Facts::of_leaf(chain).ok()?.not_after));
        let in_use: Vec<(String, UnixTime)> = in_use.into_iter().filter_map(read).collect();
        self.metrics.replace(&in_use);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { in_use, told: None };
    }

    /// Tells the log once a day what expires soon. To be called now and then.
    pub fn tell(&self, now: UnixTime) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| clock::elapsed(told) < DAY) {
            return;
        }
        state.told = Some(clock::now());
        for (key, left) in soon(&state.in_use, now) {
            tracing::warn!(
                side = "local",
                certificate = key,
                days_left = left.as_secs() / DAY.as_secs(),
                reason = "the certificate expires soon",
                remedy = "renew it: the new file is taken over by itself",
                "certificate expires"
            );
        }
    }
}

fn soon(in_use: &[(String, UnixTime)], now: UnixTime) -> impl Iterator<Item = (&str, Duration)> {
    let left = in_use
        .iter()
        .map(move |(key, until)| (key.as_str(), until.since(now)));
    left.filter(|(_, left)| *left < limits::CERTIFICATE_EXPIRY_ALARM)
}

const DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_weeks_ahead_is_soon() {
        let day = DAY.as_secs();
        let in_use = [
            ("past".to_owned(), UnixTime(0)),
            ("soon".to_owned(), UnixTime(113 * day)),
            ("later".to_owned(), UnixTime(114 * day)),
        ];

        let soon: Vec<_> = soon(&in_use, UnixTime(100 * day)).collect();

        assert_eq!(soon, [("past", Duration::ZERO), ("soon", DAY * 13)]);
    }
}
