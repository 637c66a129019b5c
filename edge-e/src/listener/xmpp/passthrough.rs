//! Clients whose TLS edge-c ends: what this edge reads of them is the server name in the first message, no more.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use common::limits;
use common::link::stream_preface::{StreamPreface, StreamProtocol};
use common::net::Domain;
use common::telemetry::HandshakeOutcome;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{Client, poll_give, poll_take};
use super::entrance::Refused;
use super::{Caller, Entered, Xmpp, preface};
use crate::metrics::Listener;
use crate::metrics::xmpp::XmppTransport;

/// A client's first message, as it came.
#[derive(Debug)]
struct Hello {
    server_name: Option<Domain>,
    octets: Vec<u8>,
}

impl Xmpp {
    /// No further than to the name in the client's first message of TLS.
    pub(super) async fn pass(
        &self,
        mut stream: TcpStream,
        ends: (SocketAddr, SocketAddr),
        transport: XmppTransport,
        named: Option<Domain>,
    ) -> Result<Entered, Refused> {
        let hello = hello(&mut stream);
        let hello = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, hello).await;
        let hello = hello.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if hello.is_err() {
            let outcome = HandshakeOutcome::of(&hello);
            self.metrics.handshakes.of(Listener::Xmpp, outcome).inc();
        }
        let hello = hello.map_err(Refused::Tls)?;
        // Clients that ask for TLS have said the domain; those that begin with it say it as XEP-0368 section 3 wants.
        let domain = named.or_else(|| hello.server_name.clone());
        let core = match &domain {
            Some(domain) => self.cores.xmpp_streams(domain).map_err(Refused::from),
            None => Err(Refused::UnknownDomain),
        };
        let (Ok(core), Some(domain)) = (&core, domain) else {
            let refused = core.err().unwrap_or(Refused::UnknownDomain);
            return Err(turn_away(stream, refused).await);
        };
        let preface = StreamPreface {
            server_name: hello.server_name,
            ..preface(StreamProtocol::XmppTls, ends, domain)
        };
        Ok(Entered {
            client: Caller::Unread(stream),
            core: Arc::clone(core),
            preface: Box::new(preface),
            head: hello.octets,
            transport,
        })
    }
}

/// Reads the message with which a client begins TLS, however it is cut.
async fn hello(stream: &mut TcpStream) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut octets = Vec::new();
    loop {
        let seen = octets.len();
        octets.reserve(READ_BYTES);
        if stream.read_buf(&mut octets).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut new = octets.get(seen..).unwrap_or_default();
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
        }
        match acceptor.accept() {
            Ok(None) if octets.len() > limits::TLS_HANDSHAKE_BYTES_MAX => {
                return Err(io::Error::other("the first message is too long"));
            }
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let server_name = hello
                    .server_name()
                    .and_then(|name| Domain::parse(name).ok());
                return Ok(Hello {
                    server_name,
                    octets,
                });
            }
            Err((error, mut alert)) => {
                let mut told = Vec::new();
                alert.write_all(&mut told)?;
                stream.write_all(&told).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

/// Tells a client in the words of TLS that it is not let in, as long as nobody has answered it.
pub(super) async fn turn_away(mut stream: TcpStream, refused: Refused) -> Refused {
    let description = if matches!(refused, Refused::UnknownDomain) {
        UNRECOGNIZED_NAME
    } else {
        INTERNAL_ERROR
    };
    let telling = async {
        stream
            .write_all(&[ALERT, 3, 3, 0, 2, FATAL, description])
            .await?;
        stream.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(limits::XMPP_CLOSE_TIMEOUT, telling).await {
        tracing::trace!(reason = %error, "the client was gone before it was told");
    }
    refused
}

/// The client's side of a stream that nobody here understands.
#[derive(Debug)]
pub(super) struct Unread(pub(super) TcpStream);

impl Client for Unread {
    // What is put between two records by anybody else breaks TLS.
    const IS_OCTETS: bool = false;

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        poll_give(&mut self.0, cx, give)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &mut Bytes) -> Poll<io::Result<()>> {
        poll_take(&mut self.0, cx, message)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A client's whole first message.
const READ_BYTES: usize = 2048;
/// Content type and level of an alert, and its descriptions (RFC 8446 section 6).
const ALERT: u8 = 21;
const FATAL: u8 = 2;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;
