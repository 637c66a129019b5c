//! The client's side of a stream: octets over TLS. Holds no buffer while nothing is on the way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use common::limits;
use common::runtime::lean_tls::LeanTls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a client is read and written. Both are polled with one waker.
pub(crate) trait Client {
    /// Whether a stream of it is octets in the clear, which may be cut anywhere and be followed by words of this edge.
    const IS_OCTETS: bool;

    /// Hands out what has arrived, never more than one frame of the link takes; `false` at the end of the stream.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<bool>>;

    /// Writes `message`; ready when all of it has found its place.
    fn poll_send(&mut self, cx: &mut Context<'_>, message: &mut Bytes) -> Poll<io::Result<()>>;

    /// Ready when everything is on its way.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says goodbye.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

thread_local! {
    /// What is read goes from here into a frame at once.
    static PIECE: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::XMPP_PIECE_BYTES].into());
}

/// Reads one piece into the place of the thread, and gives it; `false` at the end.
pub(super) fn poll_give(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    give: &mut dyn FnMut(&[u8]),
) -> Poll<io::Result<bool>> {
    PIECE.with_borrow_mut(|piece| {
        let mut buffer = ReadBuf::new(piece);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if !read.is_empty() {
            give(read);
        }
        Poll::Ready(Ok(!read.is_empty()))
    })
}

/// Writes as much as goes, and takes it off the message.
pub(super) fn poll_take(
    io: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    message: &mut Bytes,
) -> Poll<io::Result<()>> {
    while !message.is_empty() {
        match ready!(Pin::new(&mut *io).poll_write(cx, message))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => message.advance(written),
        }
    }
    Poll::Ready(Ok(()))
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client for LeanTls<T> {
    const IS_OCTETS: bool = true;

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        poll_give(self, cx, give)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &mut Bytes) -> Poll<io::Result<()>> {
        poll_take(self, cx, message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}
