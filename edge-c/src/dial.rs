//! Opening verified TLS connections to inner nodes, over IPv4 and IPv6.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::limits;
use common::net::Host;
use common::runtime::lean_tls::{self, LeanTls};
use rustls::ClientConfig;
use rustls_pki_types::{DnsName, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How inner servers are verified, now; a reload replaces it for everybody who dials inside.
pub type InsideTls = Arc<ArcSwap<ClientConfig>>;

/// Why no connection came about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The chain or the name in the certificate did not verify.
    #[error("the certificate is not accepted: {0}")]
    Certificate(String),
    /// No address took the TCP connection.
    #[error("no TCP connection: {0}")]
    Connect(String),
    /// The TCP connection took too long.
    #[error("no TCP connection in time")]
    ConnectTimeout,
    /// The host can't be a name in a certificate.
    #[error("the host is not a name that a certificate can hold")]
    Name,
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// The TLS handshake took too long.
    #[error("no TLS handshake in time")]
    TlsTimeout,
}

/// Connects to the first of `addresses` that answers: in order, the next starts when one failed or after
/// [`limits::CONNECT_ATTEMPT_DELAY`] (RFC 8305 section 5).
///
/// # Errors
/// [`DialError::Connect`] with the last reason, or [`DialError::ConnectTimeout`].
pub async fn connect(
    addresses: &[IpAddr],
    port: u16,
    bind: Option<IpAddr>,
    connect_timeout: Duration,
) -> Result<TcpStream, DialError> {
    match timeout(connect_timeout, race(addresses, port, bind)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DialError::Connect(error.to_string())),
        Err(_) => Err(DialError::ConnectTimeout),
    }
}

/// Makes TLS on `stream` and verifies chain and name; an address must be in the certificate as an address.
///
/// # Errors
/// [`DialError`] with the reason.
pub async fn secure(
    stream: TcpStream,
    host: &Host,
    config: Arc<ClientConfig>,
    tls_timeout: Duration,
) -> Result<LeanTls<TcpStream>, DialError> {
    let name = server_name(host).ok_or(DialError::Name)?;
    let handshake = Box::pin(lean_tls::connect(stream, config, name));
    match timeout(tls_timeout, handshake).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) if is_of_certificate(&error) => {
            Err(DialError::Certificate(error.to_string()))
        }
        Ok(Err(error)) => Err(DialError::Tls(error.to_string())),
        Err(_) => Err(DialError::TlsTimeout),
    }
}

/// The name that a certificate must have; `None` for one that no certificate can have.
#[must_use]
pub fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Name(name) => {
            let name = DnsName::try_from(name.as_str().to_owned()).ok()?;
            Some(ServerName::DnsName(name))
        }
        Host::Address(address) => Some(ServerName::IpAddress((*address).into())),
    }
}

fn is_of_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref();
    let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

async fn race(addresses: &[IpAddr], port: u16, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.iter().take(limits::ADDRESSES_MAX);
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    loop {
        let next = waiting.next().copied();
        if let Some(address) = next {
            attempts.spawn(attempt(SocketAddr::new(address, port), bind));
        }
        let has_more = next.is_some();
        // Both branches are cancel safe: an attempt stays in the set until it is taken out.
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None if has_more => {}
                None => return Err(last),
            },
            () = sleep(limits::CONNECT_ATTEMPT_DELAY), if has_more => {}
        }
    }
}

async fn attempt(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = bind.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpListener;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();

        let stream = connect(
            &[Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
            port,
            None,
            PATIENT,
        )
        .await
        .unwrap();

        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_refused_connection_says_so_and_no_address_is_an_error() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);

        let refused = connect(&[Ipv4Addr::LOCALHOST.into()], port, None, PATIENT).await;
        let nowhere = connect(&[], port, None, PATIENT).await;

        assert!(matches!(refused, Err(DialError::Connect(_))), "{refused:?}");
        assert!(matches!(nowhere, Err(DialError::Connect(_))), "{nowhere:?}");
    }

    #[tokio::test]
    async fn the_source_address_can_be_chosen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let source = IpAddr::from([127, 0, 0, 9]);

        let stream = connect(&[Ipv4Addr::LOCALHOST.into()], port, Some(source), PATIENT)
            .await
            .unwrap();

        assert_eq!(stream.local_addr().unwrap().ip(), source);
    }
}
