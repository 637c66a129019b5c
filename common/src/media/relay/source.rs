//! Where the packets of one public port come from: the latched source, and a few candidates to become it.
//!
//! One place is kept for the address of the client's SIP flow, so that a spray from anywhere else never keeps the client
//! out. The others are for a client that has moved; who holds one without being latched makes room after a while.

use std::net::SocketAddr;
use std::time::Instant;

use super::{DropReason, Latch, Rate, Via};
use crate::limits;
use crate::media::class::{Generation, Slot};

/// Whether a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Pass(Slot, Generation),
    Refused(DropReason),
}

/// The sources of one port.
#[derive(Debug, Default)]
pub(super) struct Sources {
    latched: Option<Source>,
    latched_rate: Rate,
    /// The first one is kept for the flow's address.
    places: [Place; limits::MEDIA_CANDIDATES_MAX],
    refused: [Option<(SocketAddr, Instant)>; limits::MEDIA_REFUSED_KEPT],
    refused_next: usize,
    generation: Generation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    address: SocketAddr,
    via: Via,
    generation: Generation,
}

/// A place for a candidate. The rate belongs to the place: who is turned out and comes again gains nothing.
#[derive(Debug, Default)]
struct Place {
    held: Option<(Source, Instant)>,
    rate: Rate,
}

impl Sources {
    /// Whom packets are sent to.
    pub(super) fn latched(&self) -> Option<(SocketAddr, Via)> {
        self.latched.map(|source| (source.address, source.via))
    }

    /// Decides about a packet from `address`; `is_flow` if that is where the client's SIP flow comes from.
    pub(super) fn admit(
        &mut self,
        address: SocketAddr,
        via: Via,
        is_flow: bool,
        now: Instant,
    ) -> Admission {
        if let Some(latched) = self.latched
            && latched.address == address
            && latched.via == via
        {
            let (interval, burst) = (limits::MEDIA_SOURCE_INTERVAL, limits::MEDIA_SOURCE_BURST);
            if self.latched_rate.pass(interval, burst, now) {
                return Admission::Pass(Slot::LATCHED, latched.generation);
            }
            return Admission::Refused(DropReason::SourceRate);
        }
        let Some(at) = self.place_of(address, via, is_flow, now) else {
            return Admission::Refused(DropReason::NoSlot);
        };
        let Some((slot, place)) = (1_u8..).zip(&mut self.places).nth(at) else {
            return Admission::Refused(DropReason::NoSlot);
        };
        let (interval, burst) = (
            limits::MEDIA_CANDIDATE_INTERVAL,
            limits::MEDIA_CANDIDATE_BURST,
        );
        if !place.rate.pass(interval, burst, now) {
            return Admission::Refused(DropReason::CandidateRate);
        }
        let held = place.held.filter(|(held, _)| held.is(address, via));
        let source = match held {
            Some((source, _)) => source,
            None => {
                self.generation = Generation(self.generation.0.wrapping_add(1));
                let source = Source {
                    address,
                    via,
                    generation: self.generation,
                };
                place.held = Some((source, now));
                source
            }
        };
        Admission::Pass(Slot(slot), source.generation)
    }

    pub(super) fn latch(&mut self, slot: Slot, generation: Generation, now: Instant) -> Latch {
        if let Some((place, source)) = self.holder(slot, generation) {
            place.held = None;
            self.latched = Some(source);
            self.latched_rate = Rate { due: Some(now) };
            return Latch::Latched(source.address);
        }
        // The same command once more: its first arrival has moved the source.
        match self.latched {
            Some(latched) if latched.generation == generation => Latch::Unchanged,
            Some(_) | None => Latch::Unknown,
        }
    }

    pub(super) fn reject(&mut self, slot: Slot, generation: Generation, now: Instant) -> bool {
        let Some((place, source)) = self.holder(slot, generation) else {
            return false;
        };
        place.held = None;
        let until = now.checked_add(limits::MEDIA_REFUSED_FOR).unwrap_or(now);
        if let Some(entry) = self.refused.get_mut(self.refused_next) {
            *entry = Some((source.address, until));
        }
        self.refused_next = self
            .refused_next
            .saturating_add(1)
            .checked_rem(limits::MEDIA_REFUSED_KEPT)
            .unwrap_or(0);
        true
    }

    fn holder(&mut self, slot: Slot, generation: Generation) -> Option<(&mut Place, Source)> {
        let at = usize::from(slot.0).checked_sub(1)?;
        let place = self.places.get_mut(at)?;
        let (source, _) = place
            .held
            .filter(|(source, _)| source.generation == generation)?;
        Some((place, source))
    }

    /// The place that a candidate has, or may take.
    fn place_of(
        &self,
        address: SocketAddr,
        via: Via,
        is_flow: bool,
        now: Instant,
    ) -> Option<usize> {
        let held = self.places.iter().position(|place| {
            place
                .held
                .is_some_and(|(source, _)| source.is(address, via))
        });
        if held.is_some() {
            return held;
        }
        let is_refused =
            |(refused, until): &(SocketAddr, Instant)| *refused == address && now < *until;
        if self.refused.iter().flatten().any(is_refused) {
            return None;
        }
        // The first place is the flow's, and nobody else's.
        let open = self.places.iter().enumerate().skip(usize::from(!is_flow));
        // Empty ones first, then who has been there longest, once it had its time.
        let (at, place) = open.min_by_key(|(_, place)| place.held.map(|(_, since)| since))?;
        let may_take = place.held.is_none_or(|(_, since)| {
            now.saturating_duration_since(since) >= limits::MEDIA_CANDIDATE_HOLD
        });
        may_take.then_some(at)
    }
}

impl Source {
    fn is(&self, address: SocketAddr, via: Via) -> bool {
        self.address == address && self.via == via
    }
}
