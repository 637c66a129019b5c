//! Serves HTTP on one accepted connection, and watches that its peer neither dawdles nor falls silent.
//!
//! hyper has a timer per request head; here one timer per connection looks at counters, which costs a request nothing.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::limits;
use crate::runtime::aside::Aside;
use crate::runtime::body::Body;
use crate::runtime::progress::{Counters, Progress};

/// Which HTTP a connection speaks; TLS decided it by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One request at a time (RFC 9112).
    Http1,
    /// Many streams (RFC 9113).
    Http2,
    /// Many streams of many clients: the link between the edges.
    LinkHttp2,
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// With a request under way and not one byte of a request or an answer moving.
    pub stall: Duration,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The peer closed it, or it was drained.
    Closed,
    /// hyper gave up: a malformed request, a broken connection.
    Failed(hyper::Error),
    /// A request head dripped in too slowly.
    SlowHead,
    /// Nothing asked for too long.
    Idle,
    /// A request stopped moving.
    Stalled,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Failed(error) => {
                write!(f, "{error}")?;
                std::error::Error::source(error).map_or(Ok(()), |source| write!(f, ": {source}"))
            }
            Self::SlowHead => f.write_str("slow head"),
            Self::Idle => f.write_str("idle"),
            Self::Stalled => f.write_str("stalled"),
        }
    }
}

/// Serves `io` until it ends. When `drain` completes, the requests under way are finished and no new one is taken.
pub async fn serve<T, H, F>(
    io: T,
    version: Version,
    handler: H,
    counters: Arc<Counters>,
    timeouts: Timeouts,
    drain: impl Future<Output = ()> + Send,
) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let io = match version {
        // Pings are no progress: who sends nothing else has stalled.
        Version::Http2 => Progress::of_http2(io, Arc::clone(&counters)),
        Version::Http1 | Version::LinkHttp2 => Progress::new(io, Arc::clone(&counters)),
    };
    let io = TokioIo::new(io);
    let service = service_fn(|request| {
        let in_flight = counters.begin();
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await.map(|body| body.with_in_flight(in_flight))) }
    });
    // Looked at only when the timer or the signal fires, not for every request.
    let watchdog = || Aside::new(watch(&counters, version, timeouts));
    let interrupted = Aside::new(async {
        tokio::select! {
            reason = watch(&counters, version, timeouts) => Some(reason),
            () = drain => None,
        }
    });
    match version {
        Version::Http1 => {
            let connection = http1_builder().serve_connection(io, service);
            let mut connection = pin!(connection.with_upgrades());
            tokio::select! {
                biased;
                done = &mut connection => return ended(done),
                interruption = interrupted => match interruption {
                    Some(reason) => return reason,
                    None => connection.as_mut().graceful_shutdown(),
                },
            }
            finish(connection, watchdog()).await
        }
        Version::Http2 | Version::LinkHttp2 => {
            let mut connection = pin!(http2_builder(version).serve_connection(io, service));
            tokio::select! {
                biased;
                done = &mut connection => return ended(done),
                interruption = interrupted => match interruption {
                    Some(reason) => return reason,
                    None => connection.as_mut().graceful_shutdown(),
                },
            }
            finish(connection, watchdog()).await
        }
    }
}

async fn finish(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    watchdog: impl Future<Output = Ended>,
) -> Ended {
    tokio::select! {
        biased;
        done = connection => ended(done),
        reason = watchdog => reason,
    }
}

fn ended(done: Result<(), hyper::Error>) -> Ended {
    done.map_or_else(Ended::Failed, |()| Ended::Closed)
}

/// Looks at the counters now and then; completes when the peer has taken too long.
async fn watch(counters: &Counters, version: Version, timeouts: Timeouts) -> Ended {
    let mut watchdog = Watchdog::new(counters, version, timeouts);
    loop {
        tokio::time::sleep(watchdog.interval()).await;
        if let Some(reason) = watchdog.tick(counters) {
            return reason;
        }
    }
}

/// What the last look saw, and for how long nothing has changed since.
#[derive(Debug)]
struct Watchdog {
    version: Version,
    timeouts: Timeouts,
    seen: Seen,
    unchanged: Duration,
    /// Bytes of a head have arrived and the head has not: since how long.
    in_head: Duration,
    read_when_idle: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    read: u64,
    moved: u64,
    requests: u64,
    is_busy: bool,
}

impl Seen {
    fn of(counters: &Counters) -> Self {
        Self {
            read: counters.read(),
            moved: counters.moved(),
            requests: counters.requests(),
            is_busy: counters.in_flight() > 0,
        }
    }
}

impl Watchdog {
    fn new(counters: &Counters, version: Version, timeouts: Timeouts) -> Self {
        let seen = Seen::of(counters);
        Self {
            version,
            timeouts,
            seen,
            unchanged: Duration::ZERO,
            in_head: Duration::ZERO,
            // Before the first request every byte belongs to its head.
            read_when_idle: if seen.requests == 0 { 0 } else { seen.read },
        }
    }

    /// Half the shortest timeout: a peer gets at most half as much again as it is allowed.
    fn interval(&self) -> Duration {
        self.timeouts
            .head
            .min(self.timeouts.idle)
            .min(self.timeouts.stall)
            / 2
    }

    fn tick(&mut self, counters: &Counters) -> Option<Ended> {
        let before = std::mem::replace(&mut self.seen, Seen::of(counters));
        let interval = self.interval();
        let moving = |seen: &Seen| (seen.moved, seen.requests, seen.is_busy);
        let is_unchanged = moving(&self.seen) == moving(&before);
        self.unchanged = if is_unchanged {
            self.unchanged.saturating_add(interval)
        } else {
            Duration::ZERO
        };
        if self.seen.is_busy {
            self.in_head = Duration::ZERO;
            self.read_when_idle = self.seen.read;
            return (self.unchanged >= self.timeouts.stall).then_some(Ended::Stalled);
        }
        if self.seen.requests != before.requests || before.is_busy {
            // What was read since may be the tail of the last request; what comes from now on is a new head.
            self.in_head = Duration::ZERO;
            self.read_when_idle = self.seen.read;
            return None;
        }
        let has_head_begun = self.version == Version::Http1 && self.seen.read > self.read_when_idle;
        if has_head_begun {
            self.in_head = self.in_head.saturating_add(interval);
            return (self.in_head >= self.timeouts.head).then_some(Ended::SlowHead);
        }
        (self.unchanged >= self.timeouts.idle).then_some(Ended::Idle)
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_headers(limits::HTTP_FIELDS_READ_MAX)
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .pipeline_flush(false);
    builder
}

fn http2_builder(version: Version) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(limits::HTTP2_HEADER_LIST_BYTES_MAX);
    if version == Version::LinkHttp2 {
        for_link(&mut builder);
        return builder;
    }
    builder
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::HTTP2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(limits::HTTP2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(limits::HTTP2_LOCAL_ERROR_RESETS_MAX);
    // No pings: the watchdog finds the silent by itself.
    builder
}

/// h2 is made for browsers: its defaults let a burst of client aborts end a connection that carries everybody's streams.
fn for_link(builder: &mut http2::Builder<TokioExecutor>) {
    builder
        .max_concurrent_streams(LINK_STREAMS)
        .initial_stream_window_size(limits::LINK_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::LINK_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::LINK_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(limits::LINK_STREAMS_MAX)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(limits::LINK_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::LINK_DEAD_AFTER);
}

const LINK_STREAMS: u32 = 1000;
const _: () = assert!(LINK_STREAMS as usize == limits::LINK_STREAMS_MAX);

#[cfg(test)]
mod tests;
