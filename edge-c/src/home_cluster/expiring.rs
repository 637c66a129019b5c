//! A map whose entries end by themselves and whose size is bounded: the entry next to end makes room.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: BTreeMap<K, (Instant, V)>,
    /// The same keys by their end.
    ends: BTreeSet<(Instant, K)>,
    entries_max: usize,
}

impl<K: Ord + Clone, V> Expiring<K, V> {
    pub(crate) const fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            ends: BTreeSet::new(),
            entries_max,
        }
    }

    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        self.entries
            .get(key)
            .filter(|(end, _)| now < *end)
            .map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, end: Instant, now: Instant) {
        self.remove(&key);
        while let Some((first, _)) = self.ends.first()
            && (*first <= now || self.entries.len() >= self.entries_max)
        {
            if let Some((_, ended)) = self.ends.pop_first() {
                self.entries.remove(&ended);
            }
        }
        self.ends.insert((end, key.clone()));
        self.entries.insert(key, (end, value));
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((end, _)) = self.entries.remove(key) {
            self.ends.remove(&(end, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_entry_lasts_until_its_end_and_no_longer() {
        let (mut map, now) = (Expiring::new(8), Instant::now());
        let end = now + Duration::from_secs(9);
        map.insert("a", 1, end, now);

        assert_eq!(map.get(&"a", end - Duration::from_millis(1)), Some(&1));
        assert_eq!(map.get(&"a", end), None);
    }

    #[test]
    fn a_full_map_loses_the_entry_that_ends_first() {
        let (mut map, now) = (Expiring::new(2), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        map.insert("a", 1, after(9), now);
        map.insert("b", 2, after(5), now);

        map.insert("c", 3, after(7), now);

        assert_eq!(map.get(&"a", now), Some(&1));
        assert_eq!(map.get(&"b", now), None);
        assert_eq!(map.get(&"c", now), Some(&3));
    }

    #[test]
    fn ended_and_replaced_entries_take_no_room() {
        let (mut map, now) = (Expiring::new(2), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        map.insert("a", 1, after(1), now);
        map.insert("b", 2, after(9), now);
        map.insert("b", 3, after(8), now);
        map.insert("c", 4, after(9), after(1));
        map.remove(&"b");

        assert_eq!(map.get(&"b", now), None);
        assert_eq!(map.get(&"c", now), Some(&4));
        assert_eq!((map.entries.len(), map.ends.len()), (1, 1));
    }
}
