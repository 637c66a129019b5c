//! A client that opens TLS connections: each with a full handshake and one request. Also holds idle ones.
//!
//! Not a browser: it trusts whoever answers, as its own processor time is not what is measured.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::stage::{EDGE, Stage};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Who is connected to, and what is asked.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    target: String,
    cookie: String,
}

impl Client {
    pub(crate) fn new(stage: &Stage, index: usize) -> Result<Self> {
        let chain = stage.chains.get(index).context("no such chain")?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody))
                .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self {
            address: chain.address,
            config: Arc::new(config),
            target: stage.target("small"),
            cookie: stage.cookie(index).to_owned(),
        })
    }

    /// Opens connections for that long from several threads; returns how many were served and how long it took.
    pub(crate) fn open_for(&self, length: Duration) -> Result<(u64, Duration)> {
        let started = Instant::now();
        let deadline = started + length;
        let served = thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| self.open_until(deadline)))
                .collect();
            all.into_iter()
                .map(|one| {
                    one.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .sum::<Result<u64>>()
        })?;
        Ok((served, started.elapsed()))
    }

    fn open_until(&self, deadline: Instant) -> Result<u64> {
        let mut served = 0;
        while Instant::now() < deadline {
            let mut stream = self.connect()?;
            self.ask(&mut stream, "close")?;
            served += 1;
        }
        Ok(served)
    }

    /// Opens connections, makes one request on each, and keeps them open.
    pub(crate) fn hold(&self, count: usize) -> Result<Vec<impl Sized + use<>>> {
        let held = (0..count).map(|_| {
            let mut stream = self.connect()?;
            self.ask(&mut stream, "keep-alive")?;
            Ok(stream)
        });
        held.collect()
    }

    /// The cipher suite and the key exchange that the chain agrees to.
    pub(crate) fn agreed(&self) -> Result<String> {
        let mut stream = self.connect()?;
        self.ask(&mut stream, "close")?;
        let suite = stream.conn.negotiated_cipher_suite().context("no suite")?;
        let group = stream
            .conn
            .negotiated_key_exchange_group()
            .context("no key exchange")?;
        Ok(format!("{:?} {:?}", suite.suite(), group.name()))
    }

    fn connect(&self) -> Result<Stream> {
        let tcp = TcpStream::connect_timeout(&self.address, LIMIT)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(EDGE)?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(StreamOwned::new(tls, tcp))
    }

    /// One request; the answer is read to its end, and the connection's if it is to close.
    fn ask(&self, stream: &mut Stream, connection: &str) -> Result<()> {
        let Self { target, cookie, .. } = self;
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {EDGE}\r\nCookie: {cookie}\r\nConnection: {connection}\r\n\r\n"
        )?;
        let mut answer = [0_u8; 4096];
        let mut length = 0;
        while body_length(answer.get(..length).unwrap_or_default()) < Some(BODY_BYTES) {
            let room = answer.get_mut(length..).unwrap_or_default();
            let read = stream.read(room)?;
            ensure!(read > 0, "the answer ended after {length} bytes");
            length += read;
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(answer.get(..length).unwrap_or_default())
        );
        if connection == "close" {
            match stream.read(&mut answer) {
                Ok(0) => {}
                Ok(more) => bail!("{more} bytes after the answer"),
                // Without a close_notify: the answer was whole.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Bytes of the body so far; `None` while the head is not whole.
fn body_length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(answer.len() - end - 4)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

const THREADS: usize = 16;
const BODY_BYTES: usize = 1024;
const LIMIT: Duration = Duration::from_secs(10);
