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
        let (_, key) = self.order.first().copied().filter(|(end, _)| *end <= now)?;
        self.remove(key);
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
