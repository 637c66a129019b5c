//! The handshake, by rustls alone. It sees one record after the other and none behind the last one, so that whoever
//! reads the records after it begins with the first.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::ConnectionState;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::records::{Kernel, Records};
use super::side::{Side, drain, encode};
use super::{Agreed, LeanTls};
use crate::limits;

pub(super) async fn accept<T>(mut io: T, config: &ServerConfig) -> io::Result<(LeanTls<T>, Agreed)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let asked = Arc::new(Asked {
        certificates: Arc::clone(&config.cert_resolver),
        name: Mutex::default(),
    });
    // A handful of counted references: rustls tells the server name of such a connection to nobody else.
    let mut config = config.clone();
    config.cert_resolver = Arc::<Asked>::clone(&asked);
    config.enable_secret_extraction = true;
    let side = UnbufferedServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    let mut side = Box::new(side);
    let shaken = Box::pin(shake(&mut io, side.as_mut())).await?;
    let server_name = asked
        .name
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let agreed = Agreed {
        server_name,
        ..agreed(&side)
    };
    let (secrets, kernel) = side
        .dangerous_into_kernel_connection()
        .map_err(io::Error::other)?;
    let records = Records::new(secrets, Kernel::Server(Box::new(kernel)));
    let records = records.map_err(io::Error::other)?;
    Ok((LeanTls::new(io, records, shaken), agreed))
}

pub(super) async fn connect<T>(
    mut io: T,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<(LeanTls<T>, Agreed)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = ClientConfig::clone(&config);
    config.enable_secret_extraction = true;
    let side = UnbufferedClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut side = Box::new(side);
    let shaken = Box::pin(shake(&mut io, side.as_mut())).await?;
    let agreed = agreed(&side);
    let (secrets, kernel) = side
        .dangerous_into_kernel_connection()
        .map_err(io::Error::other)?;
    let records = Records::new(secrets, Kernel::Client(Box::new(kernel)));
    let records = records.map_err(io::Error::other)?;
    Ok((LeanTls::new(io, records, shaken), agreed))
}

fn agreed(common: &CommonState) -> Agreed {
    Agreed {
        version: common.protocol_version(),
        alpn: common.alpn_protocol().map(<[u8]>::to_vec),
        server_name: None,
        peer_certificate: common
            .peer_certificates()
            .and_then(|chain| chain.first().cloned())
            .map(CertificateDer::into_owned),
    }
}

/// Finds the certificate, and remembers for which name.
#[derive(Debug)]
struct Asked {
    certificates: Arc<dyn ResolvesServerCert>,
    name: Mutex<Option<String>>,
}

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.certificates.resolve(hello)
    }
}

/// What has come so far.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    /// So many of them rustls has seen.
    shown: usize,
}

/// What is to be done next.
enum Step {
    Done,
    Fail(rustls::Error),
    GoOn,
    Send,
    Wait,
}

/// What is left when the handshake is done.
pub(super) struct Shaken {
    /// What came behind its last record.
    pub(super) unread: Vec<u8>,
    /// Tickets, which no client waits for: one that does not read yet is not waited for either.
    pub(super) unsent: Vec<u8>,
}

async fn shake<T, S>(io: &mut T, side: &mut S) -> io::Result<Shaken>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Side,
{
    let mut incoming = Incoming::default();
    let mut outgoing = Vec::new();
    loop {
        match step(side, &mut incoming, &mut outgoing) {
            Step::GoOn => {}
            Step::Send if !S::is_last_flight_optional(side.common()) => {
                incoming.while_sending(io, &outgoing).await?;
                outgoing.clear();
            }
            Step::Wait => incoming.next_record(io).await?,
            Step::Send => {}
            Step::Done => {
                return Ok(Shaken {
                    unread: incoming.bytes,
                    unsent: outgoing,
                });
            }
            Step::Fail(error) => {
                drain(side, incoming.shown(), &mut outgoing);
                if let Err(error) = io.write_all(&outgoing).await {
                    tracing::trace!(reason = %error, "the peer is not told why its handshake failed");
                }
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

fn step<S: Side>(side: &mut S, incoming: &mut Incoming, outgoing: &mut Vec<u8>) -> Step {
    let status = side.process(incoming.shown());
    let discard = status.discard;
    let (step, is_open) = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(&mut data, outgoing);
            (Step::GoOn, false)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            (Step::Send, false)
        }
        // A server may send before its client has finished; that is not made use of.
        Ok(ConnectionState::WriteTraffic(_)) => (Step::Wait, true),
        Ok(ConnectionState::BlockedHandshake) => (Step::Wait, false),
        Ok(_) => {
            let unexpected = "the peer ends or goes on before the handshake is done";
            (
                Step::Fail(rustls::Error::General(unexpected.to_owned())),
                false,
            )
        }
        Err(error) => (Step::Fail(error), false),
    };
    incoming.discard(discard);
    if is_open && !side.common().is_handshaking() {
        return Step::Done;
    }
    step
}

impl Incoming {
    fn shown(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.shown).unwrap_or_default()
    }

    fn discard(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.shown = self.shown.saturating_sub(count);
    }

    /// Shows one record more, when it is there.
    async fn next_record<T: AsyncRead + Unpin>(&mut self, io: &mut T) -> io::Result<()> {
        loop {
            if let Some(len) = self.record_len() {
                self.shown = self.shown.saturating_add(len);
                return Ok(());
            }
            poll_fn(|cx| self.poll_fill(cx, io)).await?;
        }
    }

    /// Sends a flight, and takes what the peer says meanwhile: there are some who read on only when their own words are
    /// gone, and two of them would wait for each other.
    async fn while_sending<T>(&mut self, io: &mut T, mut flight: &[u8]) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        poll_fn(|cx| {
            while !flight.is_empty() {
                match Pin::new(&mut *io).poll_write(cx, flight)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => flight = flight.get(written..).unwrap_or_default(),
                    Poll::Pending => ready!(self.poll_fill(cx, io))?,
                }
            }
            Pin::new(&mut *io).poll_flush(cx)
        })
        .await
    }

    fn poll_fill<T>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncRead + Unpin,
    {
        if self.bytes.len() > limits::TLS_HANDSHAKE_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("the handshake is too long")));
        }
        let mut piece = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.bytes.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// The length of the next record, if all of it is there. What can be none is shown at once, to be refused.
    fn record_len(&self) -> Option<usize> {
        let next = self.bytes.get(self.shown..)?;
        let (&[_, major, _, high, low], _) = next.split_first_chunk::<HEAD_BYTES>()?;
        let len = usize::from(u16::from_be_bytes([high, low])).saturating_add(HEAD_BYTES);
        if major != 3 || len > limits::TLS_RECORD_BYTES_MAX {
            return Some(next.len());
        }
        (next.len() >= len).then_some(len)
    }
}

/// Type, version and length (RFC 8446 section 5.1).
const HEAD_BYTES: usize = 5;
/// A client's whole hello.
const READ_BYTES: usize = 2048;
