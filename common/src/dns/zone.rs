//! A zone in the form that answers are copied from: every record is stored as it stands in a packet, without its owner.

use std::collections::{BTreeMap, BTreeSet};

use super::hashed::{HashedChain, Hashing, hash_of_label};
use super::records::{Record, Records};
use super::{Name, name, number};

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    nodes: BTreeMap<Name, Node>,
    /// The SOA record as negative answers have it, with its signatures (RFC 2308 section 3).
    negative: Set,
    pub(super) denial: Denial,
}

/// What a zone has to prove that something does not exist.
#[derive(Clone, Debug)]
pub(super) enum Denial {
    /// NSEC3 records.
    Hashed(HashedChain),
    /// Nothing: it is not signed.
    None,
    /// NSEC records: their owners in the order of signed zones.
    Plain(Vec<Name>),
}

/// Where a name leads in a zone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'z> {
    /// The name exists.
    Name(&'z Node),
    /// Nowhere.
    None,
    /// A wildcard stands for it (RFC 4592 section 3.3).
    Wildcard(&'z Node),
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
        let hashed = take_hashed(&mut nodes, records.hashing());
        Self::complete(records.apex().clone(), nodes, hashed)
    }

    fn complete(apex: Name, mut nodes: BTreeMap<Name, Node>, hashed: Option<HashedChain>) -> Self {
        let denial = hashed.map_or_else(|| plain_chain(&nodes), Denial::Hashed);
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
            denial,
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

    /// What there is for a name in lower case.
    pub(super) fn place(&self, name: &[u8]) -> Place<'_> {
        if let Some(node) = self.nodes.get(name) {
            return Place::Name(node);
        }
        let closest = self.closest_encloser(name);
        let wildcard = closest.map(|(_, encloser)| name::wildcard_below(encloser));
        let node = wildcard.and_then(|wildcard| self.nodes.get(wildcard.as_slice()));
        node.map_or(Place::None, Place::Wildcard)
    }

    /// The lowest name above `name` that exists, and in front of it the one that is a label longer and does not: the
    /// closest encloser and the next closer name (RFC 5155 section 1.3).
    pub(super) fn closest_encloser<'n>(&self, name: &'n [u8]) -> Option<(&'n [u8], &'n [u8])> {
        let mut next_closer = name;
        while let Some(above) = name::parent(next_closer) {
            if self.nodes.contains_key(above) {
                return Some((next_closer, above));
            }
            next_closer = above;
        }
        None
    }
}

fn plain_chain(nodes: &BTreeMap<Name, Node>) -> Denial {
    let mut chain: Vec<Name> = nodes
        .iter()
        .filter(|(_, node)| node.set(number::NSEC).is_some())
        .map(|(owner, _)| owner.clone())
        .collect();
    if chain.is_empty() {
        return Denial::None;
    }
    chain.sort_by(|a, b| name::canonical_order(a.wire(), b.wire()));
    Denial::Plain(chain)
}

/// Takes the owners of NSEC3 records out: as names they do not exist (RFC 5155 section 7.2.8).
fn take_hashed(nodes: &mut BTreeMap<Name, Node>, hashing: Option<&Hashing>) -> Option<HashedChain> {
    let mut chain = hashing.map(|hashing| HashedChain {
        hashing: hashing.clone(),
        owners: BTreeMap::new(),
    });
    let taken = nodes.extract_if(.., |_, node| node.set(number::NSEC3).is_some());
    for (owner, node) in taken {
        let hash = owner.labels().next().and_then(hash_of_label);
        let set = node.set(number::NSEC3);
        if let (Some(chain), Some(hash), Some(set)) = (&mut chain, hash, set)
            && set.is_hashed_by(&chain.hashing)
        {
            chain.owners.insert(hash, (owner, set.clone()));
        }
    }
    chain
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

    /// Whether it is a record of this chain: while the salt changes there are two.
    fn is_hashed_by(&self, hashing: &Hashing) -> bool {
        let mut data = self
            .records
            .iter()
            .filter_map(|stored| stored.tail.get(TAIL_HEAD_BYTES..));
        data.any(|rdata| Hashing::read(rdata).as_ref() == Ok(hashing))
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
