//! Which records of a signed zone prove that something does not exist, or that a wildcard may stand for it (RFC 4035
//! section 3.1.3, RFC 5155 section 7.2).

use std::cmp::Ordering;

use super::hashed::HashedChain;
use super::zone::{Denial, Set, Zone};
use super::{Name, name, number};

/// Records and their owners, each once.
#[derive(Default)]
pub(super) struct Proof<'z> {
    records: smallvec::SmallVec<[(&'z Name, &'z Set); 4]>,
}

/// In which way there is nothing of a type at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The name exists.
    Type,
    /// Neither the name exists nor a wildcard that would stand for it.
    Name,
    /// A wildcard stands for the name, and has nothing of the type either.
    TypeOfWildcard,
}

impl<'z> Proof<'z> {
    /// The records, in the order of their need.
    pub(super) fn records(&self) -> impl Iterator<Item = (&'z Name, &'z Set)> {
        self.records.iter().copied()
    }

    /// Proves that there is nothing of the type at `name`.
    pub(super) fn add_missing(&mut self, zone: &'z Zone, name: &[u8], missing: Missing) {
        match &zone.denial {
            Denial::Hashed(chain) => self.add_missing_hashed(zone, chain, name, missing),
            Denial::None => {}
            Denial::Plain(chain) => {
                // A name that only leads to others has no record of its own: the one before it covers it.
                self.add(covering(zone, chain, name));
                if missing != Missing::Type
                    && let Some((_, encloser)) = zone.closest_encloser(name)
                {
                    let wildcard = name::wildcard_below(encloser);
                    self.add(covering(zone, chain, &wildcard));
                }
            }
        }
    }

    fn add_missing_hashed(
        &mut self,
        zone: &'z Zone,
        chain: &'z HashedChain,
        name: &[u8],
        missing: Missing,
    ) {
        if missing == Missing::Type {
            self.add(chain.matching(name));
            return;
        }
        let Some((next_closer, encloser)) = zone.closest_encloser(name) else {
            return;
        };
        self.add(chain.matching(encloser));
        self.add(chain.covering(next_closer));
        let wildcard = name::wildcard_below(encloser);
        self.add(match missing {
            Missing::TypeOfWildcard => chain.matching(&wildcard),
            Missing::Name | Missing::Type => chain.covering(&wildcard),
        });
    }

    /// Proves that nothing is closer to `name` than the wildcard that stood for it.
    pub(super) fn add_expanded(&mut self, zone: &'z Zone, name: &[u8]) {
        match &zone.denial {
            Denial::Hashed(chain) => {
                let closest = zone.closest_encloser(name);
                self.add(closest.and_then(|(next_closer, _)| chain.covering(next_closer)));
            }
            Denial::None => {}
            Denial::Plain(chain) => self.add(covering(zone, chain, name)),
        }
    }

    fn add(&mut self, record: Option<(&'z Name, &'z Set)>) {
        let Some((owner, set)) = record else {
            return;
        };
        if !self.records.iter().any(|(known, _)| *known == owner) {
            self.records.push((owner, set));
        }
    }
}

/// The last record of the chain that is not behind `name`.
fn covering<'z>(zone: &'z Zone, chain: &'z [Name], name: &[u8]) -> Option<(&'z Name, &'z Set)> {
    let is_before = |owner: &Name| name::canonical_order(owner.wire(), name) != Ordering::Greater;
    let behind = chain.partition_point(is_before);
    let owner = behind.checked_sub(1).and_then(|at| chain.get(at))?;
    let set = zone.node(owner.wire())?.set(number::NSEC)?;
    Some((owner, set))
}
