//! A TLS client that says what it is told, byte for byte: for what no decent client sends.
//!
//! Blocking, one connection a value. Reads answers of HTTP/1.1 well enough to compare them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use certs::Identity;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::place::Place;

/// Whom to connect to, and as whom. Clones dial the same.
#[derive(Clone, Debug)]
pub struct Dialer {
    place: Place,
    socket: SocketAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    patience: Duration,
}

/// One TLS connection.
#[derive(Debug)]
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

/// An answer of HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Dialer {
    /// Dials from `place`, trusts the authority in that PEM file, offers the ALPN names.
    pub fn new(
        place: &Place,
        socket: SocketAddr,
        name: &str,
        authority: &Path,
        alpn: &[&str],
    ) -> Result<Self> {
        Self::with_identity(place, socket, name, authority, alpn, None)
    }

    /// The same with a client certificate.
    pub fn with_identity(
        place: &Place,
        socket: SocketAddr,
        name: &str,
        authority: &Path,
        alpn: &[&str],
        identity: Option<&Identity>,
    ) -> Result<Self> {
        let mut anchors = RootCertStore::empty();
        anchors.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(anchors);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
                    .collect::<Result<Vec<_>, _>>()?;
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self {
            place: place.clone(),
            socket,
            name: ServerName::try_from(name.to_owned())?,
            config: Arc::new(config),
            patience: PATIENCE,
        })
    }

    /// Waits so long for each read.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects TCP and nothing more.
    pub fn dial_tcp(&self) -> io::Result<TcpStream> {
        let stream = self.place.connect(self.socket, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects, and shakes hands.
    pub fn dial(&self) -> io::Result<Connection> {
        self.shake_hands(self.dial_tcp()?)
    }

    /// Shakes hands on a connection on which something else came first.
    pub fn shake_hands(&self, mut tcp: TcpStream) -> io::Result<Connection> {
        let mut session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Connection {
            stream: StreamOwned::new(session, tcp),
            buffer: Vec::new(),
        })
    }
}

impl Connection {
    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads so many bytes.
    pub fn receive(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// What comes next, at most for so long; empty at the end.
    pub fn read_some(&mut self, limit: Duration) -> io::Result<Vec<u8>> {
        self.stream.sock.set_read_timeout(Some(limit))?;
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads the next answer; `None` if the peer has closed the connection instead.
    pub fn response(&mut self) -> Result<Option<Response>> {
        self.response_to("GET")
    }

    /// The same for another method: HEAD has no body.
    pub fn response_to(&mut self, method: &str) -> Result<Option<Response>> {
        let Some(mut response) = self.head()? else {
            return Ok(None);
        };
        if method != "HEAD" && response.status != 204 && response.status != 304 {
            response.body = self.body(&response)?;
        }
        Ok(Some(response))
    }

    /// Reads the head of the next answer and nothing of its body.
    pub fn head(&mut self) -> Result<Option<Response>> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.fill_or_closed()? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                bail!("half a head: {:?}", String::from_utf8_lossy(&self.buffer));
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head)?;
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .split(' ')
            .nth(1)
            .context("no status")?
            .parse()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        Ok(Some(Response {
            status,
            headers: fields
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: Vec::new(),
        }))
    }

    /// Whether the peer closes the connection without another byte.
    pub fn is_closed(&mut self) -> io::Result<bool> {
        Ok(self.buffer.is_empty() && self.fill_or_closed()? == 0)
    }

    /// The bytes that have come and were not read.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// The TCP connection below.
    #[must_use]
    pub const fn tcp(&self) -> &TcpStream {
        &self.stream.sock
    }

    fn body(&mut self, response: &Response) -> Result<Vec<u8>> {
        if let Some(length) = response.header("content-length") {
            return Ok(self.receive(length.parse()?)?);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            return self.chunks();
        }
        while self.fill_or_closed()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)?;
            body.extend(self.receive(size)?);
            self.receive(2)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8(line)?);
            }
            if self.fill()? == 0 {
                bail!("half a line");
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let count = self.stream.read(&mut bytes)?;
        self.buffer.extend(bytes.iter().take(count));
        Ok(count)
    }

    /// However the peer has gone, it has gone.
    fn fill_or_closed(&mut self) -> io::Result<usize> {
        match self.fill() {
            Err(error) if is_gone(&error) => Ok(0),
            other => other,
        }
    }
}

impl Response {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Whether the error says that the peer has closed or reset the connection.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
    )
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// No peer in these tests needs longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);
