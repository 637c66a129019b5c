//! Reads from a socket in large pieces, however small the pieces are that its reader asks for.
//!
//! rustls asks for 4 KiB at a time, so a record of 16 KiB would take five system calls. Buffers are the thread's and are
//! borrowed only while they hold something: a connection that waits has none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A connection that is read ahead.
#[derive(Debug)]
pub struct ReadAhead<T> {
    io: T,
    ahead: Option<Ahead>,
}

/// What was read and not yet asked for. Never empty.
#[derive(Debug)]
struct Ahead {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<T> ReadAhead<T> {
    /// Nothing is read yet.
    pub const fn new(io: T) -> Self {
        Self { io, ahead: None }
    }

    /// The connection itself, for its settings and addresses.
    pub const fn get_ref(&self) -> &T {
        &self.io
    }

    /// As [`Self::get_ref`]. Who reads from it reads past what was read ahead.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }
}

fn borrow() -> Box<[u8]> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| vec![0; limits::READ_AHEAD_BYTES].into())
}

fn give_back(buffer: Box<[u8]>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < limits::READ_AHEAD_SPARE_MAX {
            spare.push(buffer);
        }
    });
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        wanted: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ahead = match this.ahead.take() {
            Some(ahead) => ahead,
            None if wanted.remaining() >= limits::READ_AHEAD_BYTES => {
                return Pin::new(&mut this.io).poll_read(cx, wanted);
            }
            None => {
                let mut buffer = borrow();
                let mut into = ReadBuf::new(&mut buffer);
                let polled = Pin::new(&mut this.io).poll_read(cx, &mut into);
                let end = into.filled().len();
                if !matches!(polled, Poll::Ready(Ok(()))) || end == 0 {
                    give_back(buffer);
                    return polled;
                }
                Ahead {
                    buffer,
                    start: 0,
                    end,
                }
            }
        };
        this.ahead = ahead.hand_out(wanted);
        Poll::Ready(Ok(()))
    }
}

impl Ahead {
    /// Gives as much as is wanted; what is left, if anything.
    fn hand_out(mut self, wanted: &mut ReadBuf<'_>) -> Option<Self> {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let now = unread.get(..wanted.remaining()).unwrap_or(unread);
        wanted.put_slice(now);
        self.start = self.start.saturating_add(now.len());
        if self.start < self.end {
            return Some(self);
        }
        give_back(self.buffer);
        None
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Counts the reads that reach the connection.
    struct Counted<T>(T, usize);

    impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            wanted: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(cx, wanted)
        }
    }

    #[tokio::test]
    async fn everything_arrives_in_order_with_few_reads() {
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (ours, mut theirs) = tokio::io::duplex(sent.len());
        theirs.write_all(&sent).await.unwrap();
        drop(theirs);
        let mut reader = ReadAhead::new(Counted(ours, 0));

        let mut arrived = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let read = reader.read(&mut piece).await.unwrap();
            if read == 0 {
                break;
            }
            arrived.extend_from_slice(&piece[..read]);
        }

        assert_eq!(arrived, sent);
        let reads = sent.len() / limits::READ_AHEAD_BYTES + 2;
        assert!(reader.io.1 <= reads, "{}", reader.io.1);
    }

    #[tokio::test]
    async fn a_connection_that_waits_holds_no_buffer() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"hello").await.unwrap();
        let mut reader = ReadAhead::new(ours);
        let mut two = [0; 2];

        reader.read_exact(&mut two).await.unwrap();
        assert!(reader.ahead.is_some());
        reader.read_exact(&mut [0; 3]).await.unwrap();
        assert!(reader.ahead.is_none());
        let mut waiting = Box::pin(reader.read(&mut two));
        let polled = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        drop(waiting);
        assert!(reader.ahead.is_none());
    }
}
