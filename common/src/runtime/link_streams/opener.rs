//! edge-e's side: the connections that one edge-c dialled for streams, and a new stream on one of the own thread, else on
//! the least loaded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, PingPong};
use http::{Method, Request, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::gather::Gathered;
use super::{Ended, LinkStream, keep_alive};
use crate::limits;
use crate::link::stream_preface::StreamPreface;
use crate::runtime::workers;

/// Opens streams to one edge-c. Dials nothing.
#[derive(Debug, Default)]
pub struct Opener {
    lines: Mutex<Vec<Arc<Line>>>,
}

/// One connection.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Bytes>,
    /// The worker that drives it.
    worker: usize,
    /// Counted here: over the peer's limit `h2` queues without a bound and refuses nothing.
    streams: AtomicUsize,
}

/// A place in the count of streams of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Line>);

/// Why no stream came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many streams are open as the connections take.
    #[error("the link has no room for another stream")]
    Full,
    /// The core has no connection for streams.
    #[error("the core has no connection for streams")]
    NoConnection,
    /// The core does not want the stream.
    #[error("the core refuses the stream with {0}")]
    Refused(StatusCode),
    /// The core has not answered in time.
    #[error("the core does not answer")]
    TimedOut,
}

impl Opener {
    /// An opener without connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a stream for a client connection. Fails at once if the core is away.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of the client has reached the core then.
    pub async fn open(&self, preface: &StreamPreface) -> Result<LinkStream, OpenError> {
        let opening =
            tokio::time::timeout(limits::LINK_STREAM_OPEN_TIMEOUT, self.try_open(preface));
        opening.await.unwrap_or(Err(OpenError::TimedOut))
    }

    async fn try_open(&self, preface: &StreamPreface) -> Result<LinkStream, OpenError> {
        // Each turn without a result drops a connection, so there are only so many.
        loop {
            let slot = self.take_slot()?;
            match slot.0.open(preface).await {
                Ok((status, sending, receiving)) if status == StatusCode::OK => {
                    return Ok(LinkStream::new(sending, receiving, Some(slot)));
                }
                Ok((status, ..)) => return Err(OpenError::Refused(status)),
                Err(error) if error.is_reset() && error.is_remote() => {
                    return Err(OpenError::Refused(StatusCode::SERVICE_UNAVAILABLE));
                }
                Err(error) => {
                    tracing::debug!(side = "link", reason = %error, "a connection takes no more streams");
                    self.remove(&slot.0);
                }
            }
        }
    }

    /// Runs a connection that edge-c dialled until it ends; streams can be opened on it once the peer allows them.
    pub async fn drive<T>(&self, io: T) -> Ended
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = builder().handshake::<_, Bytes>(Gathered::new(io));
        let (sender, mut connection) = match handshake.await {
            Ok(done) => done,
            Err(error) => return Ended::Failed(error),
        };
        let Some(pings) = connection.ping_pong() else {
            return Ended::Closed;
        };
        let line = Arc::new(Line {
            sender,
            worker: workers::current(),
            streams: AtomicUsize::new(0),
        });
        let _listed = Listed {
            opener: self,
            line: &line,
        };
        tokio::select! {
            done = connection => Ended::of(done),
            ended = self.add_and_watch(&line, pings) => ended,
        }
    }

    async fn add_and_watch(&self, line: &Arc<Line>, mut pings: PingPong) -> Ended {
        // A peer's SETTINGS are the first that it sends (RFC 9113 section 3.4), so they are here when this is answered.
        match tokio::time::timeout(limits::LINK_DEAD_AFTER, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Ended::Failed(error),
            Err(_) => return Ended::Silent,
        }
        if !line.sender.is_extended_connect_protocol_enabled() {
            return Ended::NoExtendedConnect;
        }
        self.lines().push(Arc::clone(line));
        keep_alive::watch(pings).await
    }

    /// Opens no more streams on the connections there are; their ends are for whoever drives them.
    pub fn clear(&self) {
        self.lines().clear();
    }

    /// Connections that streams can be opened on.
    pub fn connections(&self) -> usize {
        self.lines().len()
    }

    /// Streams open on them.
    pub fn streams(&self) -> usize {
        self.lines().iter().map(|line| line.streams()).sum()
    }

    pub(super) fn take_slot(&self) -> Result<Slot, OpenError> {
        let lines = self.lines();
        let here = workers::current();
        // One of this thread if there is one: then a message wakes no other.
        let least = lines
            .iter()
            .min_by_key(|line| (line.is_full(), line.worker != here, line.streams()));
        let least = least.ok_or(OpenError::NoConnection)?;
        if least.is_full() {
            return Err(OpenError::Full);
        }
        // Nobody else takes a place meanwhile: the list is locked.
        least.streams.fetch_add(1, Ordering::Relaxed);
        Ok(Slot(Arc::clone(least)))
    }

    fn remove(&self, line: &Arc<Line>) {
        self.lines().retain(|one| !Arc::ptr_eq(one, line));
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.streams() >= limits::LINK_STREAMS_PER_CONNECTION_MAX
    }

    async fn open(
        &self,
        preface: &StreamPreface,
    ) -> Result<(StatusCode, h2::SendStream<Bytes>, h2::RecvStream), h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, sending) = sender.send_request(request(preface), false)?;
        let (head, receiving) = answer.await?.into_parts();
        Ok((head.status, sending, receiving))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that leaves the list however it ends.
struct Listed<'a> {
    opener: &'a Opener,
    line: &'a Arc<Line>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.opener.remove(self.line);
    }
}

fn request(preface: &StreamPreface) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    // RFC 8441 section 4 wants scheme, authority and path; on the link they say nothing.
    *request.uri_mut() = Uri::from_static("https://link/");
    *request.headers_mut() = preface.fields();
    request
        .extensions_mut()
        .insert(Protocol::from_static(preface.protocol.as_str()));
    request
}

/// `h2` is made for browsers; what its defaults would do to a link stands beside each number in [`limits`].
fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .max_concurrent_streams(0)
        .initial_max_send_streams(limits::LINK_STREAMS_PER_CONNECTION_MAX)
        .initial_window_size(limits::FLOW_WINDOW_BYTES)
        .initial_connection_window_size(limits::FLOW_CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(limits::FLOW_SEND_BUFFER_BYTES)
        .max_header_list_size(limits::STREAM_PREFACE_BYTES_MAX)
        .max_concurrent_reset_streams(limits::LINK_STREAM_RESETS_KEPT)
        .max_pending_accept_reset_streams(limits::LINK_STREAMS_PER_CONNECTION_MAX)
        .max_local_error_reset_streams(None);
    builder
}
