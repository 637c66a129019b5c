//! A client of XMPP that says what it is told, byte for byte, and shows what comes back.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::tls_client::{Connection, Dialer, is_gone};

/// One connection, before or after TLS.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<Connection>),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What came before the end and was not read yet.
    pub text: String,
    /// Whether TLS was closed before TCP; always true without TLS, unless TCP was reset.
    pub is_clean: bool,
}

impl Wire {
    /// Connects TCP.
    pub fn plain(dialer: &Dialer) -> io::Result<Self> {
        Ok(Self::new(Stream::Plain(dialer.dial_tcp()?)))
    }

    /// Connects TCP and TLS.
    pub fn direct(dialer: &Dialer) -> io::Result<Self> {
        Ok(Self::new(Stream::Tls(Box::new(dialer.dial()?))))
    }

    /// Connects TCP, asks for TLS as RFC 6120 has it, and shakes hands.
    pub fn starttls(dialer: &Dialer, domain: &str) -> Result<Self> {
        let mut wire = Self::plain(dialer)?;
        wire.send(&header(domain))?;
        wire.read_until("</stream:features>")?;
        wire.send(STARTTLS)?;
        wire.read_until("<proceed")?;
        wire.read_until(">")?;
        wire.secure(dialer)
    }

    /// Shakes hands, after `<proceed/>`.
    pub fn secure(self, dialer: &Dialer) -> Result<Self> {
        match self.stream {
            Stream::Plain(tcp) => Ok(Self::new(Stream::Tls(Box::new(dialer.shake_hands(tcp)?)))),
            Stream::Tls(_) => bail!("TLS stands already"),
        }
    }

    /// Opens a stream, and returns the features.
    pub fn features(&mut self, domain: &str) -> Result<String> {
        self.send(&header(domain))?;
        self.read_until("</stream:features>")
    }

    /// Sends `<auth/>` of PLAIN, and returns what the answer begins with: `<success` or `<failure`, whole.
    pub fn plain_auth(&mut self, user: &str, password: &str) -> Result<String> {
        self.send(&auth(user, password))?;
        self.read_until_any(&[
            "</failure>",
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            "</success>",
        ])
    }

    /// Sends characters.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(text.as_bytes()),
            Stream::Tls(tls) => tls.send(text.as_bytes()),
        }
    }

    /// Reads until this has come, and returns everything up to its end.
    pub fn read_until(&mut self, wanted: &str) -> Result<String> {
        self.read_until_any(&[wanted])
    }

    /// The same for whichever comes first.
    pub fn read_until_any(&mut self, wanted: &[&str]) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = String::from_utf8_lossy(&self.buffer);
            let ends = wanted
                .iter()
                .filter_map(|wanted| text.find(wanted).map(|at| at + wanted.len()));
            if let Some(end) = ends.min() {
                let bytes = self.buffer.drain(..end).collect();
                return Ok(String::from_utf8(bytes)?);
            }
            let text = text.into_owned();
            match self.fill(deadline) {
                Ok(0) => bail!("closed before {wanted:?}, after {text:?}"),
                Ok(_) => {}
                Err(error) => bail!("{error} before {wanted:?}, after {text:?}"),
            }
        }
    }

    /// Reads until the peer closes, at most for so long.
    pub fn read_end(&mut self, limit: Duration) -> Result<End> {
        let deadline = Instant::now() + limit;
        loop {
            let is_clean = match self.fill(deadline) {
                Ok(0) => true,
                Ok(_) => continue,
                Err(error) if is_gone(&error) => false,
                Err(error) => {
                    let text = String::from_utf8_lossy(&self.buffer);
                    bail!("{error} instead of an end, after {text:?}")
                }
            };
            let text = String::from_utf8_lossy(&self.buffer).into_owned();
            return Ok(End { text, is_clean });
        }
    }

    /// Everything that comes within that time; an end ends it early.
    pub fn listen(&mut self, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        while self.fill(deadline).is_ok_and(|count| count > 0) {}
        let bytes = std::mem::take(&mut self.buffer);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    const fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match &mut self.stream {
            Stream::Plain(tcp) => {
                tcp.set_read_timeout(Some(left))?;
                let mut bytes = [0; 4096];
                let count = tcp.read(&mut bytes)?;
                self.buffer.extend(bytes.iter().take(count));
                Ok(count)
            }
            Stream::Tls(tls) => {
                let bytes = tls.read_some(left)?;
                self.buffer.extend(&bytes);
                Ok(bytes.len())
            }
        }
    }
}

/// The header of a client's stream.
#[must_use]
pub fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xml:lang='en' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// `<auth/>` of PLAIN.
#[must_use]
pub fn auth(user: &str, password: &str) -> String {
    let response = BASE64.encode(format!("\0{user}\0{password}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{response}</auth>")
}

/// Asks for TLS.
pub const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// No peer in these tests needs longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);
