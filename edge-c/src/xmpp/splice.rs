//! A stream whose user has signed in: bytes are copied until one side ends. Nothing is held while nobody speaks.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use common::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::{Client, ClientLost};
use super::metrics::XmppMetrics;
use crate::upstream::xmpp::NodeStream;

/// Both sides of a stream.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) client: Client,
    node: NodeStream,
    /// What the node has not taken.
    to_node: Bytes,
    is_flushed: bool,
    /// Frames that the link has not taken.
    to_client: Bytes,
    /// Bytes that went each way.
    pub(super) sent: Sent,
}

/// Bytes that went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) to_node: u64,
    pub(super) to_client: u64,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Client(ClientLost),
    /// The node ended its connection, properly or not.
    Node,
}

impl From<ClientLost> for Ended {
    fn from(lost: ClientLost) -> Self {
        Self::Client(lost)
    }
}

thread_local! {
    /// One place to read into for all streams of the thread.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::XMPP_SPLICE_BYTES]);
}

impl Splice {
    pub(super) fn new(client: Client, node: NodeStream, to_node: Bytes) -> Self {
        Self {
            client,
            node,
            to_node,
            is_flushed: false,
            to_client: Bytes::new(),
            sent: Sent::default(),
        }
    }

    /// Copies until one side ends. Cancel safe.
    pub(super) async fn copy(&mut self, metrics: &XmppMetrics) -> Ended {
        std::future::poll_fn(|cx| self.poll_copy(cx, metrics)).await
    }

    /// Tells the node that nothing more comes: without `</stream:stream>`, so that a lost client can resume.
    pub(super) async fn leave_node(self) -> Client {
        let mut node = self.node;
        let ending = std::future::poll_fn(|cx| Pin::new(&mut node).poll_shutdown(cx));
        // A node that doesn't take it is left by closing the socket.
        drop(tokio::time::timeout(limits::XMPP_CLOSE_TIMEOUT, ending).await);
        self.client
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, metrics: &XmppMetrics) -> Poll<Ended> {
        // Neither way waits for the other: two sides that both write first must not stop each other.
        if let Poll::Ready(ended) = self.poll_to_client(cx, metrics) {
            return Poll::Ready(ended);
        }
        self.poll_to_node(cx, metrics)
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>, metrics: &XmppMetrics) -> Poll<Ended> {
        loop {
            if let Err(lost) = ready!(self.client.poll_send(cx, &mut self.to_client)) {
                return Poll::Ready(lost.into());
            }
            let Self { client, node, .. } = self;
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = ready!(Pin::new(node).poll_read(cx, &mut buffer));
                let bytes = buffer.filled();
                if read.is_err() || bytes.is_empty() {
                    return Poll::Ready(Err(Ended::Node));
                }
                let frames = client.frames(bytes).map_err(Ended::from);
                Poll::Ready(frames.map(|frames| (frames, bytes.len())))
            });
            match ready!(read) {
                Ok((frames, len)) => {
                    let len = u64::try_from(len).unwrap_or(u64::MAX);
                    self.to_client = frames;
                    self.sent.to_client = self.sent.to_client.saturating_add(len);
                    metrics.bytes_to_clients.inc_by(len);
                }
                Err(ended) => return Poll::Ready(ended),
            }
        }
    }

    fn poll_to_node(&mut self, cx: &mut Context<'_>, metrics: &XmppMetrics) -> Poll<Ended> {
        loop {
            while !self.to_node.is_empty() {
                match ready!(Pin::new(&mut self.node).poll_write(cx, &self.to_node)) {
                    Ok(0) | Err(_) => return Poll::Ready(Ended::Node),
                    Ok(written) => self.to_node.advance(written),
                }
                self.is_flushed = false;
            }
            // The last message is let go of: it may be a piece of something larger.
            self.to_node = Bytes::new();
            if !self.is_flushed {
                if ready!(Pin::new(&mut self.node).poll_flush(cx)).is_err() {
                    return Poll::Ready(Ended::Node);
                }
                self.is_flushed = true;
            }
            match ready!(self.client.poll_receive(cx)) {
                Ok(bytes) => {
                    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.sent.to_node = self.sent.to_node.saturating_add(len);
                    metrics.bytes_to_nodes.inc_by(len);
                    self.to_node = bytes;
                }
                Err(lost) => return Poll::Ready(lost.into()),
            }
        }
    }
}
