//! What a client says before it has a stream to a core: nothing but its way to TLS, then the header of its stream.

use std::io;

use common::limits;
use common::net::Domain;
use common::runtime::lean_tls::LeanTls;
use common::xmpp::error::{self, Condition};
use common::xmpp::framing::{Framer, Item};
use common::xmpp::opening::{self, Opening, Progress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::metrics::xmpp::XmppRefusal;

/// Why a client gets no stream to a core.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It went away.
    #[error("the connection is gone: {0}")]
    Gone(#[from] io::Error),
    /// No core takes it.
    #[error("{0}")]
    Link(String),
    /// It broke the protocol.
    #[error("its stream is refused with {}", .0.as_str())]
    Stream(Condition),
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// There is no TLS with it.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// Nobody serves the domain it names.
    #[error("no edge-c serves the domain that it names")]
    UnknownDomain,
}

impl Refused {
    /// What the client is told; `None` if there is no telling it.
    pub(super) const fn condition(&self) -> Option<Condition> {
        match self {
            Self::Link(_) => Some(Condition::RemoteConnectionFailed),
            Self::Stream(condition) => Some(*condition),
            Self::TimedOut => Some(Condition::ConnectionTimeout),
            Self::UnknownDomain => Some(Condition::HostUnknown),
            Self::Gone(_) | Self::Tls(_) => None,
        }
    }

    /// Handshakes are counted elsewhere, and who goes away by itself is not refused.
    pub(super) const fn label(&self) -> Option<XmppRefusal> {
        match self {
            Self::Link(_) => Some(XmppRefusal::NoLink),
            Self::Stream(_) => Some(XmppRefusal::BadStream),
            Self::TimedOut => Some(XmppRefusal::TimedOut),
            Self::UnknownDomain => Some(XmppRefusal::UnknownDomain),
            Self::Gone(_) | Self::Tls(_) => None,
        }
    }
}

/// Whether the client begins with TLS (XEP-0368) instead of XML; takes nothing of it.
pub(super) async fn begins_with_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(first == [HANDSHAKE])
}

/// The content type of a handshake (RFC 8446 section 5.1); no XML begins with it.
const HANDSHAKE: u8 = 0x16;

/// Leads the client to TLS (RFC 6120 section 5); gives the domain that it has named in the clear.
pub(super) async fn start_tls(
    stream: &mut TcpStream,
    id: String,
    is_served: impl Fn(&Domain) -> bool,
) -> Result<Option<Domain>, Refused> {
    let mut dialogue = Opening::new(id);
    let mut buffer = [0; 512];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let said = buffer.get(..read).unwrap_or_default();
        let progress = dialogue.handle_bytes(said, &is_served);
        stream.write_all(dialogue.take_output().as_bytes()).await?;
        match progress {
            Progress::GoOn => {}
            Progress::StartTls => return Ok(dialogue.domain().cloned()),
            Progress::Close(condition) => {
                // Without an end of the writing a reset could overtake what was said.
                stream.shutdown().await?;
                return Err(if condition == Condition::HostUnknown {
                    Refused::UnknownDomain
                } else {
                    Refused::Stream(condition)
                });
            }
        }
    }
}

/// Reads the header of the stream within TLS: the domain that it names, and every octet that has come.
pub(super) async fn header(client: &mut LeanTls<TcpStream>) -> Result<(Domain, Vec<u8>), Refused> {
    let mut framer = Framer::new(limits::XMPP_OPENING_BYTES_MAX);
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let said = buffer.get(..read).unwrap_or_default();
        head.extend_from_slice(said);
        framer.push(said);
        match framer.next_item() {
            Ok(None) => {}
            Ok(Some(Item::Open { header, .. })) => {
                let domain = header.to.and_then(|to| Domain::parse(&to).ok());
                return Ok((domain.ok_or(Refused::UnknownDomain)?, head));
            }
            Ok(Some(Item::Close { .. } | Item::Element { .. })) => {
                return Err(Refused::Stream(Condition::BadFormat));
            }
            Err(error) => return Err(Refused::Stream(opening::condition(&error))),
        }
    }
}

/// A header of our own, the error and the end of the stream.
pub(super) fn error_text(condition: Condition, id: &str) -> String {
    let mut text = error::header(None, id);
    text.push_str(&error::stream_error(condition));
    text
}
