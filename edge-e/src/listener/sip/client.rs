//! The client's side of a flow: octets over TLS, or messages of a WebSocket. Holds no buffer while nothing is on the way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use common::sip::gate::Gate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a flow's client is read and written. Both are polled with one waker.
pub(crate) trait Client {
    /// Hands what has arrived to the gate; `false` at the end of the connection.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        gate: &mut Gate,
        now: Instant,
    ) -> Poll<io::Result<bool>>;

    /// Writes what waits; ready when nothing does and all of it is on its way.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>>;

    /// Says goodbye.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A client on a stream.
#[derive(Debug)]
pub(crate) struct TlsClient<T> {
    stream: T,
    is_flushed: bool,
}

impl<T> TlsClient<T> {
    pub(crate) const fn new(stream: T) -> Self {
        Self {
            stream,
            is_flushed: true,
        }
    }
}

/// Makes one write, and so one TLS record, of messages that wait together. A long one stays by itself.
fn join(waiting: &mut VecDeque<Bytes>) {
    let all: usize = waiting.iter().map(Bytes::len).sum();
    if waiting.len() > 1 && all <= SCRATCH_BYTES {
        let mut joined = BytesMut::with_capacity(all);
        for message in waiting.drain(..) {
            joined.extend_from_slice(&message);
        }
        waiting.push_back(joined.freeze());
    }
}

/// One TLS record.
const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    /// What is read goes from here into the gate at once: a connection that waits holds no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client for TlsClient<T> {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        gate: &mut Gate,
        now: Instant,
    ) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            gate.handle_bytes(read, now);
            Poll::Ready(Ok(!read.is_empty()))
        })
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        join(waiting);
        while let Some(first) = waiting.front_mut() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, first))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_flushed = false;
            first.advance(written);
            if first.is_empty() {
                waiting.pop_front();
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
