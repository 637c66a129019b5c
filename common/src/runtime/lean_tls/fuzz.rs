//! A connection and a peer of rustls over a wire that cuts, adds and changes octets.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a fuzz target reports by panicking"
)]

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{LeanTls, accept, connect};
use crate::tls::config::{Certificates, provider};

/// What is said reaches the other side as it was and in its order, whatever pieces it comes in and whatever else is on
/// the wire; what is forged is an error, and nothing grows.
///
/// The first octet says which side and version and whether the connection is busy, the second how the wire cuts; then steps of two octets.
///
/// # Panics
/// If not.
pub fn records(bytes: &[u8]) {
    let Some((&[shape, piece], steps)) = bytes.split_first_chunk() else {
        return;
    };
    let Some(mut play) = Play::begin(shape, usize::from(piece).max(1)) else {
        return;
    };
    let (steps, _) = steps.as_chunks::<2>();
    for &[step, extent] in steps.iter().take(STEPS_MAX) {
        play.step(step, usize::from(extent));
    }
    play.end();
}

/// Octets on their way.
#[derive(Debug, Default)]
struct Wire {
    to_lean: VecDeque<u8>,
    from_lean: Vec<u8>,
    piece: usize,
    is_full: bool,
}

/// One end of it.
#[derive(Clone, Debug)]
struct End(Arc<Mutex<Wire>>);

struct Play {
    wire: End,
    lean: LeanTls<End>,
    peer: Connection,
    /// What the peer has said, and how much of it has arrived.
    said: Vec<u8>,
    arrived: usize,
    /// How much was said the other way.
    told: usize,
    state: State,
}

/// What may still be expected.
#[derive(Debug, Default)]
struct State {
    is_tampered: bool,
    is_closed: bool,
    hearing: Hearing,
}

/// How far reading has come.
#[derive(Debug, Default, PartialEq, Eq)]
enum Hearing {
    /// A record was refused.
    Broken,
    /// The peer's goodbye was heard.
    Ended,
    #[default]
    Open,
}

impl Play {
    fn begin(shape: u8, piece: usize) -> Option<Self> {
        let configs = configs();
        let versions = if shape & 2 == 0 {
            &configs.newer
        } else {
            &configs.older
        };
        let wire = End(Arc::new(Mutex::new(Wire {
            piece: 4096,
            ..Wire::default()
        })));
        let name = ServerName::try_from("example.com").ok()?;
        let (server, client) = (Arc::clone(&versions.0), Arc::clone(&versions.1));
        let (lean, peer) = if shape & 1 == 0 {
            let peer = ClientConnection::new(client, name).ok()?;
            let mut peer = Connection::Client(peer);
            (shake(&wire, &mut peer, accept(wire.clone(), &server)), peer)
        } else {
            let mut peer = Connection::Server(ServerConnection::new(server).ok()?);
            (
                shake(&wire, &mut peer, connect(wire.clone(), client, name)),
                peer,
            )
        };
        wire.lock().piece = piece;
        Some(Self {
            wire,
            lean: if shape & 4 == 0 { lean } else { lean.busy() },
            peer,
            said: Vec::new(),
            arrived: 0,
            told: 0,
            state: State::default(),
        })
    }

    fn step(&mut self, step: u8, extent: usize) {
        match step % 8 {
            0 if !self.state.is_closed => self.say(extent.saturating_mul(131)),
            1 => self.hear(),
            2 => self.tell(extent.saturating_mul(67)),
            3 if !self.state.is_closed => {
                // TLS 1.2 has none.
                drop(self.peer.refresh_traffic_keys());
                self.send();
            }
            4 => self.tamper(|octets| {
                let at = extent % octets.len().max(1);
                if let Some(octet) = octets.get_mut(at) {
                    *octet ^= 0x41;
                }
            }),
            5 => self.tamper(|octets| {
                octets.extend(RECORD.iter().take(extent % RECORD.len() + 1));
            }),
            6 if !self.state.is_closed => {
                self.peer.send_close_notify();
                self.state.is_closed = true;
                self.send();
            }
            7 => {
                let mut wire = self.wire.lock();
                wire.is_full = !wire.is_full;
            }
            _ => {}
        }
    }

    fn say(&mut self, count: usize) {
        let from = self.said.len();
        let words: Vec<u8> = (from..from.saturating_add(count)).map(pattern).collect();
        let written = self.peer.writer().write(&words).unwrap_or_default();
        self.said.extend(words.iter().take(written));
        self.send();
    }

    /// Everything that the peer has for us is on the wire.
    fn send(&mut self) {
        let mut octets = Vec::new();
        while self.peer.wants_write() {
            if self.peer.write_tls(&mut octets).is_err() {
                return;
            }
        }
        self.wire.lock().to_lean.extend(octets);
    }

    fn tamper(&mut self, change: impl FnOnce(&mut VecDeque<u8>)) {
        change(&mut self.wire.lock().to_lean);
        self.state.is_tampered = true;
    }

    fn hear(&mut self) {
        let mut space = [0; 3000];
        while self.state.hearing == Hearing::Open {
            let mut out = ReadBuf::new(&mut space);
            let read = Pin::new(&mut self.lean).poll_read(&mut context(), &mut out);
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if out.filled().is_empty() => {
                    assert!(self.state.is_closed, "an end that nobody has said");
                    self.state.hearing = Hearing::Ended;
                }
                Poll::Ready(Ok(())) => {
                    let end = self.arrived.saturating_add(out.filled().len());
                    let said = self.said.get(self.arrived..end);
                    assert_eq!(said, Some(out.filled()), "what was said, in its order");
                    self.arrived = end;
                }
                Poll::Ready(Err(error)) => {
                    assert!(self.state.is_tampered, "{error}");
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                    self.state.hearing = Hearing::Broken;
                }
            }
        }
        assert!(self.lean.held_bytes() < HELD_BYTES_MAX, "it grows");
    }

    fn tell(&mut self, count: usize) {
        if self.state.hearing == Hearing::Broken {
            return;
        }
        let words: Vec<u8> = (self.told..self.told.saturating_add(count))
            .map(pattern)
            .collect();
        let mut rest = words.as_slice();
        while !rest.is_empty() {
            match Pin::new(&mut self.lean).poll_write(&mut context(), rest) {
                Poll::Ready(written) => {
                    let written = written.expect("the wire takes everything");
                    rest = rest.get(written..).unwrap_or_default();
                    self.told = self.told.saturating_add(written);
                }
                Poll::Pending => break,
            }
        }
    }

    /// The wire takes everything: what was said on both sides is there, and nothing else.
    fn end(mut self) {
        self.wire.lock().is_full = false;
        self.hear();
        if self.state.hearing != Hearing::Broken {
            let flushed = Pin::new(&mut self.lean).poll_flush(&mut context());
            assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
        }
        if !self.state.is_tampered {
            assert_eq!(self.arrived, self.said.len(), "everything arrives");
            let is_ended = self.state.hearing == Hearing::Ended;
            assert_eq!(is_ended, self.state.is_closed, "the end as well");
            assert_eq!(self.lean.held_bytes(), 0, "and nothing is kept");
        }
        let octets = std::mem::take(&mut self.wire.lock().from_lean);
        let heard = receive(&mut self.peer, &octets);
        if self.state.hearing != Hearing::Broken {
            let told: Vec<u8> = (0..self.told).map(pattern).collect();
            assert!(heard == told, "{} of {}", heard.len(), told.len());
        }
    }
}

/// What the peer makes of octets.
fn receive(peer: &mut Connection, mut octets: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !octets.is_empty() {
        if peer.read_tls(&mut octets).is_err() || peer.process_new_packets().is_err() {
            return heard;
        }
        // Ends with "would block" when there is no more for now.
        drop(peer.reader().read_to_end(&mut heard));
    }
    heard
}

/// Both sides in turn until the handshake is done.
fn shake<F, A>(wire: &End, peer: &mut Connection, shaking: F) -> LeanTls<End>
where
    F: Future<Output = io::Result<(LeanTls<End>, A)>>,
{
    let mut shaking = std::pin::pin!(shaking);
    for _ in 0..FLIGHTS_MAX {
        let mut octets = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut octets).expect("memory takes it");
        }
        wire.lock().to_lean.extend(octets);
        let done = shaking.as_mut().poll(&mut context());
        let answer = std::mem::take(&mut wire.lock().from_lean);
        receive(peer, &answer);
        if let Poll::Ready(done) = done {
            // Tickets of the peer, too.
            let mut octets = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut octets).expect("memory takes it");
            }
            wire.lock().to_lean.extend(octets);
            return done.expect("an honest handshake").0;
        }
    }
    panic!("the handshake does not end");
}

fn pattern(at: usize) -> u8 {
    (at % 251).to_le_bytes()[0]
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl End {
    fn lock(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.lock();
        let now = wire.piece.min(wire.to_lean.len()).min(out.remaining());
        if now == 0 {
            return Poll::Pending;
        }
        let octets: Vec<u8> = wire.to_lean.drain(..now).collect();
        out.put_slice(&octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.lock();
        if wire.is_full {
            return Poll::Pending;
        }
        let now = wire.piece.min(octets.len());
        wire.from_lean.extend(octets.iter().take(now));
        Poll::Ready(Ok(now))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Of a server and of a client.
type Both = (Arc<ServerConfig>, Arc<ClientConfig>);

struct Configs {
    newer: Both,
    older: Both,
}

fn configs() -> &'static Configs {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    CONFIGS.get_or_init(|| Configs {
        newer: both(&[&rustls::version::TLS13]),
        older: both(&[&rustls::version::TLS12]),
    })
}

fn both(versions: &[&'static rustls::SupportedProtocolVersion]) -> Both {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
    let key = PrivatePkcs8KeyDer::from(key.expect("a key").as_ref().to_vec());
    let key = provider().key_provider.load_private_key(key.into());
    // Nobody looks at it.
    let certificate = CertificateDer::from(vec![0]);
    let certified = CertifiedKey::new(vec![certificate], key.expect("a key"));
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("a version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates::new(certified, Vec::new())));
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Takes whoever is there: these two are alone.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// One that nobody has sealed.
const RECORD: [u8; 9] = [23, 3, 3, 0, 4, 1, 2, 3, 4];
/// Steps of one play.
const STEPS_MAX: usize = 64;
/// Times that the sides take turns in a handshake.
const FLIGHTS_MAX: usize = 100;
/// A record that has not come whole, one that is not sent, and what as many octets as are read at once say.
const HELD_BYTES_MAX: usize = 128 * 1024;
