//! SRTP with `AES_CM_128_HMAC_SHA1_80` (RFC 3711, RFC 4568), as far as tests look into it and forge it: written apart
//! from what the product does, and by the standard's letter.

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The keys of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    cipher: [u8; 16],
    salt: [u8; 14],
    authentication: [u8; 20],
    inline: String,
}

impl Keys {
    /// Keys that nobody else has.
    pub fn random() -> Result<Self> {
        let mut master = [0; MASTER];
        aws_lc_rs::rand::fill(&mut master).map_err(|_| anyhow!("no randomness"))?;
        Self::read(&BASE64.encode(master))
    }

    /// Reads what stands after `inline:` in SDP; lifetime and MKI are not there.
    pub fn read(inline: &str) -> Result<Self> {
        let master = BASE64.decode(inline)?;
        let master: [u8; MASTER] = master
            .try_into()
            .map_err(|_| anyhow!("no master key of that suite"))?;
        let (key, salt) = master.split_at(16);
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
        let exact = "as long as asked for";
        Ok(Self {
            cipher: derive(0, 16)?.try_into().ok().context(exact)?,
            authentication: derive(1, 20)?.try_into().ok().context(exact)?,
            salt: derive(2, 14)?.try_into().ok().context(exact)?,
            inline: inline.to_owned(),
        })
    }

    /// The value of an SDP attribute `crypto` with these keys.
    #[must_use]
    pub fn attribute(&self) -> String {
        format!("1 {SUITE} inline:{}", self.inline)
    }

    /// Every key of the suite that stands in a text with SDP in it.
    #[must_use]
    pub fn found_in(text: &str) -> Vec<Self> {
        let before = format!("{SUITE} inline:");
        let keys = text.split(&before).skip(1);
        let keys = keys.map(|rest| rest.split(|c: char| c.is_whitespace() || c == '|').next());
        let mut keys: Vec<&str> = keys.flatten().collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .filter_map(|key| Self::read(key).ok())
            .collect()
    }

    /// Seals an RTP packet.
    pub fn seal(&self, packet: &[u8], rollovers: u32) -> Result<Vec<u8>> {
        let mut sealed = packet.to_vec();
        self.crypt(&mut sealed, rollovers)?;
        let tag = self.tag(&sealed, rollovers);
        sealed.extend(tag);
        Ok(sealed)
    }

    /// Opens a packet; `None` if it isn't sealed with these keys.
    #[must_use]
    pub fn open(&self, packet: &[u8], rollovers: u32) -> Option<Vec<u8>> {
        let (sealed, tag) = packet.split_at_checked(packet.len().checked_sub(TAG)?)?;
        if self.tag(sealed, rollovers) != tag {
            return None;
        }
        let mut opened = sealed.to_vec();
        self.crypt(&mut opened, rollovers).ok()?;
        Some(opened)
    }

    fn tag(&self, packet: &[u8], rollovers: u32) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.authentication);
        let mut context = hmac::Context::with_key(&key);
        context.update(packet);
        context.update(&rollovers.to_be_bytes());
        context.sign().as_ref().iter().take(TAG).copied().collect()
    }

    fn crypt(&self, packet: &mut [u8], rollovers: u32) -> Result<()> {
        let head = head_length(packet)?;
        let (head, payload) = packet.split_at_mut(head);
        let sequence = head.get(2..4).context("short")?;
        let source = head.get(8..12).context("short")?;
        let index = rollovers
            .to_be_bytes()
            .into_iter()
            .chain(sequence.iter().copied());
        let mut iv = [0; 16];
        for (to, from) in iv.iter_mut().zip(self.salt) {
            *to = from;
        }
        for (to, from) in iv
            .iter_mut()
            .skip(4)
            .zip(source.iter().copied().chain(index))
        {
            *to ^= from;
        }
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
    let key = UnboundCipherKey::new(&AES_128, key).map_err(failed)?;
    let key = EncryptingKey::ctr(key).map_err(failed)?;
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(bytes, context)
        .map(drop)
        .map_err(failed)
}

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// A key of 128 bits and a salt of 112.
const MASTER: usize = 30;
const TAG: usize = 10;

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

        let keys = Keys::read(&BASE64.encode(master)).unwrap();

        assert_eq!(keys.cipher[..4], [0xc6, 0x1e, 0x7a, 0x93]);
        assert_eq!(keys.salt[..4], [0x30, 0xcb, 0xbc, 0x08]);
        assert_eq!(keys.authentication[..4], [0xce, 0xbe, 0x32, 0x1f]);
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
