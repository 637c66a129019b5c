//! Session keys and the two transforms, on one packet each, without any state. The index is the caller's to know.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::{KeyRefused, SrtpError};
use crate::media::plan::{SrtpKeys, SrtpSuite};
use crate::media::rtcp;

/// E flag of SRTCP (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 0x8000_0000;
const SRTCP_WORD_BYTES: usize = 4;
const GCM_TAG_BYTES: usize = 16;
const LONG_TAG_BYTES: usize = 10;
const SHORT_TAG_BYTES: usize = 4;

/// The session keys of one direction.
#[derive(Debug)]
pub(super) struct Cipher {
    rtp: Transform,
    rtcp: Transform,
    mki: Vec<u8>,
}

/// How one of RTP and RTCP is protected. Both kinds of salts stand where the packet index is added to them.
#[derive(Debug)]
enum Transform {
    Counter {
        key: Box<EncryptingKey>,
        salt: u128,
        authentication: Box<hmac::Key>,
        tag_bytes: usize,
    },
    Gcm {
        key: Box<LessSafeKey>,
        salt: u128,
    },
}

/// Where plain text goes when a packet is opened.
#[derive(Debug)]
pub(super) enum Opening<'a> {
    /// Over the packet, which is of no more use if it is not authentic.
    InPlace,
    /// By way of this buffer, so that another key can be tried on the packet. Has room for any packet.
    Through(&'a mut [u8]),
}

impl Cipher {
    /// Derives the session keys (RFC 3711 section 4.3, with a derivation rate of zero).
    pub(super) fn new(keys: &SrtpKeys) -> Result<Self, KeyRefused> {
        let master = Master::new(keys)?;
        Ok(Self {
            rtp: master.transform(keys.suite(), [0, 1, 2], tag_bytes(keys.suite()))?,
            rtcp: master.transform(keys.suite(), [3, 4, 5], LONG_TAG_BYTES)?,
            mki: keys
                .mki()
                .map_or_else(Vec::new, |mki| mki.as_bytes().to_vec()),
        })
    }

    /// Whether a packet that is not authentic is left as it was by [`Opening::InPlace`].
    pub(super) const fn is_gentle(&self) -> bool {
        matches!(self.rtp, Transform::Counter { .. })
    }

    /// Protects the RTP packet in the first `len` octets of `buffer`, `head` of which are its header. Returns its new length.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        len: usize,
        head: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (packet, trailer) = buffer.split_at_mut_checked(len).ok_or(SrtpError::TooLong)?;
        let (header, payload) = packet
            .split_at_mut_checked(head)
            .ok_or(SrtpError::Malformed)?;
        let mut trailer = Trailer::new(trailer);
        match &self.rtp {
            Transform::Counter {
                key,
                salt,
                authentication,
                tag_bytes,
            } => {
                counter(key, *salt, ssrc, index, payload)?;
                let tag = tag(authentication, packet, rollover(index));
                trailer.put(&self.mki)?;
                trailer.put(tag.as_ref().get(..*tag_bytes).unwrap_or_default())?;
            }
            Transform::Gcm { key, salt } => {
                let tag = key
                    .seal_in_place_separate_tag(
                        nonce(*salt, ssrc, index),
                        Aad::from(header),
                        payload,
                    )
                    .map_err(|_| SrtpError::TooLong)?;
                trailer.put(tag.as_ref())?;
                trailer.put(&self.mki)?;
            }
        }
        Ok(len.saturating_add(trailer.len))
    }

    /// Opens the RTP packet `packet`, `head` octets of which are its header. Returns its new length.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        head: usize,
        ssrc: u32,
        index: u64,
        opening: Opening<'_>,
    ) -> Result<usize, SrtpError> {
        match &self.rtp {
            Transform::Counter {
                key,
                salt,
                authentication,
                tag_bytes,
            } => {
                let (packet, given) = split_end(packet, *tag_bytes)?;
                let (packet, mki) = split_end(packet, self.mki.len())?;
                self.check_mki(mki)?;
                let tag = tag(authentication, packet, rollover(index));
                check_tag(tag.as_ref(), given)?;
                let len = packet.len();
                let payload = packet.get_mut(head..).ok_or(SrtpError::Malformed)?;
                counter(key, *salt, ssrc, index, payload)?;
                Ok(len)
            }
            Transform::Gcm { key, salt } => {
                let (packet, mki) = split_end(packet, self.mki.len())?;
                self.check_mki(mki)?;
                let (packet, tag) = split_end(packet, GCM_TAG_BYTES)?;
                let len = packet.len();
                let (header, payload) = packet
                    .split_at_mut_checked(head)
                    .ok_or(SrtpError::Malformed)?;
                open_gcm(
                    key,
                    nonce(*salt, ssrc, index),
                    header,
                    payload,
                    tag,
                    opening,
                )?;
                Ok(len)
            }
        }
    }

    /// Protects the RTCP packet in the first `len` octets of `buffer`. Returns its new length.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let word = (ENCRYPTED | index).to_be_bytes();
        let (packet, trailer) = buffer.split_at_mut_checked(len).ok_or(SrtpError::TooLong)?;
        let (clear, body) = packet
            .split_first_chunk_mut::<{ rtcp::CLEAR_BYTES }>()
            .ok_or(SrtpError::Malformed)?;
        let mut trailer = Trailer::new(trailer);
        match &self.rtcp {
            Transform::Counter {
                key,
                salt,
                authentication,
                tag_bytes,
            } => {
                counter(key, *salt, ssrc, u64::from(index), body)?;
                let tag = tag(authentication, packet, word);
                trailer.put(&word)?;
                trailer.put(&self.mki)?;
                trailer.put(tag.as_ref().get(..*tag_bytes).unwrap_or_default())?;
            }
            Transform::Gcm { key, salt } => {
                let aad = Aad::from(rtcp_aad(*clear, word));
                let tag = key
                    .seal_in_place_separate_tag(nonce(*salt, ssrc, u64::from(index)), aad, body)
                    .map_err(|_| SrtpError::TooLong)?;
                trailer.put(tag.as_ref())?;
                trailer.put(&word)?;
                trailer.put(&self.mki)?;
            }
        }
        Ok(len.saturating_add(trailer.len))
    }

    /// The index that the RTCP packet `packet` says it has. True only if the packet turns out to be authentic.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let behind = match &self.rtcp {
            Transform::Counter { tag_bytes, .. } => tag_bytes.saturating_add(self.mki.len()),
            Transform::Gcm { .. } => self.mki.len(),
        };
        let end = packet
            .len()
            .checked_sub(behind)
            .ok_or(SrtpError::Malformed)?;
        let word = packet.get(..end).and_then(<[u8]>::last_chunk);
        let word = u32::from_be_bytes(*word.ok_or(SrtpError::Malformed)?);
        // Session parameters that ask for unencrypted RTCP are refused, so nobody has a reason to send it.
        if word & ENCRYPTED == 0 {
            return Err(SrtpError::Unencrypted);
        }
        Ok(word & !ENCRYPTED)
    }

    /// Opens the RTCP packet `packet`. Returns its new length.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
        opening: Opening<'_>,
    ) -> Result<usize, SrtpError> {
        let word = (ENCRYPTED | index).to_be_bytes();
        match &self.rtcp {
            Transform::Counter {
                key,
                salt,
                authentication,
                tag_bytes,
            } => {
                let (packet, given) = split_end(packet, *tag_bytes)?;
                let (packet, mki) = split_end(packet, self.mki.len())?;
                self.check_mki(mki)?;
                let (packet, _word) = split_end(packet, SRTCP_WORD_BYTES)?;
                let tag = tag(authentication, packet, word);
                check_tag(tag.as_ref(), given)?;
                let len = packet.len();
                let body = packet.get_mut(rtcp::CLEAR_BYTES..);
                let body = body.ok_or(SrtpError::Malformed)?;
                counter(key, *salt, ssrc, u64::from(index), body)?;
                Ok(len)
            }
            Transform::Gcm { key, salt } => {
                let (packet, mki) = split_end(packet, self.mki.len())?;
                self.check_mki(mki)?;
                let (packet, _word) = split_end(packet, SRTCP_WORD_BYTES)?;
                let (packet, tag) = split_end(packet, GCM_TAG_BYTES)?;
                let len = packet.len();
                let (clear, body) = packet
                    .split_first_chunk_mut::<{ rtcp::CLEAR_BYTES }>()
                    .ok_or(SrtpError::Malformed)?;
                let aad = rtcp_aad(*clear, word);
                let nonce = nonce(*salt, ssrc, u64::from(index));
                open_gcm(key, nonce, &aad, body, tag, opening)?;
                Ok(len)
            }
        }
    }

    /// The identifier is not secret, and a packet with another one is under another key.
    fn check_mki(&self, given: &[u8]) -> Result<(), SrtpError> {
        if given == self.mki {
            Ok(())
        } else {
            Err(SrtpError::Authentication)
        }
    }
}

const fn tag_bytes(suite: SrtpSuite) -> usize {
    match suite {
        SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm => GCM_TAG_BYTES,
        SrtpSuite::AesCm128HmacSha1_32 => SHORT_TAG_BYTES,
        SrtpSuite::AesCm128HmacSha1_80 => LONG_TAG_BYTES,
    }
}

/// The master key as a generator of session keys.
struct Master {
    key: EncryptingKey,
    key_bytes: usize,
    salt: u128,
}

impl Master {
    fn new(keys: &SrtpKeys) -> Result<Self, KeyRefused> {
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
    fn derive<const N: usize>(&self, label: u8) -> Result<Zeroizing<[u8; N]>, KeyRefused> {
        let mut stream = Zeroizing::new([0; N]);
        // The label stands above the 48 bits of an index divided by the rate, which is zero here.
        let start = self.salt ^ (u128::from(label) << 64);
        let context = EncryptionContext::Iv128(FixedLength::from(start.to_be_bytes()));
        self.key
            .less_safe_encrypt(stream.as_mut_slice(), context)
            .map_err(|_| KeyRefused)?;
        Ok(stream)
    }

    fn transform(
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
                return Ok(Transform::Counter {
                    key: Box::new(encrypting(&AES_128, key)?),
                    salt: salt_of(self.derive::<14>(salting)?.as_slice()),
                    authentication: Box::new(hmac::Key::new(
                        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                        authentication.as_slice(),
                    )),
                    tag_bytes,
                });
            }
        };
        let key = UnboundKey::new(aead, key).map_err(|_| KeyRefused)?;
        Ok(Transform::Gcm {
            key: Box::new(LessSafeKey::new(key)),
            salt: salt_of(self.derive::<12>(salting)?.as_slice()),
        })
    }
}

fn encrypting(algorithm: &'static Algorithm, key: &[u8]) -> Result<EncryptingKey, KeyRefused> {
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| KeyRefused)?;
    EncryptingKey::ctr(key).map_err(|_| KeyRefused)
}

/// A salt of 14 or 12 octets at the upper end of 16, with zeros behind it.
fn salt_of(octets: &[u8]) -> u128 {
    let mut block = [0; 16];
    for (to, from) in block.iter_mut().zip(octets) {
        *to = *from;
    }
    u128::from_be_bytes(block)
}

/// RFC 3711 section 4.1.1. Encrypting and decrypting are the same.
fn counter(
    key: &EncryptingKey,
    salt: u128,
    ssrc: u32,
    index: u64,
    text: &mut [u8],
) -> Result<(), SrtpError> {
    let start = salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
    let context = EncryptionContext::Iv128(FixedLength::from(start.to_be_bytes()));
    key.less_safe_encrypt(text, context)
        .map(drop)
        .map_err(|_| SrtpError::TooLong)
}

/// RFC 7714 sections 8.1 and 9.1: two octets of zero, source, and the index in the last six, under the salt. Of the 16
/// octets that the salt was read into, the last four are not used.
fn nonce(salt: u128, ssrc: u32, index: u64) -> Nonce {
    let value = salt ^ (u128::from(ssrc) << 80) ^ (u128::from(index) << 32);
    let [nonce @ .., _, _, _, _] = value.to_be_bytes();
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 section 9.2.
fn rtcp_aad(clear: [u8; rtcp::CLEAR_BYTES], word: [u8; 4]) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = clear;
    let [i, j, k, l] = word;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

fn open_gcm(
    key: &LessSafeKey,
    nonce: Nonce,
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8],
    opening: Opening<'_>,
) -> Result<(), SrtpError> {
    let aad = Aad::from(aad);
    match opening {
        Opening::InPlace => key
            .open_in_place_separate_tag(nonce, aad, tag, text)
            .map(drop)
            .map_err(|_| SrtpError::Authentication),
        Opening::Through(buffer) => {
            let plain = buffer.get_mut(..text.len()).ok_or(SrtpError::TooLong)?;
            key.open_separate_gather(nonce, aad, text, tag, plain)
                .map_err(|_| SrtpError::Authentication)?;
            text.copy_from_slice(plain);
            Ok(())
        }
    }
}

fn rollover(index: u64) -> [u8; 4] {
    let [_, _, a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}

fn tag(key: &hmac::Key, packet: &[u8], behind: [u8; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(&behind);
    context.sign()
}

fn check_tag(tag: &[u8], given: &[u8]) -> Result<(), SrtpError> {
    let tag = tag.get(..given.len()).ok_or(SrtpError::Malformed)?;
    verify_slices_are_equal(tag, given).map_err(|_| SrtpError::Authentication)
}

/// Splits off the last `len` octets.
fn split_end(packet: &mut [u8], len: usize) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let at = packet.len().checked_sub(len).ok_or(SrtpError::Malformed)?;
    packet.split_at_mut_checked(at).ok_or(SrtpError::Malformed)
}

/// What is written behind a packet.
struct Trailer<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl<'a> Trailer<'a> {
    const fn new(room: &'a mut [u8]) -> Self {
        Self { room, len: 0 }
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), SrtpError> {
        let end = self.len.saturating_add(octets.len());
        let room = self.room.get_mut(self.len..end);
        room.ok_or(SrtpError::TooLong)?.copy_from_slice(octets);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<u32> = hexadecimal
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .collect();
        let pairs = digits.chunks(2);
        pairs
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
            .collect()
    }

    const MASTER: &str = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";

    fn master() -> SrtpKeys {
        SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &octets(MASTER), None).unwrap()
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_derived_as_in_the_rfc() {
        let master = Master::new(&master()).unwrap();

        let key = master.derive::<16>(0).unwrap();
        let authentication = master.derive::<94>(1).unwrap();
        let salt = master.derive::<14>(2).unwrap();

        assert_eq!(key.to_vec(), octets("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(salt.to_vec(), octets("30CBBC08863D8C85D49DB34A9AE1"));
        let expected = octets(
            "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
             E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
             6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2",
        );
        assert_eq!(authentication.to_vec(), expected);
    }

    /// RFC 3711 appendix B.2: the key stream, at its beginning and at block 0xfeff.
    #[test]
    fn the_key_stream_is_that_of_the_rfc() {
        let key = encrypting(&AES_128, &octets("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let salt = salt_of(&octets("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
        let mut stream = vec![0; 0xff01 * 16];

        counter(&key, salt, 0, 0, &mut stream).unwrap();

        assert_eq!(
            stream[..32],
            octets("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB")
        );
        let later = octets("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE");
        assert_eq!(stream[0xfeff * 16..], later);
    }

    /// A packet that libsrtp and others test with, under the keys of RFC 3711 appendix B.3.
    #[test]
    fn a_known_packet_in_counter_mode() {
        let cipher = Cipher::new(&master()).unwrap();
        let plain = octets("800f1234decafbadcafebabe abababababababababababababababab");
        let mut buffer = plain.clone();
        buffer.resize(64, 0);

        let len = cipher
            .seal_rtp(&mut buffer, 28, 12, 0xcafe_babe, 0x1234)
            .unwrap();

        let protected = octets(
            "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
        );
        assert_eq!(buffer[..len], protected);
        let opened = cipher.open_rtp(
            &mut buffer[..len],
            12,
            0xcafe_babe,
            0x1234,
            Opening::InPlace,
        );
        assert_eq!(opened, Ok(28));
        assert_eq!(buffer[..28], plain);
    }

    /// Session keys as RFC 7714 section 16 states them.
    fn gcm(key: &str) -> Cipher {
        let transform = || {
            let key = octets(key);
            let algorithm = if key.len() == 16 {
                &AES_128_GCM
            } else {
                &AES_256_GCM
            };
            Transform::Gcm {
                key: Box::new(LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap())),
                salt: salt_of(b"Quid pro quo"),
            }
        };
        Cipher {
            rtp: transform(),
            rtcp: transform(),
            mki: Vec::new(),
        }
    }

    const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
    const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    /// RFC 7714 sections 16.1.1 and 16.2.1.
    #[test]
    fn the_packets_of_the_rfc_in_gcm() {
        let plain = octets(
            "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e697320646976697361
             20696e207061727465732074726573",
        );
        let protected_128 = octets(
            "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f
             42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
        );
        let protected_256 = octets(
            "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3
             b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
        );
        for (key, protected) in [(KEY_128, protected_128), (KEY_256, protected_256)] {
            let cipher = gcm(key);
            let mut buffer = plain.clone();
            buffer.resize(100, 0);

            let len = cipher
                .seal_rtp(&mut buffer, plain.len(), 12, 0x5501_a0b2, 0xf17b)
                .unwrap();

            assert_eq!(buffer[..len], protected);
            let mut aside = [0; 100];
            let opening = Opening::Through(&mut aside);
            let opened = cipher.open_rtp(&mut buffer[..len], 12, 0x5501_a0b2, 0xf17b, opening);
            assert_eq!(opened, Ok(plain.len()));
            assert_eq!(buffer[..plain.len()], plain);
        }
    }

    /// RFC 7714 section 17.1.
    #[test]
    fn the_report_of_the_rfc_in_gcm() {
        let plain = octets(
            "81c8000d4d617273 4e5450314e545032525450200000042a0000e9304c756e61
             deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        );
        let protected = octets(
            "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d
             c676a5f1730d6fda4ce09b4686303ded 0bb9275bc84aa45896cf4d2fc5abf872 45d9eade 800005d4",
        );
        let cipher = gcm(KEY_128);
        let mut buffer = plain.clone();
        buffer.resize(100, 0);

        let len = cipher
            .seal_rtcp(&mut buffer, plain.len(), 0x4d61_7273, 0x5d4)
            .unwrap();

        assert_eq!(buffer[..len], protected);
        assert_eq!(cipher.rtcp_index(&buffer[..len]), Ok(0x5d4));
        let opened = cipher.open_rtcp(&mut buffer[..len], 0x4d61_7273, 0x5d4, Opening::InPlace);
        assert_eq!(opened, Ok(plain.len()));
        assert_eq!(buffer[..plain.len()], plain);
    }
}
