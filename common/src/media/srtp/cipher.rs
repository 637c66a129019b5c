//! Session keys and the two transforms, on one packet each, without any state. The index is the caller's to know.

mod master;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

use super::{KeyRefused, SrtpError};
use crate::media::plan::{SrtpKeys, SrtpSuite};
use crate::media::rtcp;
use master::Master;

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
    Counter(Box<Counter>),
    Gcm { key: Box<LessSafeKey>, salt: u128 },
}

/// AES in counter mode with HMAC-SHA1. All of it in one piece: with hundreds of calls it is not in the processor's cache.
struct Counter {
    /// What is hashed in front of every packet, done already. Copied for each packet: it takes 200 octets, a context of
    /// aws-lc-rs 1,200.
    authentication: Hmac<Sha1>,
    salt: u128,
    tag_bytes: usize,
    key: EncryptingKey,
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
        matches!(self.rtp, Transform::Counter(_))
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
            Transform::Counter(counter) => {
                counter.apply(ssrc, index, payload)?;
                let tag = counter.tag(packet, rollover(index));
                trailer.put(&self.mki)?;
                trailer.put(tag.get(..counter.tag_bytes).unwrap_or_default())?;
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
            Transform::Counter(counter) => {
                let (packet, given) = split_end(packet, counter.tag_bytes)?;
                let (packet, mki) = split_end(packet, self.mki.len())?;
                self.check_mki(mki)?;
                check_tag(&counter.tag(packet, rollover(index)), given)?;
                let len = packet.len();
                let payload = packet.get_mut(head..).ok_or(SrtpError::Malformed)?;
                counter.apply(ssrc, index, payload)?;
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
            Transform::Counter(counter) => {
                counter.apply(ssrc, u64::from(index), body)?;
                let tag = counter.tag(packet, word);
                trailer.put(&word)?;
                trailer.put(&self.mki)?;
                trailer.put(tag.get(..counter.tag_bytes).unwrap_or_default())?;
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
            Transform::Counter(counter) => counter.tag_bytes.saturating_add(self.mki.len()),
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
            Transform::Counter(counter) => {
                let (packet, given) = split_end(packet, counter.tag_bytes)?;
                let (packet, mki) = split_end(packet, self.mki.len())?;
                self.check_mki(mki)?;
                let (packet, _word) = split_end(packet, SRTCP_WORD_BYTES)?;
                check_tag(&counter.tag(packet, word), given)?;
                let len = packet.len();
                let body = packet.get_mut(rtcp::CLEAR_BYTES..);
                let body = body.ok_or(SrtpError::Malformed)?;
                counter.apply(ssrc, u64::from(index), body)?;
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

impl Counter {
    /// RFC 3711 section 4.1.1. Encrypting and decrypting are the same.
    fn apply(&self, ssrc: u32, index: u64, text: &mut [u8]) -> Result<(), SrtpError> {
        let start = self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let context = EncryptionContext::Iv128(FixedLength::from(start.to_be_bytes()));
        self.key
            .less_safe_encrypt(text, context)
            .map(drop)
            .map_err(|_| SrtpError::TooLong)
    }

    /// RFC 3711 section 4.2.1, of the packet and what is authenticated behind it.
    fn tag(&self, packet: &[u8], behind: [u8; 4]) -> [u8; 20] {
        let mut hash = self.authentication.clone();
        hash.update(packet);
        hash.update(&behind);
        hash.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

const fn tag_bytes(suite: SrtpSuite) -> usize {
    match suite {
        SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm => GCM_TAG_BYTES,
        SrtpSuite::AesCm128HmacSha1_32 => SHORT_TAG_BYTES,
        SrtpSuite::AesCm128HmacSha1_80 => LONG_TAG_BYTES,
    }
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
mod tests;
