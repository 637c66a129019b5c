//! The keys that an issuer signs with: a JWK set (RFC 7517) or public keys in PEM form. Decides nothing about tokens.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm::{Algorithm, KeyKind};
use super::compact::{Kid, decode, object};
use super::error::TokenError;
use crate::limits;

/// Keys by name, and a few that have none.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    named: BTreeMap<Kid, VerifyingKey>,
    nameless: Vec<VerifyingKey>,
}

/// Why there is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not one key that could be used.
    #[error("has no key for signatures that is supported")]
    Empty,
    /// Neither a JWK set nor PEM.
    #[error("is neither a JWK set nor public keys in PEM form")]
    Malformed,
    /// Over [`limits::JWKS_BYTES_MAX`].
    #[error("is longer than {} octets", limits::JWKS_BYTES_MAX)]
    TooLarge,
    /// Over [`limits::JWKS_KEYS_MAX`].
    #[error("has more than {} keys", limits::JWKS_KEYS_MAX)]
    TooMany,
}

#[derive(Clone, Debug)]
struct VerifyingKey {
    key: DecodingKey,
    kind: KeyKind,
    /// The one algorithm that the set allows it for.
    algorithm: Option<String>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// One key as it is written; members that don't count are not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys that are not for signatures or not supported are passed over, symmetric ones always.
    ///
    /// # Errors
    /// [`KeySetError`] if it is too large, no JWK set, or has no usable key.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > limits::JWKS_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let jwks: Jwks = object(json).ok_or(KeySetError::Malformed)?;
        if jwks.keys.len() > limits::JWKS_KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut set = Self::default();
        for jwk in &jwks.keys {
            let Some(key) = jwk.verifying_key() else {
                continue;
            };
            match &jwk.kid {
                Some(name) => {
                    if let Some(kid) = Kid::parse(name) {
                        set.named.entry(kid).or_insert(key);
                    }
                }
                None => set.push_nameless(key),
            }
        }
        set.if_any()
    }

    /// Reads a file: a JWK set, or public keys and certificates in PEM form, which serve tokens with any name of a key.
    ///
    /// # Errors
    /// [`KeySetError`] if it is neither.
    pub fn from_file(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > limits::JWKS_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        if text.trim_ascii_start().starts_with(b"{") {
            return Self::from_jwks(text);
        }
        let mut set = Self::default();
        for section in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
            let der = section.map_err(|_| KeySetError::Malformed)?;
            let (_, info) =
                SubjectPublicKeyInfo::from_der(&der).map_err(|_| KeySetError::Malformed)?;
            set.push_public_key(&info)?;
        }
        for section in CertificateDer::pem_slice_iter(text) {
            let der = section.map_err(|_| KeySetError::Malformed)?;
            let (_, certificate) =
                X509Certificate::from_der(&der).map_err(|_| KeySetError::Malformed)?;
            set.push_public_key(certificate.public_key())?;
        }
        set.if_any()
    }

    /// Adds the keys of another set; names that are taken stay.
    pub fn merge(&mut self, other: Self) {
        for (kid, key) in other.named {
            self.named.entry(kid).or_insert(key);
        }
        for key in other.nameless {
            self.push_nameless(key);
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.named.len().saturating_add(self.nameless.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.nameless.is_empty()
    }

    /// Whether one of the keys has that name.
    #[must_use]
    pub fn has(&self, kid: &Kid) -> bool {
        self.named.contains_key(kid)
    }

    /// Checks a signature with the key of that name; if there is none of that name, with those that have no name.
    pub(super) fn check(
        &self,
        kid: Option<&Kid>,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Result<(), TokenError> {
        // What is not base64 is not a signature of anybody.
        decode(signature)?;
        if let Some(key) = kid.and_then(|kid| self.named.get(kid)) {
            return if key.verifies(algorithm, signed, signature)? {
                Ok(())
            } else {
                Err(TokenError::Signature)
            };
        }
        // A token that names no key may be of the only one there is (RFC 7515 appendix D).
        let only = (kid.is_none() && self.named.len() == 1)
            .then(|| self.named.values().next())
            .flatten();
        let mut was_tried = false;
        for key in self.nameless.iter().chain(only) {
            if let Ok(is_good) = key.verifies(algorithm, signed, signature) {
                if is_good {
                    return Ok(());
                }
                was_tried = true;
            }
        }
        if was_tried && kid.is_none() {
            return Err(TokenError::Signature);
        }
        Err(TokenError::UnknownKey)
    }

    fn push_nameless(&mut self, key: VerifyingKey) {
        // Each is a signature check that a stranger's token costs.
        if self.nameless.len() < limits::JWKS_NAMELESS_MAX {
            self.nameless.push(key);
        }
    }

    fn push_public_key(&mut self, info: &SubjectPublicKeyInfo<'_>) -> Result<(), KeySetError> {
        let bits = info.subject_public_key.data.as_ref();
        let key = match info.parsed().map_err(|_| KeySetError::Malformed)? {
            PublicKey::RSA(rsa) => rsa_key(rsa.modulus, rsa.exponent),
            PublicKey::EC(point) => match point.data().len() {
                P256_POINT_BYTES => Some((DecodingKey::from_ec_der(bits), KeyKind::P256)),
                P384_POINT_BYTES => Some((DecodingKey::from_ec_der(bits), KeyKind::P384)),
                _ => None,
            },
            PublicKey::Unknown(raw) if raw.len() == ED25519_BYTES => {
                Some((DecodingKey::from_ed_der(raw), KeyKind::Ed25519))
            }
            PublicKey::DSA(_)
            | PublicKey::GostR3410(_)
            | PublicKey::GostR3410_2012(_)
            | PublicKey::Unknown(_) => None,
        };
        let (key, kind) = key.ok_or(KeySetError::Empty)?;
        self.push_nameless(VerifyingKey {
            key,
            kind,
            algorithm: None,
        });
        Ok(())
    }

    fn if_any(self) -> Result<Self, KeySetError> {
        if self.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(self)
    }
}

impl VerifyingKey {
    /// Whether the signature is this key's.
    fn verifies(
        &self,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Result<bool, TokenError> {
        let is_declared = |declared: &String| declared == algorithm.as_str();
        if self.kind != algorithm.key_kind() || !self.algorithm.as_ref().is_none_or(is_declared) {
            return Err(TokenError::Algorithm);
        }
        let verdict = jsonwebtoken::crypto::verify(
            signature,
            signed.as_bytes(),
            &self.key,
            algorithm.library(),
        );
        Ok(verdict.unwrap_or(false))
    }
}

impl Jwk {
    fn verifying_key(&self) -> Option<VerifyingKey> {
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self
                .key_ops
                .as_ref()
                .is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !is_for_signatures {
            return None;
        }
        let part = |text: &Option<String>| decode(text.as_deref()?).ok();
        let (key, kind) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => rsa_key(&part(&self.n)?, &part(&self.e)?)?,
            ("EC", Some("P-256")) => (self.point(P256_POINT_BYTES)?, KeyKind::P256),
            ("EC", Some("P-384")) => (self.point(P384_POINT_BYTES)?, KeyKind::P384),
            ("OKP", Some("Ed25519")) => {
                let raw = part(&self.x).filter(|raw| raw.len() == ED25519_BYTES)?;
                (DecodingKey::from_ed_der(&raw), KeyKind::Ed25519)
            }
            _ => return None,
        };
        Some(VerifyingKey {
            key,
            kind,
            algorithm: self.alg.clone(),
        })
    }

    /// An uncompressed point (SEC 1 section 2.3.3).
    fn point(&self, bytes: usize) -> Option<DecodingKey> {
        let x = decode(self.x.as_deref()?).ok()?;
        let y = decode(self.y.as_deref()?).ok()?;
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        (x.len() == y.len() && point.len() == bytes).then(|| DecodingKey::from_ec_der(&point))
    }
}

/// RFC 7518 section 3.3: 2048 bits or more.
fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Option<(DecodingKey, KeyKind)> {
    let zeroes = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = modulus.get(zeroes..)?;
    let is_sound = (RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&modulus.len())
        && (1..=RSA_EXPONENT_BYTES_MAX).contains(&exponent.len());
    is_sound.then(|| {
        let n = URL_SAFE_NO_PAD.encode(modulus);
        let e = URL_SAFE_NO_PAD.encode(exponent);
        DecodingKey::from_rsa_components(&n, &e)
            .ok()
            .map(|key| (key, KeyKind::Rsa))
    })?
}

const P256_POINT_BYTES: usize = 65;
const P384_POINT_BYTES: usize = 97;
const ED25519_BYTES: usize = 32;
const RSA_BYTES_MIN: usize = 256;
const RSA_BYTES_MAX: usize = 1024;
const RSA_EXPONENT_BYTES_MAX: usize = 8;
