//! Encryption of what is kept: the users' credentials, each under a key of its own, and the values of the snapshot.
//!
//! A credential's key is derived from edge-c's state key *and* the random octets of the cookie. The cookie is with the
//! client only, the store knows no more than its hash: so neither a stolen store nor a stolen state key, nor both, open it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use common::mra::cookie::CookieValue;
use common::redact::Secret;
use common::session::{SealedCredential, SessionId};
use zeroize::Zeroizing;

use super::random::{Random, RandomError, draw};

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The cookie belongs to another session.
    #[error("the cookie is not that of the session")]
    Cookie,
    /// Altered, or sealed under another key: the same to whoever looks.
    #[error("the seal does not open")]
    Opening,
    /// No random octets.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Edge-c's own key: 32 octets that never leave it.
#[derive(Clone, Debug)]
pub(super) struct StateKey(Secret<[u8; STATE_KEY_BYTES]>);

/// Octets in a state key.
pub(super) const STATE_KEY_BYTES: usize = 32;

impl StateKey {
    /// Takes octets from a random source, or from the key file.
    #[must_use]
    pub(super) const fn new(octets: [u8; STATE_KEY_BYTES]) -> Self {
        Self(Secret::new(octets))
    }

    /// Encrypts a user's credential for the session that `cookie` opens.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub(super) fn seal_credential(
        &self,
        cookie: &CookieValue,
        credential: &Secret<String>,
        random: &dyn Random,
    ) -> Result<SealedCredential, SealError> {
        let sealer = self.credential_sealer(cookie)?;
        let id = cookie.session_id();
        let sealed = sealer.seal(&id.0, credential.reveal().as_bytes(), random)?;
        Ok(SealedCredential(sealed))
    }

    /// Decrypts it again.
    ///
    /// # Errors
    /// [`SealError`] if it isn't the one that was sealed for this session.
    pub(super) fn open_credential(
        &self,
        cookie: &CookieValue,
        id: &SessionId,
        sealed: &SealedCredential,
    ) -> Result<Secret<String>, SealError> {
        if cookie.session_id() != *id {
            return Err(SealError::Cookie);
        }
        let octets = self.credential_sealer(cookie)?.open(&id.0, &sealed.0)?;
        std::str::from_utf8(&octets)
            .map(|text| Secret::new(text.to_owned()))
            .map_err(|_| SealError::Opening)
    }

    /// What seals the values of the snapshot.
    ///
    /// # Errors
    /// [`SealError::Opening`] if the crypto library refuses the key, which it never should.
    pub(super) fn snapshot_sealer(&self) -> Result<Sealer, SealError> {
        self.sealer(b"edge-c session snapshot 1")
    }

    /// What seals under a key of its own, which `label` names.
    ///
    /// # Errors
    /// [`SealError::Opening`] if the crypto library refuses the key, which it never should.
    pub(super) fn sealer(&self, label: &[u8]) -> Result<Sealer, SealError> {
        Sealer::derive(self.0.reveal(), label)
    }

    /// Octets for another purpose, which `label` names.
    ///
    /// # Errors
    /// [`SealError::Opening`] if the crypto library refuses the key, which it never should.
    pub(super) fn derived(&self, label: &[u8]) -> Result<[u8; 32], SealError> {
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(self.0.reveal());
        let mut octets = [0; 32];
        extracted
            .expand(&[label], HKDF_SHA256)
            .and_then(|expanded| expanded.fill(&mut octets))
            .map(|()| octets)
            .map_err(|_| SealError::Opening)
    }

    /// What seals under a key that needs `other` too, which the store never has.
    ///
    /// # Errors
    /// [`SealError::Opening`] if the crypto library refuses the key, which it never should.
    pub(super) fn sealer_with(&self, other: &[u8], label: &[u8]) -> Result<Sealer, SealError> {
        let own = self.0.reveal().iter().copied();
        let both: Zeroizing<Vec<u8>> = Zeroizing::new(own.chain(other.iter().copied()).collect());
        Sealer::derive(&both, label)
    }

    /// A keyed hash of `text`, which tells nobody without the key what it was.
    ///
    /// # Errors
    /// [`SealError::Opening`] if the crypto library refuses the key, which it never should.
    pub(super) fn tag(&self, label: &[u8], text: &[u8]) -> Result<[u8; 32], SealError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.derived(label)?);
        let tag = hmac::sign(&key, text);
        tag.as_ref().try_into().map_err(|_| SealError::Opening)
    }

    fn credential_sealer(&self, cookie: &CookieValue) -> Result<Sealer, SealError> {
        let random = Zeroizing::new(cookie.random());
        self.sealer_with(random.as_slice(), b"edge-c session credential 1")
    }
}

/// AES-256-GCM under one derived key; the nonce is random and stands in front.
#[derive(Debug)]
pub(super) struct Sealer(LessSafeKey);

impl Sealer {
    // RFC 5869 with an empty salt: the input is uniformly random already.
    fn derive(secret: &[u8], label: &[u8]) -> Result<Self, SealError> {
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(secret);
        extracted
            .expand(&[label], &AES_256_GCM)
            .map(|octets| Self(LessSafeKey::new(UnboundKey::from(octets))))
            .map_err(|_| SealError::Opening)
    }

    /// Encrypts `plain`; it opens only under the same `place`, so that values can't be swapped.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub(super) fn seal(
        &self,
        place: &[u8],
        plain: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_LEN] = draw(random)?;
        // Encrypted where it lies, with room for the tag: no copy of the plain text stays behind.
        let mut text = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(plain);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut text,
            )
            .map_err(|_| SealError::Opening)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len());
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Decrypts what [`Sealer::seal`] made for the same `place`.
    ///
    /// # Errors
    /// [`SealError::Opening`] if it was altered or isn't for this key and place.
    pub(super) fn open(
        &self,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, text) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Opening)?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain_length = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(place),
                &mut text,
            )
            .map(|plain| plain.len())
            .map_err(|_| SealError::Opening)?;
        text.truncate(plain_length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::tests::CountedRandom;
    use super::*;
    use common::id::CoreId;
    use common::mra::cookie::{FilterKey, KeyId};
    use common::time::UnixTime;

    fn cookie(random: u8) -> CookieValue {
        let key_id = KeyId {
            core: CoreId(1),
            generation: 0,
        };
        CookieValue::issue(&FilterKey::new([0; 32]), key_id, UnixTime(9), [random; 18])
    }

    fn sealed() -> SealedCredential {
        let credential = Secret::new("Basic YWxpY2U6aHVudGVyMg==".to_owned());
        StateKey::new([1; 32])
            .seal_credential(&cookie(1), &credential, &CountedRandom::default())
            .unwrap()
    }

    fn open(key: u8, random: u8, sealed: &SealedCredential) -> Result<Secret<String>, SealError> {
        let cookie = cookie(random);
        StateKey::new([key; 32]).open_credential(&cookie, &cookie.session_id(), sealed)
    }

    #[test]
    fn key_and_cookie_together_open_a_credential() {
        assert_eq!(
            open(1, 1, &sealed()).unwrap().reveal(),
            "Basic YWxpY2U6aHVudGVyMg=="
        );
    }

    #[test]
    fn neither_opens_it_without_the_other() {
        assert_eq!(open(2, 1, &sealed()), Err(SealError::Opening));
        assert_eq!(open(1, 2, &sealed()), Err(SealError::Opening));
        let other =
            StateKey::new([1; 32]).open_credential(&cookie(2), &cookie(1).session_id(), &sealed());
        assert_eq!(other, Err(SealError::Cookie));
    }

    #[test]
    fn the_plain_text_is_not_in_the_seal() {
        let sealed = sealed();

        assert!(!sealed.0.windows(6).any(|part| part == b"YWxpY2"));
        assert!(!format!("{sealed:?}").contains("YWxpY2"));
    }

    #[test]
    fn no_altered_octet_opens() {
        for at in 0..sealed().0.len() {
            let mut altered = sealed();
            altered.0[at] ^= 1;
            assert_eq!(open(1, 1, &altered), Err(SealError::Opening), "{at}");
        }
        for length in 0..sealed().0.len() {
            let cut = SealedCredential(sealed().0[..length].to_vec());
            assert_eq!(open(1, 1, &cut), Err(SealError::Opening), "{length}");
        }
    }

    #[test]
    fn a_value_of_the_snapshot_opens_only_in_its_place() {
        let sealer = StateKey::new([1; 32]).snapshot_sealer().unwrap();
        let sealed = sealer
            .seal(b"sessions/1", b"record", &CountedRandom::default())
            .unwrap();

        assert_eq!(
            sealer.open(b"sessions/1", &sealed).unwrap().as_slice(),
            b"record"
        );
        assert!(sealer.open(b"sessions/2", &sealed).is_err());
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let sealer = StateKey::new([1; 32]).snapshot_sealer().unwrap();
        let random = CountedRandom::default();

        assert_ne!(
            sealer.seal(b"p", b"record", &random),
            sealer.seal(b"p", b"record", &random)
        );
    }
}
