//! Connections to inner nodes that are kept open between requests, and how many requests a node gets at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use common::limits;
use common::net::HostPort;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::UdsFailure;

/// One open connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// What the node's certificate was verified with.
    verified_by: Arc<ClientConfig>,
}

impl Connection {
    pub(super) async fn open<S>(
        stream: S,
        verified_by: Arc<ClientConfig>,
    ) -> Result<Self, UdsFailure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::UDS_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| UdsFailure::Http(error.to_string()))?;
        // Ends by itself when the sender is dropped or the node closes; what it reports, the sender reports too.
        drop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a UDS node ended");
            }
        }));
        Ok(Self {
            sender,
            verified_by,
        })
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, UdsFailure> {
        let broken = |error: hyper::Error| UdsFailure::Http(error.to_string());
        self.sender.ready().await.map_err(broken)?;
        self.sender.send_request(request).await.map_err(broken)
    }
}

/// The kept connections of all nodes.
#[derive(Debug, Default)]
pub(super) struct Pool {
    nodes: Mutex<BTreeMap<HostPort, Node>>,
}

#[derive(Debug)]
struct Node {
    idle: Vec<(Connection, Instant)>,
    permits: Arc<Semaphore>,
}

impl Pool {
    /// Waits until the node may get one more request.
    pub(super) async fn permit(&self, node: &HostPort) -> Option<OwnedSemaphorePermit> {
        let permits = {
            let mut nodes = self.lock();
            let entry = slot(&mut nodes, node);
            Arc::clone(&entry.permits)
        };
        // `None` only if the semaphore were closed, which nobody does.
        permits.acquire_owned().await.ok()
    }

    /// The connection used last, if it is still fresh and its node was verified with `tls`.
    pub(super) fn take(&self, node: &HostPort, tls: &Arc<ClientConfig>) -> Option<Connection> {
        let now = Instant::now();
        let mut nodes = self.lock();
        let idle = &mut nodes.get_mut(node)?.idle;
        idle.retain(|(connection, since)| {
            !connection.sender.is_closed()
                && Arc::ptr_eq(&connection.verified_by, tls)
                && now.duration_since(*since) < limits::UDS_IDLE_TIMEOUT
        });
        idle.pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(&self, node: &HostPort, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut nodes = self.lock();
        let idle = &mut slot(&mut nodes, node).idle;
        if idle.len() < limits::UDS_IDLE_CONNECTIONS_MAX {
            idle.push((connection, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostPort, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot<'a>(nodes: &'a mut BTreeMap<HostPort, Node>, node: &HostPort) -> &'a mut Node {
    if nodes.len() >= limits::NODES_MAX && !nodes.contains_key(node) {
        // Nodes that serve nothing now lose their idle connections first.
        nodes
            .retain(|_, node| node.permits.available_permits() < limits::UDS_REQUESTS_PER_NODE_MAX);
    }
    nodes.entry(node.clone()).or_insert_with(|| Node {
        idle: Vec::new(),
        permits: Arc::new(Semaphore::new(limits::UDS_REQUESTS_PER_NODE_MAX)),
    })
}
