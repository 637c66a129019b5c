//! Inner HTTP and HTTPS servers: a pool of connections for each origin, dialled when needed, verified by name.
//!
//! Decides nothing about who may ask for what: `stream` has done that.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::limits;
use common::mra::access::Refusal;
use common::net::{HostPort, Origin, Scheme};
use common::runtime::body::Body;
use common::runtime::clock;
use common::runtime::http_pool::{Lease, Pool, SendError};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dial::{self, DialError, InsideTls};
use crate::discovery::Discovery;
use crate::discovery::dns::{Dns, DnsError};
use crate::metrics::{DialOutcome, Metrics};

/// How inner servers are reached.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The local address to connect from.
    pub bind_address: Option<IpAddr>,
    /// Until TCP is up, and again until TLS is.
    pub connect_timeout: Duration,
    /// From the end of the request until the head of the answer.
    pub response_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Connections to one origin at a time.
    pub connections_per_node_max: usize,
}

/// Why an inner server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Every connection that one origin may have is busy.
    #[error("all connections to the server are busy")]
    Busy,
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// More origins at once than any real site has.
    #[error("too many different servers at once")]
    Full,
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke: {0}")]
    Http(String),
    /// The name has no address.
    #[error(transparent)]
    Resolve(#[from] DnsError),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl UpstreamError {
    /// What the client is told.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Busy | Self::Full => Refusal::Overloaded {
                retry_after: limits::LINK_DOWN_RETRY_AFTER,
            },
            Self::Dial(_) | Self::Http(_) | Self::Resolve(_) => Refusal::OriginUnreachable,
            Self::Timeout(_) => Refusal::OriginTimeout,
        }
    }

    /// What the operator can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Busy => "raise [inside] connections_per_node_max, or look why the server is slow",
            Self::Full => "look at the allow list: a prefix on a wildcard of servers is too wide",
            Self::Dial(DialError::Certificate(_) | DialError::Tls(_) | DialError::Name) => {
                "give the server a certificate with this name that [inside] trust_anchors signed"
            }
            Self::Dial(_) => "look whether the server runs and the firewall lets edge-c reach it",
            Self::Http(_) => "look at the server's log",
            Self::Resolve(_) => "add the name to the inside DNS",
            Self::Timeout(_) => "look why the server is slow, or raise [inside] response_timeout",
        }
    }
}

/// All inner servers.
pub struct Upstreams {
    config: Config,
    tls: InsideTls,
    dns: Arc<Dns>,
    discovery: Arc<Discovery>,
    origins: Mutex<HashMap<Origin, Arc<Upstream>>>,
    metrics: Option<Metrics>,
}

/// One origin.
#[derive(Debug)]
struct Upstream {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
    used: Mutex<Instant>,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Upstreams {
    /// No connection yet.
    #[must_use]
    pub fn new(config: Config, tls: InsideTls, dns: Arc<Dns>, discovery: Arc<Discovery>) -> Self {
        Self {
            config,
            tls,
            dns,
            discovery,
            origins: Mutex::default(),
            metrics: None,
        }
    }

    /// Counts dials from now on.
    #[must_use]
    pub fn counting(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Uses no connection again that is open now: it was verified by trust anchors that may have changed.
    pub fn forget_connections(&self) {
        lock(&self.origins).clear();
    }

    /// Sends a request whose target is in origin form, and returns the answer as it arrives.
    ///
    /// # Errors
    /// [`UpstreamError`] if there is no answer.
    pub async fn send(
        &self,
        origin: &Origin,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        let upstream = self.upstream(origin)?;
        let timeout = self.config.response_timeout;
        if http_body::Body::is_end_stream(request.body()) {
            let sending = self.try_send(origin, &upstream, request);
            let sent = tokio::time::timeout(timeout, sending).await;
            return sent.unwrap_or(Err(UpstreamError::Timeout(timeout)));
        }
        // As long as the body moves the server may wait for it; its own time runs from the end of the body.
        let (head, body) = request.into_parts();
        let (body, body_end) = body.watched();
        let sending = self.try_send(origin, &upstream, Request::from_parts(head, body));
        let too_late = async {
            body_end.await;
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            biased;
            sent = sending => sent,
            () = too_late => Err(UpstreamError::Timeout(timeout)),
        }
    }

    /// Closes connections and forgets origins that were not used for a while.
    pub fn tidy(&self) {
        let mut origins = lock(&self.origins);
        let idle_max = limits::UPSTREAM_FORGOTTEN_AFTER;
        origins.retain(|_, upstream| {
            upstream.pool.trim(self.config.idle_timeout, 0);
            clock::elapsed(*lock(&upstream.used)) < idle_max || upstream.pool.busy() > 0
        });
    }

    async fn try_send(
        &self,
        origin: &Origin,
        upstream: &Arc<Upstream>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        loop {
            let pooled = upstream.pool.try_lease();
            let was_pooled = pooled.is_some();
            let mut lease = match pooled {
                Some(lease) => lease,
                None => self.fresh(origin, upstream).await?,
            };
            // A server may close a connection just when a request is sent on it: a safe one is sent once more.
            let may_be_stale = lease.idled() >= limits::UPSTREAM_STALE_AFTER;
            let spare = if may_be_stale {
                repeatable(&request)
            } else {
                None
            };
            match (lease.send(request).await, spare) {
                (Ok(response), _) => return Ok(stream(response, lease)),
                (
                    Err(SendError {
                        request: Some(unsent),
                        ..
                    }),
                    _,
                ) if was_pooled => request = *unsent,
                (Err(_), Some(again)) => {
                    upstream.pool.clear();
                    request = again;
                }
                (Err(SendError { error, .. }), None) => {
                    return Err(UpstreamError::Http(error.to_string()));
                }
            }
        }
    }

    /// A new connection; if there are as many as there may be, one that becomes free.
    async fn fresh(
        &self,
        origin: &Origin,
        upstream: &Arc<Upstream>,
    ) -> Result<Lease, UpstreamError> {
        let permit = match Arc::clone(&upstream.permits).try_acquire_owned() {
            Ok(permit) => permit,
            // Either a connection comes back, or one ends so that another may be dialled.
            Err(_) => tokio::select! {
                waited = upstream.pool.lease(self.config.connect_timeout, limits::UPSTREAM_WAITING_MAX) => {
                    return waited.map_err(|_| UpstreamError::Busy);
                }
                freed = Arc::clone(&upstream.permits).acquire_owned() => {
                    freed.map_err(|_| UpstreamError::Busy)?
                }
            },
        };
        let dialled = self.dial(origin, permit).await;
        let node = HostPort {
            host: origin.host.clone(),
            port: origin.port.get(),
        };
        if let Some(metrics) = &self.metrics {
            metrics.dialled(self.discovery.kind_of(&node), outcome(&dialled));
        }
        self.discovery.report(
            &node,
            dialled.as_ref().map(|_| ()).map_err(ToString::to_string),
        );
        dialled.map(|sender| Lease::fresh(sender, &upstream.pool))
    }

    async fn dial(
        &self,
        origin: &Origin,
        permit: OwnedSemaphorePermit,
    ) -> Result<http1::SendRequest<Body>, UpstreamError> {
        let addresses = self.dns.addresses(&origin.host).await?;
        let Config {
            bind_address,
            connect_timeout,
            ..
        } = self.config;
        let tcp =
            dial::connect(&addresses, origin.port.get(), bind_address, connect_timeout).await?;
        match origin.scheme {
            Scheme::Http => handshake(tcp, permit).await,
            Scheme::Https => {
                let tls = self.tls.load_full();
                let stream = dial::secure(tcp, &origin.host, tls, connect_timeout).await?;
                handshake(stream.busy(), permit).await
            }
        }
    }

    fn upstream(&self, origin: &Origin) -> Result<Arc<Upstream>, UpstreamError> {
        let mut origins = lock(&self.origins);
        if let Some(known) = origins.get(origin) {
            *lock(&known.used) = clock::now();
            return Ok(Arc::clone(known));
        }
        if origins.len() >= limits::UPSTREAM_ORIGINS_MAX {
            return Err(UpstreamError::Full);
        }
        let upstream = Arc::new(Upstream {
            pool: Pool::new(),
            permits: Arc::new(Semaphore::new(self.config.connections_per_node_max)),
            used: Mutex::new(clock::now()),
        });
        origins.insert(origin.clone(), Arc::clone(&upstream));
        Ok(upstream)
    }
}

const fn outcome<T>(dialled: &Result<T, UpstreamError>) -> DialOutcome {
    match dialled {
        Ok(_) => DialOutcome::Ok,
        Err(UpstreamError::Dial(error)) => DialOutcome::failed(error),
        Err(UpstreamError::Resolve(_)) => DialOutcome::Resolve,
        Err(UpstreamError::Timeout(_)) => DialOutcome::TimedOut,
        Err(UpstreamError::Busy | UpstreamError::Full | UpstreamError::Http(_)) => {
            DialOutcome::Refused
        }
    }
}

fn stream(response: Response<Incoming>, lease: Lease) -> Response<Body> {
    response.map(|body| Body::stream(body).with_lease(lease))
}

/// A copy of a request that may be sent twice: a safe method (RFC 9110 section 9.2.1) and no body.
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    let may_be = request.method().is_safe() && http_body::Body::is_end_stream(request.body());
    may_be.then(|| {
        let mut copy = Request::new(Body::empty());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}

async fn handshake<T>(
    io: T,
    permit: OwnedSemaphorePermit,
) -> Result<http1::SendRequest<Body>, UpstreamError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits::UPSTREAM_READ_BUFFER_BYTES);
    let shaken = builder.handshake(TokioIo::new(io)).await;
    let (sender, connection) = shaken.map_err(|error| UpstreamError::Http(chain(&error)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(side = "upstream", reason = %chain(&error), "connection ended");
        }
        drop(permit);
    });
    Ok(sender)
}

fn chain(error: &hyper::Error) -> String {
    std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
