//! What a client's stream on the link carries: frames, or, below TLS that this edge ends, the octets in their messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use common::limits;
use common::link::flow::{self, Decoder, Frame};
use common::runtime::link_streams::{LinkStream, ReceiveHalf, SendHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::ClientLost;

/// Both directions of a stream. As octets it is polled by one task.
#[derive(Debug)]
pub(super) struct Frames {
    sending: SendHalf,
    receiving: ReceiveHalf,
    decoder: Decoder,
    /// Octets that the last reader had no room for.
    unread: Bytes,
    /// Frames of octets that the link has not taken.
    unsent: Bytes,
}

impl Frames {
    pub(super) fn new(stream: LinkStream) -> Self {
        let (sending, receiving) = stream.split();
        Self {
            sending,
            receiving,
            decoder: Decoder::new(),
            unread: Bytes::new(),
            unsent: Bytes::new(),
        }
    }

    /// The next message.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ClientLost>> {
        loop {
            match self.decoder.next() {
                Ok(None) => {}
                Ok(Some(Frame::Message(message))) => return Poll::Ready(Ok(message)),
                Ok(Some(Frame::AuthFailed(_) | Frame::Close(_) | Frame::Gate(_))) | Err(_) => {
                    return Poll::Ready(Err(ClientLost::Malformed));
                }
            }
            match ready!(self.receiving.poll_receive(cx)) {
                Some(bytes) => self.decoder.push(&bytes),
                None => return Poll::Ready(Err(ClientLost::Gone)),
            }
        }
    }

    /// Hands frames over; what was taken is gone from the front.
    pub(super) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut Bytes,
    ) -> Poll<Result<(), ClientLost>> {
        self.sending.poll_send_rest(cx, frames).map_err(Into::into)
    }

    /// One frame, behind everything else.
    pub(super) async fn tell(&mut self, frame: &Frame) -> Result<(), ClientLost> {
        let frame = flow::encoded(frame).map_err(|_| ClientLost::Malformed)?;
        std::future::poll_fn(|cx| self.poll_unsent(cx)).await?;
        Ok(self.sending.send(frame).await?)
    }

    /// Says that nothing more comes, and waits until edge-e says the same.
    pub(super) async fn finish(&mut self) {
        self.sending.finish();
        while self.receiving.receive().await.is_some() {}
    }

    pub(super) fn reset(&mut self) {
        self.sending.reset();
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientLost>> {
        ready!(self.sending.poll_send_rest(cx, &mut self.unsent))?;
        // The place it had goes with it.
        self.unsent = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Frames {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            this.unread = match ready!(this.poll_message(cx)) {
                Ok(message) => message,
                Err(ClientLost::Gone) => return Poll::Ready(Ok(())),
                Err(lost) => return Poll::Ready(Err(io::Error::other(lost))),
            };
        }
        let now = this.unread.len().min(out.remaining());
        out.put_slice(&this.unread.split_to(now));
        if this.unread.is_empty() {
            this.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Frames {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx)).map_err(io::Error::other)?;
        let now = octets
            .get(..limits::FLOW_MESSAGE_BYTES_MAX)
            .unwrap_or(octets);
        if now.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut frame = BytesMut::new();
        flow::encode_message(now, &mut frame).map_err(io::Error::other)?;
        this.unsent = frame.freeze();
        match this.poll_unsent(cx) {
            Poll::Ready(Err(lost)) => Poll::Ready(Err(io::Error::other(lost))),
            // What is left goes first next time.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(now.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_unsent(cx).map_err(io::Error::other)
    }

    /// The frame that closes the client's connection is its end.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
