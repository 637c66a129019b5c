//! Which packet of a client goes to which edge-c, and where a packet of edge-c goes: the core of edge-e's media thread.
//!
//! A data plane: per packet `handle_client` and `handle_trunk` return the decision, the packet never leaves the caller's
//! buffer, and nothing is allocated. Commands of edge-c (`latch`, `reject`, ..) are idempotent. `now` never goes back.
//!
//! The one promise that matters: **a packet goes to no address that edge-c has not latched**, and edge-c latches only after
//! it has authenticated a packet from there. Until then, and beside it later, a source is a *candidate*: a few of its
//! packets pass, so that edge-c can look at them. Not here: sockets, ports, what is inside a packet.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::id::{AllocId, CoreId};
use crate::limits;
use crate::media::class::{Component, Generation, MediaClass, Slot};
use crate::media::port_pool::PortPair;
use crate::media::trunk_frame::Head;
use crate::time::Wakeup;
use source::{Admission, Sources};

#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;
mod source;

/// Names an allocation among those of every core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocKey {
    /// Whose it is.
    pub core: CoreId,
    /// How that core calls it.
    pub alloc: AllocId,
}

/// Where an allocation is kept, as long as it lives; then another one may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocIndex(pub u32);

/// Which of edge-e's public addresses a packet came in on and must go out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Via(pub u8);

/// What to do with a packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// Drops it.
    Drop(DropReason),
    /// Puts `head` in front and sends it over the trunk.
    Forward {
        /// Over whose trunk.
        core: CoreId,
        /// How it is marked.
        class: MediaClass,
        /// What goes in front.
        head: Head,
    },
}

/// What to do with a packet of edge-c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downlink {
    /// Drops it.
    Drop(DropReason),
    /// Sends it to the client.
    Send {
        /// From which allocation's socket.
        index: AllocIndex,
        /// From which of its two ports.
        component: Component,
        /// From which of its addresses.
        via: Via,
        /// The latched source.
        to: SocketAddr,
    },
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// A candidate that has used up its packets.
    CandidateRate,
    /// All places for candidates are taken.
    NoSlot,
    /// Nothing was authenticated yet, so there is nobody to send to.
    NotLatched,
    /// The latched source sends more than any m-line does.
    SourceRate,
    /// No such allocation.
    UnknownAllocation,
}

/// There may be no more allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} media allocations are as many as may be",
    limits::MEDIA_ALLOCATIONS_MAX
)]
pub struct Full;

/// What became of a latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latch {
    /// Packets go to this source from now on.
    Latched(SocketAddr),
    /// It was latched already.
    Unchanged,
    /// No such source: it has lost its place, or the allocation is gone.
    Unknown,
}

/// All allocations of an edge-e.
#[derive(Debug, Default)]
pub struct Relay {
    allocations: Vec<Option<Box<Allocation>>>,
    vacant: Vec<AllocIndex>,
    by_key: HashMap<AllocKey, AllocIndex>,
    /// When the allocations of cores without a control stream are given up.
    given_up_at: BTreeMap<CoreId, Instant>,
}

#[derive(Debug)]
struct Allocation {
    key: AllocKey,
    class: MediaClass,
    ports: PortPair,
    flow_address: Option<IpAddr>,
    rtp: Sources,
    rtcp: Sources,
}

impl Allocation {
    const fn sources(&mut self, component: Component) -> &mut Sources {
        match component {
            Component::Rtp => &mut self.rtp,
            Component::Rtcp => &mut self.rtcp,
        }
    }
}

impl Relay {
    /// A relay without allocations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many allocations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Where an allocation is kept.
    #[must_use]
    pub fn index(&self, key: AllocKey) -> Option<AllocIndex> {
        self.by_key.get(&key).copied()
    }

    /// The ports and the class of an allocation.
    #[must_use]
    pub fn ports(&self, index: AllocIndex) -> Option<(PortPair, MediaClass)> {
        let allocation = self.allocation(index)?;
        Some((allocation.ports, allocation.class))
    }

    /// Keeps a new allocation, or the one of the same name that is there already.
    ///
    /// # Errors
    /// [`Full`] if there are [`limits::MEDIA_ALLOCATIONS_MAX`].
    pub fn allocate(
        &mut self,
        key: AllocKey,
        class: MediaClass,
        ports: PortPair,
        flow_address: Option<IpAddr>,
    ) -> Result<AllocIndex, Full> {
        if let Some(index) = self.by_key.get(&key) {
            return Ok(*index);
        }
        if self.by_key.len() >= limits::MEDIA_ALLOCATIONS_MAX {
            return Err(Full);
        }
        let index = match self.vacant.pop() {
            Some(index) => index,
            None => AllocIndex(u32::try_from(self.allocations.len()).map_err(|_| Full)?),
        };
        let allocation = Box::new(Allocation {
            key,
            class,
            ports,
            flow_address,
            rtp: Sources::default(),
            rtcp: Sources::default(),
        });
        match self.allocations.get_mut(index.0 as usize) {
            Some(place) => *place = Some(allocation),
            None => self.allocations.push(Some(allocation)),
        }
        self.by_key.insert(key, index);
        self.check_invariants();
        Ok(index)
    }

    /// Ends an allocation; `None` if it had ended. The caller closes its sockets and gives the ports back.
    pub fn release(&mut self, key: AllocKey) -> Option<(AllocIndex, PortPair)> {
        let index = self.by_key.remove(&key)?;
        let released = self.allocations.get_mut(index.0 as usize)?.take()?;
        self.vacant.push(index);
        self.check_invariants();
        Some((index, released.ports))
    }

    /// The next allocation of `core` that is not among `kept`, for [`Self::release`]. `kept` is sorted.
    #[must_use]
    pub fn stale(&self, core: CoreId, kept: &[AllocId]) -> Option<AllocKey> {
        self.of_core(core)
            .find(|key| kept.binary_search(&key.alloc).is_err())
    }

    /// Says where the client's SIP flow comes from, and what the m-line carries, if there is such an allocation.
    pub fn set_flow_address(&mut self, key: AllocKey, address: IpAddr, class: MediaClass) {
        if let Some(allocation) = self.allocation_mut(key) {
            allocation.flow_address = Some(address);
            allocation.class = class;
        }
    }

    /// Sends to this candidate from now on.
    pub fn latch(
        &mut self,
        key: AllocKey,
        component: Component,
        slot: Slot,
        generation: Generation,
        now: Instant,
    ) -> Latch {
        self.allocation_mut(key)
            .map_or(Latch::Unknown, |allocation| {
                allocation.sources(component).latch(slot, generation, now)
            })
    }

    /// Frees the slot of a candidate; `false` if it had been freed.
    pub fn reject(
        &mut self,
        key: AllocKey,
        component: Component,
        slot: Slot,
        generation: Generation,
        now: Instant,
    ) -> bool {
        self.allocation_mut(key)
            .is_some_and(|allocation| allocation.sources(component).reject(slot, generation, now))
    }

    /// Decides about a packet that came in on a public port.
    pub fn handle_client(
        &mut self,
        index: AllocIndex,
        component: Component,
        source: SocketAddr,
        via: Via,
        now: Instant,
    ) -> Uplink {
        let place = self.allocations.get_mut(index.0 as usize);
        let Some(allocation) = place.and_then(Option::as_deref_mut) else {
            return Uplink::Drop(DropReason::UnknownAllocation);
        };
        let AllocKey { core, alloc } = allocation.key;
        let class = allocation.class;
        let is_flow = allocation.flow_address == Some(source.ip());
        let sources = allocation.sources(component);
        match sources.admit(source, via, is_flow, now) {
            Admission::Refused(reason) => Uplink::Drop(reason),
            Admission::Pass(slot, generation) => Uplink::Forward {
                core,
                class,
                head: Head::whole(alloc, component, slot, generation),
            },
        }
    }

    /// Decides about a packet that `core` sends to a client.
    #[must_use]
    pub fn handle_trunk(&self, core: CoreId, head: &Head) -> Downlink {
        let key = AllocKey {
            core,
            alloc: head.alloc,
        };
        let found = self.by_key.get(&key).copied();
        let Some((index, allocation)) =
            found.and_then(|index| Some((index, self.allocation(index)?)))
        else {
            return Downlink::Drop(DropReason::UnknownAllocation);
        };
        let sources = match head.component {
            Component::Rtp => &allocation.rtp,
            Component::Rtcp => &allocation.rtcp,
        };
        match sources.latched() {
            None => Downlink::Drop(DropReason::NotLatched),
            Some((to, via)) => Downlink::Send {
                index,
                component: head.component,
                via,
                to,
            },
        }
    }

    /// The control stream of `core` is gone: its allocations wait for it, but not for ever.
    pub fn handle_core_lost(&mut self, core: CoreId, now: Instant) {
        let at = now.checked_add(limits::MEDIA_ORPHANS_KEPT).unwrap_or(now);
        self.given_up_at.entry(core).or_insert(at);
    }

    /// The control stream of `core` stands again.
    pub fn handle_core_linked(&mut self, core: CoreId) {
        self.given_up_at.remove(&core);
    }

    /// The next allocation of a core that has been away for too long, for [`Self::release`].
    pub fn orphan(&mut self, now: Instant) -> Option<AllocKey> {
        loop {
            let (core, _) = self.given_up_at.iter().find(|(_, at)| **at <= now)?;
            let core = *core;
            match self.stale(core, &[]) {
                Some(key) => return Some(key),
                None => drop(self.given_up_at.remove(&core)),
            }
        }
    }

    /// When [`Self::orphan`] wants to be asked.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let next = self.given_up_at.values().min()?;
        Some((*next, "allocations of a lost core"))
    }

    fn of_core(&self, core: CoreId) -> impl Iterator<Item = AllocKey> {
        let keys = self.allocations.iter().flatten();
        keys.map(|allocation| allocation.key)
            .filter(move |key| key.core == core)
    }

    fn allocation(&self, index: AllocIndex) -> Option<&Allocation> {
        self.allocations.get(index.0 as usize)?.as_deref()
    }

    fn allocation_mut(&mut self, key: AllocKey) -> Option<&mut Allocation> {
        let index = self.by_key.get(&key)?;
        self.allocations.get_mut(index.0 as usize)?.as_deref_mut()
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.by_key.len() <= limits::MEDIA_ALLOCATIONS_MAX,
            "allocations have no bound"
        );
        debug_assert_eq!(
            self.by_key.len().saturating_add(self.vacant.len()),
            self.allocations.len(),
            "an allocation is lost"
        );
    }
}

/// How often something may happen, by the generic cell rate algorithm: one instant per limit, no clock, no counter.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    /// When everything that has passed would have passed at an even pace.
    due: Option<Instant>,
}

impl Rate {
    /// Whether one more may pass: one for each `interval`, and as many at once as fit into `burst`.
    fn pass(&mut self, interval: Duration, burst: Duration, now: Instant) -> bool {
        let due = self.due.map_or(now, |due| due.max(now));
        if due.saturating_duration_since(now) > burst {
            return false;
        }
        self.due = due.checked_add(interval);
        true
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test itself"
)]
mod tests;
