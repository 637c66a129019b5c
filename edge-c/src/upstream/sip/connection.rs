//! One TCP or TLS connection inside: dialled or accepted, read and written by one task. Reading never waits for writing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use common::limits;
use common::net::Host;
use common::sip::framing::{Framer, Item};
use common::sip::proxy::Transport;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::outbox::Outbox;
use super::{Dialling, Target};
use crate::dial::{self, DialError};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// It was never up.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The system's error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Nothing was said for long.
    #[error("it was idle")]
    Idle,
    /// What came is not SIP.
    #[error("what came is not SIP: {0}")]
    Malformed(String),
    /// Everything that was to be sent is sent.
    #[error("it is not needed any more")]
    Finished,
    /// The peer has not read for long.
    #[error("the peer does not read")]
    Stalled,
}

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is up.
pub struct Connected {
    /// What is read and written.
    pub stream: Box<dyn Stream>,
    /// The own address.
    pub local: SocketAddr,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// Dials `target`; with TLS the certificate must have its name.
///
/// # Errors
/// [`DialError`] with the reason.
pub async fn dial(dialling: &Dialling, target: &Target) -> Result<Connected, DialError> {
    let address = target.address;
    let source = dialling.sources.iter();
    let source = source
        .copied()
        .find(|own| own.is_ipv4() == address.is_ipv4());
    let tcp = dial::connect(&[address.ip()], address.port(), source, dialling.timeout).await?;
    let local = tcp
        .local_addr()
        .map_err(|error| DialError::Connect(error.to_string()))?;
    configure(&tcp).map_err(|error| DialError::Connect(error.to_string()))?;
    if target.transport != Transport::Tls {
        let stream = Box::new(tcp);
        return Ok(Connected { stream, local });
    }
    let name = target
        .tls_name
        .clone()
        .unwrap_or_else(|| Host::Address(address.ip()));
    let tls = dialling.tls.load_full();
    let stream = Box::new(dial::secure(tcp, &name, tls, dialling.timeout).await?);
    Ok(Connected { stream, local })
}

/// As for client connections, and what is not acknowledged for long makes the connection dead.
///
/// # Errors
/// The system's error; the connection is dead then.
pub fn configure(stream: &TcpStream) -> std::io::Result<()> {
    common::runtime::listen::configure(stream)?;
    let dead_after: Duration = limits::SIP_INNER_DEAD_AFTER;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(dead_after))
}

/// Reads and writes until the connection ends. Gives back the tickets of what was written since something came in last.
pub async fn run<T>(
    stream: Box<dyn Stream>,
    outbox: &Outbox<T>,
    mut received: impl FnMut(Bytes),
) -> (Ended, Vec<T>) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut connection = Pump {
        inbound: BytesMut::new(),
        outbound: BytesMut::new(),
        framer: Framer::new(),
        unconfirmed: VecDeque::new(),
        is_flushed: true,
        is_closing: false,
    };
    let ended = loop {
        if let Err(ended) = connection
            .step(&mut reader, &mut writer, outbox, &mut received)
            .await
        {
            break ended;
        }
    };
    (ended, connection.unconfirmed.into())
}

struct Pump<T> {
    inbound: BytesMut,
    outbound: BytesMut,
    framer: Framer,
    /// Messages that went out since the peer was last heard.
    unconfirmed: VecDeque<T>,
    is_flushed: bool,
    is_closing: bool,
}

impl<T> Pump<T> {
    /// Waits for one thing to happen. Every branch is cancel safe: `read_buf`, `write` and `flush` keep what they have
    /// done in the buffers, `take` loses nothing, and the timer is set anew.
    async fn step(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        outbox: &Outbox<T>,
        received: &mut impl FnMut(Bytes),
    ) -> Result<(), Ended> {
        let Self {
            inbound,
            outbound,
            is_flushed,
            is_closing,
            ..
        } = self;
        // Without room it would be read in pieces of 64 octets.
        inbound.reserve(limits::SIP_INNER_READ_BYTES);
        let has_work = !outbound.is_empty() || !*is_flushed;
        if *is_closing && !has_work {
            return Err(Ended::Finished);
        }
        let patience = if has_work {
            limits::SIP_INNER_DEAD_AFTER
        } else {
            limits::SIP_INNER_IDLE_TIMEOUT
        };
        let may_take = !*is_closing && outbound.len() < limits::SIP_INNER_WRITE_BYTES;
        let writing = async {
            if outbound.is_empty() {
                writer.flush().await.map(|()| 0)
            } else {
                writer.write(outbound).await
            }
        };
        tokio::select! {
            read = reader.read_buf(inbound) => {
                if read? == 0 {
                    return Err(Ended::Closed);
                }
                return self.take_in(received);
            }
            written = writing, if has_work => {
                *is_flushed = outbound.is_empty();
                outbound.advance(written?);
                return Ok(());
            }
            taken = outbox.take(), if may_take => match taken {
                None => *is_closing = true,
                Some((bytes, ticket)) => {
                    outbound.extend_from_slice(&bytes);
                    *is_flushed = false;
                    self.note_sent(ticket);
                }
            },
            () = tokio::time::sleep(patience) => {
                return Err(if has_work { Ended::Stalled } else { Ended::Idle });
            }
        }
        // What is there goes out in one write.
        while self.outbound.len() < limits::SIP_INNER_WRITE_BYTES {
            let Some((bytes, ticket)) = outbox.try_take() else {
                break;
            };
            self.outbound.extend_from_slice(&bytes);
            self.note_sent(ticket);
        }
        Ok(())
    }

    fn note_sent(&mut self, ticket: T) {
        if self.unconfirmed.len() >= limits::SIP_INNER_UNCONFIRMED_MAX {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back(ticket);
    }

    fn take_in(&mut self, received: &mut impl FnMut(Bytes)) -> Result<(), Ended> {
        self.unconfirmed.clear();
        self.framer.push(&self.inbound);
        self.inbound.clear();
        loop {
            let item = self.framer.next();
            match item.map_err(|error| Ended::Malformed(error.to_string()))? {
                None => return Ok(()),
                Some(Item::Message(message)) => received(message),
                // RFC 5626 section 4.4.1: one line end back.
                Some(Item::Ping) => {
                    self.outbound.extend_from_slice(b"\r\n");
                    self.is_flushed = false;
                }
                Some(Item::Stun(_)) => {}
            }
        }
    }
}
