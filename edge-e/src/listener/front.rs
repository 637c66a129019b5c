//! What a public listener does before its protocol: accept, admit, TLS. Then the connection belongs to whoever speaks it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use common::limits;
use common::redact::Redacted;
use common::runtime::drain::Signal;
use common::runtime::lean_tls::{Agreed, LeanTls};
use common::runtime::workers::Workers;
use common::runtime::{clock, lean_tls, listen};
use common::telemetry::HandshakeOutcome;
use tokio::net::{TcpListener, TcpStream};

use crate::admission::{Admission, Admitted, NotAdmitted};
use crate::metrics::{self, Listener, Metrics};

/// A public listener as far as it knows no protocol.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// Limits by address.
    pub(crate) admission: Arc<Admission>,
    /// Certificates, tickets.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Who drives the connections.
    pub(crate) workers: Workers,
    /// Its name in metrics.
    pub(crate) listener: Listener,
}

/// A client whose TLS handshake is done.
#[derive(Debug)]
pub(crate) struct Established {
    /// The connection, which holds no buffer while it waits.
    pub(crate) stream: LeanTls<TcpStream>,
    /// What was agreed on in the handshake.
    pub(crate) agreed: Agreed,
    /// Where it came from.
    pub(crate) peer: SocketAddr,
    /// Where it came to.
    pub(crate) local: SocketAddr,
    /// Hears of the stop.
    pub(crate) drain: Signal,
}

/// A client that was let in, and has said nothing yet.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// Where it came from.
    pub(crate) peer: SocketAddr,
    /// Where it came to.
    pub(crate) local: SocketAddr,
    /// Hears of the stop.
    pub(crate) drain: Signal,
}

impl Front {
    /// Accepts until the drain starts; `speak` gets every connection whose TLS handshake is done.
    pub(crate) async fn serve<S, F>(&self, listener: TcpListener, drain: Signal, speak: S)
    where
        S: Fn(Established) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let front = Arc::new(self.clone());
        let speak = move |arrived| {
            let (front, speak) = (Arc::clone(&front), speak.clone());
            async move {
                // The handshake's state is gone before the protocol begins.
                if let Some(established) = Box::pin(front.handshake(arrived)).await {
                    speak(established).await;
                }
            }
        };
        self.accept(listener, drain, speak).await;
    }

    /// Accepts until the drain starts; `speak` gets every connection that was let in.
    pub(crate) async fn accept<S, F>(&self, listener: TcpListener, drain: Signal, speak: S)
    where
        S: Fn(Arrived) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listen::accept(&listener) => accepted,
                () = drain.draining() => return,
            };
            let admitted = self.admission.admit(peer.ip(), clock::now());
            let outcome = outcome(&admitted);
            self.metrics.connections.of(self.listener, outcome).inc();
            match admitted {
                Ok(admitted) => self.spawn(stream, peer, admitted, drain.clone(), speak.clone()),
                // It was told when it was blocked; a line for each try would be a gift to whoever wants to fill the disk.
                Err(NotAdmitted::Jailed) => {
                    tracing::debug!(side = "downstream", client = %peer_text(peer), "connection of a blocked address refused");
                }
                Err(reason) => {
                    tracing::info!(side = "downstream", client = %peer_text(peer), %reason,
                    remedy = "raise it in [limits] if these are your users", "connection refused");
                }
            }
        }
    }

    fn spawn<S, F>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        admitted: Admitted,
        drain: Signal,
        speak: S,
    ) where
        S: Fn(Arrived) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let open = self.metrics.open.of(self.listener).clone();
        let connection = move |stream| async move {
            let _in_flight = drain.in_flight();
            open.inc();
            match arrived(stream, peer, drain) {
                Ok(arrived) => speak(arrived).await,
                Err(error) => {
                    tracing::debug!(side = "downstream", reason = %error, "connection gone before it was served");
                }
            }
            open.dec();
            drop(admitted);
        };
        if let Err(error) = self.workers.spawn_with(stream, connection) {
            tracing::debug!(side = "local", reason = %error, "connection gone before it was served");
        }
    }

    async fn handshake(&self, arrived: Arrived) -> Option<Established> {
        let Arrived {
            stream,
            peer,
            local,
            drain,
        } = arrived;
        let accepting = lean_tls::accept(stream, &self.tls);
        let accepting = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, accepting);
        let handshake = accepting
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let outcome = HandshakeOutcome::of(&handshake);
        self.metrics.handshakes.of(self.listener, outcome).inc();
        let (stream, agreed) = handshake
            .inspect_err(|error| tracing::debug!(side = "downstream", client = %peer_text(peer), reason = %error, "TLS failed"))
            .ok()?;
        Some(Established {
            stream,
            agreed,
            peer,
            local,
            drain,
        })
    }
}

fn arrived(stream: TcpStream, peer: SocketAddr, drain: Signal) -> std::io::Result<Arrived> {
    listen::configure(&stream)?;
    let local = stream.local_addr()?;
    Ok(Arrived {
        stream,
        peer,
        local,
        drain,
    })
}

fn outcome(admitted: &Result<Admitted, NotAdmitted>) -> metrics::Admission {
    match admitted {
        Ok(_) => metrics::Admission::Admitted,
        Err(NotAdmitted::AddressFull) => metrics::Admission::OverAddress,
        Err(NotAdmitted::Jailed) => metrics::Admission::Jailed,
        Err(NotAdmitted::Full) => metrics::Admission::OverTotal,
        Err(NotAdmitted::TooOften) => metrics::Admission::OverRate,
    }
}

/// A client's address is personal data: logs show its hash.
pub(crate) fn peer_text(peer: SocketAddr) -> Redacted<String> {
    Redacted::new(peer.ip().to_string())
}

/// Unpredictable, but not a secret: a failure of the random source only makes them repeat.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!(
            side = "local",
            reason = "the random source failed",
            "tracking ids may repeat"
        );
    }
    bytes
}
