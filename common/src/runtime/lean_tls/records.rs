//! Records after the handshake (RFC 8446 section 5, RFC 5246 section 6.2): opened and sealed with keys that rustls agreed
//! on. What rustls itself keeps for a connection is several times as large.
//!
//! Where connections wait nearly always, keys are expanded anew for each batch of records and lie as octets in between. New
//! keys of a key update come from rustls.

#![warn(clippy::arithmetic_side_effects)]

use std::io::IoSlice;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, ExtractedSecrets, InvalidMessage,
    ProtocolVersion,
};

use super::pieces::Pieces;
use crate::limits;
use direction::{ALERT, APPLICATION_DATA, Direction, HANDSHAKE, HEAD_BYTES, split, unexpected};

mod direction;

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

    /// Keeps the keys expanded between batches too.
    pub(super) fn keep_keys(&mut self) {
        self.receiving.keep_key();
        self.sending.keep_key();
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
                break;
            };
            let len = body.len().saturating_add(HEAD_BYTES);
            opened.discard = opened.discard.saturating_add(len);
            let expanded = match key.take() {
                Some(key) => key,
                None => self.receiving.take_key()?,
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
        if let Some(key) = key {
            self.receiving.give_key(key);
        }
        Ok(opened)
    }

    /// Makes up to `batch` records of `plaintext`, after a change of keys if one is due; gives the length of all.
    pub(super) fn seal(
        &mut self,
        plaintext: &mut Pieces<'_, '_>,
        batch: usize,
        space: &mut [u8],
    ) -> Result<usize, Error> {
        let mut sealed = self.renew_keys(space)?;
        let key = self.sending.take_key()?;
        for _ in 0..batch {
            if plaintext.is_empty() || self.sending.is_worn() {
                break;
            }
            let space = space.get_mut(sealed..).unwrap_or_default();
            let len = self
                .sending
                .seal(&key, self.is_tls13, APPLICATION_DATA, plaintext, space)?;
            sealed = sealed.saturating_add(len);
        }
        self.sending.give_key(key);
        Ok(sealed)
    }

    /// Changes the keys of what is sent if that is due; gives the length of the record that says so.
    fn renew_keys(&mut self, space: &mut [u8]) -> Result<usize, Error> {
        let is_worn = self.sending.is_worn();
        if is_worn && !self.is_tls13 {
            return Err(Error::EncryptError);
        }
        if !self.is_tls13 || !(is_worn || self.owes_key_update) {
            return Ok(0);
        }
        let sealed = self.seal_one(HANDSHAKE, &KEY_UPDATE, space)?;
        let secrets = self.kernel.update_sending()?;
        self.sending = self.sending.succeeded_by(secrets)?;
        self.owes_key_update = false;
        Ok(sealed)
    }

    /// Makes one record of something short of TLS itself.
    fn seal_one(&mut self, kind: u8, content: &[u8], space: &mut [u8]) -> Result<usize, Error> {
        let content = [IoSlice::new(content)];
        let mut content = Pieces::new(&content);
        let key = self.sending.take_key()?;
        let sealed = self
            .sending
            .seal(&key, self.is_tls13, kind, &mut content, space)?;
        self.sending.give_key(key);
        Ok(sealed)
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
        if let Ok(len) = self.seal_one(ALERT, &alert, &mut record) {
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
        let secrets = self.kernel.update_receiving()?;
        self.receiving = self.receiving.succeeded_by(secrets)?;
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

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE_KIND: u8 = 24;
/// Ours, which asks for none of the peer's.
const KEY_UPDATE: [u8; 5] = [KEY_UPDATE_KIND, 0, 0, 1, 0];
const WARNING: u8 = 1;
const FATAL: u8 = 2;
/// Warnings that are passed over.
const ODDITIES_MAX: u8 = 4;
