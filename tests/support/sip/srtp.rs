//! SRTP (RFC 3711, RFC 4568, RFC 7714), as far as tests look into it and forge it: written apart from what the product
//! does, and by the standards' letter.

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A crypto suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 3711).
    CounterMode,
    /// `AEAD_AES_128_GCM` (RFC 7714).
    Gcm128,
    /// `AEAD_AES_256_GCM` (RFC 7714).
    Gcm256,
}

impl Suite {
    const ALL: [Self; 3] = [Self::CounterMode, Self::Gcm128, Self::Gcm256];

    const fn name(self) -> &'static str {
        match self {
            Self::CounterMode => "AES_CM_128_HMAC_SHA1_80",
            Self::Gcm128 => "AEAD_AES_128_GCM",
            Self::Gcm256 => "AEAD_AES_256_GCM",
        }
    }

    /// Octets of key and salt.
    const fn lengths(self) -> (usize, usize) {
        match self {
            Self::CounterMode => (16, 14),
            Self::Gcm128 => (16, 12),
            Self::Gcm256 => (32, 12),
        }
    }

    const fn tag_length(self) -> usize {
        match self {
            Self::CounterMode => 10,
            Self::Gcm128 | Self::Gcm256 => 16,
        }
    }
}

/// The keys of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    suite: Suite,
    cipher: Vec<u8>,
    salt: Vec<u8>,
    authentication: Vec<u8>,
    inline: String,
}

impl Keys {
    /// Keys of `AES_CM_128_HMAC_SHA1_80` that nobody else has.
    pub fn random() -> Result<Self> {
        let mut master = [0; 30];
        aws_lc_rs::rand::fill(&mut master).map_err(|_| anyhow!("no randomness"))?;
        Self::read(Suite::CounterMode, &BASE64.encode(master))
    }

    /// Reads what stands after `inline:` in SDP; lifetime and MKI are not there.
    fn read(suite: Suite, inline: &str) -> Result<Self> {
        let master = BASE64.decode(inline)?;
        let (key, salt) = suite.lengths();
        ensure!(master.len() == key + salt, "no master key of that suite");
        let (key, salt) = master.split_at(key);
        let derive = |label: u8, length: usize| {
            let mut iv = [0; 16];
            for (to, from) in iv.iter_mut().zip(salt) {
                *to = *from;
            }
            iv[7] ^= label;
            let mut stream = vec![0; length];
            counter_mode(key, iv, &mut stream)?;
            Ok::<_, anyhow::Error>(stream)
        };
        Ok(Self {
            suite,
            cipher: derive(0, key.len())?,
            authentication: derive(1, 20)?,
            salt: derive(2, salt.len())?,
            inline: inline.to_owned(),
        })
    }

    /// The value of an SDP attribute `crypto` with these keys.
    #[must_use]
    pub fn attribute(&self) -> String {
        format!("1 {} inline:{}", self.suite.name(), self.inline)
    }

    /// Every key that stands in a text with SDP in it.
    #[must_use]
    pub fn found_in(text: &str) -> Vec<Self> {
        let mut found = Vec::new();
        for suite in Suite::ALL {
            let before = format!("{} inline:", suite.name());
            let keys = text.split(&before).skip(1);
            let keys = keys.map(|rest| rest.split(|c: char| c.is_whitespace() || c == '|').next());
            let mut keys: Vec<&str> = keys.flatten().collect();
            keys.sort_unstable();
            keys.dedup();
            found.extend(
                keys.into_iter()
                    .filter_map(|key| Self::read(suite, key).ok()),
            );
        }
        found
    }

    /// Seals an RTP packet.
    pub fn seal(&self, packet: &[u8], rollovers: u32) -> Result<Vec<u8>> {
        let mut sealed = packet.to_vec();
        let head = head_length(packet)?;
        if self.suite == Suite::CounterMode {
            self.crypt(&mut sealed, head, rollovers)?;
            let tag = self.tag(&sealed, rollovers);
            sealed.extend(tag);
            return Ok(sealed);
        }
        let (key, nonce) = (self.gcm()?, self.nonce(packet, rollovers)?);
        let mut payload = sealed.split_off(head);
        key.seal_in_place_append_tag(nonce, Aad::from(&sealed), &mut payload)
            .map_err(|_| anyhow!("not sealed"))?;
        sealed.extend(payload);
        Ok(sealed)
    }

    /// Opens a packet; `None` if it isn't sealed with these keys.
    #[must_use]
    pub fn open(&self, packet: &[u8], rollovers: u32) -> Option<Vec<u8>> {
        let head = head_length(packet).ok()?;
        let (sealed, tag) =
            packet.split_at_checked(packet.len().checked_sub(self.suite.tag_length())?)?;
        if sealed.len() < head {
            return None;
        }
        let mut opened = sealed.to_vec();
        if self.suite == Suite::CounterMode {
            if self.tag(sealed, rollovers) != tag {
                return None;
            }
            self.crypt(&mut opened, head, rollovers).ok()?;
            return Some(opened);
        }
        let (key, nonce) = (self.gcm().ok()?, self.nonce(packet, rollovers).ok()?);
        opened.truncate(head);
        let mut payload = packet.get(head..)?.to_vec();
        let plain = key
            .open_in_place(nonce, Aad::from(&opened.clone()), &mut payload)
            .ok()?;
        opened.extend_from_slice(plain);
        Some(opened)
    }

    fn tag(&self, packet: &[u8], rollovers: u32) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.authentication);
        let mut context = hmac::Context::with_key(&key);
        context.update(packet);
        context.update(&rollovers.to_be_bytes());
        let tag = context.sign();
        tag.as_ref()
            .iter()
            .take(self.suite.tag_length())
            .copied()
            .collect()
    }

    fn gcm(&self) -> Result<LessSafeKey> {
        let algorithm = if self.suite == Suite::Gcm128 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let key = UnboundKey::new(algorithm, &self.cipher);
        Ok(LessSafeKey::new(key.map_err(|_| anyhow!("no AES"))?))
    }

    fn nonce(&self, packet: &[u8], rollovers: u32) -> Result<Nonce> {
        let iv = self.salted(packet, rollovers, 2)?;
        let (nonce, _) = iv.split_first_chunk().context("short")?;
        Ok(Nonce::assume_unique_for_key(*nonce))
    }

    /// The salt with the packet's source and index upon it, which begin at that place.
    fn salted(&self, packet: &[u8], rollovers: u32, at: usize) -> Result<[u8; 16]> {
        let sequence = packet.get(2..4).context("short")?;
        let source = packet.get(8..12).context("short")?;
        let index = rollovers
            .to_be_bytes()
            .into_iter()
            .chain(sequence.iter().copied());
        let mut iv = [0; 16];
        for (to, from) in iv.iter_mut().zip(&self.salt) {
            *to = *from;
        }
        for (to, from) in iv
            .iter_mut()
            .skip(at)
            .zip(source.iter().copied().chain(index))
        {
            *to ^= from;
        }
        Ok(iv)
    }

    fn crypt(&self, packet: &mut [u8], head: usize, rollovers: u32) -> Result<()> {
        let iv = self.salted(packet, rollovers, 4)?;
        let payload = packet.get_mut(head..).context("short")?;
        counter_mode(&self.cipher, iv, payload)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// The length of the head of an RTP packet, with contributing sources and extension.
pub(super) fn head_length(packet: &[u8]) -> Result<usize> {
    let first = *packet.first().context("empty")?;
    ensure!(first >> 6 == 2, "not RTP");
    let mut length = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(length + 2..length + 4).context("short")?;
        length += 4 + 4 * usize::from(u16::from_be_bytes(words.try_into()?));
    }
    ensure!(packet.len() >= length, "short");
    Ok(length)
}

fn counter_mode(key: &[u8], iv: [u8; 16], bytes: &mut [u8]) -> Result<()> {
    let failed = |_| anyhow!("no AES");
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(failed)?;
    let key = EncryptingKey::ctr(key).map_err(failed)?;
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(bytes, context)
        .map(drop)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711, appendix B.3.
    #[test]
    fn keys_are_derived_as_in_the_standards_example() {
        let master = [
            0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde,
            0x41, 0x39, 0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a,
            0xab, 0xe6,
        ];

        let keys = Keys::read(Suite::CounterMode, &BASE64.encode(master)).unwrap();

        assert_eq!(keys.cipher[..4], [0xc6, 0x1e, 0x7a, 0x93]);
        assert_eq!(keys.salt[..4], [0x30, 0xcb, 0xbc, 0x08]);
        assert_eq!(keys.authentication[..4], [0xce, 0xbe, 0x32, 0x1f]);
    }

    #[test]
    fn every_suite_opens_what_it_has_sealed() {
        let packet = [&[0x80, 8, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4][..], &[0x55; 160]].concat();
        for suite in Suite::ALL {
            let (key, salt) = suite.lengths();
            let keys = Keys::read(suite, &BASE64.encode(vec![7; key + salt])).unwrap();

            let sealed = keys.seal(&packet, 3).unwrap();

            assert_eq!(keys.open(&sealed, 3).as_ref(), Some(&packet), "{suite:?}");
            assert_eq!(Keys::found_in(&keys.attribute()), [keys]);
        }
    }

    #[test]
    fn only_the_same_keys_open_a_packet() {
        let keys = Keys::random().unwrap();
        let packet = [&[0x80, 8, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4][..], &[0x55; 160]].concat();

        let sealed = keys.seal(&packet, 0).unwrap();

        assert_ne!(sealed[12..20], packet[12..20]);
        assert_eq!(keys.open(&sealed, 0), Some(packet));
        assert_eq!(keys.open(&sealed, 1), None);
        assert_eq!(Keys::random().unwrap().open(&sealed, 0), None);
    }
}
