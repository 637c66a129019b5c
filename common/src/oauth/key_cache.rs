//! When an issuer's keys are fetched, and how long old ones serve: ahead of their age, at once for an unknown name but
//! never in a storm, and on through an outage. Fetches nothing itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::key_set::KeySet;
use crate::limits;

/// The keys of one issuer over time.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    current: Option<(Arc<KeySet>, Instant)>,
    /// When the last fetch began, good or not.
    tried: Option<Instant>,
    /// When the last one for an unknown key began.
    missed: Option<Instant>,
    /// How many fetches failed since the last good one.
    failures: u32,
}

impl KeyCache {
    /// The keys, as long as they may be used at all: [`limits::JWKS_STALE_MAX`] through an outage.
    #[must_use]
    pub fn keys(&self, now: Instant) -> Option<&Arc<KeySet>> {
        let (keys, fetched) = self.current.as_ref()?;
        (now.saturating_duration_since(*fetched) < limits::JWKS_STALE_MAX).then_some(keys)
    }

    /// How old the keys are.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let (_, fetched) = self.current.as_ref()?;
        Some(now.saturating_duration_since(*fetched))
    }

    /// Whether the keys are older than they should be: the issuer is away.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        self.age(now).is_none_or(|age| age >= limits::JWKS_AGE)
    }

    /// Whether a fetch is due by itself; if so, it has begun.
    pub fn begin(&mut self, now: Instant) -> bool {
        let is_due = self
            .age(now)
            .is_none_or(|age| age >= limits::JWKS_REFRESH_AGE);
        let pause = if self.failures == 0 && self.current.is_none() {
            Duration::ZERO
        } else {
            limits::JWKS_RETRY_INTERVAL
        };
        let begins = is_due && is_free(self.tried, pause, now);
        if begins {
            self.tried = Some(now);
        }
        begins
    }

    /// Whether a token whose key is unknown is worth a fetch; if so, it has begun.
    pub fn begin_for_unknown_key(&mut self, now: Instant) -> bool {
        let begins = is_free(self.missed, limits::JWKS_MISS_INTERVAL, now);
        if begins {
            self.missed = Some(now);
            self.tried = Some(now);
        }
        begins
    }

    /// A fetch brought these; keys that have left the set are gone.
    pub fn fetched(&mut self, keys: Arc<KeySet>, now: Instant) {
        self.current = Some((keys, now));
        self.failures = 0;
    }

    /// A fetch brought nothing. Returns how many in a row.
    pub fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }
}

fn is_free(last: Option<Instant>, pause: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    fn keys() -> Arc<KeySet> {
        Arc::new(KeySet::default())
    }

    #[test]
    fn keys_are_fetched_at_first_and_ahead_of_their_age() {
        let (mut cache, now) = (KeyCache::default(), epoch());
        assert!(cache.begin(now));
        cache.fetched(keys(), now);

        assert!(!cache.begin(now + limits::JWKS_REFRESH_AGE.saturating_sub(SECOND)));
        assert!(cache.begin(now + limits::JWKS_REFRESH_AGE));
        assert!(!cache.is_stale(now + limits::JWKS_AGE.saturating_sub(SECOND)));
    }

    #[test]
    fn a_storm_of_unknown_names_makes_two_fetches_a_minute() {
        let (mut cache, now) = (KeyCache::default(), epoch());
        cache.fetched(keys(), now);
        let mut fetches = 0;

        for millisecond in 0..60_000 {
            let now = now + Duration::from_millis(millisecond);
            fetches += u32::from(cache.begin_for_unknown_key(now));
        }

        assert_eq!(fetches, 2);
    }

    #[test]
    fn an_outage_is_survived_with_the_last_good_keys_and_not_for_ever() {
        let (mut cache, now) = (KeyCache::default(), epoch());
        cache.fetched(keys(), now);
        let mut tries = 0;
        for second in 0..3600 {
            let now = now + limits::JWKS_AGE + SECOND * second;
            if cache.begin(now) {
                tries += 1;
                assert_eq!(cache.failed(), tries);
            }
            assert!(cache.keys(now).is_some() && cache.is_stale(now));
        }

        let seconds = u32::try_from(limits::JWKS_RETRY_INTERVAL.as_secs()).unwrap();
        assert_eq!(tries, 3600 / seconds);
        assert!(cache.keys(now + limits::JWKS_STALE_MAX).is_none());
    }

    #[test]
    fn the_first_fetch_is_repeated_no_faster_than_later_ones() {
        let (mut cache, now) = (KeyCache::default(), epoch());
        assert!(cache.begin(now));
        cache.failed();

        assert!(!cache.begin(now + SECOND));
        assert!(cache.begin(now + limits::JWKS_RETRY_INTERVAL));
    }
}
