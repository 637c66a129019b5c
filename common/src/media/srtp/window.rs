//! Which packet indices of one source were there: the replay list of RFC 3711 section 3.3.2, and the guess of the rollover
//! counter of section 3.3.1.

const WORDS: usize = 16;
/// Packets that may come late, behind the newest. One word less than there is: it is cleared while the newest moves into it.
const SPAN: u64 = (WORDS as u64 - 1) * 64;

/// A sliding window over packet indices. Starts empty: any index is fresh.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// One above the newest index; 0 if there was none.
    end: u64,
    seen: [u64; WORDS],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            end: 0,
            seen: [0; WORDS],
        }
    }

    /// A window after which only indices above `highest` are fresh.
    pub(super) const fn after(highest: Option<u64>) -> Self {
        match highest {
            Some(highest) => Self {
                end: highest.saturating_add(1),
                seen: [u64::MAX; WORDS],
            },
            None => Self::new(),
        }
    }

    /// The newest index.
    pub(super) const fn highest(&self) -> Option<u64> {
        self.end.checked_sub(1)
    }

    /// Whether `index` was not there before, as far as the window reaches.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        if index >= self.end {
            return true;
        }
        if self.end.saturating_sub(index) > SPAN {
            return false;
        }
        let (word, bit) = place(index);
        self.seen.get(word).is_some_and(|seen| seen & bit == 0)
    }

    /// Notes that `index` is there now.
    pub(super) fn insert(&mut self, index: u64) {
        if index >= self.end {
            self.clear_up_to(index);
            self.end = index.saturating_add(1);
        }
        let (word, bit) = place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    /// The words from behind the newest index up to that of `index` hold what was long ago.
    fn clear_up_to(&mut self, index: u64) {
        let last = index / 64;
        // Of the newest index's own word the rest is still unused, unless there is no newest one.
        let first = self.end.div_ceil(64);
        let first = first.max(last.saturating_sub(WORDS as u64 - 1));
        for word in first..=last {
            if let Some(seen) = self.seen.get_mut(slot(word)) {
                *seen = 0;
            }
        }
        // `end` in the middle of a word that `after` has filled: the bits from `end` on are to come.
        let used = self.end % 64;
        if used != 0
            && self.end / 64 >= first.saturating_sub(1)
            && let Some(seen) = self.seen.get_mut(slot(self.end / 64))
        {
            *seen &= (1_u64 << used).wrapping_sub(1);
        }
    }

    /// The index of the packet with this sequence number: the one nearest to the newest. `None` if that is below zero.
    pub(super) fn estimate(&self, sequence: u16) -> Option<u64> {
        let Some(highest) = self.highest() else {
            return Some(u64::from(sequence));
        };
        let [.., high, low] = highest.to_be_bytes();
        let newest = u16::from_be_bytes([high, low]);
        let ahead = sequence.wrapping_sub(newest);
        if ahead < 0x8000 {
            highest.checked_add(u64::from(ahead))
        } else {
            highest.checked_sub(u64::from(newest.wrapping_sub(sequence)))
        }
    }
}

/// Where an index stands in the ring.
fn place(index: u64) -> (usize, u64) {
    (slot(index / 64), 1 << (index % 64))
}

fn slot(word: u64) -> usize {
    usize::try_from(word % WORDS as u64).unwrap_or_default()
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test itself"
)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_is_fresh_once() {
        let mut window = Window::new();
        assert!(window.is_fresh(0));

        window.insert(0);
        window.insert(70);

        assert!(!window.is_fresh(0));
        assert!(!window.is_fresh(70));
        assert!(window.is_fresh(69) && window.is_fresh(1) && window.is_fresh(71));
    }

    #[test]
    fn what_is_behind_the_window_is_not_fresh() {
        let mut window = Window::new();
        window.insert(5000);

        assert!(!window.is_fresh(5000 - SPAN));
        assert!(window.is_fresh(5001 - SPAN));
    }

    #[test]
    fn a_window_after_an_index_takes_later_ones_only() {
        let mut window = Window::after(Some(100));
        assert!(!window.is_fresh(100) && !window.is_fresh(3));
        assert!(window.is_fresh(101));

        window.insert(120);

        assert!(!window.is_fresh(100) && window.is_fresh(101) && window.is_fresh(119));
        assert!(!window.is_fresh(120));
    }

    #[test]
    fn the_rollover_counter_is_guessed_from_the_nearest() {
        let mut window = Window::new();
        assert_eq!(window.estimate(0xffff), Some(0xffff));
        window.insert(0xffff);
        assert_eq!(window.estimate(0), Some(0x1_0000));
        assert_eq!(window.estimate(0xfff0), Some(0xfff0));
        window.insert(0x1_0002);
        assert_eq!(window.estimate(0xfffe), Some(0xfffe));
        assert_eq!(window.estimate(0x7fff), Some(0x1_7fff));

        let mut early = Window::new();
        early.insert(3);
        assert_eq!(early.estimate(0xffff), None);
    }

    proptest! {
        /// The window against a set of everything that was there.
        #[test]
        fn the_window_agrees_with_a_set(steps in prop::collection::vec((0_i64..3000, any::<bool>()), 1..400)) {
            let mut window = Window::new();
            let mut seen = BTreeSet::new();
            let mut at = 1000_i64;
            for (step, is_back) in steps {
                at = if is_back { (at - step % 1200).max(0) } else { at + step % (if step % 7 == 0 { 3000 } else { 40 }) };
                let index = u64::try_from(at).unwrap();
                let newest = seen.last().copied();
                let is_fresh = !seen.contains(&index)
                    && newest.is_none_or(|newest| newest < index + SPAN);
                prop_assert_eq!(window.is_fresh(index), is_fresh, "index {}", index);
                if is_fresh {
                    window.insert(index);
                    seen.insert(index);
                    let newest = *seen.last().unwrap();
                    prop_assert_eq!(window.highest(), Some(newest));
                    at = i64::try_from(newest).unwrap();
                }
            }
        }

        #[test]
        fn an_index_within_half_a_turn_is_guessed_right(highest in 0_u64..1 << 40, distance in -0x7fff_i64..0x8000) {
            let mut window = Window::new();
            window.insert(highest);
            let index = i64::try_from(highest).unwrap() + distance;
            if let Ok(index) = u64::try_from(index) {
                let [.., a, b] = index.to_be_bytes();
                prop_assert_eq!(window.estimate(u16::from_be_bytes([a, b])), Some(index));
            }
        }
    }
}
