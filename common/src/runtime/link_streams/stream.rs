//! One stream, the same on both sides.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::opener::Slot;

/// The stream is gone: reset by the peer, or with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream on the link is gone")]
pub struct StreamLost;

/// A stream between the edges. Dropped without [`SendHalf::finish`] and before its peer has ended, it is reset.
#[derive(Debug)]
pub struct LinkStream {
    sending: SendHalf,
    receiving: ReceiveHalf,
}

/// The half that sends.
#[derive(Debug)]
pub struct SendHalf {
    stream: SendStream<Bytes>,
}

/// The half that receives.
#[derive(Debug)]
pub struct ReceiveHalf {
    stream: RecvStream,
    /// Where streams are counted, the place in the count: the half that sends is never needed for longer.
    _slot: Option<Slot>,
}

impl LinkStream {
    pub(super) const fn new(
        sending: SendStream<Bytes>,
        receiving: RecvStream,
        slot: Option<Slot>,
    ) -> Self {
        Self {
            sending: SendHalf { stream: sending },
            receiving: ReceiveHalf {
                stream: receiving,
                _slot: slot,
            },
        }
    }

    /// The two halves, for one task that does both at once: reading must not wait for writing.
    #[must_use]
    pub fn split(self) -> (SendHalf, ReceiveHalf) {
        (self.sending, self.receiving)
    }

    /// As [`SendHalf::send`].
    ///
    /// # Errors
    /// [`StreamLost`].
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), StreamLost> {
        self.sending.send(bytes).await
    }

    /// As [`ReceiveHalf::receive`].
    pub async fn receive(&mut self) -> Option<Bytes> {
        self.receiving.receive().await
    }

    /// Ends the stream at once, with everything that is still on the way.
    pub fn reset(mut self) {
        self.sending.reset();
    }
}

impl SendHalf {
    /// Hands over all of `bytes`, as fast as the peer takes them. Not cancel safe: see [`Self::send_rest`].
    ///
    /// # Errors
    /// [`StreamLost`] if the stream is gone.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), StreamLost> {
        self.send_rest(&mut bytes).await
    }

    /// As [`Self::send`], and cancel safe: what was handed over is gone from the front of `rest`.
    ///
    /// # Errors
    /// [`StreamLost`] if the stream is gone.
    pub async fn send_rest(&mut self, rest: &mut Bytes) -> Result<(), StreamLost> {
        poll_fn(|cx| self.poll_send_rest(cx, rest)).await
    }

    /// As [`Self::send_rest`], for whoever polls.
    ///
    /// # Errors
    /// [`StreamLost`] if the stream is gone.
    pub fn poll_send_rest(
        &mut self,
        cx: &mut Context<'_>,
        rest: &mut Bytes,
    ) -> Poll<Result<(), StreamLost>> {
        while !rest.is_empty() {
            self.stream.reserve_capacity(rest.len());
            let capacity = match self.stream.capacity() {
                0 => {
                    let more = ready!(self.stream.poll_capacity(cx));
                    more.ok_or(StreamLost)?.map_err(|_| StreamLost)?
                }
                capacity => capacity,
            };
            let now = rest.split_to(capacity.min(rest.len()));
            self.stream.send_data(now, false).map_err(|_| StreamLost)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes; what was handed over still goes out.
    pub fn finish(&mut self) {
        if self.stream.send_data(Bytes::new(), true).is_err() {
            tracing::trace!("the stream was gone before it was finished");
        }
    }

    /// Ends the stream in both directions at once.
    pub fn reset(&mut self) {
        self.stream.send_reset(Reason::CANCEL);
    }
}

impl ReceiveHalf {
    /// The next octets; `None` if the stream has ended or is gone. The peer may send as many more from the moment that
    /// these are returned: not to be called before the last ones found their place. Cancel safe.
    pub async fn receive(&mut self) -> Option<Bytes> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`Self::receive`], for whoever polls.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(Ok(bytes)) = ready!(self.stream.poll_data(cx)) else {
                return Poll::Ready(None);
            };
            // Fails only if more is given back than came.
            if self
                .stream
                .flow_control()
                .release_capacity(bytes.len())
                .is_err()
            {
                return Poll::Ready(None);
            }
            if !bytes.is_empty() {
                return Poll::Ready(Some(bytes));
            }
        }
    }
}
