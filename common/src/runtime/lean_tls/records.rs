//! Records after the handshake (RFC 8446 section 5, RFC 5246 section 6.2): opened and sealed with keys that rustls agreed
//! on. What rustls itself keeps for a connection is several times as large.
//!
//! Keys are expanded anew for each batch of records and lie as octets in between. New keys of a key update come from rustls.

#![warn(clippy::arithmetic_side_effects)]

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ExtractedSecrets,
    InvalidMessage, ProtocolVersion,
};
use zeroize::Zeroize as _;

use crate::limits;

/// What came of some octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// So many of them, from the front, are done with.
    pub(super) discard: usize,
    /// Octets of plaintext that were handed out.
    pub(super) plaintext: usize,
    /// The peer has ended its direction.
    pub(super) is_closed: bool,
}

/// What makes new keys.
pub(super) enum Kernel {
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
}

/// Keys and counters of a connection.
pub(super) struct Records {
    kernel: Kernel,
    is_tls13: bool,
    receiving: Direction,
    sending: Direction,
    /// The beginning of a message of TLS itself that several records carry.
    partial: Vec<u8>,
    /// The peer wants our keys changed before we say more.
    owes_key_update: bool,
    /// Harmless messages that nobody needs; an honest peer sends hardly any.
    oddities: u8,
}

/// Keys of one direction.
struct Direction {
    suite: Suite,
    key: [u8; 32],
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Records {
    /// Of a handshake that is done.
    pub(super) fn new(secrets: ExtractedSecrets, kernel: Kernel) -> Result<Self, Error> {
        let version = match &kernel {
            Kernel::Client(kernel) => kernel.protocol_version(),
            Kernel::Server(kernel) => kernel.protocol_version(),
        };
        Ok(Self {
            kernel,
            is_tls13: version == ProtocolVersion::TLSv1_3,
            receiving: Direction::new(secrets.rx)?,
            sending: Direction::new(secrets.tx)?,
            partial: Vec::new(),
            owes_key_update: false,
            oddities: 0,
        })
    }

    /// Opens every whole record, in its place, and hands out what it says.
    pub(super) fn open(
        &mut self,
        octets: &mut [u8],
        give: &mut dyn FnMut(&[u8]),
    ) -> Result<Opened, Error> {
        let mut opened = Opened::default();
        let mut key = None;
        while !opened.is_closed {
            let rest = octets.get_mut(opened.discard..).unwrap_or_default();
            let Some((head, body)) = split(rest, self.is_tls13)? else {
                return Ok(opened);
            };
            let len = body.len().saturating_add(HEAD_BYTES);
            opened.discard = opened.discard.saturating_add(len);
            let expanded = match key.take() {
                Some(key) => key,
                None => self.receiving.expand()?,
            };
            let (kind, plaintext) = self.receiving.open(&expanded, self.is_tls13, head, body)?;
            key = Some(expanded);
            match (kind, self.partial.is_empty()) {
                (APPLICATION_DATA, true) => {
                    opened.plaintext = opened.plaintext.saturating_add(plaintext.len());
                    give(plaintext);
                }
                (ALERT, true) => opened.is_closed = self.take_alert(plaintext)?,
                // RFC 8446 section 5.1: never empty, and nothing comes between the pieces of a message.
                (HANDSHAKE, _) if !plaintext.is_empty() => {
                    if self.take_handshake(plaintext)? {
                        key = None;
                    }
                }
                _ => return Err(unexpected()),
            }
        }
        Ok(opened)
    }

    /// Makes one record of `plaintext`, after a change of keys if one is due; gives the length of both.
    pub(super) fn seal(&mut self, plaintext: &[u8], space: &mut [u8]) -> Result<usize, Error> {
        let is_worn = self.sending.sequence >= self.sending.suite.records_max();
        if is_worn && !self.is_tls13 {
            return Err(Error::EncryptError);
        }
        let mut sealed = 0;
        if self.is_tls13 && (is_worn || self.owes_key_update) {
            sealed = self.sending.seal(true, HANDSHAKE, &KEY_UPDATE, space)?;
            let (sequence, secrets) = self.kernel.update_sending()?;
            self.sending = Direction::new((sequence, secrets))?;
            self.owes_key_update = false;
        }
        let space = space.get_mut(sealed..).unwrap_or_default();
        let len = self
            .sending
            .seal(self.is_tls13, APPLICATION_DATA, plaintext, space)?;
        Ok(sealed.saturating_add(len))
    }

    /// Appends the goodbye.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.alert([WARNING, u8::from(AlertDescription::CloseNotify)], out);
    }

    /// Appends the alert for `error`, which ends the connection.
    pub(super) fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "rustls names more errors than this module makes"
        )]
        let description = match error {
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InappropriateMessage { .. } => AlertDescription::UnexpectedMessage,
            Error::InvalidMessage(_) => AlertDescription::DecodeError,
            Error::AlertReceived(_) => return,
            _ => AlertDescription::InternalError,
        };
        self.alert([FATAL, u8::from(description)], out);
    }

    fn alert(&mut self, alert: [u8; 2], out: &mut Vec<u8>) {
        let mut record = [0; 64];
        if let Ok(len) = self.sending.seal(self.is_tls13, ALERT, &alert, &mut record) {
            out.extend_from_slice(record.get(..len).unwrap_or_default());
        }
    }

    /// Whether it is the goodbye.
    fn take_alert(&mut self, alert: &[u8]) -> Result<bool, Error> {
        let &[level, description] = alert else {
            return Err(Error::InvalidMessage(InvalidMessage::MissingData("alert")));
        };
        let told = AlertDescription::from(description);
        if told == AlertDescription::CloseNotify {
            return Ok(true);
        }
        // RFC 8446 section 6: any other one is an error, whatever level it has.
        let is_warning = !self.is_tls13 && level == WARNING;
        if told == AlertDescription::UserCanceled || is_warning {
            return self.count_oddity().map(|()| false);
        }
        Err(Error::AlertReceived(told))
    }

    fn count_oddity(&mut self) -> Result<(), Error> {
        self.oddities = self.oddities.saturating_add(1);
        if self.oddities > ODDITIES_MAX {
            return Err(unexpected());
        }
        Ok(())
    }

    /// Takes messages of TLS itself; `true` if what follows has other keys.
    fn take_handshake(&mut self, piece: &[u8]) -> Result<bool, Error> {
        let mut messages = std::mem::take(&mut self.partial);
        messages.extend_from_slice(piece);
        let mut rest = messages.as_slice();
        while let Some((&[kind, a, b, c], body)) = rest.split_first_chunk() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > self.message_bytes_max(kind)? {
                return Err(Error::InvalidMessage(InvalidMessage::MessageTooLarge));
            }
            let Some((body, behind)) = body.split_at_checked(len) else {
                break;
            };
            rest = behind;
            if kind == KEY_UPDATE_KIND {
                // Whatever follows it is under other keys: RFC 8446 section 5.1.
                return match (body, rest) {
                    (&[request @ (0 | 1)], []) => self.change_keys(request == 1).map(|()| true),
                    _ => Err(unexpected()),
                };
            }
            self.kernel.take_ticket(body)?;
        }
        self.partial = rest.to_vec();
        Ok(false)
    }

    /// How long a message may be that comes after the handshake.
    fn message_bytes_max(&self, kind: u8) -> Result<usize, Error> {
        match (&self.kernel, kind) {
            _ if !self.is_tls13 => Err(unexpected()),
            (_, KEY_UPDATE_KIND) => Ok(1),
            (Kernel::Client(_), NEW_SESSION_TICKET) => Ok(limits::TLS_TICKET_BYTES_MAX),
            _ => Err(unexpected()),
        }
    }

    fn change_keys(&mut self, is_requested: bool) -> Result<(), Error> {
        let (sequence, secrets) = self.kernel.update_receiving()?;
        self.receiving = Direction::new((sequence, secrets))?;
        // One answer for however many requests, with the next words: RFC 8446 section 4.6.3.
        self.owes_key_update |= is_requested;
        Ok(())
    }
}

impl Kernel {
    fn update_receiving(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(kernel) => kernel.update_rx_secret(),
            Self::Server(kernel) => kernel.update_rx_secret(),
        }
    }

    fn update_sending(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(kernel) => kernel.update_tx_secret(),
            Self::Server(kernel) => kernel.update_tx_secret(),
        }
    }

    fn take_ticket(&mut self, ticket: &[u8]) -> Result<(), Error> {
        match self {
            Self::Client(kernel) => kernel.handle_new_session_ticket(ticket),
            Self::Server(_) => Err(unexpected()),
        }
    }
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
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
        })
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
    fn open<'r>(
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

    /// Makes one record; gives its length.
    fn seal(
        &mut self,
        is_tls13: bool,
        kind: u8,
        content: &[u8],
        space: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.expand()?;
        let nonce = self.nonce();
        let (_, explicit) = nonce.split_at(NONCE_LEN - EXPLICIT_NONCE_BYTES);
        let (explicit, inner): (&[u8], &[u8]) = match (is_tls13, self.suite) {
            (true, _) => (&[], &[kind]),
            (false, Suite::ChaCha20Poly1305) => (&[], &[]),
            (false, Suite::Aes128Gcm | Suite::Aes256Gcm) => (explicit, &[]),
        };
        let sealed_len = content.len().saturating_add(inner.len());
        let body_len = sealed_len
            .saturating_add(explicit.len())
            .saturating_add(TAG_BYTES);
        let [high, low] = u16::try_from(body_len)
            .map_err(|_| internal())?
            .to_be_bytes();
        let outer = if is_tls13 { APPLICATION_DATA } else { kind };
        let head = [outer, 3, 3, high, low];
        let mut writer = Writer { space, len: 0 };
        writer.put(&head)?;
        writer.put(explicit)?;
        let start = writer.len;
        writer.put(content)?;
        writer.put(inner)?;
        let end = writer.len;
        let in_place = writer.space.get_mut(start..end).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = if is_tls13 {
            key.seal_in_place_separate_tag(nonce, Aad::from(head), in_place)
        } else {
            let bound_to = self.bound_to(kind, content.len())?;
            key.seal_in_place_separate_tag(nonce, Aad::from(bound_to), in_place)
        };
        writer.put(tag.map_err(|_| internal())?.as_ref())?;
        self.advance()?;
        Ok(writer.len)
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

/// Fills a space from its front.
struct Writer<'s> {
    space: &'s mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) -> Result<(), Error> {
        let end = self.len.saturating_add(octets.len());
        let place = self.space.get_mut(self.len..end).ok_or_else(internal)?;
        place.copy_from_slice(octets);
        self.len = end;
        Ok(())
    }
}

/// The head of a record, and what follows it.
type Record<'a> = ([u8; HEAD_BYTES], &'a mut [u8]);

/// The next record, if all of it is there.
fn split(octets: &mut [u8], is_tls13: bool) -> Result<Option<Record<'_>>, Error> {
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

fn unexpected() -> Error {
    Error::InappropriateMessage {
        expect_types: vec![ContentType::ApplicationData],
        got_type: ContentType::Unknown(0),
    }
}

fn internal() -> Error {
    Error::General("the crypto provider failed".to_owned())
}

/// Type, version and length (RFC 8446 section 5.1).
const HEAD_BYTES: usize = 5;
/// Plaintext of one record.
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;
/// Of every suite there is.
const TAG_BYTES: usize = 16;
const EXPLICIT_NONCE_BYTES: usize = 8;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE_KIND: u8 = 24;
/// Ours, which asks for none of the peer's.
const KEY_UPDATE: [u8; 5] = [KEY_UPDATE_KIND, 0, 0, 1, 0];
const WARNING: u8 = 1;
const FATAL: u8 = 2;
/// Warnings that are passed over.
const ODDITIES_MAX: u8 = 4;
