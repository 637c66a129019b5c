//! Frames on their way into datagrams and out of them: many to one, or two parts of one that is too long.
//!
//! A datagram is a row of frames with their lengths (16 bits) in front; a length of 0 ends it, what follows is padding.
//! The head of a frame in parts is followed by an octet that both parts share.

use bytes::{Bytes, BytesMut};

use crate::limits;
use crate::media::trunk_frame::{HEAD_BYTES, Head, Part};

const LENGTH_BYTES: usize = 2;
const PART_BYTES: usize = HEAD_BYTES + 1;

/// Frames of one marking that leave together.
#[derive(Debug, Default)]
pub(super) struct Packer {
    open: BytesMut,
    full: Vec<Bytes>,
    parts: u8,
}

impl Packer {
    /// Takes a frame; `max` is the longest datagram. `false` if it can't be sent at all.
    pub(super) fn push(&mut self, frame: &[u8], max: usize) -> bool {
        if frame.len().saturating_add(LENGTH_BYTES) <= max {
            return self.push_whole(&[frame], max);
        }
        let Ok((head, packet)) = Head::decode(frame) else {
            return false;
        };
        let half = packet.len().div_ceil(2);
        let Some((first, last)) = packet.split_at_checked(half) else {
            return false;
        };
        if half.saturating_add(PART_BYTES + LENGTH_BYTES) > max {
            return false;
        }
        self.parts = self.parts.wrapping_add(1);
        let number = [self.parts];
        let part = |part| Head {
            part: Some(part),
            ..head
        };
        self.push_whole(&[&part(Part::First).encode(), &number, first], max)
            && self.push_whole(&[&part(Part::Last).encode(), &number, last], max)
    }

    fn push_whole(&mut self, pieces: &[&[u8]], max: usize) -> bool {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let Ok(length) = u16::try_from(len) else {
            return false;
        };
        // Datagrams that leave in one call must be of one length: none gets longer than the first of its turn, unless a
        // single frame is.
        let first = self.full.first().map_or(max, Bytes::len);
        let is_full = self.open.len() + LENGTH_BYTES + len > first;
        if is_full && !self.open.is_empty() && !self.close() {
            return false;
        }
        if self.open.is_empty() {
            // What was split off goes back to this buffer once it was sent. At the beginning of a turn everything was:
            // made ready then, the buffer is allocated once.
            let room = if self.full.is_empty() {
                limits::TRUNK_ARENA_BYTES / 2
            } else {
                max
            };
            if self.open.capacity() < room {
                self.open.reserve(max.max(limits::TRUNK_ARENA_BYTES));
            }
        }
        self.open.extend_from_slice(&length.to_be_bytes());
        for piece in pieces {
            self.open.extend_from_slice(piece);
        }
        true
    }

    fn close(&mut self) -> bool {
        if self.full.len() >= limits::TRUNK_DATAGRAMS_MAX {
            return false;
        }
        // A little padding costs less than another call.
        if let Some(first) = self.full.first()
            && let Some(missing) = first.len().checked_sub(self.open.len())
            && missing <= limits::TRUNK_PADDING_MAX
        {
            self.open.resize(first.len(), 0);
        }
        self.full.push(self.open.split().freeze());
        true
    }

    /// The datagrams that are ready, the last one as full as it is.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Bytes> {
        let last = (!self.open.is_empty()).then(|| self.open.split().freeze());
        self.full.drain(..).chain(last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }
}

/// Takes datagrams apart, and puts frames in two parts together again.
#[derive(Debug)]
pub(super) struct Unpacker {
    frame: Vec<u8>,
    /// First parts that wait for their last ones.
    waiting: [Waiting; limits::TRUNK_PARTS_WAITING_MAX],
    next: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    number: u8,
    /// Head and first part; empty if nothing waits.
    frame: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self {
            frame: Vec::with_capacity(limits::MEDIA_FRAME_BYTES_MAX),
            waiting: std::array::from_fn(|_| Waiting::default()),
            next: 0,
        }
    }
}

impl Unpacker {
    /// Hands every frame of a datagram to `sink`.
    pub(super) fn unpack(&mut self, mut datagram: &[u8], sink: &mut dyn FnMut(&mut [u8])) {
        while let Some((length, rest)) = datagram.split_first_chunk::<LENGTH_BYTES>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((frame, rest)) = rest.split_at_checked(length) else {
                return;
            };
            if length == 0 {
                return;
            }
            datagram = rest;
            self.take(frame, sink);
        }
    }

    /// Hands on a frame, or keeps it until its other part comes.
    pub(super) fn take(&mut self, frame: &[u8], sink: &mut dyn FnMut(&mut [u8])) {
        let Ok((head, packet)) = Head::decode(frame) else {
            return;
        };
        match head.part {
            None => {
                self.frame.clear();
                self.frame.extend_from_slice(frame);
                sink(&mut self.frame);
            }
            Some(part) => self.take_part(head, part, packet, sink),
        }
    }

    fn take_part(
        &mut self,
        head: Head,
        part: Part,
        packet: &[u8],
        sink: &mut dyn FnMut(&mut [u8]),
    ) {
        let Some((number, packet)) = packet.split_first() else {
            return;
        };
        let whole = Head { part: None, ..head }.encode();
        match part {
            Part::First => {
                if let Some(place) = self.waiting.get_mut(self.next) {
                    place.number = *number;
                    place.frame.clear();
                    place.frame.extend_from_slice(&whole);
                    place.frame.extend_from_slice(packet);
                }
                self.next = (self.next + 1) % limits::TRUNK_PARTS_WAITING_MAX;
            }
            Part::Last => {
                let mut places = self.waiting.iter_mut();
                let of_it = |place: &&mut Waiting| {
                    place.number == *number && place.frame.starts_with(&whole)
                };
                if let Some(place) = places.find(of_it) {
                    place.frame.extend_from_slice(packet);
                    sink(&mut place.frame);
                    place.frame.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::AllocId;
    use crate::media::class::Component;

    const MAX: usize = 1400;

    fn frame(alloc: u32, len: usize) -> Vec<u8> {
        let head = Head::to_client(AllocId(alloc), Component::Rtp).encode();
        let packet = (0..len).map(|n| u8::try_from(n % 251).unwrap());
        head.into_iter().chain(packet).collect()
    }

    fn unpack<'a>(datagrams: impl IntoIterator<Item = &'a Bytes>) -> Vec<Vec<u8>> {
        let mut unpacker = Unpacker::default();
        let mut frames = Vec::new();
        for datagram in datagrams {
            unpacker.unpack(datagram, &mut |frame| frames.push(frame.to_vec()));
        }
        frames
    }

    #[test]
    fn many_frames_share_datagrams_of_one_length() {
        let mut packer = Packer::default();
        // Speech, and now and then the shorter packet of a silence.
        let len = |n| if n % 9 == 8 { 120 } else { 172 };
        let frames: Vec<Vec<u8>> = (0..30).map(|n| frame(n, len(n))).collect();

        assert!(frames.iter().all(|frame| packer.push(frame, MAX)));

        let datagrams: Vec<Bytes> = packer.drain().collect();
        let (last, full) = datagrams.split_last().unwrap();
        let lengths: Vec<usize> = full.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [full[0].len(); 4]);
        assert!(last.len() <= MAX);
        assert_eq!(unpack(&datagrams), frames);
        assert!(packer.is_empty());
    }

    #[test]
    fn a_frame_that_is_too_long_goes_in_two_parts_of_which_neither_is_taken_alone() {
        let mut packer = Packer::default();
        let long = frame(7, 1460);
        assert!(packer.push(&long, MAX));
        assert!(packer.push(&long, MAX));
        let datagrams: Vec<Bytes> = packer.drain().collect();

        assert_eq!(unpack(&datagrams), [long.clone(), long.clone()]);
        for lost in 0..datagrams.len() {
            let some = datagrams.iter().enumerate().filter(|(n, _)| *n != lost);
            let frames = unpack(some.map(|(_, datagram)| datagram));
            assert!(frames.len() < 2 && frames.iter().all(|frame| *frame == long));
        }
        assert!(!packer.push(&frame(7, 2 * MAX), MAX));
    }

    #[test]
    fn what_waits_to_leave_has_a_bound() {
        let mut packer = Packer::default();

        let taken = (0..1000)
            .filter(|n| packer.push(&frame(*n, MAX - 20), MAX))
            .count();

        assert_eq!(taken, limits::TRUNK_DATAGRAMS_MAX + 1);
    }

    proptest! {
        #[test]
        fn frames_of_any_length_come_out_as_they_went_in(lengths in proptest::collection::vec(0..2600_usize, 0..60)) {
            let mut packer = Packer::default();
            let mut unpacker = Unpacker::default();
            for (number, length) in (0..).zip(lengths) {
                let sent = frame(number, length);
                prop_assert!(packer.push(&sent, MAX));
                let mut received = Vec::new();
                for datagram in packer.drain() {
                    prop_assert!(datagram.len() <= MAX);
                    unpacker.unpack(&datagram, &mut |frame| received.push(frame.to_vec()));
                }
                prop_assert_eq!(received, [sent]);
            }
        }

        #[test]
        fn no_datagram_is_too_strange(datagrams: Vec<Vec<u8>>) {
            let mut unpacker = Unpacker::default();
            for datagram in datagrams {
                unpacker.unpack(&datagram, &mut |frame| assert!(frame.len() >= HEAD_BYTES));
            }
        }
    }
}
