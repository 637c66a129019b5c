//! Accepts the connections that edge-c dials: mutual TLS, greeting, then control stream or pool. Opens none.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::id::CoreId;
use common::limits;
use common::link::greeting::{Answer, Hello, PROTOCOL, Purpose, RefusalKind};
use common::link::trouble::LastTrouble;
use common::net::Domain;
use common::runtime::drain::Signal;
use common::runtime::lean_tls::LeanTls;
use common::runtime::portable::Portable;
use common::runtime::trunk::server::Gate;
use common::runtime::workers::Workers;
use common::runtime::workers::seats::Seats;
use common::runtime::{greeting, lean_tls, listen};
use common::telemetry::{HandshakeOutcome, LinkPurpose, LinkRefusal};
use common::tls::identity;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::cores::{Core, Cores};
use crate::metrics::{Admission, Listener, Metrics};

mod control;
mod not_admitted;
mod welcome;

use not_admitted::NotAdmitted;

/// The product's version, as both edges state it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What may change while connections go on.
#[derive(Clone)]
pub struct Settings {
    /// Own certificate, and the authority that signs the cores' certificates.
    pub tls: Arc<rustls::ServerConfig>,
    /// The names of cores that may connect.
    pub allowed_cores: Vec<Domain>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("allowed_cores", &self.allowed_cores)
            .finish_non_exhaustive()
    }
}

/// The listening end of the link.
#[derive(Debug)]
pub struct LinkServer {
    /// This edge's name.
    pub name: Domain,
    /// Random, new at each start.
    pub instance: u64,
    /// Who is linked.
    pub cores: Arc<Cores>,
    /// Certificates and names; replaced by a reload.
    pub settings: ArcSwap<Settings>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who drives the connections.
    pub workers: Workers,
    /// Which of them drives those for streams.
    pub seats: Arc<Seats<CoreId>>,
    /// Why a core was refused, or went.
    pub trouble: LastTrouble,
}

type Stream = LeanTls<Portable>;

impl LinkServer {
    /// Accepts until the drain is over: cores stay connected while requests are finished.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, drain: Signal) {
        let permits = Arc::new(Semaphore::new(limits::LINK_CONNECTIONS_ACCEPTED_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listen::accept(&listener) => accepted,
                () = drain.over() => return,
            };
            let (stream, peer) = accepted;
            let arrived = &self.metrics.connections;
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                arrived.of(Listener::Link, Admission::OverTotal).inc();
                tracing::warn!(side = "link", %peer, reason = "too many link connections",
                    remedy = "look for a core that dials without end", "link connection refused");
                continue;
            };
            arrived.of(Listener::Link, Admission::Admitted).inc();
            let server = Arc::clone(&self);
            let connection = move |stream| async move {
                let _permit = permit;
                let _open = Open::count(server.metrics.open.of(Listener::Link));
                if let Err(refused) = server.connection(stream).await {
                    server.tell(peer, &refused);
                }
            };
            if let Err(error) = self.workers.spawn_with(stream, connection) {
                tracing::debug!(side = "local", reason = %error, "link connection gone before it was served");
            }
        }
    }

    fn tell(&self, peer: SocketAddr, refused: &NotAdmitted) {
        let NotAdmitted {
            label,
            reason,
            remedy,
        } = refused;
        match label {
            // A core that stops, a doctor, a port scan: nothing that anybody should be called for.
            None => tracing::debug!(
                side = "link",
                %peer,
                reason,
                "the peer went away before it greeted"
            ),
            Some(label) => {
                self.metrics.link.failures.of(*label).inc();
                tracing::warn!(side = "link", %peer, reason, remedy, "link connection refused");
                self.trouble.note(reason, remedy);
            }
        }
    }

    async fn connection(&self, stream: TcpStream) -> Result<(), NotAdmitted> {
        listen::configure_link(&stream).map_err(|error| NotAdmitted::gone(&error))?;
        let settings = self.settings.load_full();
        let accepting = lean_tls::accept(Portable::new(stream), &settings.tls);
        let handshake = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, Box::pin(accepting))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let outcome = HandshakeOutcome::of(&handshake);
        self.metrics.handshakes.of(Listener::Link, outcome).inc();
        let (stream, agreed) =
            handshake.map_err(|error| NotAdmitted::handshake(outcome, &error))?;
        let mut stream = stream.busy();
        let names = agreed.peer_certificate.as_ref().map(identity::dns_names);
        let names = names.unwrap_or_default();
        let hello: Hello = greeting::receive(&mut stream)
            .await
            .map_err(|error| NotAdmitted::greeting(&error))?;
        let core = match self.admit(&hello, &names, &settings) {
            Ok(core) => core,
            Err(refused) => {
                let answer = Answer::Refused {
                    reason: refused.reason.clone(),
                    remedy: refused.remedy.clone(),
                    version: VERSION.to_owned(),
                    kind: match refused.label {
                        Some(LinkRefusal::Version) => RefusalKind::Version,
                        Some(_) | None => RefusalKind::NotAllowed,
                    },
                };
                if let Err(error) = greeting::send(&mut stream, &answer).await {
                    tracing::debug!(side = "link", reason = %error, "the core is not told why it is refused");
                }
                return Err(refused);
            }
        };
        let purpose = match hello.purpose {
            Purpose::Control => LinkPurpose::Control,
            Purpose::HttpsPool | Purpose::HttpsExchange | Purpose::HttpsShared => {
                LinkPurpose::Https
            }
            Purpose::Media => LinkPurpose::Media,
            Purpose::Streams => LinkPurpose::Streams,
        };
        let _counted = core.count_connection();
        let name = core.name().as_str();
        let _up = Open::count(&self.metrics.link.connections.of_both(name, purpose));
        self.welcome(&core, &hello, stream)
            .await
            .map_err(|error| NotAdmitted::greeting(&error))
    }

    fn admit(
        &self,
        hello: &Hello,
        names: &[Domain],
        settings: &Settings,
    ) -> Result<Arc<Core>, NotAdmitted> {
        let refuse = |label, reason: String, remedy: &str| {
            Err(NotAdmitted {
                label: Some(label),
                reason,
                remedy: remedy.to_owned(),
            })
        };
        if !hello.protocol.is_compatible(PROTOCOL) {
            let reason = format!(
                "edge-c {} speaks link protocol {}.{}, edge-e {VERSION} speaks {}.{}",
                hello.version,
                hello.protocol.major,
                hello.protocol.minor,
                PROTOCOL.major,
                PROTOCOL.minor
            );
            return refuse(
                LinkRefusal::Version,
                reason,
                "upgrade the older of the two edges: one minor version apart works",
            );
        }
        let Some(name) = Domain::parse(&hello.core)
            .ok()
            .filter(|name| names.contains(name))
        else {
            let reason = format!(
                "the core calls itself {:?}, its certificate names {names:?}",
                hello.core
            );
            return refuse(
                LinkRefusal::NotAllowed,
                reason,
                "set `name` in edge-c's configuration to a name of its link certificate",
            );
        };
        if !settings.allowed_cores.contains(&name) {
            let reason = format!("{name} is not in allowed_cores");
            return refuse(
                LinkRefusal::NotAllowed,
                reason,
                "add the core's name to [link] allowed_cores in edge-e's configuration",
            );
        }
        self.cores.join(hello.core_id, &name).or_else(|conflict| {
            refuse(
                LinkRefusal::NotAllowed,
                conflict.to_string(),
                "give each edge-c a core_id of its own",
            )
        })
    }

    /// Decides about media trunks, which greet like connections of the link do.
    pub fn gate(self: Arc<Self>) -> Gate {
        Box::new(move |hello, names| {
            let settings = self.settings.load();
            match self.admit(hello, names, &settings) {
                Ok(_) => Ok(self.answer(None)),
                Err(refused) => {
                    if let Some(label) = refused.label {
                        self.metrics.link.failures.of(label).inc();
                    }
                    Err(refusal(&refused.reason, &refused.remedy))
                }
            }
        })
    }

    fn answer(&self, resume: Option<common::link::greeting::Resume>) -> Answer {
        Answer::Welcome {
            version: VERSION.to_owned(),
            protocol: PROTOCOL,
            edge: self.name.to_string(),
            instance: self.instance,
            resume,
        }
    }
}

fn refusal(reason: &str, remedy: &str) -> Answer {
    Answer::Refused {
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
        version: VERSION.to_owned(),
        kind: RefusalKind::NotAllowed,
    }
}

/// Counts something that is open until it is dropped.
struct Open(Gauge);

impl Open {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
