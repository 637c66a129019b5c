//! Connections on which this side is the HTTP client, leased for one request at a time (HTTP/1.1) or shared (HTTP/2).
//!
//! edge-e takes the connections that edge-c dialled; edge-c those it dialled to an origin. The pool never dials.
//! A request prefers a connection that its own worker drives: then no other thread has to wake for it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::sync::Notify;

use crate::limits;
use crate::runtime::body::Body;
use crate::runtime::{clock, workers};

/// The connections to one peer.
#[derive(Debug, Default)]
pub struct Pool {
    /// By the worker that drives them; workers beyond the number of shards share.
    idle: [Mutex<Vec<Idle>>; SHARDS],
    shared: Mutex<Vec<Arc<Shared>>>,
    returned: Notify,
    waiting: AtomicUsize,
    busy: AtomicUsize,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

/// Enough for the processors of any machine this runs on.
const SHARDS: usize = 16;

/// An HTTP/2 connection, with its streams counted by us: over the peer's limit `h2` queues, it does not refuse.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Body>,
    streams: AtomicUsize,
    streams_max: usize,
}

/// No connection became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection to the peer is free")]
pub struct Exhausted;

/// A request that could not be sent or answered; `request` comes back if none of it was sent.
#[derive(Debug)]
pub struct SendError {
    /// What went wrong.
    pub error: SendFailure,
    /// The request, to be tried on another connection.
    pub request: Option<Box<Request<Body>>>,
}

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    /// The connection broke, or what came is not HTTP.
    #[error("{}", chain(.0))]
    Http(#[from] hyper::Error),
    /// The connection is still busy with the request before: its body may be waiting for a slow client.
    #[error("the connection did not become ready")]
    NotReady,
}

/// hyper says what failed; why is one step further down.
fn chain(error: &hyper::Error) -> String {
    std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds an HTTP/1.1 connection that is driven by this thread.
    pub fn add(&self, sender: http1::SendRequest<Body>) {
        self.add_to(workers::current(), sender);
    }

    fn add_to(&self, worker: usize, sender: http1::SendRequest<Body>) {
        lock(self.shard(worker)).push(Idle {
            sender,
            since: clock::now(),
        });
        self.returned.notify_one();
    }

    fn shard(&self, worker: usize) -> &Mutex<Vec<Idle>> {
        let [first, ..] = &self.idle;
        self.idle.get(worker % SHARDS).unwrap_or(first)
    }

    /// Adds an HTTP/2 connection that takes `streams_max` requests at a time.
    pub fn add_shared(&self, sender: http2::SendRequest<Body>, streams_max: usize) {
        let shared = Shared {
            sender,
            streams: AtomicUsize::new(0),
            streams_max,
        };
        lock(&self.shared).push(Arc::new(shared));
        self.returned.notify_one();
    }

    /// Requests under way.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// HTTP/1.1 connections waiting for a request.
    pub fn idle(&self) -> usize {
        self.idle.iter().map(|shard| lock(shard).len()).sum()
    }

    /// A free connection, if there is one now; one of this worker's if it has any.
    pub fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let own = workers::current();
        let taken = (0..SHARDS).find_map(|distance| {
            let worker = own.wrapping_add(distance) % SHARDS;
            Some((worker, pop(self.shard(worker))?))
        });
        let (worker, connection, idled) = match taken {
            Some((worker, one)) => {
                let idled = clock::elapsed(one.since);
                (worker, Connection::Exclusive(one.sender), idled)
            }
            None => (own, self.share()?, Duration::ZERO),
        };
        self.busy.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            connection: Some(connection),
            worker,
            idled,
            pool: Arc::clone(self),
        })
    }

    /// A free connection, waited for up to `timeout` behind at most `waiting_max` others.
    ///
    /// # Errors
    /// [`Exhausted`] if none became free.
    pub async fn lease(
        self: &Arc<Self>,
        timeout: Duration,
        waiting_max: usize,
    ) -> Result<Lease, Exhausted> {
        if let Some(lease) = self.try_lease() {
            return Ok(lease);
        }
        let _waiting = Waiting::enter(&self.waiting, waiting_max)?;
        tokio::time::timeout(timeout, self.wait())
            .await
            .map_err(|_| Exhausted)
    }

    /// Drops what has been idle for longer than `age`, but for the `keep` used last.
    pub fn trim(&self, age: Duration, keep: usize) {
        let now = clock::now();
        let is_old = |one: &Idle| now.saturating_duration_since(one.since) > age;
        let mut removable = self.idle().saturating_sub(keep);
        for shard in &self.idle {
            let mut idle = lock(shard);
            let old = idle
                .iter()
                .take(removable)
                .take_while(|one| is_old(one))
                .count();
            idle.drain(..old);
            removable = removable.saturating_sub(old);
            idle.retain(|one| !one.sender.is_closed());
        }
        lock(&self.shared).retain(|one| !one.sender.is_closed());
    }

    /// Drops every connection; requests under way go on.
    pub fn clear(&self) {
        for shard in &self.idle {
            lock(shard).clear();
        }
        lock(&self.shared).clear();
    }

    async fn wait(self: &Arc<Self>) -> Lease {
        loop {
            // Enlisted before looking: of two connections that come back between the look and the wait, each must wake
            // somebody, and `Notify` remembers only one for those who are not enlisted.
            let mut returned = pin!(self.returned.notified());
            returned.as_mut().enable();
            if let Some(lease) = self.try_lease() {
                return lease;
            }
            returned.await;
        }
    }

    fn share(&self) -> Option<Connection> {
        let mut shared = lock(&self.shared);
        if shared.iter().any(|one| one.sender.is_closed()) {
            shared.retain(|one| !one.sender.is_closed());
        }
        let least = shared
            .iter()
            .min_by_key(|one| one.streams.load(Ordering::Relaxed))?;
        if least.streams.load(Ordering::Relaxed) >= least.streams_max {
            return None;
        }
        least.streams.fetch_add(1, Ordering::Relaxed);
        Some(Connection::Shared(Arc::clone(least)))
    }
}

/// The connection used last, so that the rest can grow old; one that is ready at once if there is one near.
fn pop(shard: &Mutex<Vec<Idle>>) -> Option<Idle> {
    let mut idle = lock(shard);
    let ready = idle
        .iter()
        .rev()
        .take(NEAR)
        .position(|one| one.sender.is_ready());
    if let Some(from_end) = ready {
        let at = idle.len().checked_sub(from_end)?.checked_sub(1)?;
        return Some(idle.swap_remove(at));
    }
    while let Some(one) = idle.pop() {
        if !one.sender.is_closed() {
            return Some(one);
        }
    }
    None
}

/// How far from the end of the stack a ready connection is looked for.
const NEAR: usize = 4;

/// A connection for one request. Dropping it gives the connection back.
#[derive(Debug)]
pub struct Lease {
    /// `None` while being dropped, and after a failure that makes the connection useless.
    connection: Option<Connection>,
    /// Who drives the connection.
    worker: usize,
    idled: Duration,
    pool: Arc<Pool>,
}

#[derive(Debug)]
enum Connection {
    Exclusive(http1::SendRequest<Body>),
    Shared(Arc<Shared>),
}

impl Lease {
    /// A lease on a connection that was dialled just now; it enters `pool` when the request is done.
    pub fn fresh(sender: http1::SendRequest<Body>, pool: &Arc<Pool>) -> Self {
        pool.busy.fetch_add(1, Ordering::Relaxed);
        Self {
            connection: Some(Connection::Exclusive(sender)),
            worker: workers::current(),
            idled: Duration::ZERO,
            pool: Arc::clone(pool),
        }
    }

    /// How long the connection had waited for this request: the longer, the likelier that its peer is just closing it.
    #[must_use]
    pub const fn idled(&self) -> Duration {
        self.idled
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// [`SendError`], with the request if it can be tried again without harm.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        match &mut self.connection {
            Some(Connection::Exclusive(sender)) => {
                if !sender.is_ready() {
                    let ready = tokio::time::timeout(limits::POOL_READY_TIMEOUT, sender.ready());
                    let failure = match ready.await {
                        Ok(Ok(())) => None,
                        Ok(Err(error)) => Some(error.into()),
                        Err(_) => Some(SendFailure::NotReady),
                    };
                    if let Some(error) = failure {
                        // Nobody else shall wait for it either; what it still does, it finishes.
                        self.connection = None;
                        let request = Some(Box::new(request));
                        return Err(SendError { error, request });
                    }
                }
                settle(sender.try_send_request(request)).await
            }
            Some(Connection::Shared(shared)) => {
                let request = with_authority(request);
                settle(shared.sender.clone().try_send_request(request)).await
            }
            None => Err(SendError {
                error: SendFailure::NotReady,
                request: Some(Box::new(request)),
            }),
        }
    }
}

/// HTTP/2 has no request without an authority; on a link it says nothing, `Host` does.
fn with_authority(mut request: Request<Body>) -> Request<Body> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    parts.authority = Some(http::uri::Authority::from_static("link"));
    *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    request
}

type Sent = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<Body>>>;

async fn settle(sending: impl Future<Output = Sent>) -> Result<Response<Incoming>, SendError> {
    sending.await.map_err(|mut failed| {
        let request = failed.take_message().map(Box::new);
        SendError {
            error: failed.into_error().into(),
            request,
        }
    })
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.busy.fetch_sub(1, Ordering::Relaxed);
        match self.connection.take() {
            Some(Connection::Exclusive(sender)) if !sender.is_closed() => {
                self.pool.add_to(self.worker, sender);
            }
            Some(Connection::Shared(shared)) => {
                shared.streams.fetch_sub(1, Ordering::Relaxed);
                self.pool.returned.notify_one();
            }
            Some(Connection::Exclusive(_)) | None => {}
        }
    }
}

/// One of those that wait for a connection.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Result<Self, Exhausted> {
        let guard = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= max {
            Err(Exhausted)
        } else {
            Ok(guard)
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
