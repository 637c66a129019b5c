//! Which source of a public port is the client: decided by packets that were authentic and new, and by nothing else.
//!
//! edge-e forwards a few packets of up to four candidate sources and sends to none of them. The first candidate that
//! proves to have the key is latched at once. Later ones too, since clients change networks and NATs change ports in the
//! middle of a call: the first at once, then one in two seconds, so that nobody makes the stream swing to and fro. Who spray a port
//! get nothing, and what they can do to the client is to fill slots until they are rejected; one is kept for the
//! client's address. Not here: authentication ([`super::srtp`]).

use std::time::Instant;

use smallvec::SmallVec;

use super::class::{Generation, Slot};
use crate::limits;

/// What edge-e shall do with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatchDecision {
    /// Send to it from now on.
    Latch(Candidate),
    /// Free its slot for another one.
    Reject(Candidate),
}

/// A source that is not latched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where edge-e keeps it.
    pub slot: Slot,
    /// Which source it was that had this slot.
    pub generation: Generation,
}

/// The latch of one public port.
#[derive(Debug, Default)]
pub struct Latch {
    /// The candidate that edge-e was told of last, and when; `None` before the first.
    told: Option<(Candidate, Instant)>,
    /// When a latch last moved to another candidate.
    moved: Option<Instant>,
    /// Candidates whose packets were not authentic, and how many.
    failures: SmallVec<[(Candidate, u8); limits::MEDIA_CANDIDATES_MAX]>,
}

impl Latch {
    /// Whether some source has proved to be the client.
    #[must_use]
    pub const fn is_latched(&self) -> bool {
        self.told.is_some()
    }

    /// An authentic packet that was not there before came from this source.
    pub fn handle_authentic(&mut self, source: Candidate, now: Instant) -> Option<LatchDecision> {
        if source.slot == Slot::LATCHED {
            // After a restart of this process: edge-e has latched it long ago.
            self.told.get_or_insert((source, now));
            return None;
        }
        if let Some((told, at)) = &mut self.told {
            let since = now.saturating_duration_since(*at);
            if *told == source {
                // Said already; once more in a while, should edge-e have forgotten.
                if since < limits::MEDIA_LATCH_REPEAT {
                    return None;
                }
                *at = now;
                return Some(LatchDecision::Latch(source));
            }
            let since_moved = self.moved.map(|at| now.saturating_duration_since(at));
            if since_moved.is_some_and(|since| since < limits::MEDIA_RELATCH_INTERVAL) {
                return None;
            }
            self.moved = Some(now);
        }
        self.told = Some((source, now));
        self.forget(source);
        Some(LatchDecision::Latch(source))
    }

    /// A packet from this source was not authentic, or was there before.
    pub fn handle_failure(&mut self, source: Candidate) -> Option<LatchDecision> {
        if source.slot == Slot::LATCHED {
            // Somebody may forge the client's address; that must not cut the client off.
            return None;
        }
        let count = self.count(source);
        if count < limits::MEDIA_CANDIDATE_FAILURES_MAX {
            return None;
        }
        self.forget(source);
        Some(LatchDecision::Reject(source))
    }

    /// Counts a failure of `source`; returns how many it has.
    fn count(&mut self, source: Candidate) -> u8 {
        // A slot has one source at a time: what is known of an earlier one is of no more use.
        self.failures
            .retain(|(other, _)| other.slot != source.slot || *other == source);
        let mut failures = self.failures.iter_mut();
        if let Some((_, count)) = failures.find(|(other, _)| *other == source) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.failures.len() >= limits::MEDIA_CANDIDATES_MAX {
            self.failures.remove(0);
        }
        self.failures.push((source, 1));
        1
    }

    fn forget(&mut self, source: Candidate) {
        self.failures.retain(|(other, _)| *other != source);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::epoch;

    fn source(slot: u8, generation: u8) -> Candidate {
        Candidate {
            slot: Slot(slot),
            generation: Generation(generation),
        }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_authentic_source_is_latched_at_once_and_said_once() {
        let now = epoch();
        let mut latch = Latch::default();

        let first = latch.handle_authentic(source(2, 7), now);
        let again = latch.handle_authentic(source(2, 7), now + ms(20));
        let latched = latch.handle_authentic(source(0, 7), now + ms(40));

        assert_eq!(first, Some(LatchDecision::Latch(source(2, 7))));
        assert_eq!((again, latched), (None, None));
        assert!(latch.is_latched());
    }

    #[test]
    fn a_latch_that_edge_e_seems_not_to_know_is_said_again() {
        let now = epoch();
        let mut latch = Latch::default();
        let _ = latch.handle_authentic(source(2, 7), now);

        let late = latch.handle_authentic(source(2, 7), now + limits::MEDIA_LATCH_REPEAT);

        assert_eq!(late, Some(LatchDecision::Latch(source(2, 7))));
    }

    #[test]
    fn a_new_address_is_latched_at_once_and_then_one_in_two_seconds() {
        let now = epoch();
        let mut latch = Latch::default();
        let _ = latch.handle_authentic(source(1, 1), now);

        let moved = latch.handle_authentic(source(2, 2), now + ms(100));
        let too_soon = latch.handle_authentic(source(3, 3), now + ms(200));
        let still_too_soon = latch.handle_authentic(source(3, 3), now + ms(2099));
        let moved_again = latch.handle_authentic(source(3, 3), now + ms(2100));

        assert_eq!(moved, Some(LatchDecision::Latch(source(2, 2))));
        assert_eq!((too_soon, still_too_soon), (None, None));
        assert_eq!(moved_again, Some(LatchDecision::Latch(source(3, 3))));
    }

    #[test]
    fn a_candidate_without_the_key_is_rejected_and_never_latched() {
        let mut latch = Latch::default();

        let decisions: Vec<_> = (0..limits::MEDIA_CANDIDATE_FAILURES_MAX)
            .map(|_| latch.handle_failure(source(3, 9)))
            .collect();

        let (last, earlier) = decisions.split_last().unwrap();
        assert_eq!(*last, Some(LatchDecision::Reject(source(3, 9))));
        assert!(earlier.iter().all(Option::is_none));
        assert!(!latch.is_latched());
    }

    #[test]
    fn forged_packets_from_the_latched_address_do_not_cut_it_off() {
        let now = epoch();
        let mut latch = Latch::default();
        let _ = latch.handle_authentic(source(1, 1), now);

        for _ in 0..1000 {
            assert_eq!(latch.handle_failure(source(0, 1)), None);
        }
        assert!(latch.is_latched());
    }

    #[test]
    fn failures_of_an_earlier_source_do_not_count_against_the_next_one_in_its_slot() {
        let mut latch = Latch::default();
        for _ in 1..limits::MEDIA_CANDIDATE_FAILURES_MAX {
            assert_eq!(latch.handle_failure(source(1, 1)), None);
        }

        assert_eq!(latch.handle_failure(source(1, 2)), None);
        for slot in 0..=u8::MAX {
            let _ = latch.handle_failure(source(slot, slot));
        }
        assert!(latch.failures.len() <= limits::MEDIA_CANDIDATES_MAX);
    }
}
