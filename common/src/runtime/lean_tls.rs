//! TLS over a stream: a connection that waits holds keys and no buffer, and one that is busy copies what it carries once.
//!
//! rustls does the handshake and makes the keys; where records are read and written is one scratch space of the thread.
//! Knows nothing of certificates' files, names or protocols above.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;
mod handshake;
mod pieces;
mod records;
mod scratch;
mod side;

use handshake::Shaken;
use pieces::Pieces;
use records::{Opened, Records};

use crate::limits;

/// A TLS connection whose handshake is done.
///
/// One task polls both directions: reading also sends what TLS itself has to answer, so the stream below remembers the last
/// of the two wakers that it was shown.
pub struct LeanTls<T> {
    io: T,
    records: Records,
    /// Ciphertext that has come and is no whole record, or has not been looked at.
    unread: Vec<u8>,
    /// Plaintext that the last reader had no room for.
    unclaimed: Vec<u8>,
    /// Ciphertext that the stream below has not taken.
    unsent: Vec<u8>,
    /// How many records are made at a time.
    batch: usize,
    state: State,
}

/// How far the ends of the two directions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// The peer has said that nothing more comes.
    is_read_closed: bool,
    /// The peer was told that nothing more comes.
    is_write_closed: bool,
}

/// What the two sides have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// TLS 1.2 or 1.3.
    pub version: Option<ProtocolVersion>,
    /// The application protocol (ALPN), if one was chosen.
    pub alpn: Option<Vec<u8>>,
    /// The server name that a client asked for; on the client's side `None`.
    pub server_name: Option<String>,
    /// The certificate that the peer has proved to own, without its chain; `None` if it was asked for none.
    pub peer_certificate: Option<CertificateDer<'static>>,
}

/// Does the handshake of a server. Takes as long as the client likes: the deadline is the caller's.
///
/// # Errors
/// The stream's error, or one of kind `InvalidData` with a [`rustls::Error`] in it; the client was told why then.
pub async fn accept<T>(io: T, config: &ServerConfig) -> io::Result<(LeanTls<T>, Agreed)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    handshake::accept(io, config).await
}

/// Does the handshake of a client with the server `name`. Takes as long as the server likes: the deadline is the caller's.
///
/// # Errors
/// As [`accept`].
pub async fn connect<T>(
    io: T,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<(LeanTls<T>, Agreed)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    handshake::connect(io, config, name).await
}

impl<T> LeanTls<T> {
    fn new(io: T, records: Records, shaken: Shaken) -> Self {
        Self {
            io,
            records,
            unread: shaken.unread,
            unclaimed: Vec::new(),
            unsent: shaken.unsent,
            batch: 1,
            state: State {
                is_read_closed: false,
                is_write_closed: false,
            },
        }
    }

    /// For a connection that carries much: makes several records at a time, so a peer that does not read is waited for with
    /// as many of them, and keeps its keys ready for use.
    #[must_use]
    pub fn busy(mut self) -> Self {
        self.batch = limits::TLS_BATCH_RECORDS;
        self.records.keep_keys();
        self
    }

    /// The stream below.
    pub const fn io(&self) -> &T {
        &self.io
    }

    /// The stream below; whoever writes there past TLS ends the connection.
    pub const fn io_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// Octets that are held; none while nothing is under way.
    pub fn held_bytes(&self) -> usize {
        self.unread.capacity() + self.unclaimed.capacity() + self.unsent.capacity()
    }
}

impl<T> fmt::Debug for LeanTls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeanTls")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> LeanTls<T> {
    /// Reads until a record with plaintext is opened: into `out`, and what it has no room for into `unclaimed`.
    fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::with(|space| {
            let mut filled = scratch::load(space, &std::mem::take(&mut self.unread));
            loop {
                // What is left over from the last time may hold whole records already.
                let opened = self.open(scratch::part(space, 0, filled), out);
                let opened = match opened {
                    Ok(opened) => opened,
                    Err(error) => return Poll::Ready(Err(self.fail(cx, error))),
                };
                space.copy_within(opened.discard..filled, 0);
                filled = filled.saturating_sub(opened.discard);
                if opened.plaintext > 0 || self.state.is_read_closed {
                    self.unread = scratch::part(space, 0, filled).to_vec();
                    return Poll::Ready(Ok(()));
                }
                let wanted = out.remaining().saturating_add(limits::TLS_RECORD_BYTES_MAX);
                let wanted = wanted.min(limits::TLS_READ_BYTES_MAX);
                let mut buffer = ReadBuf::new(scratch::part(space, filled, wanted));
                match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                    Poll::Pending => {
                        self.unread = scratch::part(space, 0, filled).to_vec();
                        return Poll::Pending;
                    }
                    Poll::Ready(read) => read?,
                }
                match buffer.filled().len() {
                    // Without TLS's goodbye anybody may have cut the connection (RFC 8446 section 6.1).
                    0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    read => filled = filled.saturating_add(read),
                }
            }
        })
    }

    fn open(&mut self, octets: &mut [u8], out: &mut ReadBuf<'_>) -> Result<Opened, rustls::Error> {
        let Self {
            records, unclaimed, ..
        } = self;
        let opened = records.open(octets, &mut |plaintext| {
            let (now, later) = plaintext.split_at(plaintext.len().min(out.remaining()));
            out.put_slice(now);
            unclaimed.extend_from_slice(later);
        })?;
        self.state.is_read_closed |= opened.is_closed;
        Ok(opened)
    }

    /// Tells the peer why its records are refused, if it takes that at once.
    fn fail(&mut self, cx: &mut Context<'_>, error: rustls::Error) -> io::Error {
        self.records.fail(&error, &mut self.unsent);
        self.state.is_write_closed = true;
        drop(self.poll_send(cx));
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// Hands the ciphertext that waits to the stream below.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let done = loop {
            let rest = self.unsent.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => sent = sent.saturating_add(written),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if sent >= self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..sent);
        }
        done
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for LeanTls<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.unclaimed.is_empty() {
            if this.state.is_read_closed {
                return Poll::Ready(Ok(()));
            }
            let read = this.poll_records(cx, out);
            // Answers of TLS itself, such as to a key update; who reads need not wait for them.
            let is_cut = matches!(read, Poll::Ready(Err(_)));
            if !this.unsent.is_empty()
                && !is_cut
                && let Poll::Ready(sent) = this.poll_send(cx)
            {
                sent?;
            }
            return read;
        }
        let now = this.unclaimed.len().min(out.remaining());
        out.put_slice(this.unclaimed.get(..now).unwrap_or_default());
        if now == this.unclaimed.len() {
            this.unclaimed = Vec::new();
        } else {
            this.unclaimed.drain(..now);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> LeanTls<T> {
    /// Takes a batch of records' worth as soon as nothing waits to be sent.
    fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        mut plaintext: Pieces<'_, '_>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        if self.state.is_write_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if plaintext.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = scratch::with(|space| {
            let sealed = self.records.seal(&mut plaintext, self.batch, space);
            let sealed = sealed.map_err(io::Error::other)?;
            let mut rest = scratch::part(space, 0, sealed);
            // What the stream below takes at once needs no place of its own.
            if let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, rest) {
                rest = scratch::part(rest, written?, usize::MAX);
            }
            self.unsent.extend_from_slice(rest);
            Ok(plaintext.taken())
        });
        Poll::Ready(taken)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LeanTls<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plaintext: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(plaintext)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plaintext: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_pieces(cx, Pieces::new(plaintext))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// Says goodbye (`close_notify`), then ends the stream below.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.state.is_write_closed {
            this.records.close(&mut this.unsent);
            this.state.is_write_closed = true;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
