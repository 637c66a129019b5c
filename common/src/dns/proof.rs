//! Which NSEC records of a signed zone prove that something does not exist (RFC 4035 section 3.1.3).

use std::cmp::Ordering;

use super::zone::Zone;
use super::{Name, name, number};
use crate::limits;

/// At most two records prove it.
pub(super) type Proof<'z> = smallvec::SmallVec<[&'z Name; 2]>;

/// The owners of the records that prove that there is nothing of the type at `name`, which exists.
pub(super) fn of_no_data<'z>(zone: &'z Zone, name: &[u8]) -> Proof<'z> {
    // A name that only leads to others has no record of its own.
    covering(zone, name).into_iter().collect()
}

/// The owners of the records that prove that neither `name` exists nor a wildcard that would stand for it.
pub(super) fn of_no_name<'z>(zone: &'z Zone, name: &[u8]) -> Proof<'z> {
    let mut proof = of_no_data(zone, name);
    let Some(encloser) = zone.closest_encloser(name) else {
        return proof;
    };
    let mut wildcard: smallvec::SmallVec<[u8; limits::DNS_WIRE_NAME_BYTES_MAX]> =
        smallvec::SmallVec::from_slice(b"\x01*");
    wildcard.extend_from_slice(encloser);
    if let Some(owner) = covering(zone, &wildcard).filter(|owner| !proof.contains(owner)) {
        proof.push(owner);
    }
    proof
}

/// The last owner of the chain that is not behind `name`.
fn covering<'z>(zone: &'z Zone, name: &[u8]) -> Option<&'z Name> {
    let is_before = |owner: &Name| name::canonical_order(owner.wire(), name) != Ordering::Greater;
    let behind = zone.chain.partition_point(is_before);
    let found = behind.checked_sub(1).and_then(|at| zone.chain.get(at));
    found.filter(|owner| {
        zone.node(owner.wire())
            .is_some_and(|node| node.set(number::NSEC).is_some())
    })
}
