//! A client outside: TLS and HTTP/1.1 to the edge that DNS names, over one connection that is kept.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use support::place::Place;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// Who knows the way to one edge.
pub(crate) struct Client {
    place: Place,
    host: String,
    socket: SocketAddr,
    tls: TlsConnector,
    connection: Option<SendRequest<Empty<Bytes>>>,
    runtime: Runtime,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// A client that trusts the authorities in `trust` alone.
    pub(crate) fn new(place: &Place, host: &str, socket: SocketAddr, trust: &Path) -> Result<Self> {
        let mut anchors = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(trust)? {
            anchors.add(certificate?)?;
        }
        let config: ClientConfig = common::tls::config::inside_client(anchors)?;
        Ok(Self {
            place: place.clone(),
            host: host.to_owned(),
            socket,
            tls: TlsConnector::from(Arc::new(config)),
            connection: None,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
        })
    }

    /// The edge as it stands in URLs.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.socket.port())
    }

    /// GETs a path on the edge.
    pub(crate) fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        let mut request = Request::get(path).header(HOST, self.authority());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new())?;
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            Some(_) | None => self.dial()?,
        };
        let exchange = async {
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            anyhow::Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        };
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(ANSWER_LIMIT, exchange).await })
            .context("no answer in time")??;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn dial(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let stream = self
            .place
            .connect(self.socket, CONNECT_LIMIT)
            .with_context(|| format!("Failed to connect to {}", self.socket))?;
        stream.set_nonblocking(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        self.runtime.block_on(async {
            let stream = TcpStream::from_std(stream)?;
            let handshake = self.tls.connect(name, stream);
            let stream = tokio::time::timeout(CONNECT_LIMIT, handshake)
                .await
                .context("TLS took too long")?
                .context("Failed to agree on TLS")?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its end shows in the next request.
            drop(tokio::spawn(connection));
            Ok(sender)
        })
    }
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a field, if it is text.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Above what a sign-in may take at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1024 * 1024;
