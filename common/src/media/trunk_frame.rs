//! The frame that carries one media packet between the edges: a head of six octets, then the packet as it came.
//!
//! `alloc u32 | flags u8 | generation u8`, flags: fragment, RTCP component, last fragment, one bit unused, four bits of slot.
//! Not here: protection and identity. The trunk that carries frames is mutually authenticated and sealed.

#![warn(clippy::arithmetic_side_effects)]

use crate::id::AllocId;
use crate::media::class::{Component, Generation, Slot};
use crate::wire::{Reader, Truncated};

/// Octets of a head.
pub const HEAD_BYTES: usize = 6;

const FRAGMENT: u8 = 0x80;
const RTCP: u8 = 0x40;
const LAST: u8 = 0x20;
const UNUSED: u8 = 0x10;
const SLOT: u8 = 0x0f;

/// What stands before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose packet.
    pub alloc: AllocId,
    /// Which of its two ports.
    pub component: Component,
    /// Towards edge-c: which source sent it. Towards edge-e: always [`Slot::LATCHED`].
    pub slot: Slot,
    /// Towards edge-c: which source held the slot then. Towards edge-e: of no meaning.
    pub generation: Generation,
    /// Set on both parts of a packet that was too long for one datagram.
    pub part: Option<Part>,
}

/// Which part of a packet in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The beginning.
    First,
    /// The rest.
    Last,
}

/// Why octets are not a frame. The other edge's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Flags that this protocol does not have.
    #[error("a media frame has the unknown flags {0:#04x}")]
    Flags(u8),
    /// Shorter than a head.
    #[error("a media frame is shorter than its head")]
    Short,
}

impl From<Truncated> for FrameError {
    fn from(_: Truncated) -> Self {
        Self::Short
    }
}

impl Head {
    /// The head of a packet that a client or edge-c sent whole.
    #[must_use]
    pub const fn whole(
        alloc: AllocId,
        component: Component,
        slot: Slot,
        generation: Generation,
    ) -> Self {
        Self {
            alloc,
            component,
            slot,
            generation,
            part: None,
        }
    }

    /// The head of a packet on its way to the client.
    #[must_use]
    pub const fn to_client(alloc: AllocId, component: Component) -> Self {
        Self::whole(alloc, component, Slot::LATCHED, Generation(0))
    }

    /// As octets.
    #[must_use]
    pub const fn encode(self) -> [u8; HEAD_BYTES] {
        let [a, b, c, d] = self.alloc.0.to_be_bytes();
        let component = match self.component {
            Component::Rtp => 0,
            Component::Rtcp => RTCP,
        };
        let part = match self.part {
            None => 0,
            Some(Part::First) => FRAGMENT,
            Some(Part::Last) => FRAGMENT | LAST,
        };
        let flags = part | component | (self.slot.0 & SLOT);
        [a, b, c, d, flags, self.generation.0]
    }

    /// Reads the head of a frame; what follows it is the packet.
    ///
    /// # Errors
    /// [`FrameError`] if these octets are no frame.
    pub fn decode(frame: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let mut reader = Reader::new(frame);
        let alloc = AllocId(reader.u32()?);
        let flags = reader.u8()?;
        let generation = Generation(reader.u8()?);
        let part = match flags & (FRAGMENT | LAST | UNUSED) {
            0 => None,
            FRAGMENT => Some(Part::First),
            part if part == FRAGMENT | LAST => Some(Part::Last),
            _ => return Err(FrameError::Flags(flags)),
        };
        let component = if flags & RTCP == 0 {
            Component::Rtp
        } else {
            Component::Rtcp
        };
        let head = Self {
            alloc,
            component,
            slot: Slot(flags & SLOT),
            generation,
            part,
        };
        Ok((head, reader.all()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> impl Strategy<Value = Head> {
        let component = prop_oneof![Just(Component::Rtp), Just(Component::Rtcp)];
        let part = prop_oneof![Just(None), Just(Some(Part::First)), Just(Some(Part::Last))];
        (any::<u32>(), component, 0..16_u8, any::<u8>(), part).prop_map(
            |(alloc, component, slot, generation, part)| Head {
                alloc: AllocId(alloc),
                component,
                slot: Slot(slot),
                generation: Generation(generation),
                part,
            },
        )
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_written(head in head(), packet: Vec<u8>) {
            let frame = [&head.encode()[..], &packet].concat();

            prop_assert_eq!(Head::decode(&frame), Ok((head, &packet[..])));
        }

        #[test]
        fn what_is_understood_is_written_the_same_way(frame: Vec<u8>) {
            if let Ok((head, packet)) = Head::decode(&frame) {
                prop_assert_eq!([&head.encode()[..], packet].concat(), frame);
            }
        }
    }

    #[test]
    fn a_head_that_ends_early_or_has_other_flags_is_refused() {
        assert_eq!(Head::decode(&[0; 5]), Err(FrameError::Short));
        for flags in [0x10, 0x20, 0x90, 0xff] {
            let frame = [0, 0, 0, 1, flags, 0];
            assert_eq!(Head::decode(&frame), Err(FrameError::Flags(flags)));
        }
    }
}
