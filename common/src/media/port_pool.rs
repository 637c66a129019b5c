//! The public ports of edge-e in pairs: RTP even, RTCP the next one (RFC 3550 section 11). Opens no socket.
//!
//! Which pair comes next is up to the random number that the caller brings: an attacker must not know where media will be.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::limits;

/// Two ports that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortPair(u16);

impl PortPair {
    /// The even port.
    #[must_use]
    pub const fn rtp(self) -> u16 {
        self.0
    }

    /// The odd port.
    #[must_use]
    pub const fn rtcp(self) -> u16 {
        self.0 | 1
    }
}

/// All pairs of a range: free, taken, or resting after a call.
#[derive(Debug)]
pub struct PortPool {
    free: Vec<PortPair>,
    /// By the time when they are free again.
    resting: VecDeque<(Instant, PortPair)>,
}

impl PortPool {
    /// Every whole pair within `ports`.
    #[must_use]
    pub fn new(ports: &RangeInclusive<u16>) -> Self {
        let first = ports.start().checked_next_multiple_of(2);
        let last = ports.end().checked_sub(1);
        let free = match (first, last) {
            (Some(first), Some(last)) => (first..=last).step_by(2).map(PortPair).collect(),
            (None, _) | (_, None) => Vec::new(),
        };
        Self {
            free,
            resting: VecDeque::new(),
        }
    }

    /// Takes a free pair; `None` if there is none.
    pub fn take(&mut self, random: u64, now: Instant) -> Option<PortPair> {
        while let Some((_, pair)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.free.push(pair);
        }
        let len = u64::try_from(self.free.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(random.checked_rem(len)?).ok()?;
        Some(self.free.swap_remove(at))
    }

    /// Takes the pair that begins with this port, even while it rests; `None` if it is taken or not in the range.
    pub fn take_port(&mut self, rtp: u16) -> Option<PortPair> {
        if let Some(at) = self.free.iter().position(|pair| pair.rtp() == rtp) {
            return Some(self.free.swap_remove(at));
        }
        let at = self
            .resting
            .iter()
            .position(|(_, pair)| pair.rtp() == rtp)?;
        self.resting.remove(at).map(|(_, pair)| pair)
    }

    /// Gives a pair back: packets of the last call may still be on their way to it, so it rests for
    /// [`limits::MEDIA_PORT_QUARANTINE`].
    pub fn give_back(&mut self, pair: PortPair, now: Instant) {
        let until = now
            .checked_add(limits::MEDIA_PORT_QUARANTINE)
            .unwrap_or(now);
        self.resting.push_back((until, pair));
    }

    /// Pairs that are neither taken nor resting, as of the last [`Self::take`].
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::epoch;

    #[test]
    fn only_whole_pairs_that_begin_even_are_handed_out() {
        let now = epoch();
        let mut pool = PortPool::new(&(36_001..=36_006));

        let taken: BTreeSet<(u16, u16)> = (0..9)
            .filter_map(|random| pool.take(random, now))
            .map(|pair| (pair.rtp(), pair.rtcp()))
            .collect();

        assert_eq!(taken, BTreeSet::from([(36_002, 36_003), (36_004, 36_005)]));
        assert_eq!(PortPool::new(&(65_535..=65_535)).free(), 0);
        assert_eq!(PortPool::new(&(65_534..=65_535)).free(), 1);
    }

    #[test]
    fn a_pair_rests_before_it_is_used_again() {
        let now = epoch();
        let mut pool = PortPool::new(&(36_000..=36_001));
        let pair = pool.take(0, now).unwrap();
        pool.give_back(pair, now);

        let rested = now + limits::MEDIA_PORT_QUARANTINE;
        let almost = rested.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(pool.take(0, almost), None);
        assert_eq!(pool.take(0, rested), Some(pair));
    }

    #[test]
    fn a_certain_pair_is_had_free_or_resting_but_not_twice() {
        let now = epoch();
        let mut pool = PortPool::new(&(36_000..=36_003));

        let pair = pool.take_port(36_002).unwrap();
        assert_eq!((pair.rtp(), pool.free()), (36_002, 1));
        assert_eq!(pool.take_port(36_002), None);
        pool.give_back(pair, now);
        assert_eq!(pool.take_port(36_002), Some(pair));
        for wrong in [36_001, 36_004, 0] {
            assert_eq!(pool.take_port(wrong), None);
        }
        assert_eq!(pool.take(0, now).map(PortPair::rtp), Some(36_000));
    }

    proptest! {
        #[test]
        fn no_pair_is_taken_twice_and_none_is_lost(
            steps in proptest::collection::vec((any::<bool>(), any::<u64>(), 0..10_u64), 0..200),
        ) {
            let mut now = epoch();
            let mut pool = PortPool::new(&(36_000..=36_019));
            let mut taken = BTreeSet::new();
            for (is_take, random, seconds) in steps {
                now += Duration::from_secs(seconds);
                if is_take {
                    if let Some(pair) = pool.take(random, now) {
                        prop_assert!(taken.insert(pair));
                    }
                } else if let Some(pair) = taken.pop_first() {
                    pool.give_back(pair, now);
                }
                prop_assert_eq!(taken.len() + pool.free() + pool.resting.len(), 10);
            }
        }
    }
}
