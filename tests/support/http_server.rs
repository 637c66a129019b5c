//! A small HTTP/1.1 server that can also answer wrongly: it delays, resets and cuts as told.
//!
//! For peers that no real server can play. It never streams: bodies are whole, in memory.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use certs::Identity;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// A request, read to its end.
#[derive(Clone, Debug)]
pub struct Received {
    /// `GET`, `PUT` ..
    pub method: String,
    /// The target as it stood in the request line.
    pub target: String,
    /// Field names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// At most [`BODY_BYTES_MAX`].
    pub body: Bytes,
    /// Who asked.
    pub peer: SocketAddr,
}

/// What to send back, and how.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// Fields beside `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// How it travels.
    pub delivery: Delivery,
    /// How long to wait first.
    pub delay: Duration,
}

/// How an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As it should.
    Whole,
    /// Not at all: the connection is reset.
    Reset,
    /// `Content-Length` announces so many bytes, whatever the body has. If it has fewer, the
    /// connection closes after them; if it has more, the rest is not sent.
    Announced(u64),
}

/// Decides each answer.
pub type Handler = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// The TLS side of a listener; may change while it serves. `None` is plain HTTP.
pub type Tls = Arc<Mutex<Option<Arc<ServerConfig>>>>;

/// A listener and its connections. All of them end when this is dropped.
#[derive(Debug)]
pub struct HttpServer {
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Serves until dropped. The listener may come from any [`Place`](crate::place::Place).
    pub fn start(
        runtime: &Handle,
        listener: std::net::TcpListener,
        tls: Tls,
        handler: Handler,
    ) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let accepting = runtime.spawn(accept(listener, tls, handler));
        Ok(Self { accepting })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Received {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Path and query of the target, as sent.
    #[must_use]
    pub fn path_and_query(&self) -> (&str, Option<&str>) {
        self.target
            .split_once('?')
            .map_or((self.target.as_str(), None), |(path, query)| {
                (path, Some(query))
            })
    }
}

impl Answer {
    /// An answer as it should be.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
            delivery: Delivery::Whole,
            delay: Duration::ZERO,
        }
    }

    /// A status without a body.
    #[must_use]
    pub const fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            delivery: Delivery::Whole,
            delay: Duration::ZERO,
        }
    }
}

/// A TLS configuration for one identity: TLS 1.2 and 1.3, HTTP/1.1.
pub fn tls_config(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("Failed to read a certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .context("Failed to read a key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A TLS side that can be changed later.
#[must_use]
pub fn tls(config: Option<Arc<ServerConfig>>) -> Tls {
    Arc::new(Mutex::new(config))
}

async fn accept(listener: TcpListener, tls: Tls, handler: Handler) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            continue;
        };
        let config = tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connections.spawn(serve(stream, peer, config, Arc::clone(&handler)));
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    config: Option<Arc<ServerConfig>>,
    handler: Handler,
) {
    // As real servers have it: else session tickets hold the first answer back for 40 ms. A connection that is gone by now
    // fails at its first read.
    drop(stream.set_nodelay(true));
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Resettable {
        stream,
        reset: Arc::clone(&reset),
    };
    match config {
        None => exchange(stream, peer, reset, handler).await,
        Some(config) => {
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                exchange(stream, peer, reset, handler).await;
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    reset: Arc<AtomicBool>,
    handler: Handler,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        let reset = Arc::clone(&reset);
        async move {
            let received = receive(request, peer).await?;
            let answer = handler(&received);
            sleep(answer.delay).await;
            if answer.delivery == Delivery::Reset {
                reset.store(true, Ordering::Relaxed);
                anyhow::bail!("reset as told");
            }
            respond(answer)
        }
    });
    // A failed exchange is what some tests want, and the client sees it.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn receive(request: Request<Incoming>, peer: SocketAddr) -> Result<Received> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("Failed to read a body: {error}"))?;
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(Received {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: body.to_bytes(),
        peer,
    })
}

fn respond(answer: Answer) -> Result<Response<Announced>> {
    let actual = u64::try_from(answer.body.len())?;
    let length = match answer.delivery {
        Delivery::Announced(length) => length,
        Delivery::Reset | Delivery::Whole => actual,
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    if answer.status != StatusCode::NO_CONTENT {
        response = response.header("content-length", length);
    }
    Ok(response.body(Announced {
        data: Some(answer.body),
        is_cut: length > actual,
        is_flushed: false,
    })?)
}

/// A body that says nothing of its length, so that hyper takes the announced one on trust.
#[derive(Debug)]
struct Announced {
    data: Option<Bytes>,
    is_cut: bool,
    is_flushed: bool,
}

impl Body for Announced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.is_cut {
            return Poll::Ready(None);
        }
        if !self.is_flushed {
            // hyper sends what it has while a body is pending, and drops it when one fails.
            self.is_flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::Error::other("cut as told"))))
    }
}

/// A connection that ends with RST if told so.
struct Resettable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // If it fails the connection is gone already.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// No client sends an inner server of these tests more than this.
pub const BODY_BYTES_MAX: usize = 1 << 20;
