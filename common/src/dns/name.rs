//! Names as they stand in packets: labels with their lengths, in lower case.

use std::cmp::Ordering;
use std::fmt;

use crate::limits;
use crate::net::Domain;

/// A name in wire form, in lower case, with the root label at its end. Ordered by octets, which is not the order of
/// zones.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// The octets are not a whole name without pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a name")]
pub struct NotAName;

impl Name {
    /// Takes a name over in any letter case.
    ///
    /// # Errors
    /// [`NotAName`] if the octets are more or less than one name.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NotAName> {
        if length(wire)? == wire.len() {
            Ok(Self(wire.to_ascii_lowercase().into()))
        } else {
            Err(NotAName)
        }
    }

    /// The root of all names.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// The octets.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the root's not among them.
    #[must_use]
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        labels(&self.0)
            .collect::<smallvec::SmallVec<[&[u8]; 8]>>()
            .into_iter()
    }

    /// Whether it is `apex` or below it.
    #[must_use]
    pub fn is_within(&self, apex: &Self) -> bool {
        is_within(&self.0, &apex.0)
    }

    /// The name without its first label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        parent(&self.0).map(|rest| Self(rest.into()))
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Domain> for Name {
    fn from(domain: &Domain) -> Self {
        let mut wire = Vec::with_capacity(domain.as_str().len().saturating_add(2));
        for label in domain.as_str().split('.') {
            // Labels of a domain are at most 63 octets.
            wire.push(u8::try_from(label.len()).unwrap_or(0));
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self(wire.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 1 {
            return f.write_str(".");
        }
        for label in labels(&self.0) {
            write!(f, "{}.", label.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The length of the name at the front of `bytes`, in octets.
///
/// # Errors
/// [`NotAName`] if it ends too early, is too long or has a pointer.
pub(super) fn length(bytes: &[u8]) -> Result<usize, NotAName> {
    let mut at = 0_usize;
    loop {
        let label = usize::from(*bytes.get(at).ok_or(NotAName)?);
        if label > limits::DNS_LABEL_BYTES_MAX {
            return Err(NotAName);
        }
        at = at.saturating_add(label).saturating_add(1);
        if at > limits::DNS_WIRE_NAME_BYTES_MAX {
            return Err(NotAName);
        }
        if label == 0 {
            return Ok(at);
        }
    }
}

pub(super) fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(usize::from(*len))?;
        rest = after;
        (!label.is_empty()).then_some(label)
    })
}

pub(super) fn parent(wire: &[u8]) -> Option<&[u8]> {
    let (len, rest) = wire.split_first()?;
    rest.get(usize::from(*len)..).filter(|_| *len > 0)
}

/// The name of the wildcard right below a name.
pub(super) fn wildcard_below(
    name: &[u8],
) -> smallvec::SmallVec<[u8; limits::DNS_WIRE_NAME_BYTES_MAX]> {
    let mut wildcard = smallvec::SmallVec::from_slice(b"\x01*");
    wildcard.extend_from_slice(name);
    wildcard
}

/// Whether the name is `apex` or below it; both in lower case.
pub(super) fn is_within(name: &[u8], apex: &[u8]) -> bool {
    let mut rest = Some(name);
    while let Some(name) = rest {
        if name.len() <= apex.len() {
            return name == apex;
        }
        rest = parent(name);
    }
    false
}

/// The order of names in a signed zone (RFC 4034 section 6.1); both in lower case.
pub(super) fn canonical_order(left: &[u8], right: &[u8]) -> Ordering {
    let left: smallvec::SmallVec<[&[u8]; 16]> = labels(left).collect();
    let right: smallvec::SmallVec<[&[u8]; 16]> = labels(right).collect();
    left.iter().rev().cmp(right.iter().rev())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from(&Domain::parse(text).unwrap())
    }

    #[test]
    fn names_are_read_back_as_they_were_written_and_in_lower_case() {
        let upper = Name::from_wire(b"\x03WWW\x07Example\0").unwrap();

        assert_eq!(upper, name("www.example"));
        assert_eq!(upper.to_string(), "www.example.");
        assert_eq!(Name::from_wire(b"\x03www").unwrap_err(), NotAName);
        assert_eq!(Name::from_wire(b"\x03www\xc0\x0c").unwrap_err(), NotAName);
        assert_eq!(Name::from_wire(b"\0x").unwrap_err(), NotAName);
    }

    #[test]
    fn a_name_over_255_octets_is_none() {
        let mut wire = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
        wire.push(0);

        assert_eq!(length(&wire), Err(NotAName));
        assert_eq!(length(wire.get(64..).unwrap()), Ok(193));
    }

    #[test]
    fn being_within_goes_by_labels() {
        assert!(name("a.example.com").is_within(&name("example.com")));
        assert!(name("example.com").is_within(&name("example.com")));
        assert!(!name("badexample.com").is_within(&name("example.com")));
        assert!(!name("com").is_within(&name("example.com")));
        // The octets of the apex are there, but no label begins where they do.
        let odd = Name::from_wire(b"\x06a\x04test\0").unwrap();
        assert!(!odd.is_within(&name("test")));
    }

    #[test]
    fn the_canonical_order_is_that_of_the_standard() {
        // RFC 4034 section 6.1, as far as its names are in lower case.
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "z.a.example",
            "z.example",
        ];

        for pair in sorted.windows(2) {
            let (left, right) = (name(pair[0]), name(pair[1]));
            assert_eq!(
                canonical_order(left.wire(), right.wire()),
                Ordering::Less,
                "{pair:?}"
            );
        }
    }
}
