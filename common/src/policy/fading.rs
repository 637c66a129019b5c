//! A bounded map whose entries each matter until some point in time. When it is full, the entry that matters for the
//! shortest time gives way; it never grows and never refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Fading<K, V> {
    entries: BTreeMap<K, (Instant, V)>,
    /// The same keys, ordered by when they stop to matter.
    order: BTreeSet<(Instant, K)>,
    keys_max: usize,
}

impl<K: Ord + Clone, V> Fading<K, V> {
    /// `keys_max` of 0 counts as 1.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeSet::new(),
            keys_max: keys_max.max(1),
        }
    }

    /// The value of `key` and until when it matters, if it still does.
    pub fn get(&self, key: &K, now: Instant) -> Option<(Instant, &V)> {
        self.entries
            .get(key)
            .filter(|(until, _)| *until > now)
            .map(|(until, value)| (*until, value))
    }

    /// Takes the value of `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (until, value) = self.entries.remove(key)?;
        self.order.remove(&(until, key.clone()));
        Some(value)
    }

    /// Puts `value` in the place of what `key` had; makes room if there is none.
    pub fn put(&mut self, key: K, until: Instant, value: V) {
        self.remove(&key);
        while self.entries.len() >= self.keys_max {
            let Some((_, shortest)) = self.order.pop_first() else {
                break;
            };
            self.entries.remove(&shortest);
        }
        self.order.insert((until, key.clone()));
        self.entries.insert(key, (until, value));
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    /// The same, after what matters no more at `now` has made room.
    pub fn renew(&mut self, key: K, until: Instant, value: V, now: Instant) {
        self.expire(now);
        self.put(key, until, value);
    }

    /// Forgets everything that matters no more.
    pub fn expire(&mut self, now: Instant) {
        while let Some((until, _)) = self.order.first()
            && *until <= now
        {
            if let Some((_, key)) = self.order.pop_first() {
                self.entries.remove(&key);
            }
        }
    }

    /// The keys in their order, and until when each matters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, Instant)> {
        let entries = self.entries.iter();
        entries.map(|(key, (until, _))| (key.clone(), *until))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(debug_assertions)]
    fn check_invariants(&self) {
        debug_assert_eq!(self.entries.len(), self.order.len());
        debug_assert!(self.entries.len() <= self.keys_max);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::epoch;

    #[test]
    fn the_entry_that_matters_shortest_gives_way() {
        let now = epoch();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut map = Fading::new(2);
        map.put("long", at(9), ());
        map.put("short", at(1), ());

        map.put("new", at(5), ());

        assert!(map.get(&"long", now).is_some());
        assert!(map.get(&"short", now).is_none());
        assert!(map.get(&"new", now).is_some());
    }

    #[test]
    fn what_matters_no_more_makes_room_before_what_does() {
        let now = epoch();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut map = Fading::new(2);
        map.put("over", at(1), 1);
        map.put("lasting", at(9), 2);
        map.put("lasting", at(8), 3);

        map.renew("new", at(9), 4, at(1));

        assert_eq!(map.get(&"lasting", at(1)), Some((at(8), &3)));
        assert_eq!(map.remove(&"lasting"), Some(3));
        assert_eq!(map.get(&"lasting", at(1)), None);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn an_entry_ends_at_its_time_exactly() {
        let now = epoch();
        let end = now + Duration::from_secs(1);
        let mut map = Fading::new(2);
        map.put("a", end, 7);

        assert_eq!(map.get(&"a", now), Some((end, &7)));
        assert_eq!(map.get(&"a", end), None);
        map.expire(end);
        assert_eq!(map.len(), 0);
    }

    proptest! {
        #[test]
        fn the_bound_holds_whatever_happens(steps in prop::collection::vec((0_u8..20, 0_u64..50, any::<bool>()), 0..200)) {
            let now = epoch();
            let mut map = Fading::new(7);
            for (key, second, is_put) in steps {
                let at = now + Duration::from_secs(second);
                if is_put {
                    map.put(key, at, ());
                } else {
                    map.expire(at);
                }
                prop_assert!(map.len() <= 7);
            }
        }
    }
}
