//! Connects to a peer over TLS and says in words what it is like.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::Finding;
use crate::config::certificate::Facts;
use crate::config::duration::Text;
use crate::limits;
use crate::net::{Host, HostPort};
use crate::runtime::clock;
use crate::runtime::lean_tls::{self, Agreed, LeanTls};

/// What to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct TlsProbe {
    /// The heading of the finding.
    pub what: String,
    /// Where.
    pub address: HostPort,
    /// The name that its certificate must have.
    pub name: Host,
    /// How to verify it, and what to show it.
    pub config: Arc<ClientConfig>,
    /// The local address to connect from.
    pub bind: Option<IpAddr>,
}

/// Connects, shakes hands, waits a moment whether the peer takes our certificate, and hangs up.
pub async fn probe(probe: TlsProbe) -> Finding {
    let TlsProbe {
        what,
        address,
        name,
        config,
        bind,
    } = probe;
    let began = clock::now();
    let deadline = limits::DOCTOR_DEADLINE;
    let connecting = tokio::time::timeout(deadline, connect(&address, bind, &name, config));
    let (mut stream, agreed) = match connecting.await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            let (cause, remedy) = explain(&error, &address, &name);
            return Finding::fail(what, cause, remedy);
        }
        Err(_) => {
            let cause = format!("{address} did not answer within {}", Text(deadline));
            return Finding::fail(what, cause, NOT_REACHED);
        }
    };
    let took = clock::elapsed(began).as_millis();
    // With TLS 1.3 the client is done before the server has looked at its certificate: a refusal comes as an alert
    // where the first data would.
    let mut byte = [0];
    let first = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await;
    if let Ok(Err(error)) = first {
        let (cause, remedy) = explain(&error, &address, &name);
        return Finding::fail(what, cause, remedy);
    }
    // A proper goodbye, so that the peer does not log a broken connection; if it fails, the peer has gone before us.
    drop(stream.shutdown().await);
    let version = agreed.version.map(|version| format!("{version:?}"));
    let leaf = agreed.peer_certificate.as_ref();
    let until = leaf.and_then(|leaf| Facts::read(leaf).ok());
    let left = until.map(|facts| facts.not_after.since(clock::unix_now()).as_secs() / 86_400);
    let detail = format!(
        "{address} reached in {took} ms, {}, certificate for {name}, {} days left",
        version.unwrap_or_default(),
        left.unwrap_or_default()
    );
    Finding::pass(what, detail)
}

async fn connect(
    address: &HostPort,
    bind: Option<IpAddr>,
    name: &Host,
    config: Arc<ClientConfig>,
) -> io::Result<(LeanTls<TcpStream>, Agreed)> {
    let server_name = match name {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()),
        Host::Address(address) => Ok(ServerName::from(*address)),
    };
    let server_name = server_name.map_err(io::Error::other)?;
    let socket = match &address.host {
        Host::Address(ip) => connect_from(bind, SocketAddr::new(*ip, address.port)).await?,
        Host::Name(host) => {
            let mut last = Err(io::ErrorKind::AddrNotAvailable.into());
            let found = tokio::net::lookup_host((host.as_str(), address.port)).await?;
            for address in found.take(limits::ADDRESSES_MAX) {
                last = connect_from(bind, address).await;
                if last.is_ok() {
                    break;
                }
            }
            last?
        }
    };
    Box::pin(lean_tls::connect(socket, config, server_name)).await
}

async fn connect_from(bind: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = bind.filter(|source| source.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls names more errors than need advice"
)]
fn explain(error: &io::Error, address: &HostPort, name: &Host) -> (String, String) {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        let cause = format!("{address} can't be reached: {error}");
        return (cause, NOT_REACHED.to_owned());
    };
    let cause = format!("{address} was reached, but TLS failed: {inner}");
    let remedy = match inner {
        rustls::Error::InvalidCertificate(fault) => certificate_remedy(fault, name),
        rustls::Error::AlertReceived(alert) => alert_remedy(*alert).to_owned(),
        _ => "is it a TLS port, and the right one?".to_owned(),
    };
    (cause, remedy)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls names more faults than need advice"
)]
fn certificate_remedy(fault: &CertificateError, name: &Host) -> String {
    match fault {
        CertificateError::UnknownIssuer => {
            "add the authority that signed it to trust_anchors, or send its chain whole".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("name the server as its certificate does, or add {name} to the certificate")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the certificate of that server".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check the clocks of both machines".to_owned()
        }
        _ => "look at it with: openssl s_client -showcerts -connect".to_owned(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls names more alerts than need advice"
)]
const fn alert_remedy(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => {
            "the other side does not know our authority: add it to trust_anchors there"
        }
        AlertDescription::CertificateExpired => "renew our certificate",
        AlertDescription::AccessDenied | AlertDescription::BadCertificate => {
            "the other side refuses our certificate: is our name in allowed_cores there?"
        }
        AlertDescription::NoApplicationProtocol => {
            "something else listens there: is it the right port?"
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "no TLS version or suite in common: TLS 1.2 with modern suites is the least"
        }
        _ => "the log of the other side says why",
    }
}

const NOT_REACHED: &str =
    "is it running, is the address right, and does every packet filter between let it through?";

/// How long the peer gets to refuse our certificate.
const PATIENCE: Duration = Duration::from_millis(500);
