//! Which worker gets a connection that stays for long and carries much: those of one peer are spread over all workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections of each peer every worker has.
#[derive(Debug)]
pub struct Seats<K: Ord> {
    workers: usize,
    taken: Mutex<BTreeMap<(usize, K), usize>>,
}

/// A place at a worker, until it is dropped.
#[derive(Debug)]
pub struct Seat<K: Ord + Copy> {
    seats: Arc<Seats<K>>,
    worker: usize,
    peer: K,
}

impl<K: Ord + Copy> Seats<K> {
    /// None is taken yet.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers,
            taken: Mutex::default(),
        })
    }

    /// Takes a place at the worker with the fewest connections of this peer; of several such, with the fewest of all.
    #[must_use]
    pub fn take(self: &Arc<Self>, peer: K) -> Seat<K> {
        let mut taken = self.lock();
        let load = |worker: usize| {
            let of = taken.iter().filter(|((at, _), _)| *at == worker);
            let own = taken.get(&(worker, peer)).copied().unwrap_or_default();
            (own, of.map(|(_, count)| count).sum::<usize>())
        };
        let least = (0..self.workers).min_by_key(|worker| load(*worker));
        let worker = least.unwrap_or_default();
        *taken.entry((worker, peer)).or_default() += 1;
        drop(taken);
        Seat {
            seats: Arc::clone(self),
            worker,
            peer,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(usize, K), usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Copy> Seat<K> {
    /// The number of the worker.
    #[must_use]
    pub const fn worker(&self) -> usize {
        self.worker
    }
}

impl<K: Ord + Copy> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        let key = (self.worker, self.peer);
        if let Some(count) = taken.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_peer_go_to_different_workers_and_peers_share_them_evenly() {
        let seats = Seats::new(3);

        let first: Vec<_> = (0..2).map(|_| seats.take('a')).collect();
        let second: Vec<_> = (0..3).map(|_| seats.take('b')).collect();

        let at = |seats: &[Seat<char>]| seats.iter().map(Seat::worker).collect::<Vec<_>>();
        assert_eq!(at(&first), [0, 1]);
        assert_eq!(at(&second), [2, 0, 1]);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_gone() {
        let seats = Seats::new(2);
        let gone = seats.take(1);
        let _kept = seats.take(1);

        drop(gone);

        assert_eq!(seats.take(1).worker(), 0);
        assert_eq!(seats.lock().len(), 1);
    }
}
