//! A client as edge-c sees it: frames of its stream on the link, which are bytes of its XMPP stream or messages of its
//! WebSocket.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::limits;
use common::link::flow::{self, Decoder, FlowClose, Frame, Gate};
use common::runtime::link_streams::{LinkStream, ReceiveHalf, SendHalf, StreamLost};
use common::xmpp::boundaries::{Boundaries, Place};
use common::xmpp::error::{Condition, header, stream_error};
use common::xmpp::websocket::{self, ToMessages};

/// The client of one stream.
#[derive(Debug)]
pub(super) struct Client {
    sending: SendHalf,
    receiving: ReceiveHalf,
    decoder: Decoder,
    format: Format,
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
        let (sending, receiving) = stream.split();
        Self {
            sending,
            receiving,
            decoder: Decoder::new(),
            format: if is_websocket {
                Format::Messages(Box::default())
            } else {
                Format::Stream(Boundaries::new())
            },
        }
    }

    /// The next bytes of the client's stream.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ClientLost>> {
        loop {
            match self.decoder.next() {
                Ok(None) => {}
                Ok(Some(Frame::Message(message))) => {
                    return Poll::Ready(Ok(match &self.format {
                        Format::Stream(_) => message,
                        Format::Messages(_) => websocket::to_stream(message),
                    }));
                }
                Ok(Some(Frame::AuthFailed | Frame::Close(_) | Frame::Gate(_))) | Err(_) => {
                    return Poll::Ready(Err(ClientLost::Malformed));
                }
            }
            match ready!(self.receiving.poll_receive(cx)) {
                Some(bytes) => self.decoder.push(&bytes),
                None => return Poll::Ready(Err(ClientLost::Gone)),
            }
        }
    }

    /// Frames for bytes of a node, to be sent with [`Self::poll_send`].
    pub(super) fn frames(&mut self, bytes: &[u8]) -> Result<Bytes, ClientLost> {
        let mut frames = BytesMut::new();
        match &mut self.format {
            Format::Stream(boundaries) => {
                boundaries.advance_all(bytes);
                frames.reserve(bytes.len().saturating_add(FRAME_HEAD_BYTES));
                for piece in bytes.chunks(limits::FLOW_MESSAGE_BYTES_MAX) {
                    flow::encode_message(piece, &mut frames).map_err(|_| ClientLost::TooLong)?;
                }
            }
            Format::Messages(to_messages) => {
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
        self.sending.poll_send_rest(cx, frames).map_err(Into::into)
    }

    /// Sends bytes as a node would have sent them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientLost> {
        let frames = self.frames(bytes)?;
        Ok(self.sending.send(frames).await?)
    }

    /// Bytes of the client's stream, waited for. Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<Bytes, ClientLost> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Tells edge-e something about the client.
    pub(super) async fn tell(&mut self, frame: &Frame) -> Result<(), ClientLost> {
        let frame = flow::encoded(frame).map_err(|_| ClientLost::Malformed)?;
        Ok(self.sending.send(frame).await?)
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
            self.sending.reset();
        }
    }

    /// Has the client closed once it has read everything.
    pub(super) async fn close(mut self, reason: FlowClose) {
        let closing = async {
            self.tell(&Frame::Close(reason)).await?;
            self.sending.finish();
            // edge-e writes what came before to the client, closes it, and then ends the stream.
            while self.receiving.receive().await.is_some() {}
            Ok::<_, ClientLost>(())
        };
        if !matches!(
            tokio::time::timeout(CLOSE_TIMEOUT, closing).await,
            Ok(Ok(()))
        ) {
            self.sending.reset();
        }
    }
}

const FRAME_HEAD_BYTES: usize = 4;
const CLOSE_TIMEOUT: Duration = limits::XMPP_CLOSE_TIMEOUT;
