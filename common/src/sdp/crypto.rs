//! SRTP keys as they stand in session descriptions (RFC 4568, RFC 7714): suites, master keys, MKI.

use smallvec::SmallVec;

use crate::redact::Secret;

/// An SRTP crypto suite that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SrtpSuite {
    /// `AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
    /// `AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568 section 6.2.1).
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32` (RFC 4568 section 6.2.2): RTP has a tag of 32 bits, RTCP one of 80. Taken when a peer
    /// offers nothing better, never offered.
    AesCm128HmacSha1_32,
}

impl SrtpSuite {
    /// What is offered, best first.
    pub const OFFERED: [Self; 3] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
    ];

    /// The name in `a=crypto`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of that name, in any letter case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::AeadAes256Gcm,
            Self::AeadAes128Gcm,
            Self::AesCm128HmacSha1_80,
            Self::AesCm128HmacSha1_32,
        ]
        .into_iter()
        .find(|suite| suite.as_str().eq_ignore_ascii_case(name))
    }

    /// Octets of the master key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Octets of the master salt.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
        }
    }

    /// Octets of key and salt together, as `inline:` carries them.
    #[must_use]
    pub const fn material_bytes(self) -> usize {
        self.key_bytes() + self.salt_bytes()
    }
}

/// Most octets of key and salt of any suite.
const MATERIAL_BYTES_MAX: usize = SrtpSuite::AeadAes256Gcm.material_bytes();

/// A master key identifier as it stands in packets: the value in network order, as long as was announced (RFC 3711
/// section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mki(SmallVec<[u8; 4]>);

impl Mki {
    /// The identifier `value` in `length` octets.
    #[must_use]
    pub fn new(value: u32, length: u8) -> Self {
        let digits = value.to_be_bytes();
        let length = usize::from(length);
        let mut bytes: SmallVec<[u8; 4]> = SmallVec::from_elem(0, length);
        for (to, from) in bytes.iter_mut().rev().zip(digits.iter().rev()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The octets that stand between the encrypted packet and its tag.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One SRTP master key with its salt, for one direction of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    suite: SrtpSuite,
    material: Secret<[u8; MATERIAL_BYTES_MAX]>,
    mki: Option<Mki>,
}

impl SrtpKeys {
    /// Keys of `material` (key, then salt), or `None` if its length is not that of the suite.
    #[must_use]
    pub fn new(suite: SrtpSuite, material: &[u8], mki: Option<Mki>) -> Option<Self> {
        if material.len() != suite.material_bytes() {
            return None;
        }
        let mut bytes = [0; MATERIAL_BYTES_MAX];
        bytes.get_mut(..material.len())?.copy_from_slice(material);
        Some(Self {
            suite,
            material: Secret::new(bytes),
            mki,
        })
    }

    /// How packets are protected.
    #[must_use]
    pub const fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The master key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let (key, _) = self.material().split_at(self.suite.key_bytes());
        key
    }

    /// The master salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        let (_, salt) = self.material().split_at(self.suite.key_bytes());
        salt
    }

    /// The identifier that every packet under this key carries, if any.
    #[must_use]
    pub const fn mki(&self) -> Option<&Mki> {
        self.mki.as_ref()
    }

    /// Key and salt, as `inline:` carries them.
    pub(crate) fn material(&self) -> &[u8] {
        let bytes: &[u8] = self.material.reveal();
        bytes.split_at(self.suite.material_bytes()).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_length_of_their_suite_and_print_nothing() {
        let material: Vec<u8> = (0..44).collect();

        let keys = SrtpKeys::new(SrtpSuite::AeadAes256Gcm, &material, None).unwrap();

        assert_eq!(keys.key().len(), 32);
        assert_eq!(keys.salt(), &material[32..]);
        assert!(!format!("{keys:?}").contains("31"));
        assert_eq!(
            SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &material, None),
            None
        );
    }

    #[test]
    fn an_mki_is_written_in_network_order_at_its_announced_length() {
        assert_eq!(Mki::new(1, 1).as_bytes(), [1]);
        assert_eq!(Mki::new(0x0102, 4).as_bytes(), [0, 0, 1, 2]);
        assert_eq!(Mki::new(7, 6).as_bytes(), [0, 0, 0, 0, 0, 7]);
    }
}
