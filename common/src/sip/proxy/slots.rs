//! Values behind keys that are never used twice: a place and a random number. Bounded.

use std::fmt;

/// A place in [`Slots`], good for one value only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::sip) struct SlotKey {
    pub(in crate::sip) place: u32,
    pub(in crate::sip) nonce: u32,
}

impl SlotKey {
    /// For identifiers of the shell.
    pub(in crate::sip) const fn to_u64(self) -> u64 {
        ((self.place as u64) << 32) | self.nonce as u64
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "takes the two halves apart again"
    )]
    pub(in crate::sip) const fn from_u64(number: u64) -> Self {
        Self {
            place: (number >> 32) as u32,
            nonce: number as u32,
        }
    }
}

pub(in crate::sip) struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len_max: u32,
}

impl<T> Slots<T> {
    pub(in crate::sip) const fn new(len_max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len_max,
        }
    }

    pub(in crate::sip) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    pub(in crate::sip) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.len_max as usize
    }

    /// Puts a value in; gives it back if there is no room. `nonce` is random.
    pub(in crate::sip) fn insert(&mut self, nonce: u32, value: T) -> Result<SlotKey, T> {
        if let Some(place) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(place as usize)
        {
            *slot = (nonce, Some(value));
            return Ok(SlotKey { place, nonce });
        }
        let Some(place) = u32::try_from(self.slots.len())
            .ok()
            .filter(|place| *place < self.len_max)
        else {
            return Err(value);
        };
        self.slots.push((nonce, Some(value)));
        Ok(SlotKey { place, nonce })
    }

    pub(in crate::sip) fn get(&self, key: SlotKey) -> Option<&T> {
        let (nonce, value) = self.slots.get(key.place as usize)?;
        value.as_ref().filter(|_| *nonce == key.nonce)
    }

    pub(in crate::sip) fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        let (nonce, value) = self.slots.get_mut(key.place as usize)?;
        value.as_mut().filter(|_| *nonce == key.nonce)
    }

    /// Takes the value out and keeps its place, to be filled by [`Self::put_back`] or freed by [`Self::free`].
    pub(in crate::sip) fn take(&mut self, key: SlotKey) -> Option<T> {
        let (nonce, value) = self.slots.get_mut(key.place as usize)?;
        if *nonce == key.nonce {
            value.take()
        } else {
            None
        }
    }

    pub(in crate::sip) fn put_back(&mut self, key: SlotKey, value: T) {
        if let Some((nonce, slot)) = self.slots.get_mut(key.place as usize)
            && *nonce == key.nonce
        {
            *slot = Some(value);
        }
    }

    /// Frees the place of a value that was taken.
    pub(in crate::sip) fn free(&mut self, key: SlotKey) {
        self.free.push(key.place);
    }

    pub(in crate::sip) fn remove(&mut self, key: SlotKey) -> Option<T> {
        let (nonce, value) = self.slots.get_mut(key.place as usize)?;
        if *nonce != key.nonce {
            return None;
        }
        let value = value.take()?;
        self.free.push(key.place);
        Some(value)
    }
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} of {}]", self.len(), self.len_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_one_value_only() {
        let mut slots = Slots::new(2);
        let first = slots.insert(1, "a").unwrap();
        assert_eq!(slots.remove(first), Some("a"));

        let second = slots.insert(2, "b").unwrap();

        assert_eq!(second.place, first.place);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(SlotKey::from_u64(second.to_u64())), Some(&"b"));
    }

    #[test]
    fn full_slots_give_the_value_back() {
        let mut slots = Slots::new(1);
        let key = slots.insert(1, "a").unwrap();

        assert!(slots.is_full());
        assert_eq!(slots.insert(2, "b"), Err("b"));
        assert_eq!(slots.get_mut(key), Some(&mut "a"));
        assert_eq!(slots.len(), 1);
    }
}
