//! What the `media_relay` fuzz target drives: any order of packets and commands, beside a model of what was authenticated.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a fuzz target reports by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{AllocKey, Downlink, Latch, Relay, Uplink, Via};
use crate::id::{AllocId, CoreId};
use crate::limits;
use crate::media::class::{Component, Generation, MediaClass, Slot};
use crate::media::port_pool::PortPool;
use crate::media::trunk_frame::Head;

/// Reads steps of four octets out of `bytes`. A packet must never go to an address that was not latched, and sources
/// that were not latched must never pass more than their places allow.
pub fn steps(bytes: &[u8]) {
    let mut world = World::new(crate::testing::epoch());
    for step in bytes.chunks_exact(4) {
        if let [what, one, two, three] = step {
            world.step(*what, *one, *two, *three);
        }
    }
    world.check_budget();
}

/// Where a packet of a client came from, as edge-c was told: allocation, port, slot, generation.
type Place = (AllocId, Component, Slot, Generation);

struct World {
    relay: Relay,
    pool: PortPool,
    start: Instant,
    now: Instant,
    /// Who held a place last.
    seen: BTreeMap<Place, SocketAddr>,
    /// Whom the model sends to.
    latched: BTreeMap<(AllocId, Component), SocketAddr>,
    /// How many packets of unlatched sources passed at each port.
    passed: BTreeMap<(AllocId, Component), u64>,
    live: BTreeSet<AllocId>,
}

const CORE: CoreId = CoreId(1);

impl World {
    fn new(start: Instant) -> Self {
        Self {
            relay: Relay::new(),
            pool: PortPool::new(&(36_000..=36_015)),
            start,
            now: start,
            seen: BTreeMap::new(),
            latched: BTreeMap::new(),
            passed: BTreeMap::new(),
            live: BTreeSet::new(),
        }
    }

    fn step(&mut self, what: u8, one: u8, two: u8, three: u8) {
        let alloc = AllocId(u32::from(one % 4));
        let component = if one & 4 == 0 {
            Component::Rtp
        } else {
            Component::Rtcp
        };
        let (slot, generation) = (Slot(two % 6), Generation(three));
        match what % 10 {
            0 => self.allocate(alloc, two),
            1 if three == 0 => self.release(alloc),
            2 => self.latch((alloc, component, slot, generation)),
            3 => self.latch_last(alloc, component),
            4 => {
                let _is_freed =
                    self.relay
                        .reject(key(alloc), component, slot, generation, self.now);
            }
            5 => self.now += Duration::from_millis(u64::from(two)),
            6 => self.send(alloc, component),
            _ => self.packet(alloc, component, address(two, three)),
        }
    }

    fn allocate(&mut self, alloc: AllocId, flow: u8) {
        if self.live.contains(&alloc) {
            return;
        }
        let Some(ports) = self.pool.take(u64::from(flow), self.now) else {
            return;
        };
        let flow = (flow % 2 == 1).then_some(address(flow, 0).ip());
        let allocated = self
            .relay
            .allocate(key(alloc), MediaClass::Audio, ports, flow);
        if allocated.is_err() {
            panic!("four allocations are too many");
        }
        self.live.insert(alloc);
    }

    fn release(&mut self, alloc: AllocId) {
        let released = self.relay.release(key(alloc));
        if released.is_some() != self.live.remove(&alloc) {
            panic!("{alloc} was released twice or never");
        }
        if let Some((_, ports)) = released {
            self.pool.give_back(ports, self.now);
        }
        self.seen.retain(|place, _| place.0 != alloc);
        self.latched.retain(|port, _| port.0 != alloc);
        self.check_budget();
        self.passed.retain(|port, _| port.0 != alloc);
    }

    fn latch(&mut self, place: Place) {
        let (alloc, component, slot, generation) = place;
        let outcome = self
            .relay
            .latch(key(alloc), component, slot, generation, self.now);
        if let Latch::Latched(address) = outcome {
            if self.seen.get(&place) != Some(&address) {
                panic!("{place:?} latched {address}, which edge-c never saw there");
            }
            self.latched.insert((alloc, component), address);
        }
    }

    /// edge-c authenticates the last source that it was told of.
    fn latch_last(&mut self, alloc: AllocId, component: Component) {
        let last = self
            .seen
            .keys()
            .rfind(|place| place.0 == alloc && place.1 == component);
        if let Some(place) = last.copied() {
            self.latch(place);
        }
    }

    fn packet(&mut self, alloc: AllocId, component: Component, source: SocketAddr) {
        let Some(index) = self.relay.index(key(alloc)) else {
            return;
        };
        let port = (alloc, component);
        let decision = self
            .relay
            .handle_client(index, component, source, Via(0), self.now);
        let is_latched = self.latched.get(&port) == Some(&source);
        match decision {
            Uplink::Drop(_) => {}
            Uplink::Forward { head, .. } if head.slot == Slot::LATCHED => {
                if !is_latched {
                    panic!("{source} passes for the latched source");
                }
            }
            Uplink::Forward { head, .. } => {
                if is_latched {
                    panic!("the latched source {source} is a candidate");
                }
                let place = (alloc, component, head.slot, head.generation);
                self.seen.insert(place, source);
                *self.passed.entry(port).or_default() += 1;
            }
        }
    }

    fn send(&self, alloc: AllocId, component: Component) {
        let expected = self.latched.get(&(alloc, component)).copied();
        let head = Head::to_client(alloc, component);
        let to = match self.relay.handle_trunk(CORE, &head) {
            Downlink::Send { to, .. } => Some(to),
            Downlink::Drop(_) => None,
        };
        if to != expected {
            panic!("a packet goes to {to:?} instead of {expected:?}");
        }
    }

    fn check_budget(&self) {
        let candidates = u64::try_from(limits::MEDIA_CANDIDATES_MAX).unwrap_or(0);
        let intervals = self
            .now
            .duration_since(self.start)
            .saturating_add(limits::MEDIA_CANDIDATE_BURST)
            .as_millis()
            / limits::MEDIA_CANDIDATE_INTERVAL.as_millis();
        let allowed = (u64::try_from(intervals).unwrap_or(u64::MAX) + 1) * candidates;
        if let Some((port, passed)) = self.passed.iter().find(|(_, passed)| **passed > allowed) {
            panic!("{passed} packets of candidates passed at {port:?}, {allowed} may");
        }
    }
}

fn key(alloc: AllocId) -> AllocKey {
    AllocKey { core: CORE, alloc }
}

fn address(host: u8, port: u8) -> SocketAddr {
    let host = IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
    SocketAddr::new(host, 1024 + u16::from(port))
}
