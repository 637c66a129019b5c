//! The timers of RFC 3261 table 4 and the queue they wait in. Reads no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Estimate of a round trip.
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between retransmissions of anything but an INVITE.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64*T1: when a transaction gives up.
pub const GIVE_UP: Duration = Duration::from_secs(32);
/// Timer D over UDP.
pub const WAIT_RETRANSMITS: Duration = Duration::from_secs(33);
/// Timer C: an INVITE that rings for longer is cancelled; "more than 3 minutes".
pub const RINGING_MAX: Duration = Duration::from_secs(181);
/// 100 Trying leaves within this time, unless there was something better to send (RFC 3261 section 17.2.1).
pub const TRYING_INVITE: Duration = Duration::from_millis(200);
/// A request other than INVITE gets its 100 when Timer E of the client reaches T2 (RFC 4320 section 4.1): not before.
pub const TRYING_NON_INVITE: Duration = Duration::from_millis(3500);

/// The timers by their letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE is sent again.
    A,
    /// INVITE got no answer.
    B,
    /// INVITE got no final answer: belongs to the proxy, not to a transaction.
    C,
    /// Retransmitted final responses are acknowledged until then.
    D,
    /// A request is sent again.
    E,
    /// A request got no answer.
    F,
    /// A final response to INVITE is sent again.
    G,
    /// No ACK came.
    H,
    /// Retransmitted ACKs are absorbed until then.
    I,
    /// Retransmitted requests are answered until then.
    J,
    /// Retransmitted responses are absorbed until then.
    K,
    /// Retransmitted INVITEs are absorbed after a 2xx (RFC 6026).
    L,
    /// Retransmitted 2xx pass until then (RFC 6026).
    M,
    /// A cancelled INVITE got no final answer (RFC 3261 section 9.1): belongs to the proxy.
    Cancelled,
    /// A node that said nothing at all is given up for another: belongs to the proxy.
    Node,
    /// Time for 100 Trying.
    Trying,
}

type Entry<K> = (Instant, K, Timer);

/// Timers in the order in which they fire, for owners named by `K`.
///
/// There are few different intervals and time only goes forward, so each interval has a queue of its own that is in order
/// by itself: starting costs no comparison with other timers. Nothing is ever stopped: the owner says which timers no
/// longer matter.
#[derive(Debug)]
pub struct TimerQueue<K> {
    queues: Vec<(Duration, VecDeque<Entry<K>>)>,
    len: usize,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Copy> TimerQueue<K> {
    /// Starts a timer. `now` must not go back.
    pub fn start(&mut self, timer: Timer, after: Duration, key: K, now: Instant) {
        let Some(at) = now.checked_add(after) else {
            return; // beyond what an Instant can say nothing fires
        };
        self.len = self.len.saturating_add(1);
        let entry = (at, key, timer);
        match self.queues.iter_mut().find(|(each, _)| *each == after) {
            Some((_, queue)) => queue.push_back(entry),
            None => self.queues.push((after, VecDeque::from([entry]))),
        }
    }

    /// The next timer that has fired.
    pub fn pop_due(&mut self, now: Instant) -> Option<(K, Timer)> {
        let queue = self.first_queue()?;
        let (at, key, timer) = *queue.front()?;
        if at > now {
            return None;
        }
        queue.pop_front();
        self.len = self.len.saturating_sub(1);
        Some((key, timer))
    }

    fn first_queue(&mut self) -> Option<&mut VecDeque<Entry<K>>> {
        let queues = self.queues.iter_mut().map(|(_, queue)| queue);
        queues
            .filter(|queue| !queue.is_empty())
            .min_by_key(|queue| queue.front().map(|entry| entry.0))
    }

    /// When the next timer fires.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let queues = self.queues.iter();
        queues
            .filter_map(|(_, queue)| queue.front().map(|entry| entry.0))
            .min()
    }

    /// Drops timers that no longer matter from the fronts of the queues, so that nobody wakes up for them.
    pub fn drop_fronts(&mut self, mut matters: impl FnMut(K, Timer) -> bool) {
        for (_, queue) in &mut self.queues {
            while let Some((_, key, timer)) = queue.front()
                && !matters(*key, *timer)
            {
                queue.pop_front();
                self.len = self.len.saturating_sub(1);
            }
        }
    }

    /// Drops every timer that no longer matters.
    pub fn sweep(&mut self, mut matters: impl FnMut(K, Timer) -> bool) {
        for (_, queue) in &mut self.queues {
            queue.retain(|(_, key, timer)| matters(*key, *timer));
        }
        self.len = self.queues.iter().map(|(_, queue)| queue.len()).sum();
    }

    /// How many timers wait, those that no longer matter among them.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    #[test]
    fn timers_fire_in_order_whatever_their_intervals() {
        let now = epoch();
        let mut timers = TimerQueue::default();
        timers.start(Timer::F, GIVE_UP, 1, now);
        timers.start(Timer::E, T1, 1, now);
        timers.start(Timer::E, T1, 2, now + T1);

        assert_eq!(timers.next(), Some(now + T1));
        assert_eq!(timers.pop_due(now), None);
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(now + GIVE_UP)).collect();

        assert_eq!(fired, [(1, Timer::E), (2, Timer::E), (1, Timer::F)]);
        assert!(timers.is_empty());
    }

    #[test]
    fn nobody_wakes_up_for_timers_that_no_longer_matter() {
        let now = epoch();
        let mut timers = TimerQueue::default();
        for key in 0..10 {
            timers.start(Timer::F, GIVE_UP, key, now);
            timers.start(Timer::E, T1, key, now);
        }

        timers.drop_fronts(|key, _| key == 9);
        assert_eq!(timers.len(), 2);
        timers.sweep(|_, timer| timer == Timer::F);
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.next(), Some(now + GIVE_UP));
    }
}
