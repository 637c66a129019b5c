//! A client as edge-c sees it: frames of its stream on the link, which are bytes of its XMPP stream or messages of its
//! WebSocket.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use common::limits;
use common::link::flow::{self, FlowClose, Frame, Gate};
use common::runtime::lean_tls::{self, LeanTls};
use common::runtime::link_streams::{LinkStream, StreamLost};
use common::xmpp::boundaries::{Boundaries, Place};
use common::xmpp::error::{Condition, header, stream_error};
use common::xmpp::websocket::{self, ToMessages};
use rustls::ServerConfig;
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use super::frames::Frames;

/// The client of one stream.
#[derive(Debug)]
pub(super) struct Client {
    wire: Wire,
    format: Format,
}

/// Where a client's stream is read and written.
#[derive(Debug)]
enum Wire {
    /// edge-e ends its TLS, or it is a WebSocket.
    Clear(Frames),
    /// TLS ends here.
    Tls(Box<LeanTls<Frames>>),
}

#[derive(Debug)]
enum Format {
    /// Bytes as they are.
    Stream(Boundaries),
    /// RFC 7395.
    Messages(Box<ToMessages>),
}

/// Why nothing more comes from a client or goes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClientLost {
    /// The client is gone, or the link is.
    #[error("the client is gone")]
    Gone,
    /// What edge-e sends are no frames of a client.
    #[error("what edge-e sends makes no sense")]
    Malformed,
    /// An element of the node that no WebSocket message can hold.
    #[error("an element is too long for a WebSocket")]
    TooLong,
}

impl From<StreamLost> for ClientLost {
    fn from(_: StreamLost) -> Self {
        Self::Gone
    }
}

impl Client {
    pub(super) fn new(stream: LinkStream, is_websocket: bool) -> Self {
        Self {
            wire: Wire::Clear(Frames::new(stream)),
            format: if is_websocket {
                Format::Messages(Box::default())
            } else {
                Format::Stream(Boundaries::new())
            },
        }
    }

    /// A client whose TLS ends here, when that stands.
    pub(super) async fn accept(stream: LinkStream, tls: &ServerConfig) -> io::Result<Self> {
        let accepting = lean_tls::accept(Frames::new(stream), tls);
        let accepted = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, accepting).await;
        let (tls, _) = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Self {
            wire: Wire::Tls(Box::new(tls)),
            format: Format::Stream(Boundaries::new()),
        })
    }

    /// The next bytes of the client's stream.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ClientLost>> {
        let message = match &mut self.wire {
            Wire::Clear(frames) => ready!(frames.poll_message(cx))?,
            Wire::Tls(tls) => ready!(poll_plaintext(tls, cx))?,
        };
        Poll::Ready(Ok(match &self.format {
            Format::Stream(_) => message,
            Format::Messages(_) => websocket::to_stream(message),
        }))
    }

    /// What is to be sent with [`Self::poll_send`] for bytes of a node.
    pub(super) fn frames(&mut self, bytes: &[u8]) -> Result<Bytes, ClientLost> {
        let mut frames = BytesMut::new();
        match (&mut self.format, &self.wire) {
            (Format::Stream(boundaries), Wire::Tls(_)) => {
                boundaries.advance_all(bytes);
                frames.extend_from_slice(bytes);
            }
            (Format::Stream(boundaries), Wire::Clear(_)) => {
                boundaries.advance_all(bytes);
                frames.reserve(bytes.len().saturating_add(FRAME_HEAD_BYTES));
                for piece in bytes.chunks(limits::FLOW_MESSAGE_BYTES_MAX) {
                    flow::encode_message(piece, &mut frames).map_err(|_| ClientLost::TooLong)?;
                }
            }
            (Format::Messages(to_messages), _) => {
                let mut is_short = true;
                let emit = |message: Bytes| {
                    is_short &= flow::encode_message(&message, &mut frames).is_ok();
                };
                to_messages
                    .push(bytes, emit)
                    .map_err(|_| ClientLost::TooLong)?;
                if !is_short {
                    return Err(ClientLost::TooLong);
                }
            }
        }
        Ok(frames.freeze())
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut Bytes,
    ) -> Poll<Result<(), ClientLost>> {
        let tls = match &mut self.wire {
            Wire::Clear(wire) => return wire.poll_frames(cx, frames),
            Wire::Tls(tls) => Pin::new(tls.as_mut()),
        };
        let sent = ready!(poll_write_all(tls, cx, frames));
        Poll::Ready(sent.map_err(|_| ClientLost::Gone))
    }

    /// Sends bytes as a node would have sent them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientLost> {
        let mut frames = self.frames(bytes)?;
        std::future::poll_fn(|cx| self.poll_send(cx, &mut frames)).await
    }

    /// Bytes of the client's stream, waited for. Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<Bytes, ClientLost> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Tells edge-e something about the client.
    pub(super) async fn tell(&mut self, frame: &Frame) -> Result<(), ClientLost> {
        self.wire.frames().tell(frame).await
    }

    /// The client is authenticated.
    pub(super) async fn let_in(&mut self) -> Result<(), ClientLost> {
        self.tell(&Frame::Gate(Gate::Open)).await
    }

    /// The node begins its stream anew (RFC 6120 section 4.3.3).
    pub(super) fn restart(&mut self) {
        match &mut self.format {
            Format::Stream(boundaries) => *boundaries = Boundaries::new(),
            Format::Messages(to_messages) => to_messages.restart(),
        }
    }

    /// Whether an error of the edge's own may be put behind what the client has got.
    pub(super) fn place(&self) -> Place {
        match &self.format {
            Format::Stream(boundaries) => boundaries.place(),
            Format::Messages(to_messages) => to_messages.boundaries().place(),
        }
    }

    /// Tells the client why it is closed, where its stream has a place for that, and has it closed.
    pub(super) async fn close_with(mut self, condition: Condition, reason: FlowClose, id: &str) {
        let text = match self.place() {
            Place::Between => stream_error(condition),
            Place::Outside => header(None, id) + &stream_error(condition),
            Place::Within => String::new(),
        };
        let telling = self.send(text.as_bytes());
        let told = tokio::time::timeout(CLOSE_TIMEOUT, telling).await;
        if matches!(told, Ok(Ok(()))) {
            self.close(reason).await;
        } else {
            self.wire.frames().reset();
        }
    }

    /// Has the client closed once it has read everything.
    pub(super) async fn close(mut self, reason: FlowClose) {
        let closing = async {
            if let Wire::Tls(tls) = &mut self.wire {
                // Fails only if the client is gone, which the next line finds as well.
                drop(tls.shutdown().await);
            }
            self.tell(&Frame::Close(reason)).await?;
            // edge-e writes what came before to the client, closes it, and then ends the stream.
            self.wire.frames().finish().await;
            Ok::<_, ClientLost>(())
        };
        if !matches!(
            tokio::time::timeout(CLOSE_TIMEOUT, closing).await,
            Ok(Ok(()))
        ) {
            self.wire.frames().reset();
        }
    }
}

impl Wire {
    const fn frames(&mut self) -> &mut Frames {
        match self {
            Self::Clear(frames) => frames,
            Self::Tls(tls) => tls.io_mut(),
        }
    }
}

thread_local! {
    /// Where TLS of all clients of the thread is read into.
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::XMPP_SPLICE_BYTES]);
}

fn poll_plaintext(
    tls: &mut LeanTls<Frames>,
    cx: &mut Context<'_>,
) -> Poll<Result<Bytes, ClientLost>> {
    PIECE.with_borrow_mut(|piece| {
        let mut buffer = ReadBuf::new(piece);
        let read = ready!(Pin::new(tls).poll_read(cx, &mut buffer));
        match (read, buffer.filled()) {
            // However a client leaves: its stream has an end of its own, and TLS without one is no news.
            (Err(_), _) | (Ok(()), []) => Poll::Ready(Err(ClientLost::Gone)),
            (Ok(()), read) => Poll::Ready(Ok(Bytes::copy_from_slice(read))),
        }
    })
}

/// Ready when all of it is on its way.
fn poll_write_all(
    mut tls: Pin<&mut LeanTls<Frames>>,
    cx: &mut Context<'_>,
    rest: &mut Bytes,
) -> Poll<io::Result<()>> {
    while !rest.is_empty() {
        match ready!(tls.as_mut().poll_write(cx, rest))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => rest.advance(written),
        }
    }
    tls.poll_flush(cx)
}

const FRAME_HEAD_BYTES: usize = 4;
const CLOSE_TIMEOUT: Duration = limits::XMPP_CLOSE_TIMEOUT;
