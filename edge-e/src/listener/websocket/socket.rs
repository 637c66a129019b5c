//! The client's side of a WebSocket.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use common::limits;
use common::sip::gate::Gate;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Interval;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::listener::{sip, xmpp};

/// A client on a WebSocket: each message is one message of SIP, or one element of XMPP.
#[derive(Debug)]
pub(super) struct Socket<T> {
    socket: WebSocketStream<T>,
    pings: Interval,
    is_flushed: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// A server's side; longer messages end the connection.
    pub(super) async fn new(io: T, message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(limits::SIP_WEBSOCKET_READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * limits::FLOW_MESSAGE_BYTES_MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let mut pings = tokio::time::interval(limits::SIP_WEBSOCKET_PING_INTERVAL);
        pings.reset();
        Self {
            socket,
            pings,
            is_flushed: true,
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_ready(cx).map_err(failed)
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.pings.poll_tick(cx).is_ready() && self.poll_ready(cx)?.is_ready() {
            self.start(Message::Ping(Bytes::new()))?;
        }
        Ok(())
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(failed)?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn start(&mut self, message: Message) -> io::Result<()> {
        self.is_flushed = false;
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(failed)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> sip::client::Client for Socket<T> {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        gate: &mut Gate,
        now: Instant,
    ) -> Poll<io::Result<bool>> {
        match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(false)),
            Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            Some(Ok(Message::Text(text))) => gate.handle_websocket_message(text.as_bytes(), now),
            Some(Ok(Message::Binary(bytes))) => gate.handle_websocket_message(&bytes, now),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                gate.handle_keep_alive(now);
                // The answer to a ping waits in the socket.
                self.is_flushed = false;
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        self.poll_ping(cx)?;
        while !waiting.is_empty() {
            ready!(self.poll_ready(cx))?;
            let Some(first) = waiting.pop_front() else {
                break;
            };
            self.start(message_of(first))?;
        }
        self.poll_flushed(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failed)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> xmpp::client::Client for Socket<T> {
    const IS_OCTETS: bool = false;

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        self.poll_ping(cx)?;
        if let Poll::Ready(flushed) = self.poll_flushed(cx) {
            flushed?;
        }
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(false)),
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                Some(Ok(Message::Text(text))) if !text.is_empty() => {
                    give(text.as_bytes());
                    return Poll::Ready(Ok(true));
                }
                // RFC 7395 section 3.2: messages are text, and each is an element.
                Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                    // The answer to a ping waits in the socket.
                    self.is_flushed = false;
                    if let Poll::Ready(flushed) = self.poll_flushed(cx) {
                        flushed?;
                    }
                }
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &mut Bytes) -> Poll<io::Result<()>> {
        if !message.is_empty() {
            ready!(self.poll_ready(cx))?;
            self.start(message_of(std::mem::take(message)))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failed)
    }
}

/// Text if it is text: browsers hand binary messages to other code (RFC 7118 section 5.2 allows both).
fn message_of(bytes: Bytes) -> Message {
    tungstenite::Utf8Bytes::try_from(bytes.clone())
        .map_or_else(|_| Message::Binary(bytes), Message::Text)
}

fn failed(error: tungstenite::Error) -> io::Error {
    io::Error::other(error)
}
