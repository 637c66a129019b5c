//! Digest authentication by edge-c itself (RFC 8760, RFC 7616). Passes no credentials on and keeps none.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest as _, Md5};
use smallvec::SmallVec;

use super::auth::{AuthScheme, Credentials, TokenFault};
use super::message::Message;
use super::name::Name;
use crate::limits;
use crate::redact::Secret;
use crate::sip::identity::Aor;

/// The hash of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-512/256 (RFC 7616 section 3.2).
    Sha512256,
    /// SHA-256.
    Sha256,
    /// MD5, for phones that know nothing else.
    Md5,
}

/// What the shell knows about users.
pub trait HashSource {
    /// H(username ":" realm ":" password) in lower-case hexadecimal; `None` if the user is unknown or this hash of the
    /// password is.
    fn ha1(&self, username: &str, realm: &str, algorithm: Algorithm) -> Option<Secret<String>>;

    /// Whether the user may register this AoR. The user part of the AoR is the user name by default.
    fn may_register(&self, username: &str, aor: &Aor) -> bool {
        aor.user() == username || aor.as_str() == username
    }

    /// Whether the user has a live HTTPS session, from `address` if there is one. `username` is that of the digest if
    /// the request has one, else the user part of the AoR.
    fn is_signed_in(&self, username: &str, address: Option<IpAddr>) -> bool;

    /// Whether a Bearer token (RFC 8898) is good, and that of the user of this AoR. Asked only where tokens are verified.
    ///
    /// # Errors
    /// [`TokenFault`] if it is not.
    fn check_token(&self, aor: &Aor, token: &str) -> Result<(), TokenFault> {
        let _nobody = (aor, token);
        Err(TokenFault::Unavailable)
    }

    /// Where a client gets a token for this AoR: the `authz_server` of a challenge (RFC 8898 section 4), if there is such.
    fn authorization_server(&self, aor: &Aor) -> Option<String> {
        let _nobody = aor;
        None
    }
}

/// Knows nobody: every registrar authenticates by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHashes;

impl HashSource for NoHashes {
    fn ha1(&self, _: &str, _: &str, _: Algorithm) -> Option<Secret<String>> {
        None
    }

    fn is_signed_in(&self, _: &str, _: Option<IpAddr>) -> bool {
        false
    }
}

/// Why credentials prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There are none for this realm.
    #[error("no credentials")]
    Missing,
    /// The nonce is too old or of another flow: the same password with a fresh one will do.
    #[error("the nonce is stale")]
    Stale,
    /// A parameter is missing or is not what it must be.
    #[error("malformed credentials")]
    Malformed,
    /// The user is unknown, the password is wrong, or the AoR is somebody else's.
    #[error("wrong credentials")]
    Wrong,
}

impl DigestError {
    /// Whether it counts as a failed guess.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Malformed | Self::Wrong)
    }

    /// For `stale` of the next challenge.
    #[must_use]
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::Stale)
    }
}

const TAG_BYTES: usize = 16;

/// Nonces without state of their own: number and time, sealed for one flow. A nonce that leaks is worth nothing on another
/// connection, and on its own the [`NonceCounts`] of the flow tell a repetition.
#[derive(Debug)]
pub struct Nonces {
    key: hmac::Key,
    /// Nonces count seconds from here.
    start: Instant,
    made: u32,
}

/// The nonces that a flow has used, each with its latest count (`nc`, RFC 7616 section 3.4).
#[derive(Debug, Default)]
pub struct NonceCounts {
    /// Numbers of nonces, and their counts; the oldest first.
    used: SmallVec<[(u32, u32); 2]>,
    /// Nonces up to this number are not remembered any more, and good for nothing.
    forgotten: Option<u32>,
}

impl NonceCounts {
    /// Whether this count of a nonce is newer than all before.
    fn is_new(&self, number: u32, count: u32) -> bool {
        let is_forgotten = self.forgotten.is_some_and(|last| number <= last);
        let latest = self.used.iter().find(|(known, _)| *known == number);
        !is_forgotten && latest.is_none_or(|(_, latest)| count > *latest)
    }

    fn note(&mut self, number: u32, count: u32) {
        if let Some((_, latest)) = self.used.iter_mut().find(|(known, _)| *known == number) {
            *latest = count;
            return;
        }
        if self.used.len() >= limits::SIP_NONCES_PER_FLOW_MAX {
            let (oldest, _) = self.used.remove(0);
            self.forgotten = self.forgotten.max(Some(oldest));
        }
        self.used.push((number, count));
    }
}

/// Where credentials have to come from, and for whom they are.
#[derive(Clone, Copy, Debug)]
pub struct Realm<'a> {
    /// What clients are asked for.
    pub name: &'a str,
    /// What may be answered with, in the order in which it is asked for.
    pub algorithms: &'a [Algorithm],
    /// The connection.
    pub flow: u64,
}

impl Nonces {
    /// `key` is random and stays here.
    #[must_use]
    pub fn new(key: &[u8; 32], now: Instant) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            start: now,
            made: 0,
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Values of `WWW-Authenticate`, the preferred one first (RFC 8760 section 2.3).
    #[must_use]
    pub fn challenges(&mut self, realm: Realm<'_>, is_stale: bool, now: Instant) -> Vec<String> {
        self.made = self.made.wrapping_add(1);
        let nonce = self.nonce(realm.flow, self.made, now);
        let stale = if is_stale { ", stale=true" } else { "" };
        let challenge = |algorithm: &Algorithm| {
            let (realm, algorithm) = (realm.name, algorithm.name());
            format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={algorithm}{stale}"
            )
        };
        realm.algorithms.iter().map(challenge).collect()
    }

    /// Checks the credentials of a REGISTER; right ones are good once.
    ///
    /// # Errors
    /// [`DigestError`] says what a new challenge should say.
    pub fn verify(
        &self,
        request: &Message,
        realm: Realm<'_>,
        aor: &Aor,
        counts: &mut NonceCounts,
        hashes: &dyn HashSource,
        now: Instant,
    ) -> Result<(), DigestError> {
        let credentials = request
            .credentials()
            .filter(|(name, _)| *name == Name::Authorization)
            .map(|(_, value)| value)
            .find(|value| {
                value.scheme() == AuthScheme::Digest
                    && value
                        .realm()
                        .is_some_and(|text| *text == *realm.name.as_bytes())
            })
            .ok_or(DigestError::Missing)?;
        let number = self.check_nonce(credentials.param("nonce"), realm.flow, now)?;
        let count = nonce_count(&credentials).ok_or(DigestError::Malformed)?;
        // Heard on the way or sent twice: with a fresh nonce the client's next answer counts.
        if !counts.is_new(number, count) {
            return Err(DigestError::Stale);
        }
        check_response(&credentials, request, realm, aor, hashes)?;
        counts.note(number, count);
        Ok(())
    }

    fn nonce(&self, flow: u64, number: u32, now: Instant) -> String {
        let at = self.elapsed(now).as_secs();
        let tag = self.tag(at, number, flow);
        let tag = tag.as_ref().get(..TAG_BYTES).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&at.to_be_bytes()[..], &number.to_be_bytes(), tag].concat())
    }

    fn tag(&self, at: u64, number: u32, flow: u64) -> hmac::Tag {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(&at.to_be_bytes());
        signing.update(&number.to_be_bytes());
        signing.update(&flow.to_be_bytes());
        signing.sign()
    }

    /// The number of a nonce that was made for this flow not long ago.
    fn check_nonce(
        &self,
        nonce: Option<&[u8]>,
        flow: u64,
        now: Instant,
    ) -> Result<u32, DigestError> {
        let nonce = nonce.ok_or(DigestError::Malformed)?;
        // One that we never made may be another server's: the client shall try ours.
        let bytes = URL_SAFE_NO_PAD
            .decode(nonce)
            .map_err(|_| DigestError::Stale)?;
        let (at, rest) = bytes.split_first_chunk().ok_or(DigestError::Stale)?;
        let (number, tag) = rest.split_first_chunk().ok_or(DigestError::Stale)?;
        let (at, number) = (u64::from_be_bytes(*at), u32::from_be_bytes(*number));
        let ours = self.tag(at, number, flow);
        let ours = ours.as_ref().get(..TAG_BYTES).unwrap_or_default();
        constant_time::verify_slices_are_equal(ours, tag).map_err(|_| DigestError::Stale)?;
        let age = self.elapsed(now).saturating_sub(Duration::from_secs(at));
        if age > limits::SIP_NONCE_LIFETIME {
            return Err(DigestError::Stale);
        }
        Ok(number)
    }
}

impl Algorithm {
    /// All that there are, the strongest first.
    pub const ALL: [Self; 3] = [Self::Sha512256, Self::Sha256, Self::Md5];
    /// What phones are asked for if nothing else is set.
    pub const USUAL: [Self; 2] = [Self::Sha256, Self::Md5];

    /// As it stands in `algorithm`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha512256 => "SHA-512-256",
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// The hash in lower-case hexadecimal; `parts` are joined by colons.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> String {
        let text = parts.join(&b":"[..]);
        match self {
            Self::Sha512256 => hex(digest::digest(&digest::SHA512_256, &text).as_ref()),
            Self::Sha256 => hex(digest::digest(&digest::SHA256, &text).as_ref()),
            Self::Md5 => hex(&Md5::digest(&text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// `nc`: eight hexadecimal digits (RFC 7616 section 3.4).
fn nonce_count(credentials: &Credentials<'_>) -> Option<u32> {
    let digits = credentials.param("nc")?;
    let is_digits = digits.len() == 8 && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_digits)?;
    u32::from_str_radix(digits, 16).ok()
}

/// RFC 7616 section 3.4.1 with `qop=auth`.
fn check_response(
    credentials: &Credentials<'_>,
    request: &Message,
    realm: Realm<'_>,
    aor: &Aor,
    hashes: &dyn HashSource,
) -> Result<(), DigestError> {
    let algorithm = match credentials.param("algorithm") {
        None => Algorithm::Md5,
        Some(text) => {
            let is_it = |each: &Algorithm| text.eq_ignore_ascii_case(each.name().as_bytes());
            let known = Algorithm::ALL.into_iter().find(is_it);
            known.ok_or(DigestError::Malformed)?
        }
    };
    // One that was not asked for would be a way around a stronger one.
    if !realm.algorithms.contains(&algorithm) {
        return Err(DigestError::Malformed);
    }
    let field = |name: &str| credentials.param(name).ok_or(DigestError::Malformed);
    let qop = field("qop")?;
    let (nonce, nc, cnonce) = (field("nonce")?, field("nc")?, field("cnonce")?);
    let (uri, response) = (field("uri")?, field("response")?);
    // The digest must be about this very request.
    let is_same_uri = request.uri().is_some_and(|own| own.as_bytes() == uri);
    if !qop.eq_ignore_ascii_case(b"auth") || !is_same_uri {
        return Err(DigestError::Malformed);
    }
    let username = credentials.username().ok_or(DigestError::Malformed)?;
    let username = str::from_utf8(&username).map_err(|_| DigestError::Malformed)?;
    let ha1 = hashes.ha1(username, realm.name, algorithm);
    let ha2 = algorithm.hash(&[request.method_token(), uri]);
    // Unknown users cost as much as known ones.
    let known = ha1.as_ref().map_or("", |ha1| ha1.reveal().as_str());
    let ours = algorithm.hash(&[known.as_bytes(), nonce, nc, cnonce, b"auth", ha2.as_bytes()]);
    let response = response.to_ascii_lowercase();
    let is_right = constant_time::verify_slices_are_equal(ours.as_bytes(), &response).is_ok();
    if is_right && ha1.is_some() && hashes.may_register(username, aor) {
        Ok(())
    } else {
        Err(DigestError::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha_512_256_is_that_of_fips_180_4() {
        // RFC 7616 section 3.9.2 prints SHA-512 cut off at this place, which erratum 4897 corrects.
        let user = "J\u{e4}s\u{f8}n Doe";
        let hash = Algorithm::Sha512256.hash(&[user.as_bytes(), b"api@example.org"]);

        assert_eq!(
            hash,
            "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        );
    }
}
