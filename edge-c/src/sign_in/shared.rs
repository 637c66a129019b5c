//! Things that concurrent requests for one key share while any of them is under way.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// At most `entries_max` shared things, each gone with its last user.
#[derive(Debug)]
pub(super) struct Shared<K, T> {
    entries: Mutex<BTreeMap<K, Arc<T>>>,
    entries_max: usize,
}

/// One user of a shared thing.
#[derive(Debug)]
pub(super) struct Share<'a, K: Ord, T> {
    shared: &'a Shared<K, T>,
    key: K,
    entry: Arc<T>,
}

impl<K: Ord + Clone, T: Default> Shared<K, T> {
    pub(super) const fn new(entries_max: usize) -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
            entries_max,
        }
    }

    /// The thing of `key`, made if there is none; `None` if there are too many.
    pub(super) fn join(&self, key: K) -> Option<Share<'_, K, T>> {
        let mut entries = lock(&self.entries);
        if entries.len() >= self.entries_max && !entries.contains_key(&key) {
            return None;
        }
        let entry = Arc::clone(entries.entry(key.clone()).or_default());
        Some(Share {
            shared: self,
            key,
            entry,
        })
    }
}

impl<K: Ord, T> Deref for Share<'_, K, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry
    }
}

impl<K: Ord, T> Drop for Share<'_, K, T> {
    fn drop(&mut self) {
        let mut entries = lock(&self.shared.entries);
        // The map's and our own: nobody else can join while the map is locked.
        if Arc::strong_count(&self.entry) <= 2 {
            entries.remove(&self.key);
        }
    }
}

fn lock<K, T>(entries: &Mutex<BTreeMap<K, T>>) -> MutexGuard<'_, BTreeMap<K, T>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    #[test]
    fn users_of_one_key_see_the_same_thing_until_the_last_leaves() {
        let shared: Shared<&str, AtomicU8> = Shared::new(8);
        let one = shared.join("a").unwrap();
        let two = shared.join("a").unwrap();
        one.store(7, Ordering::Relaxed);

        drop(one);
        assert_eq!(two.load(Ordering::Relaxed), 7);
        assert_eq!(shared.join("a").unwrap().load(Ordering::Relaxed), 7);
        drop(two);

        assert_eq!(shared.join("a").unwrap().load(Ordering::Relaxed), 0);
        assert!(lock(&shared.entries).is_empty());
    }

    #[test]
    fn a_full_table_takes_no_new_key_but_known_ones() {
        let shared: Shared<&str, AtomicU8> = Shared::new(1);
        let first = shared.join("a");

        assert!(shared.join("b").is_none());
        assert!(shared.join("a").is_some());
        drop(first);
        assert!(shared.join("b").is_some());
    }
}
