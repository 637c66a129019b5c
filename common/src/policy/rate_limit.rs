//! How often something may happen, for each key: token buckets for steady streams of events, sliding windows for the few
//! that must be counted exactly. The number of keys is bounded; time is an argument.
//!
//! When there are too many keys, the one nearest to a clean slate is forgotten: who floods with new keys gets rid of old
//! limits only after as many events as there are keys.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::limits;
use crate::policy::fading::Fading;

/// Too often: not before this much time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too often; again in {} s", .retry_after.as_secs_f64().ceil())]
pub struct TooOften {
    /// How long the same key has to wait.
    pub retry_after: Duration,
}

impl TooOften {
    /// For `Retry-After`: whole seconds, at least one (RFC 9110 section 10.2.3).
    #[must_use]
    pub const fn retry_after_seconds(&self) -> u64 {
        let whole = self.retry_after.as_secs();
        let rest = self.retry_after.subsec_nanos() > 0 || whole == 0;
        whole.saturating_add(if rest { 1 } else { 0 })
    }
}

/// A bucket that holds `burst` tokens and gains one each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many events may come at once after a pause.
    pub burst: NonZeroU32,
    /// Time for one more; zero means no limit.
    pub interval: Duration,
}

/// Token buckets, one for each key, full at first.
///
/// Kept as the one point in time when the bucket is full again (the "theoretical arrival time" of ATM's generic cell
/// rate algorithm), so a full bucket needs no memory.
#[derive(Debug)]
pub struct TokenBuckets<K> {
    rate: Rate,
    full_at: Fading<K, ()>,
}

impl<K: Ord + Clone> TokenBuckets<K> {
    /// At most `keys_max` buckets that are not full.
    #[must_use]
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            full_at: Fading::new(keys_max),
        }
    }

    /// Takes a token of `key`.
    ///
    /// # Errors
    /// [`TooOften`] if there is none; nothing is taken then.
    pub fn admit(&mut self, key: K, now: Instant) -> Result<(), TooOften> {
        self.full_at.expire(now);
        let missing = self
            .full_at
            .get(&key, now)
            .map_or(Duration::ZERO, |(full_at, ())| full_at.duration_since(now));
        let after = missing.saturating_add(self.rate.interval);
        let capacity = self.rate.interval.saturating_mul(self.rate.burst.get());
        if after > capacity {
            let retry_after = after.saturating_sub(capacity);
            return Err(TooOften { retry_after });
        }
        // Beyond what an Instant can say there is no limit worth keeping.
        if let Some(full_at) = now.checked_add(after) {
            self.full_at.put(key, full_at, ());
        }
        Ok(())
    }

    /// How many buckets are not full.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Whether all buckets are full.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// At most `count` events in any period of `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Above [`limits::RATE_LIMIT_COUNT_MAX`] it counts as that.
    pub count: NonZeroU32,
    /// The length of the period.
    pub window: Duration,
}

/// Exact counters over a sliding window, one for each key.
#[derive(Debug)]
pub struct SlidingWindows<K> {
    quota: Quota,
    /// When the events of the last window were, the oldest first; at most `count` of them.
    events: Fading<K, VecDeque<Instant>>,
}

impl<K: Ord + Clone> SlidingWindows<K> {
    /// At most `keys_max` keys are remembered.
    #[must_use]
    pub fn new(quota: Quota, keys_max: usize) -> Self {
        Self {
            quota,
            events: Fading::new(keys_max),
        }
    }

    /// Counts an event of `key`, unless its quota is used up.
    ///
    /// # Errors
    /// [`TooOften`] if it is; the event is not counted then, so that waiting helps.
    pub fn admit(&mut self, key: K, now: Instant) -> Result<(), TooOften> {
        self.check(&key, now)?;
        self.record(key, now);
        Ok(())
    }

    /// Whether an event of `key` would be admitted; counts nothing.
    ///
    /// # Errors
    /// [`TooOften`] if it would not be.
    pub fn check(&self, key: &K, now: Instant) -> Result<(), TooOften> {
        let Some((_, events)) = self.events.get(key, now) else {
            return Ok(());
        };
        let behind = events.partition_point(|at| self.is_over(*at, now));
        if events.len().saturating_sub(behind) < self.count_max() {
            return Ok(());
        }
        let oldest = events.get(behind).copied().unwrap_or(now);
        let age = now.saturating_duration_since(oldest);
        Err(TooOften {
            retry_after: self.quota.window.saturating_sub(age),
        })
    }

    /// Counts an event of `key` whatever its quota; returns how many there are in the window, at most the quota.
    pub fn record(&mut self, key: K, now: Instant) -> usize {
        self.events.expire(now);
        let mut events = self.events.remove(&key).unwrap_or_default();
        while let Some(oldest) = events.front()
            && (events.len() >= self.count_max() || self.is_over(*oldest, now))
        {
            events.pop_front();
        }
        events.push_back(now);
        let count = events.len();
        if let Some(until) = now.checked_add(self.quota.window) {
            self.events.put(key, until, events);
        }
        count
    }

    /// Gives `key` a clean slate.
    pub fn forget(&mut self, key: &K) {
        self.events.remove(key);
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_over(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) >= self.quota.window
    }

    fn count_max(&self) -> usize {
        usize::try_from(self.quota.count.get())
            .unwrap_or(usize::MAX)
            .min(limits::RATE_LIMIT_COUNT_MAX)
    }
}

/// What stands for a client where addresses are counted: the IPv4 address, or the /64 network of an IPv6 address, as
/// every subscriber has 2^64 of those to choose from.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_each_interval() {
        let now = epoch();
        let mut buckets = TokenBuckets::new(rate(3), 10);

        for _ in 0..3 {
            assert_eq!(buckets.admit("a", now), Ok(()));
        }
        let refused = buckets.admit("a", now + SECOND / 4).unwrap_err();
        assert_eq!(refused.retry_after, SECOND * 3 / 4);
        assert_eq!(buckets.admit("b", now), Ok(()));
        assert_eq!(buckets.admit("a", now + SECOND), Ok(()));
        assert!(buckets.admit("a", now + SECOND).is_err());
    }

    #[test]
    fn a_refusal_takes_no_token() {
        let now = epoch();
        let mut buckets = TokenBuckets::new(rate(1), 10);
        buckets.admit("a", now).unwrap();

        for _ in 0..100 {
            assert!(buckets.admit("a", now).is_err());
        }

        assert_eq!(buckets.admit("a", now + SECOND), Ok(()));
    }

    #[test]
    fn full_buckets_need_no_memory_and_a_zero_interval_has_no_limit() {
        let now = epoch();
        let mut buckets = TokenBuckets::new(rate(1), 10);
        buckets.admit("a", now).unwrap();
        buckets.admit("b", now + SECOND).unwrap();
        assert_eq!(buckets.len(), 1);

        let interval = Duration::ZERO;
        let mut free = TokenBuckets::new(
            Rate {
                interval,
                ..rate(1)
            },
            10,
        );
        assert!((0..1000).all(|_| free.admit("a", now).is_ok()));
    }

    #[test]
    fn the_emptiest_bucket_is_the_last_to_be_forgotten() {
        let now = epoch();
        let mut buckets = TokenBuckets::new(rate(5), 2);
        for _ in 0..5 {
            buckets.admit(0, now).unwrap();
        }

        for key in 1..100 {
            buckets.admit(key, now).unwrap();
        }

        assert_eq!(buckets.len(), 2);
        assert!(buckets.admit(0, now).is_err());
    }

    #[test]
    fn a_window_slides_event_by_event() {
        let now = epoch();
        let mut windows = SlidingWindows::new(quota(3, 300), 10);
        for second in [0, 100, 200] {
            assert_eq!(windows.admit("a", now + SECOND * second), Ok(()));
        }

        let refused = windows.admit("a", now + SECOND * 299).unwrap_err();
        assert_eq!(refused.retry_after, SECOND);
        assert_eq!(windows.admit("b", now + SECOND * 299), Ok(()));
        assert_eq!(windows.admit("a", now + SECOND * 300), Ok(()));
        let refused = windows.admit("a", now + SECOND * 300).unwrap_err();
        assert_eq!(refused.retry_after, SECOND * 100);
    }

    #[test]
    fn recording_goes_on_beyond_the_quota_without_growing() {
        let now = epoch();
        let mut windows = SlidingWindows::new(quota(3, 300), 10);

        for second in 0..100 {
            assert!(windows.record("a", now + SECOND * second) <= 3);
        }

        assert!(windows.check(&"a", now + SECOND * 396).is_err());
        assert_eq!(windows.check(&"a", now + SECOND * 397), Ok(()));
        windows.forget(&"a");
        assert!(windows.is_empty());
    }

    #[test]
    fn retry_after_is_rounded_up() {
        for (retry_after, seconds) in [
            (Duration::ZERO, 1),
            (SECOND / 2, 1),
            (SECOND, 1),
            (SECOND * 3 / 2, 2),
        ] {
            assert_eq!(TooOften { retry_after }.retry_after_seconds(), seconds);
        }
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();

        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    proptest! {
        #[test]
        fn no_window_ever_admits_more_than_its_quota(gaps in prop::collection::vec(0_u32..120, 1..60)) {
            let start = epoch();
            let mut windows = SlidingWindows::new(quota(3, 100), 4);
            let mut admitted: Vec<Instant> = Vec::new();
            let mut now = start;
            for gap in gaps {
                now += SECOND * gap;
                if windows.admit((), now).is_ok() {
                    admitted.push(now);
                }
            }
            for four in admitted.windows(4) {
                prop_assert!(four[3] - four[0] >= SECOND * 100);
            }
        }

        #[test]
        fn a_bucket_never_gives_more_than_burst_and_refill(gaps in prop::collection::vec(0_u32..3000, 1..80)) {
            let start = epoch();
            let mut buckets = TokenBuckets::new(rate(4), 4);
            let (mut now, mut given) = (start, 0);
            for gap in gaps {
                now += Duration::from_millis(gap.into());
                given += u64::from(buckets.admit((), now).is_ok());
                prop_assert!(given <= 4 + (now - start).as_secs());
            }
        }
    }

    fn rate(burst: u32) -> Rate {
        Rate {
            burst: NonZeroU32::new(burst).unwrap(),
            interval: SECOND,
        }
    }

    fn quota(count: u32, seconds: u64) -> Quota {
        Quota {
            count: NonZeroU32::new(count).unwrap(),
            window: Duration::from_secs(seconds),
        }
    }
}
