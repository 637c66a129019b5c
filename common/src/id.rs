//! Identifiers that cannot be mixed up. All of them print as text that logs can be searched for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Follows one request across both edges, in hexadecimal: 8 random bytes of the connection, 8 that count its requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrackingId([u8; 16]);

impl TrackingId {
    /// Makes an id of `bytes`, which the caller took from a random source.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TrackingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At once: every request writes it twice, and a formatter for each byte takes five times as long.
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TrackingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tracking id has 32 hexadecimal digits")]
pub struct TrackingIdError;

impl FromStr for TrackingId {
    type Err = TrackingIdError;

    fn from_str(text: &str) -> Result<Self, TrackingIdError> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(TrackingIdError);
        }
        u128::from_str_radix(text, 16)
            .map(|n| Self(n.to_be_bytes()))
            .map_err(|_| TrackingIdError)
    }
}

/// The number of an edge-c among all that share an edge-e: it stands in every cookie that core issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CoreId(pub u8);

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an edge-e among all that an edge-c is linked to, as its configuration lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeIndex(pub u16);

impl fmt::Display for EdgeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One pair of public media ports on an edge-e, chosen at random by the edge-c that wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllocId(pub u32);

impl fmt::Display for AllocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracking_id_reads_back_as_written() {
        let id = TrackingId::new(*b"0123456789abcdef");

        assert_eq!(id.to_string().parse::<TrackingId>(), Ok(id));
        assert_eq!(TrackingId::new([0; 16]).to_string(), "0".repeat(32));
        assert!("xyz".parse::<TrackingId>().is_err());
        assert!(
            "+0112233445566778899aabbccddeeff"
                .parse::<TrackingId>()
                .is_err()
        );
    }
}
