//! From a master key to session keys (RFC 3711 section 4.3).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use hmac::{Hmac, Mac as _};
use zeroize::Zeroizing;

use super::{Counter, KeyRefused, Transform};
use crate::media::plan::{SrtpKeys, SrtpSuite};

/// The master key as a generator of session keys.
pub(super) struct Master {
    key: EncryptingKey,
    key_bytes: usize,
    salt: u128,
}

impl Master {
    pub(super) fn new(keys: &SrtpKeys) -> Result<Self, KeyRefused> {
        let algorithm: &'static Algorithm = match keys.suite() {
            SrtpSuite::AeadAes256Gcm => &AES_256,
            SrtpSuite::AeadAes128Gcm
            | SrtpSuite::AesCm128HmacSha1_32
            | SrtpSuite::AesCm128HmacSha1_80 => &AES_128,
        };
        Ok(Self {
            key: encrypting(algorithm, keys.key())?,
            key_bytes: keys.key().len(),
            salt: salt_of(keys.salt()),
        })
    }

    /// RFC 3711 section 4.3.3: the key stream that begins at label and salt.
    pub(super) fn derive<const N: usize>(
        &self,
        label: u8,
    ) -> Result<Zeroizing<[u8; N]>, KeyRefused> {
        let mut stream = Zeroizing::new([0; N]);
        // The label stands above the 48 bits of an index divided by the rate, which is zero here.
        let start = self.salt ^ (u128::from(label) << 64);
        let context = EncryptionContext::Iv128(FixedLength::from(start.to_be_bytes()));
        self.key
            .less_safe_encrypt(stream.as_mut_slice(), context)
            .map_err(|_| KeyRefused)?;
        Ok(stream)
    }

    pub(super) fn transform(
        &self,
        suite: SrtpSuite,
        [encryption, authentication, salting]: [u8; 3],
        tag_bytes: usize,
    ) -> Result<Transform, KeyRefused> {
        let key = self.derive::<32>(encryption)?;
        let key = key.get(..self.key_bytes).ok_or(KeyRefused)?;
        let aead = match suite {
            SrtpSuite::AeadAes128Gcm => &AES_128_GCM,
            SrtpSuite::AeadAes256Gcm => &AES_256_GCM,
            SrtpSuite::AesCm128HmacSha1_32 | SrtpSuite::AesCm128HmacSha1_80 => {
                let authentication = self.derive::<20>(authentication)?;
                return Ok(Transform::Counter(Box::new(Counter {
                    authentication: Hmac::new_from_slice(authentication.as_slice())
                        .map_err(|_| KeyRefused)?,
                    salt: salt_of(self.derive::<14>(salting)?.as_slice()),
                    tag_bytes,
                    key: encrypting(&AES_128, key)?,
                })));
            }
        };
        let key = UnboundKey::new(aead, key).map_err(|_| KeyRefused)?;
        Ok(Transform::Gcm {
            key: Box::new(LessSafeKey::new(key)),
            salt: salt_of(self.derive::<12>(salting)?.as_slice()),
        })
    }
}

pub(super) fn encrypting(
    algorithm: &'static Algorithm,
    key: &[u8],
) -> Result<EncryptingKey, KeyRefused> {
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| KeyRefused)?;
    EncryptingKey::ctr(key).map_err(|_| KeyRefused)
}

/// A salt of 14 or 12 octets at the upper end of 16, with zeros behind it.
pub(super) fn salt_of(octets: &[u8]) -> u128 {
    let mut block = [0; 16];
    for (to, from) in block.iter_mut().zip(octets) {
        *to = *from;
    }
    u128::from_be_bytes(block)
}
