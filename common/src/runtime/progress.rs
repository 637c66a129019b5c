//! Counts the bytes that cross a connection, so that a watchdog can tell a slow peer from a silent one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one connection has done so far. Cheap to read from another task.
#[derive(Debug, Default)]
pub struct Counters {
    read: AtomicU64,
    written: AtomicU64,
    moved: AtomicU64,
    requests: AtomicU64,
    in_flight: AtomicUsize,
}

impl Counters {
    /// Bytes read from the peer.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written to the peer.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes either way that belong to requests and answers: over HTTP/2 those of their frames, and not those of pings and
    /// other frames by which a peer only says that it is there.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Requests whose head has arrived.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests whose response is not finished.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A request under way on a connection.
#[derive(Debug)]
pub struct InFlight(Arc<Counters>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub struct Progress<T> {
    io: T,
    counters: Arc<Counters>,
    /// What is followed in each direction; `None` where every byte counts.
    frames: Option<[Frames; 2]>,
}

impl<T> Progress<T> {
    /// Counts what crosses `io` into `counters`.
    pub const fn new(io: T, counters: Arc<Counters>) -> Self {
        Self {
            io,
            counters,
            frames: None,
        }
    }

    /// The same for the server's end of an HTTP/2 connection that has just begun.
    pub const fn of_http2(io: T, counters: Arc<Counters>) -> Self {
        Self {
            io,
            counters,
            frames: Some([Frames::behind(PREFACE_BYTES), Frames::behind(0)]),
        }
    }

    fn count_read(&mut self, bytes: &[u8]) {
        let all = bytes.len() as u64;
        self.counters.read.fetch_add(all, Ordering::Relaxed);
        let moved = match &mut self.frames {
            Some([frames, _]) => frames.follow(bytes),
            None => all,
        };
        self.counters.moved.fetch_add(moved, Ordering::Relaxed);
    }

    /// The first `written` octets of `bufs` are on their way.
    fn count_written(&mut self, written: usize, bufs: &[io::IoSlice<'_>]) {
        let all = written as u64;
        self.counters.written.fetch_add(all, Ordering::Relaxed);
        let Some([_, frames]) = &mut self.frames else {
            self.counters.moved.fetch_add(all, Ordering::Relaxed);
            return;
        };
        let mut left = written;
        for buf in bufs {
            let taken = left.min(buf.len());
            left = left.saturating_sub(taken);
            let moved = frames.follow(buf.get(..taken).unwrap_or_default());
            self.counters.moved.fetch_add(moved, Ordering::Relaxed);
        }
    }
}

/// Where one direction of an HTTP/2 connection is in its frames (RFC 9113 section 4.1).
#[derive(Debug)]
struct Frames {
    head: [u8; FRAME_HEAD_BYTES],
    head_read: usize,
    /// Of the frame that has begun, or of what stands in front of the first.
    left: usize,
    is_message: bool,
}

impl Frames {
    /// Nothing has come yet; the first `bytes` are no frame.
    const fn behind(bytes: usize) -> Self {
        Self {
            head: [0; FRAME_HEAD_BYTES],
            head_read: 0,
            left: bytes,
            is_message: false,
        }
    }

    /// Goes past these octets; how many of them are of requests and answers.
    fn follow(&mut self, mut bytes: &[u8]) -> u64 {
        let mut moved = 0_u64;
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left = self.left.saturating_sub(payload.len());
                if self.is_message {
                    moved = moved.saturating_add(payload.len() as u64);
                }
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at(
                FRAME_HEAD_BYTES
                    .saturating_sub(self.head_read)
                    .min(bytes.len()),
            );
            for octet in head {
                if let Some(place) = self.head.get_mut(self.head_read) {
                    *place = *octet;
                }
                self.head_read = self.head_read.saturating_add(1);
            }
            bytes = rest;
            if self.head_read == FRAME_HEAD_BYTES {
                let [a, b, c, kind, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.is_message = matches!(kind, DATA | HEADERS | CONTINUATION);
                self.head_read = 0;
            }
        }
        moved
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Progress<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            self.count_read(read);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Progress<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            self.count_written(written, &[io::IoSlice::new(buf)]);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = polled {
            self.count_written(written, bufs);
        }
        polled
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

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const FRAME_HEAD_BYTES: usize = 9;
/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_of_messages_count_however_they_are_cut() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
        let ping = b"\0\0\x08\x06\0\0\0\0\0pingping".as_slice();
        let headers = b"\0\0\x03\x01\x04\0\0\0\x01abc".as_slice();
        let data = b"\0\0\x05\0\0\0\0\0\x01hello".as_slice();
        let settings = b"\0\0\0\x04\0\0\0\0\0".as_slice();
        let all = [preface, settings, ping, headers, ping, data, ping].concat();

        for piece in [1, 2, 7, 9, 10, all.len()] {
            let mut frames = Frames::behind(PREFACE_BYTES);

            let moved: u64 = all.chunks(piece).map(|chunk| frames.follow(chunk)).sum();

            assert_eq!(moved, 8, "in pieces of {piece}");
        }
    }
}
