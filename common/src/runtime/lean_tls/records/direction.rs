//! Keys and counter of one direction, and single records under them (RFC 8446 section 5.2, RFC 5246 section 6.2.3).

#![warn(clippy::arithmetic_side_effects)]

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ContentType, Error};
use zeroize::Zeroize as _;

use crate::runtime::lean_tls::pieces::Pieces;

/// Keys of one direction.
pub(super) struct Direction {
    suite: Suite,
    key: [u8; 32],
    iv: [u8; NONCE_LEN],
    sequence: u64,
    at_hand: AtHand,
}

/// Whether the key stays ready for use, which takes a kilobyte and saves a microsecond.
enum AtHand {
    Never,
    Kept(Option<LessSafeKey>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Direction {
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
        let (suite, secret, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Suite::ChaCha20Poly1305, key, iv)
            }
            _ => return Err(Error::General("a suite that is not known".to_owned())),
        };
        let mut key = [0; 32];
        for (own, octet) in key.iter_mut().zip(secret.as_ref()) {
            *own = *octet;
        }
        let iv = iv.as_ref().try_into();
        Ok(Self {
            suite,
            key,
            iv: iv.map_err(|_| Error::General("a nonce of another length".to_owned()))?,
            sequence,
            at_hand: AtHand::Never,
        })
    }

    /// Whether these keys have sealed as much as they may.
    pub(super) const fn is_worn(&self) -> bool {
        self.sequence >= self.suite.records_max()
    }

    /// Keeps the key ready for use from now on.
    pub(super) fn keep_key(&mut self) {
        self.at_hand = AtHand::Kept(None);
    }

    /// The same direction under the next keys.
    pub(super) fn succeeded_by(
        &self,
        secrets: (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let mut next = Self::new(secrets)?;
        if matches!(self.at_hand, AtHand::Kept(_)) {
            next.keep_key();
        }
        Ok(next)
    }

    /// The key, ready for use; to be given back.
    pub(super) fn take_key(&mut self) -> Result<LessSafeKey, Error> {
        match &mut self.at_hand {
            AtHand::Kept(key) => key.take().map_or_else(|| self.expand(), Ok),
            AtHand::Never => self.expand(),
        }
    }

    /// Takes back the key.
    pub(super) fn give_key(&mut self, key: LessSafeKey) {
        if let AtHand::Kept(place) = &mut self.at_hand {
            *place = Some(key);
        }
    }

    fn expand(&self) -> Result<LessSafeKey, Error> {
        let algorithm = match self.suite {
            Suite::Aes128Gcm => &aead::AES_128_GCM,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = self.key.get(..algorithm.key_len()).unwrap_or_default();
        let key = UnboundKey::new(algorithm, key);
        key.map(LessSafeKey::new).map_err(|_| internal())
    }

    /// RFC 8446 section 5.3, RFC 7905 section 2; for GCM of TLS 1.2 the first four octets are the salt of RFC 5288.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        for (octet, own) in nonce.iter_mut().skip(4).zip(sequence) {
            *octet ^= own;
        }
        nonce
    }

    /// What a record is bound to (RFC 5246 section 6.2.3.3).
    fn bound_to(&self, kind: u8, len: usize) -> Result<[u8; 13], Error> {
        let [high, low] = u16::try_from(len)
            .map_err(|_| Error::PeerSentOversizedRecord)?
            .to_be_bytes();
        let [a, b, c, d, e, f, g, h] = self.sequence.to_be_bytes();
        Ok([a, b, c, d, e, f, g, h, kind, 3, 3, high, low])
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.sequence = self.sequence.checked_add(1).ok_or_else(internal)?;
        Ok(())
    }

    /// The kind of a record and what it says.
    pub(super) fn open<'r>(
        &mut self,
        key: &LessSafeKey,
        is_tls13: bool,
        head: [u8; HEAD_BYTES],
        body: &'r mut [u8],
    ) -> Result<(u8, &'r [u8]), Error> {
        let [outer, ..] = head;
        let (kind, plaintext) = if is_tls13 {
            // RFC 8446 section 5.2: the real kind is inside, behind it any number of zeros.
            if outer != APPLICATION_DATA {
                return Err(unexpected());
            }
            let nonce = Nonce::assume_unique_for_key(self.nonce());
            let opened = key.open_in_place(nonce, Aad::from(head), body);
            let opened: &[u8] = opened.map_err(|_| Error::DecryptError)?;
            let end = opened.iter().rposition(|octet| *octet != 0);
            let (content, _) = opened.split_at(end.ok_or_else(unexpected)?.saturating_add(1));
            let (kind, content) = content.split_last().ok_or_else(unexpected)?;
            (*kind, content)
        } else {
            let (nonce, sealed) = self.nonce_of(body)?;
            let len = sealed.len().checked_sub(TAG_BYTES);
            let bound_to = self.bound_to(outer, len.ok_or(Error::DecryptError)?)?;
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = key.open_in_place(nonce, Aad::from(bound_to), sealed);
            let opened: &[u8] = opened.map_err(|_| Error::DecryptError)?;
            (outer, opened)
        };
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        self.advance()?;
        Ok((kind, plaintext))
    }

    /// The nonce of a record of TLS 1.2, and what it seals.
    fn nonce_of<'r>(&self, body: &'r mut [u8]) -> Result<([u8; NONCE_LEN], &'r mut [u8]), Error> {
        if self.suite == Suite::ChaCha20Poly1305 {
            return Ok((self.nonce(), body));
        }
        // RFC 5288 section 3: the sender says the second part of it.
        let (&mut explicit, sealed) = body
            .split_first_chunk_mut::<EXPLICIT_NONCE_BYTES>()
            .ok_or(Error::DecryptError)?;
        let [a, b, c, d, ..] = self.iv;
        let [e, f, g, h, i, j, k, l] = explicit;
        Ok(([a, b, c, d, e, f, g, h, i, j, k, l], sealed))
    }

    /// Makes one record of the front of `content`; gives its length. `key` is this direction's, expanded.
    pub(super) fn seal(
        &mut self,
        key: &LessSafeKey,
        is_tls13: bool,
        kind: u8,
        content: &mut Pieces<'_, '_>,
        space: &mut [u8],
    ) -> Result<usize, Error> {
        let nonce = self.nonce();
        let explicit_bytes = match (is_tls13, self.suite) {
            (true, _) | (false, Suite::ChaCha20Poly1305) => 0,
            (false, Suite::Aes128Gcm | Suite::Aes256Gcm) => EXPLICIT_NONCE_BYTES,
        };
        let (head_place, rest) = space
            .split_first_chunk_mut::<HEAD_BYTES>()
            .ok_or_else(internal)?;
        let (explicit, rest) = rest
            .split_at_mut_checked(explicit_bytes)
            .ok_or_else(internal)?;
        let (_, second) = nonce.split_at(NONCE_LEN.saturating_sub(explicit_bytes));
        explicit.copy_from_slice(second);

        // The last octets are for the kind, if it goes inside, and for the tag.
        let behind = TAG_BYTES.saturating_add(usize::from(is_tls13));
        let room = rest.len().checked_sub(behind).ok_or_else(internal)?;
        let place = rest.get_mut(..room.min(PLAINTEXT_BYTES_MAX));
        let content_len = content.take(place.ok_or_else(internal)?);
        let (in_place, tag_place) = rest
            .split_at_mut_checked(content_len.saturating_add(usize::from(is_tls13)))
            .ok_or_else(internal)?;
        let tag_place = tag_place
            .first_chunk_mut::<TAG_BYTES>()
            .ok_or_else(internal)?;

        let body_len = explicit_bytes
            .saturating_add(in_place.len())
            .saturating_add(TAG_BYTES);
        let [high, low] = u16::try_from(body_len)
            .map_err(|_| internal())?
            .to_be_bytes();
        let outer = if is_tls13 { APPLICATION_DATA } else { kind };
        let head = [outer, 3, 3, high, low];
        *head_place = head;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = if is_tls13 {
            *in_place.last_mut().ok_or_else(internal)? = kind;
            key.seal_in_place_separate_tag(nonce, Aad::from(head), in_place)
        } else {
            let bound_to = self.bound_to(kind, content_len)?;
            key.seal_in_place_separate_tag(nonce, Aad::from(bound_to), in_place)
        };
        let tag = tag.map_err(|_| internal())?;
        let tag = tag.as_ref().first_chunk().ok_or_else(internal)?;
        *tag_place = *tag;
        self.advance()?;
        Ok(HEAD_BYTES.saturating_add(body_len))
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl Suite {
    /// How many records one key is good for (RFC 8446 section 5.5).
    const fn records_max(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 24,
            Self::ChaCha20Poly1305 => u64::MAX - 16,
        }
    }
}

/// The head of a record, and what follows it.
pub(super) type Record<'a> = ([u8; HEAD_BYTES], &'a mut [u8]);

/// The next record, if all of it is there.
pub(super) fn split(octets: &mut [u8], is_tls13: bool) -> Result<Option<Record<'_>>, Error> {
    let Some((&mut head, rest)) = octets.split_first_chunk_mut::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let [kind, major, _, high, low] = head;
    if !matches!(kind, APPLICATION_DATA | ALERT | HANDSHAKE) || major != 3 {
        return Err(unexpected());
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446 section 5.2, RFC 5246 section 6.2.3.
    let expansion = if is_tls13 { 256 } else { 2048 };
    if len > PLAINTEXT_BYTES_MAX.saturating_add(expansion) {
        return Err(Error::PeerSentOversizedRecord);
    }
    Ok(rest.get_mut(..len).map(|body| (head, body)))
}

pub(super) fn unexpected() -> Error {
    Error::InappropriateMessage {
        expect_types: vec![ContentType::ApplicationData],
        got_type: ContentType::Unknown(0),
    }
}

fn internal() -> Error {
    Error::General("the crypto provider failed".to_owned())
}

/// Type, version and length (RFC 8446 section 5.1).
pub(super) const HEAD_BYTES: usize = 5;
/// Plaintext of one record.
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;
/// Of every suite there is.
const TAG_BYTES: usize = 16;
const EXPLICIT_NONCE_BYTES: usize = 8;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
