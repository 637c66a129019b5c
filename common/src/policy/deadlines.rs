//! What ends at a point in time unless it is put off. As many entries as their owner has things that end.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::UnixTime;

/// The end of each key, in their order.
#[derive(Debug)]
pub struct Deadlines<K> {
    ends: BTreeMap<K, UnixTime>,
    order: BTreeSet<(UnixTime, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            ends: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    /// When `key` ends; `None` if nothing is known of it.
    pub fn get(&self, key: &K) -> Option<UnixTime> {
        self.ends.get(key).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them, the first to end first.
    pub fn iter(&self) -> impl Iterator<Item = (UnixTime, K)> + '_ {
        self.order.iter().copied()
    }

    /// Has `key` end then, and not when it was to end before.
    pub fn set(&mut self, key: K, end: UnixTime) {
        self.remove(key);
        self.ends.insert(key, end);
        self.order.insert((end, key));
    }

    /// Has `key` end by itself.
    pub fn remove(&mut self, key: K) {
        if let Some(end) = self.ends.remove(&key) {
            self.order.remove(&(end, key));
        }
    }

    /// The first of those that end by `now`, which is forgotten with that.
    pub fn pop_due(&mut self, now: UnixTime) -> Option<K> {
        self.order.first().filter(|(end, _)| *end <= now)?;
        self.pop_first()
    }

    /// The first to end, which is forgotten with that.
    pub fn pop_first(&mut self) -> Option<K> {
        let (_, key) = self.order.pop_first()?;
        self.ends.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_once_at_its_end_and_not_before() {
        let mut deadlines = Deadlines::default();
        deadlines.set("late", UnixTime(9));
        deadlines.set("early", UnixTime(5));

        assert_eq!(deadlines.pop_due(UnixTime(4)), None);
        assert_eq!(deadlines.pop_due(UnixTime(9)), Some("early"));
        assert_eq!(deadlines.pop_due(UnixTime(9)), Some("late"));
        assert_eq!(deadlines.pop_due(UnixTime(9)), None);
    }

    #[test]
    fn whatever_their_time_the_first_to_end_comes_first() {
        let mut deadlines = Deadlines::default();
        deadlines.set("late", UnixTime(9));
        deadlines.set("early", UnixTime(5));

        let all: Vec<_> = deadlines.iter().collect();
        assert_eq!(all, [(UnixTime(5), "early"), (UnixTime(9), "late")]);
        assert_eq!(deadlines.pop_first(), Some("early"));
        assert_eq!(deadlines.get(&"early"), None);
        assert_eq!(deadlines.get(&"late"), Some(UnixTime(9)));
        assert_eq!((deadlines.len(), deadlines.is_empty()), (1, false));
    }

    #[test]
    fn what_is_put_off_or_gone_does_not_come() {
        let mut deadlines = Deadlines::default();
        deadlines.set("put off", UnixTime(5));
        deadlines.set("gone", UnixTime(5));

        deadlines.set("put off", UnixTime(6));
        deadlines.remove("gone");
        deadlines.remove("never there");

        assert_eq!(deadlines.pop_due(UnixTime(5)), None);
        assert_eq!(deadlines.pop_due(UnixTime(6)), Some("put off"));
    }
}
