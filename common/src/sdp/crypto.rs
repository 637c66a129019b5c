//! SRTP keys as they stand in session descriptions (RFC 4568, RFC 7714): suites, master keys, MKI, `a=crypto`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sdp_types::{Crypto, SrtpKeyParam, SrtpSessionParam};
use smallvec::SmallVec;
use zeroize::{Zeroize, Zeroizing};

use crate::limits;
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

/// One `a=crypto` line that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoLine {
    /// Names the line in the answer (RFC 4568 section 4.1).
    pub tag: u32,
    /// The keys of the line, all of one suite: one, or several told apart by their MKI. Never empty.
    pub keys: SmallVec<[SrtpKeys; 1]>,
}

/// Why an `a=crypto` line can't be used; the line counts as not there (RFC 4568 section 5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoFault {
    /// A key of the wrong length, or not base64.
    #[error("a key has not the length of its suite")]
    Key,
    /// Not written as RFC 4568 has it.
    #[error("not understood")]
    Malformed,
    /// A session parameter that is unknown, or would change the packets in a way that is not supported.
    #[error("a session parameter is not supported")]
    Parameter,
    /// A suite that is unknown or too weak.
    #[error("the suite is not supported")]
    Suite,
    /// The peer wants packets without encryption or without authentication.
    #[error("a session parameter switches protection off")]
    Unprotected,
}

impl CryptoLine {
    /// Reads the value of `a=crypto`.
    ///
    /// # Errors
    /// [`CryptoFault`] if the line is to be ignored.
    pub fn parse(value: &str) -> Result<Self, CryptoFault> {
        let mut crypto: Crypto = value.trim().parse().map_err(|_| CryptoFault::Malformed)?;
        let result = Self::read(&crypto);
        for parameter in &mut crypto.key_params {
            parameter.key_and_salt.zeroize();
        }
        result
    }

    fn read(crypto: &Crypto) -> Result<Self, CryptoFault> {
        let suite = SrtpSuite::parse(crypto.crypto_suite.as_str()).ok_or(CryptoFault::Suite)?;
        crypto
            .session_params
            .iter()
            .try_for_each(check_session_parameter)?;
        if crypto.key_params.len() > limits::SRTP_KEYS_PER_LINE_MAX {
            return Err(CryptoFault::Key);
        }
        let has_several = crypto.key_params.len() > 1;
        let keys = crypto.key_params.iter().map(|key| {
            if has_several && key.mki_and_length.is_none() {
                return Err(CryptoFault::Malformed); // RFC 4568 section 6.1
            }
            read_key(suite, key)
        });
        let keys: SmallVec<[SrtpKeys; 1]> = keys.collect::<Result<_, _>>()?;
        let first = keys.first().ok_or(CryptoFault::Key)?;
        let length = first.mki().map(|mki| mki.as_bytes().len());
        let is_even = |key: &SrtpKeys| key.mki().map(|mki| mki.as_bytes().len()) == length;
        if !keys.iter().all(is_even) {
            return Err(CryptoFault::Malformed); // RFC 4568 section 6.1: all of one length
        }
        Ok(Self {
            tag: crypto.tag,
            keys,
        })
    }

    /// The suite of the line.
    #[must_use]
    pub fn suite(&self) -> Option<SrtpSuite> {
        self.keys.first().map(SrtpKeys::suite)
    }
}

/// Writes the value of `a=crypto` with one key.
#[must_use]
pub fn write_crypto(tag: u32, keys: &SrtpKeys) -> String {
    let material = Zeroizing::new(LENIENT.encode(keys.material()));
    format!("{tag} {} inline:{}", keys.suite().as_str(), *material)
}

/// RFC 4568 section 6.3: what changes nothing for the receiver is taken, all else ends the use of the line.
fn check_session_parameter(parameter: &SrtpSessionParam) -> Result<(), CryptoFault> {
    match parameter {
        SrtpSessionParam::Kdr(0) | SrtpSessionParam::Wsh(_) => Ok(()),
        // Section 6.3.7: a sender marks what may be ignored by a hyphen.
        SrtpSessionParam::Extension(name) if name.starts_with('-') => Ok(()),
        SrtpSessionParam::UnencryptedSrtp
        | SrtpSessionParam::UnencryptedSrtcp
        | SrtpSessionParam::UnauthenticatedSrtp => Err(CryptoFault::Unprotected),
        SrtpSessionParam::Kdr(_)
        | SrtpSessionParam::FecOrder(_)
        | SrtpSessionParam::FecKey(_)
        | SrtpSessionParam::Extension(_) => Err(CryptoFault::Parameter),
    }
}

fn read_key(suite: SrtpSuite, parameter: &SrtpKeyParam) -> Result<SrtpKeys, CryptoFault> {
    let material = LENIENT.decode(&parameter.key_and_salt);
    let material = Zeroizing::new(material.map_err(|_| CryptoFault::Key)?);
    let mki = match parameter.mki_and_length {
        None => None,
        Some((value, length)) => {
            let length = u8::try_from(length).map_err(|_| CryptoFault::Malformed)?;
            Some(Mki::new(value, length))
        }
    };
    SrtpKeys::new(suite, &material, mki).ok_or(CryptoFault::Key)
}

/// Standard base64; some phones leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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

    const KEY: &str = "inline:g9xDaa6O20UsO9vsoXQw5gJSjOp+TK4+9ahl15pY";

    #[test]
    fn a_line_reads_back_as_written_in_every_suite() {
        let material: Vec<u8> = (0..44).collect();
        for suite in [
            SrtpSuite::AeadAes256Gcm,
            SrtpSuite::AeadAes128Gcm,
            SrtpSuite::AesCm128HmacSha1_80,
            SrtpSuite::AesCm128HmacSha1_32,
        ] {
            let keys = SrtpKeys::new(suite, &material[..suite.material_bytes()], None).unwrap();

            let line = CryptoLine::parse(&write_crypto(7, &keys)).unwrap();

            assert_eq!(line.tag, 7);
            assert_eq!(line.keys.as_slice(), [keys]);
        }
    }

    #[test]
    fn lifetime_and_mki_are_understood() {
        for (parameters, mki) in [
            ("", None),
            ("|2^20", None),
            ("|1048576", None),
            ("|2^31|1:4", Some(vec![0, 0, 0, 1])),
            ("|66:2", Some(vec![0, 66])),
        ] {
            let value = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}{parameters}");

            let line = CryptoLine::parse(&value).unwrap();

            let read = line.keys[0].mki().map(|mki| mki.as_bytes().to_vec());
            assert_eq!(read, mki, "{parameters}");
        }
    }

    #[test]
    fn several_keys_need_an_mki_of_one_length_each() {
        let line = |first: &str, second: &str| {
            let value = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}{first};{KEY}{second}");
            CryptoLine::parse(&value).map(|line| line.keys.len())
        };

        assert_eq!(line("|2^20|1:4", "|2^20|2:4"), Ok(2));
        assert_eq!(line("|2^20|1:4", "|2^20|2:2"), Err(CryptoFault::Malformed));
        assert_eq!(line("|2^20|1:4", "|2^20"), Err(CryptoFault::Malformed));
    }

    #[test]
    fn a_line_that_cannot_be_kept_to_is_ignored_for_its_reason() {
        for (value, fault) in [
            (format!("1 F8_128_HMAC_SHA1_80 {KEY}"), CryptoFault::Suite),
            (format!("1 AEAD_AES_128_GCM {KEY}"), CryptoFault::Key),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} UNENCRYPTED_SRTP"),
                CryptoFault::Unprotected,
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} UNENCRYPTED_SRTCP"),
                CryptoFault::Unprotected,
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} UNAUTHENTICATED_SRTP"),
                CryptoFault::Unprotected,
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} KDR=3"),
                CryptoFault::Parameter,
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} SOMETHING=new"),
                CryptoFault::Parameter,
            ),
            (
                format!("x AES_CM_128_HMAC_SHA1_80 {KEY}"),
                CryptoFault::Malformed,
            ),
            (
                "1 AES_CM_128_HMAC_SHA1_80 inline:****".to_owned(),
                CryptoFault::Key,
            ),
            ("1".to_owned(), CryptoFault::Malformed),
        ] {
            assert_eq!(CryptoLine::parse(&value), Err(fault), "{value}");
        }
    }

    #[test]
    fn parameters_that_change_nothing_are_taken() {
        for parameter in ["KDR=0", "WSH=128", "-unknown=1"] {
            let value = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} {parameter}");

            assert!(CryptoLine::parse(&value).is_ok(), "{parameter}");
        }
    }
}
