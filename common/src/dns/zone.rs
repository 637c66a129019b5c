//! A zone in the form that answers are copied from: every record is stored as it stands in a packet, without its owner.

use std::collections::{BTreeMap, BTreeSet};

use super::records::{Record, Records};
use super::{Name, name, number};

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    nodes: BTreeMap<Name, Node>,
    /// The SOA record as negative answers have it, with its signatures (RFC 2308 section 3).
    negative: Set,
    /// The owners of NSEC records in the order of signed zones; empty if the zone is not signed.
    pub(super) chain: Vec<Name>,
}

/// What is at a name; nothing at one that only leads to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    sets: Vec<Set>,
}

/// The records of one name and type.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) kind: u16,
    pub(super) records: Vec<Stored>,
    pub(super) signatures: Vec<Stored>,
}

/// A record as it stands in a packet, without its owner.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Type, class, TTL, length, data.
    pub(super) tail: Box<[u8]>,
    /// The name it leads to, and where in `tail` it begins.
    pub(super) target: Option<(Name, usize)>,
}

/// Type, class, TTL and length in front of the data.
const TAIL_HEAD_BYTES: usize = 10;

impl Zone {
    /// Puts the records in order, but not the `_collab-edge` records that lead to an edge that is `gone`. Nothing is left
    /// out of a signed zone: the signatures would be wrong.
    #[must_use]
    pub fn new(records: &Records, gone: &BTreeSet<Name>) -> Self {
        let mut nodes: BTreeMap<Name, Node> = BTreeMap::new();
        for record in records.list() {
            let node = nodes.entry(record.owner.clone()).or_default();
            let is_left_out = !records.is_signed() && leads_to_gone(record, gone);
            if record.kind != number::RRSIG && !is_left_out {
                let set = node.set_of(record.kind);
                set.records.push(Stored::new(record, record.ttl));
            }
        }
        for record in records.list() {
            // The type that is signed comes first in the data of a signature.
            let covered = record
                .rdata
                .first_chunk()
                .map(|kind| u16::from_be_bytes(*kind));
            if let (number::RRSIG, Some(covered)) = (record.kind, covered)
                && let Some(node) = nodes.get_mut(&record.owner)
            {
                let stored = Stored::new(record, record.ttl);
                node.set_of(number::RRSIG).records.push(stored.clone());
                node.set_of(covered).signatures.push(stored);
            }
        }
        for node in nodes.values_mut() {
            node.sets.iter_mut().for_each(Set::level);
        }
        Self::complete(records.apex().clone(), nodes)
    }

    fn complete(apex: Name, mut nodes: BTreeMap<Name, Node>) -> Self {
        let mut chain: Vec<Name> = nodes
            .iter()
            .filter(|(_, node)| node.set(number::NSEC).is_some())
            .map(|(owner, _)| owner.clone())
            .collect();
        chain.sort_by(|a, b| name::canonical_order(a.wire(), b.wire()));
        // Names that only lead to others exist too (RFC 8020).
        let owners: Vec<Name> = nodes.keys().cloned().collect();
        for owner in owners {
            let mut above = owner.parent();
            while let Some(name) = above.filter(|name| name.is_within(&apex)) {
                above = name.parent();
                nodes.entry(name).or_default();
            }
        }
        let soa = nodes.get(&apex).and_then(|node| node.set(number::SOA));
        let mut negative = soa.cloned().unwrap_or_default();
        negative.cap_negative();
        Self {
            apex,
            nodes,
            negative,
            chain,
        }
    }

    /// The name of the zone.
    #[must_use]
    pub const fn apex(&self) -> &Name {
        &self.apex
    }

    /// How many records of a type a name has.
    #[must_use]
    pub fn count(&self, name: &Name, kind: u16) -> usize {
        let set = self.nodes.get(name).and_then(|node| node.set(kind));
        set.map_or(0, |set| set.records.len())
    }

    pub(super) const fn negative(&self) -> &Set {
        &self.negative
    }

    /// What is at a name in lower case; `None` if it does not exist.
    pub(super) fn node(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The lowest name above `name` that exists.
    pub(super) fn closest_encloser<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let mut above = name::parent(name);
        while let Some(name) = above {
            if self.nodes.contains_key(name) {
                return Some(name);
            }
            above = name::parent(name);
        }
        None
    }
}

fn leads_to_gone(record: &Record, gone: &BTreeSet<Name>) -> bool {
    if gone.is_empty() || record.kind != number::SRV {
        return false;
    }
    let is_service = record.owner.labels().next() == Some(super::service::LABEL);
    is_service
        && record
            .target()
            .is_some_and(|(target, _)| gone.contains(&target))
}

impl Node {
    pub(super) fn set(&self, kind: u16) -> Option<&Set> {
        let set = self.sets.iter().find(|set| set.kind == kind);
        set.filter(|set| !set.records.is_empty())
    }

    /// Any one set, as the answer to a question for all of them (RFC 8482 section 4.1).
    pub(super) fn any(&self) -> Option<&Set> {
        let is_plain = |set: &&Set| {
            !matches!(set.kind, number::RRSIG | number::NSEC) && !set.records.is_empty()
        };
        self.sets.iter().find(is_plain)
    }

    fn set_of(&mut self, kind: u16) -> &mut Set {
        let known = self.sets.iter().position(|set| set.kind == kind);
        let at = known.unwrap_or(self.sets.len());
        if known.is_none() {
            self.sets.push(Set {
                kind,
                ..Set::default()
            });
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "it is there, or was pushed right above"
        )]
        &mut self.sets[at]
    }
}

impl Set {
    /// All records of a set have the same TTL (RFC 2181 section 5.2): the shortest.
    fn level(&mut self) {
        if self.kind == number::RRSIG {
            return;
        }
        let shortest = self.records.iter().filter_map(Stored::ttl).min();
        for record in &mut self.records {
            record.set_ttl(shortest.unwrap_or(0));
        }
    }

    /// The TTL of what does not exist is no longer than the last number in the SOA record.
    fn cap_negative(&mut self) {
        let soa = self.records.first();
        let minimum =
            soa.and_then(|soa| soa.tail.last_chunk().map(|last| u32::from_be_bytes(*last)));
        for stored in self.records.iter_mut().chain(&mut self.signatures) {
            let capped = stored.ttl().unwrap_or(0).min(minimum.unwrap_or(0));
            stored.set_ttl(capped);
        }
    }
}

impl Stored {
    fn new(record: &Record, ttl: u32) -> Self {
        let len = u16::try_from(record.rdata.len()).unwrap_or(u16::MAX);
        let head = [record.kind.to_be_bytes(), number::IN.to_be_bytes()].concat();
        let tail = [
            &head,
            ttl.to_be_bytes().as_slice(),
            &len.to_be_bytes(),
            &record.rdata,
        ]
        .concat();
        let target = record.target();
        Self {
            tail: tail.into(),
            target: target.map(|(name, at)| (name, at.saturating_add(TAIL_HEAD_BYTES))),
        }
    }

    fn ttl(&self) -> Option<u32> {
        let (octets, _) = self.tail.get(4..)?.split_first_chunk::<4>()?;
        Some(u32::from_be_bytes(*octets))
    }

    fn set_ttl(&mut self, ttl: u32) {
        if let Some(octets) = self.tail.get_mut(4..8) {
            octets.copy_from_slice(&ttl.to_be_bytes());
        }
    }
}
