//! Octets in several pieces, taken from their front.

use std::io::IoSlice;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Pieces<'p, 'o> {
    pieces: &'p [IoSlice<'o>],
    /// Octets of the first piece that are taken.
    start: usize,
    taken: usize,
}

impl<'p, 'o> Pieces<'p, 'o> {
    pub(super) fn new(pieces: &'p [IoSlice<'o>]) -> Self {
        let mut new = Self {
            pieces,
            start: 0,
            taken: 0,
        };
        new.skip_empty();
        new
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many octets were taken.
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    /// Fills `space` as far as there is anything; gives how far.
    pub(super) fn take(&mut self, space: &mut [u8]) -> usize {
        let mut filled = 0;
        while let (Some(piece), Some(room)) = (self.pieces.first(), space.get_mut(filled..))
            && !room.is_empty()
        {
            let piece = piece.get(self.start..).unwrap_or_default();
            let len = piece.len().min(room.len());
            let (from, to) = (piece.get(..len), room.get_mut(..len));
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
            filled = filled.saturating_add(len);
            self.start = self.start.saturating_add(len);
            self.skip_empty();
        }
        self.taken = self.taken.saturating_add(filled);
        filled
    }

    /// The first piece has octets left, or there is none.
    fn skip_empty(&mut self) {
        while let Some((first, rest)) = self.pieces.split_first()
            && self.start >= first.len()
        {
            self.pieces = rest;
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_in_their_order_and_once() {
        let pieces = ["ab", "", "cde", "f", ""].map(|piece| IoSlice::new(piece.as_bytes()));
        for size in 1..8 {
            let mut pieces = Pieces::new(&pieces);
            let mut taken = Vec::new();
            while !pieces.is_empty() {
                let mut space = vec![0; size];
                let len = pieces.take(&mut space);
                taken.extend_from_slice(&space[..len]);
            }

            assert_eq!(taken, b"abcdef", "{size}");
            assert_eq!(pieces.taken(), 6);
            assert_eq!(pieces.take(&mut [0; 4]), 0);
        }
    }

    #[test]
    fn nothing_is_empty() {
        assert!(Pieces::new(&[]).is_empty());
        assert!(Pieces::new(&[IoSlice::new(b"")]).is_empty());
    }
}
