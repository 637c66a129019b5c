//! Dialling edge-e: TCP, mutual TLS, greeting; and the reason, for people and for the metric, if one of them fails.

use std::net::SocketAddr;

use anyhow::{Context as _, anyhow};
use common::limits;
use common::link::greeting::{Answer, Hello, PROTOCOL, Purpose, RefusalKind, Resume};
use common::net::Host;
use common::runtime::{greeting, lean_tls, listen};
use common::telemetry::{HandshakeOutcome, LinkRefusal};
use common::tls::fault;
use rustls_pki_types::{DnsName, ServerName};
use tokio::net::{TcpSocket, TcpStream};

use super::{Config, LinkClient, Stream, VERSION};

impl LinkClient {
    pub(super) async fn dial(
        &self,
        purpose: Purpose,
        resume: Option<Resume>,
    ) -> Result<(Stream, Welcome), NotDialled> {
        let dialled = self.try_dial(purpose, resume).await;
        if let Err(failed) = &dialled {
            self.metrics.link.failures.of(failed.label).inc();
        }
        dialled
    }

    async fn try_dial(
        &self,
        purpose: Purpose,
        resume: Option<Resume>,
    ) -> Result<(Stream, Welcome), NotDialled> {
        let Config {
            address,
            certificate_name,
            ..
        } = &self.config;
        let connecting = self.connect();
        let tcp = tokio::time::timeout(limits::LINK_DIAL_TIMEOUT, connecting).await;
        let tcp = tcp
            .with_context(|| format!("{address} did not answer"))
            .map_err(because(LinkRefusal::TimedOut))?
            .map_err(|failed| failed.context(format!("can't reach {address}")))?;
        listen::configure_link(&tcp).map_err(because(LinkRefusal::Refused))?;
        let name = DnsName::try_from(certificate_name.as_str().to_owned())
            .map_err(because(LinkRefusal::Tls))?;
        let name = ServerName::DnsName(name);
        let handshake = Box::pin(lean_tls::connect(tcp, self.tls.load_full(), name));
        let handshake = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, handshake)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let outcome = HandshakeOutcome::of(&handshake);
        self.metrics.link_handshakes.of(outcome).inc();
        let is_late = outcome == HandshakeOutcome::TimedOut;
        let label = if is_late {
            LinkRefusal::TimedOut
        } else {
            LinkRefusal::Tls
        };
        let (stream, _) = handshake
            .context("TLS handshake failed")
            .map_err(because(label))?;
        let mut stream = stream.busy();
        let greeting = async {
            greeting::send(&mut stream, &self.hello(purpose, resume)).await?;
            greeting::receive(&mut stream).await
        };
        let welcome = check(greeting.await.map_err(not_greeted)?)?;
        match purpose {
            Purpose::HttpsPool => {
                listen::let_stand_still(stream.io()).map_err(because(LinkRefusal::Refused))?;
            }
            Purpose::Control
            | Purpose::HttpsExchange
            | Purpose::HttpsShared
            | Purpose::Media
            | Purpose::Streams => {}
        }
        Ok((stream, welcome))
    }

    async fn connect(&self) -> Result<TcpStream, NotDialled> {
        let port = self.config.address.port;
        let addresses: Vec<SocketAddr> = match &self.config.address.host {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => tokio::net::lookup_host((name.as_str(), port))
                .await
                .map_err(because(LinkRefusal::Resolve))?
                .collect(),
        };
        let mut last = because(LinkRefusal::Resolve)(anyhow!("the name has no address"));
        for address in addresses.into_iter().take(limits::ADDRESSES_MAX) {
            match self.connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = because(LinkRefusal::Refused)(error).context(address.to_string());
                }
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self
            .config
            .bind_address
            .filter(|source| source.is_ipv4() == address.is_ipv4())
        {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(address).await
    }

    pub(super) fn hello(&self, purpose: Purpose, resume: Option<Resume>) -> Hello {
        let media = self.media.as_ref().filter(|_| purpose == Purpose::Media);
        Hello {
            version: VERSION.to_owned(),
            protocol: PROTOCOL,
            core: self.config.core.to_string(),
            core_id: self.config.core_id,
            instance: self.config.instance,
            purpose,
            resume,
            nonce: media.and_then(super::MediaEnd::nonce),
        }
    }
}

/// What edge-e said when it let the connection in.
pub(super) struct Welcome {
    pub(super) version: String,
    pub(super) instance: u64,
    pub(super) resume: Option<Resume>,
}

/// Why there is no connection: for the metric, and in words.
#[derive(Debug)]
pub(super) struct NotDialled {
    label: LinkRefusal,
    pub(super) error: anyhow::Error,
    /// What edge-e says can be done.
    told: Option<String>,
}

impl NotDialled {
    /// What the operator can do.
    pub(super) fn remedy(&self) -> &str {
        let own = || fault::remedy(self.error.chain()).unwrap_or(NOT_REACHED);
        self.told.as_deref().unwrap_or_else(own)
    }

    /// The connection went before it was used.
    pub(super) fn lost(error: std::io::Error) -> Self {
        because(LinkRefusal::Refused)(error)
    }

    fn context(self, context: String) -> Self {
        Self {
            error: self.error.context(context),
            ..self
        }
    }
}

fn because<E: Into<anyhow::Error>>(label: LinkRefusal) -> impl FnOnce(E) -> NotDialled {
    move |error| NotDialled {
        label,
        error: error.into(),
        told: None,
    }
}

/// With TLS 1.3 a server refuses a certificate after the client's handshake is done: where the greeting would be.
fn not_greeted(error: greeting::Error) -> NotDialled {
    let label = match &error {
        greeting::Error::Io(error) if is_of_tls(error) => LinkRefusal::Tls,
        greeting::Error::Io(_) | greeting::Error::Peer(_) => LinkRefusal::Greeting,
        greeting::Error::Timeout => LinkRefusal::TimedOut,
    };
    because(label)(error)
}

fn is_of_tls(error: &std::io::Error) -> bool {
    let cause = error.get_ref();
    cause
        .and_then(|cause| cause.downcast_ref::<rustls::Error>())
        .is_some()
}

fn check(answer: Answer) -> Result<Welcome, NotDialled> {
    match answer {
        Answer::Refused {
            reason,
            remedy,
            version,
            kind,
        } => {
            let label = match kind {
                RefusalKind::NotAllowed => LinkRefusal::NotAllowed,
                RefusalKind::Version => LinkRefusal::Version,
            };
            Err(NotDialled {
                label,
                error: anyhow!("edge-e {version} refuses the link: {reason}"),
                told: Some(remedy),
            })
        }
        Answer::Welcome {
            version, protocol, ..
        } if !protocol.is_compatible(PROTOCOL) => {
            let error = anyhow!(
                "edge-e {version} speaks link protocol {}.{}, edge-c {VERSION} speaks {}.{}: upgrade the older",
                protocol.major,
                protocol.minor,
                PROTOCOL.major,
                PROTOCOL.minor
            );
            Err(because(LinkRefusal::Version)(error))
        }
        Answer::Welcome {
            version,
            instance,
            resume,
            ..
        } => Ok(Welcome {
            version,
            instance,
            resume,
        }),
    }
}

const NOT_REACHED: &str =
    "look whether edge-e runs and the packet filter lets edge-c dial it; compare with `doctor`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_remedy() {
        let answer = Answer::Refused {
            reason: "why".into(),
            remedy: "what".into(),
            version: "1".into(),
            kind: RefusalKind::Version,
        };

        let refused = check(answer).err().unwrap();

        assert_eq!(refused.label, LinkRefusal::Version);
        assert_eq!(refused.error.to_string(), "edge-e 1 refuses the link: why");
        assert_eq!(refused.remedy(), "what");
    }
}
