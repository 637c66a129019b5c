//! The trunk where UDP does not get through: frames on a TCP connection of the link, each with its length (16 bits).
//!
//! A media thread holds a [`Pipe`], a task of the link drives its [`PipeEnd`]. Between them frames wait for the connection
//! no longer than [`limits::TRUNK_TCP_AGE_MAX`]: late media is worse than lost media. A length of 0 is a keep-alive.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::limits;
use crate::runtime::clock;
use crate::runtime::udp::poll::Waker;

const LENGTH_BYTES: usize = 2;

/// The media thread's side.
#[derive(Debug)]
pub struct Pipe(Arc<Shared>);

/// The connection's side.
#[derive(Debug)]
pub struct PipeEnd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outgoing: Mutex<Waiting>,
    incoming: Mutex<Waiting>,
    has_outgoing: Notify,
    waker: Waker,
    is_closed: std::sync::atomic::AtomicBool,
}

/// Frames that wait, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<(Instant, Bytes)>,
    dropped: u64,
}

impl Waiting {
    fn push(&mut self, frame: Bytes, now: Instant) {
        if self.frames.len() >= limits::TRUNK_TCP_FRAMES_MAX {
            self.frames.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.frames.push_back((now, frame));
    }

    /// The oldest frame that is still of use.
    fn pop(&mut self, now: Instant) -> Option<Bytes> {
        loop {
            let (since, frame) = self.frames.pop_front()?;
            if now.saturating_duration_since(since) <= limits::TRUNK_TCP_AGE_MAX {
                return Some(frame);
            }
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

/// Both sides of a pipe whose media thread is woken by `waker`.
#[must_use]
pub fn pipe(waker: Waker) -> (Pipe, PipeEnd) {
    let shared = Arc::new(Shared {
        outgoing: Mutex::default(),
        incoming: Mutex::default(),
        has_outgoing: Notify::new(),
        waker,
        is_closed: false.into(),
    });
    (Pipe(Arc::clone(&shared)), PipeEnd(shared))
}

impl Pipe {
    /// Takes a frame for the connection.
    pub fn send(&self, frame: &[u8], now: Instant) {
        lock(&self.0.outgoing).push(Bytes::copy_from_slice(frame), now);
    }

    /// Tells the connection that frames wait.
    pub fn flush(&self) {
        if !lock(&self.0.outgoing).frames.is_empty() {
            self.0.has_outgoing.notify_one();
        }
    }

    /// The next frame that has arrived.
    #[must_use]
    pub fn receive(&self, now: Instant) -> Option<Bytes> {
        lock(&self.0.incoming).pop(now)
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Frames that were dropped because they were too old or too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        lock(&self.0.outgoing).dropped + lock(&self.0.incoming).dropped
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.close();
        self.0.has_outgoing.notify_one();
    }
}

impl Shared {
    fn close(&self) {
        self.is_closed
            .store(true, std::sync::atomic::Ordering::Release);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.0.close();
        self.0.waker.wake();
    }
}

impl PipeEnd {
    /// Carries frames both ways until the connection or the other side of the pipe is gone.
    ///
    /// # Errors
    /// Why the connection is gone; [`io::ErrorKind::TimedOut`] if the peer fell silent.
    pub async fn drive(self, stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            result = self.read(reader) => result,
            result = self.write(writer) => result,
        }
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(limits::TRUNK_ARENA_BYTES);
        loop {
            let reading = reader.read_buf(&mut buffer);
            let read = tokio::time::timeout(limits::LINK_DEAD_AFTER, reading).await;
            if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Ok(());
            }
            let now = clock::now();
            while let Some(frame) = next_frame(&mut buffer)? {
                if !frame.is_empty() {
                    lock(&self.0.incoming).push(frame, now);
                }
            }
            self.0.waker.wake();
        }
    }

    async fn write(&self, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            let more = self.0.has_outgoing.notified();
            let waited = tokio::time::timeout(limits::LINK_KEEPALIVE_INTERVAL, more).await;
            if self.0.is_closed.load(std::sync::atomic::Ordering::Acquire) {
                return writer.shutdown().await;
            }
            if waited.is_err() {
                buffer.extend_from_slice(&[0; LENGTH_BYTES]);
            }
            loop {
                self.take(&mut buffer);
                if buffer.is_empty() {
                    break;
                }
                writer.write_all_buf(&mut buffer).await?;
                writer.flush().await?;
            }
        }
    }

    /// Takes frames that are still of use, as many as one write may carry.
    fn take(&self, buffer: &mut BytesMut) {
        let now = clock::now();
        let mut outgoing = lock(&self.0.outgoing);
        while buffer.len() < WRITE_BYTES {
            let Some(frame) = outgoing.pop(now) else {
                return;
            };
            if let Ok(length) = u16::try_from(frame.len()) {
                buffer.extend_from_slice(&length.to_be_bytes());
                buffer.extend_from_slice(&frame);
            }
        }
    }
}

/// What is handed to the connection at once: what waits there grows old, and nobody sees it.
const WRITE_BYTES: usize = 16 * 1024;

fn next_frame(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > limits::MEDIA_FRAME_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a media frame is over the limit",
        ));
    }
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frames_cross_and_the_other_thread_is_woken() {
        let (here, there) = tokio::io::duplex(4096);
        let (left, left_end) = pipe(Waker::new().unwrap());
        let (right, right_end) = pipe(Waker::new().unwrap());
        let left_task = tokio::spawn(left_end.drive(here));
        let right_task = tokio::spawn(right_end.drive(there));

        left.send(b"one", clock::now());
        left.send(b"two", clock::now());
        left.flush();
        let mut arrived = Vec::new();
        while arrived.len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            arrived.extend(right.receive(clock::now()));
        }
        assert_eq!(arrived, ["one", "two"]);

        drop(left);
        left_task.await.unwrap().unwrap();
        right_task.await.unwrap().unwrap();
        assert!(right.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_too_long_for_the_connection_is_dropped() {
        let (here, _there) = tokio::io::duplex(1);
        let (left, end) = pipe(Waker::new().unwrap());
        let task = tokio::spawn(end.drive(here));
        left.send(&[1; 100], clock::now());
        left.flush();
        tokio::time::sleep(Duration::from_millis(1)).await;

        left.send(b"late", clock::now());
        tokio::time::sleep(limits::TRUNK_TCP_AGE_MAX).await;
        left.send(b"fresh", clock::now());
        let first = lock(&left.0.outgoing).pop(clock::now() + Duration::from_millis(1));

        assert_eq!((first.as_deref(), left.dropped()), (Some(&b"fresh"[..]), 1));
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_ends_the_pipe_and_a_quiet_one_does_not() {
        let (here, mut there) = tokio::io::duplex(64);
        let (left, end) = pipe(Waker::new().unwrap());
        let task = tokio::spawn(end.drive(here));
        tokio::time::sleep(Duration::from_secs(10)).await;
        there.write_all(&[0, 0]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!left.is_closed());

        tokio::time::sleep(limits::LINK_DEAD_AFTER).await;

        let ended = task.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(left.is_closed());
    }
}
