//! Records after the handshake, by rustls' interface without buffers.

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{CommonState, Error, ProtocolVersion};

/// The side of a connection that this process is.
pub(super) trait Side {
    /// What rustls calls its side.
    type Data;

    /// Whether what is to be sent now are tickets alone, and the handshake done.
    fn is_last_flight_optional(common: &CommonState) -> bool;

    /// What has been agreed on.
    fn common(&self) -> &CommonState;

    /// Looks at the next records.
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn is_last_flight_optional(common: &CommonState) -> bool {
        !common.is_handshaking() && common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn is_last_flight_optional(_: &CommonState) -> bool {
        false
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
}

/// Keys and counters of a connection.
pub(super) enum Traffic {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

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

impl Traffic {
    /// Opens every whole record; `answers` gets what TLS itself has to say.
    pub(super) fn open(
        &mut self,
        records: &mut [u8],
        give: &mut dyn FnMut(&[u8]),
        answers: &mut Vec<u8>,
    ) -> Result<Opened, Error> {
        match self {
            Self::Client(side) => open(side.as_mut(), records, give, answers),
            Self::Server(side) => open(side.as_mut(), records, give, answers),
        }
    }

    /// Makes one record of `plaintext`; gives its length.
    pub(super) fn seal(&mut self, plaintext: &[u8], record: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Client(side) => seal(side.as_mut(), plaintext, record),
            Self::Server(side) => seal(side.as_mut(), plaintext, record),
        }
    }

    /// Appends the alert for what was refused, if there is one.
    pub(super) fn alert(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Client(side) => drain(side.as_mut(), &mut [], out),
            Self::Server(side) => drain(side.as_mut(), &mut [], out),
        }
    }

    /// Appends the `close_notify`.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Client(side) => close(side.as_mut(), out),
            Self::Server(side) => close(side.as_mut(), out),
        }
    }
}

fn open<S: Side>(
    side: &mut S,
    records: &mut [u8],
    give: &mut dyn FnMut(&[u8]),
    answers: &mut Vec<u8>,
) -> Result<Opened, Error> {
    let mut opened = Opened::default();
    loop {
        let rest = records.get_mut(opened.discard..).unwrap_or_default();
        let status = side.process(rest);
        opened.discard = opened.discard.saturating_add(status.discard);
        match status.state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    opened.discard = opened.discard.saturating_add(record.discard);
                    opened.plaintext = opened.plaintext.saturating_add(record.payload.len());
                    give(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, answers),
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed | ConnectionState::Closed => {
                opened.is_closed = true;
                return Ok(opened);
            }
            ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => {
                return Ok(opened);
            }
            // Early data is switched off; what rustls may add later is none of the records that are understood here.
            ConnectionState::ReadEarlyData(_) | _ => {
                return Err(Error::General("a TLS state that is not known".to_owned()));
            }
        }
    }
}

fn seal<S: Side>(side: &mut S, plaintext: &[u8], record: &mut [u8]) -> io::Result<usize> {
    let mut sealed = 0_usize;
    loop {
        match side.process(&mut []).state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let space = record.get_mut(sealed..).unwrap_or_default();
                let written = traffic
                    .encrypt(plaintext, space)
                    .map_err(io::Error::other)?;
                return Ok(sealed.saturating_add(written));
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let space = record.get_mut(sealed..).unwrap_or_default();
                let written = data.encode(space).map_err(io::Error::other)?;
                sealed = sealed.saturating_add(written);
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            ConnectionState::BlockedHandshake
            | ConnectionState::Closed
            | ConnectionState::ReadEarlyData(_)
            | ConnectionState::ReadTraffic(_)
            | _ => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Everything that is to be said without further records: alerts, tickets, key updates. `shown` is what is left of the
/// records that rustls has seen: it keeps places of handshake messages in them, and must find these again.
pub(super) fn drain<S: Side>(side: &mut S, shown: &mut [u8], out: &mut Vec<u8>) {
    loop {
        match side.process(shown).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(_) | Err(_) => return,
        }
    }
}

fn close<S: Side>(side: &mut S, out: &mut Vec<u8>) {
    loop {
        match side.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => {}
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                return append(out, |space| {
                    traffic
                        .queue_close_notify(space)
                        .map_err(|error| match error {
                            EncryptError::InsufficientSize(needed) => needed.required_size,
                            EncryptError::EncryptExhausted => 0,
                        })
                });
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// Appends what rustls wants to send.
pub(super) fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    append(out, |space| {
        data.encode(space).map_err(|error| match error {
            EncodeError::InsufficientSize(needed) => needed.required_size,
            EncodeError::AlreadyEncoded => 0,
        })
    });
}

/// `write` says how much space it used, or needs.
fn append(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let start = out.len();
    let written = write(&mut []).or_else(|needed| {
        out.resize(start.saturating_add(needed), 0);
        write(out.get_mut(start..).unwrap_or_default())
    });
    out.truncate(start.saturating_add(written.unwrap_or(0)));
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
