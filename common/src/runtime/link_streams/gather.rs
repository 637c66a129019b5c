//! What `h2` writes, gathered: small frames of many streams leave in one TLS record and one system call.
//!
//! To a stream that takes several pieces at once, `h2` hands each frame of a few hundred octets by itself, and flushes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

use crate::limits;

/// A connection that copies what is written until it is flushed, and does not take several pieces at once.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    io: BufWriter<T>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Gathered<T> {
    pub(super) fn new(io: T) -> Self {
        let io = BufWriter::with_capacity(limits::LINK_STREAM_GATHERED_BYTES, io);
        Self { io }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, out)
    }
}

/// [`AsyncWrite::is_write_vectored`] stays `false`: that is what makes `h2` gather.
impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn frames_leave_together_when_they_are_flushed() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut gathered = Gathered::new(near);
        let mut read = [0; 64];

        gathered.write_all(b"head ").await.unwrap();
        gathered.write_all(b"and body").await.unwrap();
        tokio::select! {
            biased;
            read = far.read(&mut read) => panic!("{read:?} before the flush"),
            () = std::future::ready(()) => {}
        }
        gathered.flush().await.unwrap();

        assert_eq!(far.read(&mut read).await.unwrap(), b"head and body".len());
        assert!(!gathered.is_write_vectored());
    }

    #[tokio::test]
    async fn nothing_is_lost_at_the_end_or_over_a_narrow_stream() {
        let (near, mut far) = tokio::io::duplex(100);
        let octets: Vec<u8> = (0..200_000_usize).map(|at| at.to_le_bytes()[0]).collect();
        let sent = octets.clone();
        let writing = tokio::spawn(async move {
            let mut gathered = Gathered::new(near);
            for piece in sent.chunks(7_001) {
                gathered.write_all(piece).await.unwrap();
            }
            gathered.shutdown().await.unwrap();
        });

        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();

        assert!(received == octets);
        writing.await.unwrap();
    }
}
