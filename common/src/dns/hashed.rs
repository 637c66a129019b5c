//! The proofs of a zone whose names are hashed (RFC 5155): which there are, and which one is about a name.

use std::collections::BTreeMap;

use aws_lc_rs::digest;

use super::Name;
use super::zone::Set;
use crate::limits;

/// Octets of a hash: only SHA-1 is defined (RFC 5155 section 11).
pub(super) const HASH_BYTES: usize = 20;

/// The hash of a name.
pub(super) type Hash = [u8; HASH_BYTES];

/// How names are hashed, as the first octets of NSEC3 and NSEC3PARAM records say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hashing {
    iterations: u16,
    salt: Box<[u8]>,
}

/// Why hashes can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHashing {
    #[error("is too short")]
    Malformed,
    #[error("has an algorithm that is not SHA-1")]
    Algorithm,
    #[error("has over {} iterations", limits::DNS_NSEC3_ITERATIONS_MAX)]
    Iterations,
}

impl Hashing {
    /// Reads the parameters in front of the data of an NSEC3 or NSEC3PARAM record.
    pub(super) fn read(rdata: &[u8]) -> Result<Self, NoHashing> {
        let ([algorithm, _, iterations @ .., salt_bytes], rest) =
            rdata.split_first_chunk::<5>().ok_or(NoHashing::Malformed)?;
        if *algorithm != SHA1 {
            return Err(NoHashing::Algorithm);
        }
        let [upper, lower] = *iterations;
        let iterations = u16::from_be_bytes([upper, lower]);
        if iterations > limits::DNS_NSEC3_ITERATIONS_MAX {
            return Err(NoHashing::Iterations);
        }
        let salt = rest
            .get(..usize::from(*salt_bytes))
            .ok_or(NoHashing::Malformed)?;
        Ok(Self {
            iterations,
            salt: salt.into(),
        })
    }

    /// The hash of a name in lower case (RFC 5155 section 5).
    pub(super) fn hash(&self, name: &[u8]) -> Hash {
        let mut hash = self.round(name);
        for _ in 0..self.iterations {
            hash = self.round(&hash);
        }
        hash
    }

    fn round(&self, octets: &[u8]) -> Hash {
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(octets);
        context.update(&self.salt);
        let mut hash = Hash::default();
        // Both have the length of SHA-1.
        for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        hash
    }
}

/// NSEC3 records by the hash in front of their owner.
#[derive(Clone, Debug, Default)]
pub(super) struct HashedChain {
    pub(super) hashing: Hashing,
    pub(super) owners: BTreeMap<Hash, (Name, Set)>,
}

impl HashedChain {
    /// The record of a name that exists.
    pub(super) fn matching(&self, name: &[u8]) -> Option<(&Name, &Set)> {
        let (owner, set) = self.owners.get(&self.hashing.hash(name))?;
        Some((owner, set))
    }

    /// The record that says that nothing has the hash of this name. The last one leads back to the first.
    pub(super) fn covering(&self, name: &[u8]) -> Option<(&Name, &Set)> {
        let hash = self.hashing.hash(name);
        let before = self.owners.range(..hash).next_back();
        let (_, (owner, set)) = before.or_else(|| self.owners.iter().next_back())?;
        Some((owner, set))
    }
}

/// Reads the first label of an NSEC3 record's owner: base32 with the extended hex alphabet, without padding (RFC 4648
/// section 7).
pub(super) fn hash_of_label(label: &[u8]) -> Option<Hash> {
    let digits = <&[u8; 32]>::try_from(label).ok()?;
    let mut hash = Hash::default();
    // 8 digits are 5 octets.
    for (octets, digits) in hash
        .as_chunks_mut::<5>()
        .0
        .iter_mut()
        .zip(digits.as_chunks::<8>().0)
    {
        let mut bits = 0_u64;
        for digit in digits {
            let value = char::from(*digit).to_digit(32)?;
            bits = (bits << 5) | u64::from(value);
        }
        let [_, _, _, five @ ..] = bits.to_be_bytes();
        *octets = five;
    }
    Some(hash)
}

const SHA1: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Domain;

    /// RFC 5155 appendix A.
    const EXAMPLES: &[(&str, &str)] = &[
        ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
        ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
        ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
        ("ns1.example", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
        ("w.example", "k8udemvp1j2f7eg6jebps17vp3n8i58h"),
        ("x.w.example", "b4um86eghhds6nea196smvmlo4ors995"),
        ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
    ];

    fn hashing() -> Hashing {
        Hashing::read(&[1, 1, 0, 12, 4, 0xAA, 0xBB, 0xCC, 0xDD]).unwrap()
    }

    fn wire(name: &str) -> Name {
        Name::from(&Domain::parse(name).unwrap())
    }

    #[test]
    fn names_are_hashed_as_in_the_standard() {
        for (name, expected) in EXAMPLES {
            let hash = hashing().hash(wire(name).wire());

            assert_eq!(
                Some(hash),
                hash_of_label(expected.as_bytes()),
                "{name} {expected}"
            );
        }
        let wildcard = hashing().hash(b"\x01*\x01w\x07example\0");
        let expected = b"r53bq7cc2uvmubfu5ocmm6pers9tk9en";
        assert_eq!(Some(wildcard), hash_of_label(expected));
    }

    #[test]
    fn a_name_that_is_not_there_is_between_two_that_are() {
        let mut chain = HashedChain {
            hashing: hashing(),
            owners: BTreeMap::new(),
        };
        for (name, label) in EXAMPLES {
            let hash = hash_of_label(label.as_bytes()).unwrap();
            chain.owners.insert(hash, (wire(name), Set::default()));
        }
        let covering = |name: &str| chain.covering(wire(name).wire()).unwrap().0.to_string();

        assert_eq!(covering("ns2.example"), "w.example.");
        assert_eq!(covering("c.x.w.example"), "example.");
        assert_eq!(covering("f.example"), "xx.example.", "behind the last one");
        assert!(chain.matching(wire("ns2.example").wire()).is_none());
        let found = chain.matching(wire("x.w.example").wire()).unwrap();
        assert_eq!(found.0.to_string(), "x.w.example.");
    }

    #[test]
    fn what_is_no_hash_and_what_costs_too_much_is_refused() {
        for label in [
            "0p9mhaveqvm6t7vbl5lop2u3t2rp3to",
            "0p9mhaveqvm6t7vbl5lop2u3t2rp3tow",
            "",
        ] {
            assert_eq!(hash_of_label(label.as_bytes()), None, "{label}");
        }
        assert_eq!(Hashing::read(&[1, 0, 0]), Err(NoHashing::Malformed));
        assert_eq!(Hashing::read(&[1, 0, 0, 0, 1]), Err(NoHashing::Malformed));
        assert_eq!(Hashing::read(&[2, 0, 0, 0, 0]), Err(NoHashing::Algorithm));
        assert_eq!(Hashing::read(&[1, 0, 1, 0, 0]), Err(NoHashing::Iterations));
    }
}
