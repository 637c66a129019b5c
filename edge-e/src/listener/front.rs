//! What a public listener does before its protocol: accept, admit, TLS. Then the connection belongs to whoever speaks it.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use common::limits;
use common::policy::jail::{Offence, UserTag, Whom};
use common::redact::Redacted;
use common::runtime::drain::Signal;
use common::runtime::lean_tls::{Agreed, LeanTls};
use common::runtime::workers::Workers;
use common::runtime::{clock, lean_tls, listen};
use common::telemetry::HandshakeOutcome;
use tokio::net::{TcpListener, TcpStream};

use crate::admission::{Admission, Admitted, Blocked, NotAdmitted};
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

/// An authorisation failure of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    /// Where it came from.
    pub(crate) client: IpAddr,
    /// What it is counted as.
    pub(crate) offence: Offence,
    /// Who it says it is, for the log, if that is known.
    pub(crate) user: Option<&'a Redacted<String>>,
    /// What it was, for the log.
    pub(crate) what: &'static str,
    /// When it was.
    pub(crate) now: Instant,
}

impl Front {
    /// Counts a failure of a client, and says so if it was one too many.
    pub(crate) fn count_failure(&self, failure: &Failure<'_>) {
        count_failure(&self.admission, &self.metrics, failure);
    }

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

    /// What comes of a TLS handshake within its time; counted and told of.
    async fn handshake(&self, arrived: Arrived) -> Option<Established> {
        let Arrived {
            stream,
            peer,
            local,
            drain,
        } = arrived;
        let accepting = lean_tls::accept(stream, &self.tls);
        let handshake = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, accepting)
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

/// Counts a failure of a client, and says so if it was one too many.
pub(crate) fn count_failure(admission: &Admission, metrics: &Metrics, failure: &Failure<'_>) {
    let Failure {
        client,
        offence,
        user,
        what: last,
        now,
    } = *failure;
    let Some(Blocked { whom, time }) = admission.fail(client, offence, now) else {
        return;
    };
    let (client, seconds) = (peer_text((client, 0).into()), time.as_secs());
    let user = user.map(tracing::field::display);
    match whom {
        Whom::Address => {
            metrics.jailings.of(metrics::Jailed::Address).inc();
            tracing::warn!(
                side = "downstream", %client, seconds, reason = "too many authorisation failures", last,
                remedy = BLOCK_REMEDY, "address blocked"
            );
        }
        Whom::User => {
            metrics.jailings.of(metrics::Jailed::User).inc();
            tracing::warn!(
                side = "downstream", %client, user, seconds, reason = "too many wrong passwords of one user", last,
                remedy = "ends by itself; look which device repeats a wrong password; others at the address go on",
                "user blocked at an address"
            );
        }
    }
}

/// Counts wrong credentials that edge-c has heard of; it alone reads whose they are.
pub(crate) fn count_wrong_credentials(
    admission: &Admission,
    metrics: &Metrics,
    (client, user): (IpAddr, Option<UserTag>),
    what: &'static str,
) {
    let failure = Failure {
        client,
        offence: Offence::WrongPassword(user),
        user: None,
        what,
        now: clock::now(),
    };
    count_failure(admission, metrics, &failure);
}

/// What an operator can do about an address that is blocked.
pub(crate) const BLOCK_REMEDY: &str =
    "ends by itself; /status shows the address; [limits] jail exempt lets it in at once";

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
