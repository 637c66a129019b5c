//! The `X-Auth` cookie: what edge-c issues, what edge-e checks before it opens a stream, and the fields that carry it.
//!
//! It is not the session and grants nothing by itself: the record on edge-c does, found under [`SessionId`]. The tag only
//! lets edge-e drop what edge-c would refuse anyway.
//!
//! Its value is 64 characters of base64url (RFC 4648 section 5, no padding), 48 octets:
//!
//! ```text
//! version 1 | core 1 | generation 1 | expiry 4, seconds, big-endian | random 18 | tag 23
//! ```
//!
//! The tag is HMAC-SHA-256 (RFC 2104) over the first 25 octets under the key that core and generation name, cut to 23.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use self::field::{Stripped, candidates, sets_edge_cookie, strip, strip_fields};
pub use self::filter::{Checked, Filter, Refused};
pub use self::set_cookie::{cookie_domain, set_cookie};
pub use self::tombstone::{Tombstone, Tombstones};
use crate::id::CoreId;
use crate::redact::Secret;
use crate::time::UnixTime;

mod field;
mod filter;
mod set_cookie;
mod tombstone;

/// The cookie's name.
pub const COOKIE_NAME: &str = "X-Auth";
/// Characters of a cookie's value.
pub const COOKIE_CHARS: usize = 64;

/// Names the key that made a cookie's tag: which core issued it, and which of that core's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    /// The core that keeps the record.
    pub core: CoreId,
    /// Counts that core's keys, modulo 256.
    pub generation: u8,
}

/// A key that makes and checks tags. Edge-e holds it too, so it proves nothing to edge-c.
#[derive(Clone)]
pub struct FilterKey {
    octets: Secret<[u8; 32]>,
    // Both halves of the HMAC key schedule, worked out once.
    prepared: hmac::Key,
}

impl FilterKey {
    /// Makes a key of 32 octets, which the caller took from a random source or from the link.
    #[must_use]
    pub fn new(octets: [u8; 32]) -> Self {
        Self {
            prepared: hmac::Key::new(hmac::HMAC_SHA256, &octets),
            octets: Secret::new(octets),
        }
    }

    /// The octets, for the link and the store.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; 32] {
        self.octets.reveal()
    }

    fn tag(&self, signed: &[u8; SIGNED_BYTES]) -> [u8; TAG_BYTES] {
        first(hmac::sign(&self.prepared, signed).as_ref())
    }
}

impl PartialEq for FilterKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.reveal(), other.reveal()).is_ok()
    }
}

impl Eq for FilterKey {}

impl fmt::Debug for FilterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The keys of one core that edge-e honours: the latest and the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterKeys {
    /// The core they belong to.
    pub core: CoreId,
    /// The latest key and its generation. It is known to edge-e a while before cookies carry it.
    pub latest: (u8, FilterKey),
    /// The key before that, if there was one.
    pub earlier: Option<(u8, FilterKey)>,
}

impl FilterKeys {
    pub(crate) fn find(&self, generation: u8) -> Option<&FilterKey> {
        let (latest, key) = &self.latest;
        if *latest == generation {
            return Some(key);
        }
        match &self.earlier {
            Some((earlier, key)) if *earlier == generation => Some(key),
            Some(_) | None => None,
        }
    }
}

/// Under what a session is known to everybody but its client: SHA-256 of the cookie's random octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub [u8; 32]);

impl SessionId {
    /// All 64 hexadecimal digits, for the operator who revokes it.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id has 64 hexadecimal digits")]
pub struct SessionIdError;

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SessionIdError);
        }
        let mut octets = [0; 32];
        let halves = text.split_at(32);
        for (place, half) in octets.chunks_exact_mut(16).zip([halves.0, halves.1]) {
            let number = u128::from_str_radix(half, 16).map_err(|_| SessionIdError)?;
            place.copy_from_slice(&number.to_be_bytes());
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for SessionId {
    /// The first 8 octets in hexadecimal: enough to tell sessions apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(8)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a cookie of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// Not 64 characters of base64url.
    #[error("is not 64 characters of base64url")]
    Encoding,
    /// Of a version that this build doesn't know.
    #[error("has an unknown version")]
    Version,
}

/// A well-formed cookie value. That says nothing about who made it.
///
/// It is what the client shows to be let in: it prints nothing and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct CookieValue([u8; COOKIE_BYTES]);

impl CookieValue {
    /// Reads a value as a client sent it.
    ///
    /// # Errors
    /// [`CookieError`] if it isn't exactly what [`CookieValue::text`] writes.
    pub fn parse(text: &str) -> Result<Self, CookieError> {
        // 64 characters carry exactly 48 octets: no spare bits, so each value has one spelling.
        if text.len() != COOKIE_CHARS {
            return Err(CookieError::Encoding);
        }
        let mut octets = [0; COOKIE_BYTES];
        URL_SAFE_NO_PAD
            .decode_slice(text, &mut octets)
            .map_err(|_| CookieError::Encoding)?;
        let value = Self(octets);
        if value.part::<0, 1>() == [VERSION] {
            Ok(value)
        } else {
            Err(CookieError::Version)
        }
    }

    /// Makes a cookie: `random` must come from a random source and be used once.
    ///
    /// An expiry after February 2106 is written as that.
    #[must_use]
    pub fn issue(
        key: &FilterKey,
        key_id: KeyId,
        expiry: UnixTime,
        random: [u8; RANDOM_BYTES],
    ) -> Self {
        let expiry = u32::try_from(expiry.0).unwrap_or(u32::MAX);
        let mut octets = [0; COOKIE_BYTES];
        let head = [VERSION, key_id.core.0, key_id.generation];
        fill(
            &mut octets,
            head.into_iter().chain(expiry.to_be_bytes()).chain(random),
        );
        let mut value = Self(octets);
        let tag = key.tag(&value.signed());
        let signed = value.signed();
        fill(&mut value.0, signed.into_iter().chain(tag));
        value
    }

    /// The 64 characters that go to the client.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Which key is said to have made the tag.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let [core, generation] = self.part::<1, 2>();
        KeyId {
            core: CoreId(core),
            generation,
        }
    }

    /// When the cookie says it ends. The record on edge-c says when the session does.
    #[must_use]
    pub fn expiry(&self) -> UnixTime {
        UnixTime(u32::from_be_bytes(self.part::<3, 4>()).into())
    }

    /// The random octets: with edge-c's own key they open the session's credential.
    #[must_use]
    pub fn random(&self) -> [u8; RANDOM_BYTES] {
        self.part::<7, RANDOM_BYTES>()
    }

    /// Under what edge-c keeps the session.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        SessionId(first(
            digest::digest(&digest::SHA256, &self.random()).as_ref(),
        ))
    }

    /// Whether `key` made the tag. Takes the same time whatever the tag holds.
    #[must_use]
    pub fn is_tagged_by(&self, key: &FilterKey) -> bool {
        let tag = self.part::<SIGNED_BYTES, TAG_BYTES>();
        constant_time::verify_slices_are_equal(&key.tag(&self.signed()), &tag).is_ok()
    }

    fn signed(&self) -> [u8; SIGNED_BYTES] {
        self.part::<0, SIGNED_BYTES>()
    }

    fn part<const FROM: usize, const LENGTH: usize>(&self) -> [u8; LENGTH] {
        const {
            assert!(FROM + LENGTH <= COOKIE_BYTES);
        }
        first(self.0.get(FROM..).unwrap_or_default())
    }
}

impl fmt::Debug for CookieValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Reads arbitrary text as a cookie and checks that what reads is written back the same.
///
/// # Panics
/// If a text that reads as a cookie isn't what that cookie is written as: a bug.
#[cfg(any(test, feature = "test-util"))]
pub fn fuzz_cookie(octets: &[u8]) {
    let key = FilterKey::new([7; 32]);
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(value) = CookieValue::parse(text)
    {
        assert_eq!(value.text(), text, "one spelling");
        let again = CookieValue::issue(&key, value.key_id(), value.expiry(), value.random());
        assert_eq!(again.session_id(), value.session_id(), "same session");
        assert_eq!(value.is_tagged_by(&key), again == value, "tag or no tag");
    }
    field::fuzz_strip(octets);
}

/// The first `LENGTH` octets of `octets`, filled up with zeros where there are fewer.
fn first<const LENGTH: usize>(octets: &[u8]) -> [u8; LENGTH] {
    let mut out = [0; LENGTH];
    fill(&mut out, octets.iter().copied());
    out
}

fn fill(to: &mut [u8], from: impl Iterator<Item = u8>) {
    for (place, octet) in to.iter_mut().zip(from) {
        *place = octet;
    }
}

/// Random octets in a cookie.
pub const RANDOM_BYTES: usize = 18;
const VERSION: u8 = 1;
const SIGNED_BYTES: usize = 7 + RANDOM_BYTES;
const TAG_BYTES: usize = 23;
const COOKIE_BYTES: usize = SIGNED_BYTES + TAG_BYTES;

const _: () = assert!(COOKIE_BYTES * 4 == COOKIE_CHARS * 3);

#[cfg(test)]
#[expect(clippy::string_slice, reason = "cookies are ASCII")]
mod tests;
