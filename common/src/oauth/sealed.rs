//! The encrypted part of a self-describing token: a JWE (RFC 7516) of the one form that is used, `dir` with
//! `A128CBC-HS256` (RFC 7518 section 5.2.3). Compressed content is refused: a few octets could become gigabytes.

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::compact::{Compact, decode, object};
use super::error::TokenError;
use crate::redact::Secret;

/// The 256-bit key that opens encrypted parts: half authenticates, half encrypts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealKey(Secret<[u8; Self::BYTES]>);

/// A text that is not such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a key of 256 bits, as 32 octets, in base64 or in hexadecimal")]
pub struct SealKeyError;

impl SealKey {
    /// Octets of a key.
    pub const BYTES: usize = 32;

    /// Takes the octets.
    #[must_use]
    pub const fn new(octets: [u8; Self::BYTES]) -> Self {
        Self(Secret::new(octets))
    }

    /// Reads a file: the octets as they are, in base64 or in hexadecimal.
    ///
    /// # Errors
    /// [`SealKeyError`] if it is none of these.
    pub fn from_file(content: &[u8]) -> Result<Self, SealKeyError> {
        if let Ok(octets) = content.try_into() {
            return Ok(Self::new(octets));
        }
        let text = content.trim_ascii();
        let octets = if text.len() == 2 * Self::BYTES {
            hexadecimal(text)
        } else {
            STANDARD.decode(text).ok()
        };
        let octets = octets.and_then(|octets| octets.try_into().ok());
        octets.map(Self::new).ok_or(SealKeyError)
    }

    /// The half that authenticates and the half that encrypts (RFC 7518 section 5.2.2.1).
    fn halves(&self) -> (&[u8], &[u8]) {
        self.0.reveal().split_at(Self::BYTES / 2)
    }
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.chunks_exact(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[derive(Deserialize)]
struct Outer {
    private: String,
}

#[derive(Deserialize)]
struct JweHeader {
    alg: String,
    enc: String,
    #[serde(default)]
    zip: Option<IgnoredAny>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// The claims inside a payload whose signature was verified.
pub(super) fn open(payload: &[u8], key: &SealKey) -> Result<Vec<u8>, TokenError> {
    let outer: Outer = object(payload).ok_or(TokenError::Malformed)?;
    let plain = decrypt(&outer.private, key)?;
    if plain.trim_ascii_start().starts_with(b"{") {
        return Ok(plain);
    }
    // `cty` is JWT: the claims are wrapped once more. The signature around everything vouches for them already.
    let text = std::str::from_utf8(&plain).map_err(|_| TokenError::Sealed)?;
    Compact::parse(text.trim_ascii())?.payload()
}

/// RFC 7516 section 5.2 for direct encryption.
fn decrypt(jwe: &str, key: &SealKey) -> Result<Vec<u8>, TokenError> {
    let mut parts = jwe.split('.');
    let (Some(header), Some(""), Some(iv), Some(ciphertext), Some(tag), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(TokenError::Malformed);
    };
    let read: JweHeader = object(&decode(header)?).ok_or(TokenError::Malformed)?;
    if read.alg != "dir" || read.enc != "A128CBC-HS256" {
        return Err(TokenError::Algorithm);
    }
    if read.zip.is_some() || read.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let iv: [u8; BLOCK_BYTES] = decode(iv)?.try_into().map_err(|_| TokenError::Malformed)?;
    let mut ciphertext = decode(ciphertext)?;
    let tag = decode(tag)?;
    let (authenticating, encrypting) = key.halves();
    let expected = authentication_tag(authenticating, header.as_bytes(), &iv, &ciphertext);
    let expected = expected
        .as_ref()
        .get(..TAG_BYTES)
        .ok_or(TokenError::Sealed)?;
    // Before anything is decrypted: no padding oracle.
    verify_slices_are_equal(expected, &tag).map_err(|_| TokenError::Sealed)?;
    let cipher = UnboundCipherKey::new(&AES_128, encrypting).map_err(|_| TokenError::Sealed)?;
    let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(cipher).map_err(|_| TokenError::Sealed)?;
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let plain = cipher.decrypt(&mut ciphertext, context);
    plain
        .map(|plain| plain.to_vec())
        .map_err(|_| TokenError::Sealed)
}

/// RFC 7518 section 5.2.2.1 step 5: header, initialisation vector, ciphertext, length of the header in bits.
pub(super) fn authentication_tag(
    key: &[u8],
    header: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> hmac::Tag {
    let bits = u64::try_from(header.len())
        .unwrap_or(u64::MAX)
        .saturating_mul(8);
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(header);
    context.update(iv);
    context.update(ciphertext);
    context.update(&bits.to_be_bytes());
    context.sign()
}

const BLOCK_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
