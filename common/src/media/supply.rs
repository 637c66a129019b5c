//! Ports held ready, so that a session description can be rewritten at once: public ones of each edge-e and inside ones
//! of edge-c. Opens no socket: it says what it wants, is given ports, hands them out once, and says which came back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::class::MediaClass;
use super::plan::InnerPortId;
use crate::id::{AllocId, EdgeIndex};
use crate::limits;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address; an IPv4 address mapped into IPv6 is IPv4.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A pair of public ports on an edge-e.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterPort {
    /// What both edges call it.
    pub alloc: AllocId,
    /// The addresses that clients are told, one of each family at most.
    pub addresses: SmallVec<[IpAddr; 2]>,
    /// UDP port of RTP, and of RTCP where both share one.
    pub rtp: u16,
    /// UDP port of RTCP.
    pub rtcp: u16,
}

impl OuterPort {
    /// The address of the wanted family, else the other one; `None` if there is none at all.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        let same = self.addresses.iter().find(|a| Family::of(**a) == family);
        same.or_else(|| self.addresses.first()).copied()
    }
}

/// A pair of inside ports on edge-c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPort {
    /// What the engine calls it.
    pub id: InnerPortId,
    /// Where RTP is received, and RTCP where both share one port.
    pub rtp: SocketAddr,
    /// Where RTCP is received.
    pub rtcp: SocketAddr,
}

/// A port to be made: told once, and again only after [`Supply::handle_refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// A pair on this edge-e.
    Outer(EdgeIndex, MediaClass),
    /// A pair inside.
    Inner(Family),
}

/// A port that is not needed any more: to be closed, and kept from use for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Released {
    /// A pair on this edge-e.
    Outer(EdgeIndex, AllocId),
    /// A pair inside.
    Inner(InnerPortId),
}

/// Spare ports of one kind.
#[derive(Debug)]
struct Shelf<P> {
    spare: VecDeque<P>,
    under_way: usize,
    /// From a quarter empty on until it is full: ports are made some at a time.
    is_filling: bool,
}

impl<P> Default for Shelf<P> {
    fn default() -> Self {
        Self {
            spare: VecDeque::new(),
            under_way: 0,
            is_filling: false,
        }
    }
}

impl<P> Shelf<P> {
    /// Whether one more port is to be made.
    fn is_wanting(&self, target: usize) -> bool {
        let there = self.spare.len() + self.under_way;
        there < target && (self.is_filling || there <= target / 4 * 3)
    }

    /// Counts one more port as under way, unless there are enough.
    fn want(&mut self, target: usize) -> bool {
        self.is_filling = self.is_wanting(target);
        self.under_way += usize::from(self.is_filling);
        self.is_filling
    }

    /// One that was under way does not come: another one is wanted in its place.
    fn lose(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.is_filling = true;
    }
}

/// Spare ports, and which are in use.
#[derive(Debug, Default)]
pub struct Supply {
    outer: BTreeMap<EdgeIndex, BTreeMap<MediaClass, Shelf<OuterPort>>>,
    inner: BTreeMap<Family, Shelf<InnerPort>>,
    outer_taken: BTreeMap<AllocId, EdgeIndex>,
    inner_taken: BTreeSet<InnerPortId>,
    released: VecDeque<Released>,
}

impl Supply {
    /// A supply without edges and families: it wants nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on holds ports of this edge-e ready.
    pub fn add_edge(&mut self, edge: EdgeIndex) {
        self.outer.entry(edge).or_default();
    }

    /// Forgets spare ports of an edge-e that is gone; ports in use stay until their calls end.
    pub fn remove_edge(&mut self, edge: EdgeIndex) {
        for shelf in self.outer.remove(&edge).into_iter().flatten() {
            let spare = shelf.1.spare.into_iter();
            self.released
                .extend(spare.map(|port| Released::Outer(edge, port.alloc)));
        }
    }

    /// From now on holds inside ports of this family ready.
    pub fn add_family(&mut self, family: Family) {
        self.inner.entry(family).or_default();
    }

    /// Whether [`Self::poll_wanted`] has something to say.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        let is_outer_wanting = |shelves: &BTreeMap<MediaClass, Shelf<OuterPort>>| {
            MediaClass::ALL.into_iter().any(|class| {
                let shelf = shelves.get(&class);
                shelf.is_none_or(|shelf| shelf.is_wanting(spare_ports(class)))
            })
        };
        let mut inner = self.inner.values();
        self.outer.values().any(is_outer_wanting)
            || inner.any(|shelf| shelf.is_wanting(limits::MEDIA_SPARE_INNER_PORTS))
    }

    /// Whether [`Self::poll_released`] has something to say.
    #[must_use]
    pub fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// The next port that should be made, or `None` if enough are ready or under way: only after a quarter of a kind was
    /// taken is it filled up again.
    pub fn poll_wanted(&mut self) -> Option<Wanted> {
        for (edge, shelves) in &mut self.outer {
            for class in MediaClass::ALL {
                let shelf = shelves.entry(class).or_default();
                if shelf.want(spare_ports(class)) {
                    return Some(Wanted::Outer(*edge, class));
                }
            }
        }
        let target = limits::MEDIA_SPARE_INNER_PORTS;
        self.inner
            .iter_mut()
            .find_map(|(family, shelf)| shelf.want(target).then_some(Wanted::Inner(*family)))
    }

    /// The next port to be closed; drained after every call.
    pub fn poll_released(&mut self) -> Option<Released> {
        self.released.pop_front()
    }

    /// Takes a public port in. One that nobody needs goes straight to [`Self::poll_released`].
    pub fn offer_outer(&mut self, edge: EdgeIndex, class: MediaClass, port: OuterPort) {
        let shelf = self
            .outer
            .get_mut(&edge)
            .map(|s| s.entry(class).or_default());
        match shelf {
            Some(shelf) if shelf.spare.len() < spare_ports(class) => {
                shelf.under_way = shelf.under_way.saturating_sub(1);
                shelf.spare.push_back(port);
            }
            Some(_) | None => self.released.push_back(Released::Outer(edge, port.alloc)),
        }
    }

    /// Takes an inside port in. One that nobody needs goes straight to [`Self::poll_released`].
    pub fn offer_inner(&mut self, port: InnerPort) {
        match self.inner.get_mut(&Family::of(port.rtp.ip())) {
            Some(shelf) if shelf.spare.len() < limits::MEDIA_SPARE_INNER_PORTS => {
                shelf.under_way = shelf.under_way.saturating_sub(1);
                shelf.spare.push_back(port);
            }
            Some(_) | None => self.released.push_back(Released::Inner(port.id)),
        }
    }

    /// A wanted port could not be made; it may be wanted again, so the caller waits a moment before it asks.
    pub fn handle_refused(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Outer(edge, class) => {
                let shelves = self.outer.get_mut(&edge);
                if let Some(shelf) = shelves.and_then(|shelves| shelves.get_mut(&class)) {
                    shelf.lose();
                }
            }
            Wanted::Inner(family) => {
                if let Some(shelf) = self.inner.get_mut(&family) {
                    shelf.lose();
                }
            }
        }
    }

    /// A public port of that edge-e for a stream, or `None` if none is ready.
    pub fn take_outer(&mut self, edge: EdgeIndex, class: MediaClass) -> Option<OuterPort> {
        let port = self
            .outer
            .get_mut(&edge)?
            .get_mut(&class)?
            .spare
            .pop_front()?;
        self.outer_taken.insert(port.alloc, edge);
        Some(port)
    }

    /// An inside port for a stream: of the wanted family, else of the other one.
    pub fn take_inner(&mut self, family: Family) -> Option<InnerPort> {
        let other = match family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        let port = [family, other]
            .into_iter()
            .find_map(|family| self.inner.get_mut(&family)?.spare.pop_front())?;
        self.inner_taken.insert(port.id);
        Some(port)
    }

    /// Gives a public port back; one that is not in use is ignored.
    pub fn release_outer(&mut self, alloc: AllocId) {
        if let Some(edge) = self.outer_taken.remove(&alloc) {
            self.released.push_back(Released::Outer(edge, alloc));
        }
    }

    /// Gives an inside port back; one that is not in use is ignored.
    pub fn release_inner(&mut self, port: InnerPortId) {
        if self.inner_taken.remove(&port) {
            self.released.push_back(Released::Inner(port));
        }
    }

    /// Ports in use: public ones and inside ones.
    #[must_use]
    pub fn taken(&self) -> (usize, usize) {
        (self.outer_taken.len(), self.inner_taken.len())
    }

    /// Public ports of that edge-e and class that are ready.
    #[must_use]
    pub fn spare_outer(&self, edge: EdgeIndex, class: MediaClass) -> usize {
        let shelf = self.outer.get(&edge).and_then(|s| s.get(&class));
        shelf.map_or(0, |shelf| shelf.spare.len())
    }

    /// Inside ports of that family that are ready.
    #[must_use]
    pub fn spare_inner(&self, family: Family) -> usize {
        self.inner.get(&family).map_or(0, |shelf| shelf.spare.len())
    }
}

/// How many public ports of a class are held ready at each edge-e.
const fn spare_ports(class: MediaClass) -> usize {
    match class {
        MediaClass::Audio | MediaClass::Video => limits::MEDIA_SPARE_PORTS,
        MediaClass::Presentation | MediaClass::Bfcp => limits::MEDIA_SPARE_PORTS / 2,
        MediaClass::Ix => limits::MEDIA_SPARE_PORTS / 4,
        MediaClass::T38 | MediaClass::Other => limits::MEDIA_SPARE_PORTS / 8,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const EDGE: EdgeIndex = EdgeIndex(0);

    fn outer(alloc: u32) -> OuterPort {
        OuterPort {
            alloc: AllocId(alloc),
            addresses: SmallVec::from_slice(&[Ipv4Addr::new(203, 0, 113, 10).into()]),
            rtp: 36_000,
            rtcp: 36_001,
        }
    }

    fn inner(id: u32) -> InnerPort {
        InnerPort {
            id: InnerPortId(id),
            rtp: "10.0.0.5:16384".parse().unwrap(),
            rtcp: "10.0.0.5:16385".parse().unwrap(),
        }
    }

    #[test]
    fn every_wanted_port_is_told_once_until_it_comes_or_is_refused() {
        let mut supply = Supply::new();
        supply.add_edge(EDGE);
        supply.add_family(Family::V4);

        let wanted: Vec<Wanted> = std::iter::from_fn(|| supply.poll_wanted()).collect();
        let audio = Wanted::Outer(EDGE, MediaClass::Audio);
        let audios = wanted.iter().filter(|w| **w == audio).count();
        supply.offer_outer(EDGE, MediaClass::Audio, outer(1));
        let after_offer = supply.poll_wanted();
        supply.handle_refused(audio);

        assert_eq!(audios, limits::MEDIA_SPARE_PORTS);
        assert!(wanted.contains(&Wanted::Inner(Family::V4)));
        assert_eq!(after_offer, None);
        assert_eq!(supply.poll_wanted(), Some(audio));
    }

    #[test]
    fn ports_are_made_some_at_a_time_and_three_quarters_are_always_ready() {
        let mut supply = Supply::new();
        supply.add_family(Family::V4);
        let target = limits::MEDIA_SPARE_INNER_PORTS;
        assert!(supply.is_wanting());
        let mut made = 0_u32;
        let mut fill = |supply: &mut Supply| {
            let mut count = 0;
            while supply.poll_wanted().is_some() {
                made += 1;
                count += 1;
                supply.offer_inner(inner(made));
            }
            count
        };
        assert_eq!(fill(&mut supply), target);

        let mut least = target;
        let mut batches = Vec::new();
        for _ in 0..target {
            supply.take_inner(Family::V4).unwrap();
            least = least.min(supply.spare_inner(Family::V4));
            if supply.is_wanting() {
                batches.push(fill(&mut supply));
            }
        }

        assert_eq!(batches, [target / 4; 4]);
        assert_eq!(least, target / 4 * 3);
    }

    #[test]
    fn a_port_is_handed_out_once_and_comes_back_once() {
        let mut supply = Supply::new();
        supply.add_edge(EDGE);
        supply.add_family(Family::V4);
        supply.offer_outer(EDGE, MediaClass::Audio, outer(1));
        supply.offer_inner(inner(7));

        assert_eq!(supply.take_outer(EDGE, MediaClass::Video), None);
        assert_eq!(supply.take_outer(EDGE, MediaClass::Audio), Some(outer(1)));
        assert_eq!(supply.take_outer(EDGE, MediaClass::Audio), None);
        assert_eq!(supply.take_inner(Family::V6), Some(inner(7)));
        assert_eq!(supply.taken(), (1, 1));

        supply.release_outer(AllocId(1));
        supply.release_outer(AllocId(1));
        supply.release_inner(InnerPortId(7));

        let released: Vec<Released> = std::iter::from_fn(|| supply.poll_released()).collect();
        assert_eq!(supply.taken(), (0, 0));
        assert_eq!(
            released,
            [
                Released::Outer(EDGE, AllocId(1)),
                Released::Inner(InnerPortId(7))
            ]
        );
    }

    #[test]
    fn a_port_that_nobody_wants_is_released_at_once() {
        let mut supply = Supply::new();

        supply.offer_outer(EDGE, MediaClass::Audio, outer(1));
        supply.offer_inner(inner(7));
        supply.add_edge(EdgeIndex(1));
        supply.offer_outer(EdgeIndex(1), MediaClass::Ix, outer(2));
        supply.remove_edge(EdgeIndex(1));

        assert_eq!(std::iter::from_fn(|| supply.poll_released()).count(), 3);
    }
}
