//! Accepts the connections that edge-c dials: mutual TLS, greeting, then control stream or pool. Opens none.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use arc_swap::ArcSwap;
use common::id::CoreId;
use common::limits;
use common::link::control::Event;
use common::link::control::message::Command;
use common::link::greeting::{Answer, Hello, PROTOCOL, Purpose, RefusalKind};
use common::link::trouble::LastTrouble;
use common::net::Domain;
use common::runtime::drain::Signal;
use common::runtime::pongs::Pongs;
use common::runtime::portable::Portable;
use common::runtime::read_ahead::ReadAhead;
use common::runtime::trunk::server::Gate;
use common::runtime::workers::Workers;
use common::runtime::workers::seats::Seats;
use common::runtime::{clock, control, greeting, listen};
use common::telemetry::{ControlOutcome, HandshakeOutcome, LinkPurpose, LinkRefusal};
use common::tls::{fault, identity};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::cores::{self, Core, Cores};
use crate::metrics::{Admission, Listener, Metrics};

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

type Stream = TlsStream<ReadAhead<Portable>>;

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
        let acceptor = TlsAcceptor::from(Arc::clone(&settings.tls));
        let accepting = tokio::time::timeout(
            limits::TLS_HANDSHAKE_TIMEOUT,
            acceptor.accept(ReadAhead::new(Portable::new(stream))),
        );
        let handshake = accepting
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let outcome = HandshakeOutcome::of(&handshake);
        self.metrics.handshakes.of(Listener::Link, outcome).inc();
        let mut stream = handshake.map_err(|error| NotAdmitted::handshake(outcome, &error))?;
        let names = peer_names(&stream);
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

    async fn welcome(
        &self,
        core: &Arc<Core>,
        hello: &Hello,
        mut stream: Stream,
    ) -> Result<(), greeting::Error> {
        let mut losses = core.losses();
        match hello.purpose {
            Purpose::Control => self.control(core, hello, stream).await,
            Purpose::HttpsPool => {
                listen::let_stand_still(stream.get_ref().0.get_ref().tcp()?)?;
                greeting::send(&mut stream, &self.answer(None)).await?;
                let mut builder = http1::Builder::new();
                builder.max_buf_size(limits::LINK_READ_BUFFER_BYTES);
                match builder.handshake(TokioIo::new(stream)).await {
                    Ok((sender, connection)) => {
                        core.pool().add(sender);
                        until_lost(&mut losses, connection).await;
                    }
                    Err(error) => tell_ended(error),
                }
                Ok(())
            }
            Purpose::HttpsShared => {
                greeting::send(&mut stream, &self.answer(None)).await?;
                match shared_builder().handshake(TokioIo::new(stream)).await {
                    Ok((sender, connection)) => {
                        core.pool().add_shared(sender, limits::LINK_STREAMS_MAX);
                        until_lost(&mut losses, connection).await;
                    }
                    Err(error) => tell_ended(error),
                }
                Ok(())
            }
            Purpose::Media => self.media(core, stream, losses).await,
            Purpose::HttpsExchange => {
                greeting::send(&mut stream, &self.answer(None)).await?;
                let ended = tokio::select! {
                    ended = core.exchanges().drive(stream) => ended,
                    _ = losses.changed() => Ok(()),
                };
                if let Err(error) = ended {
                    tell_ended(error);
                }
                Ok(())
            }
            Purpose::Streams => {
                greeting::send(&mut stream, &self.answer(None)).await?;
                let ended = self.streams(core, stream, losses).await?;
                tracing::debug!(side = "link", core = %core.name(), reason = ended, "stream connection ended");
                Ok(())
            }
        }
    }

    /// Media frames over TCP, because the core can't reach the trunk.
    async fn media(
        &self,
        core: &Arc<Core>,
        mut stream: Stream,
        mut losses: watch::Receiver<u64>,
    ) -> Result<(), greeting::Error> {
        let Some(media) = self.cores.media() else {
            let refused = refusal(
                "this edge is not configured for media",
                "add [media] to edge-e's configuration, or take it out of edge-c's",
            );
            return greeting::send(&mut stream, &refused).await;
        };
        greeting::send(&mut stream, &self.answer(None)).await?;
        let reason = "UDP from edge-c does not arrive";
        let remedy = "let edge-c send UDP to the addresses of link.listen, and the answers go back";
        tracing::warn!(side = "link", core = %core.name(), reason, remedy, "media of this core goes over TCP");
        let ended = tokio::select! {
            ended = media.pipe(core.id()).drive(stream) => ended,
            _ = losses.changed() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(side = "link", core = %core.name(), reason = %error, "media connection ended");
        }
        Ok(())
    }

    /// Lets streams be opened on a connection until that ends; why it did. It lives on the worker with the fewest of this
    /// core, so that clients on every worker find one at hand.
    async fn streams(
        &self,
        core: &Arc<Core>,
        mut stream: Stream,
        mut losses: watch::Receiver<u64>,
    ) -> std::io::Result<String> {
        let seat = self.seats.take(core.id());
        stream.get_mut().0.get_mut().leave()?;
        let (done, ended) = oneshot::channel();
        let core = Arc::clone(core);
        self.workers.spawn_on(seat.worker(), async move {
            let reason = match stream.get_mut().0.get_mut().arrive() {
                Err(error) => error.to_string(),
                Ok(()) => tokio::select! {
                    ended = core.streams().drive(stream) => ended.to_string(),
                    _ = losses.changed() => "the core fell silent".to_owned(),
                },
            };
            // Nobody waits for it any more only if the process goes down.
            drop(done.send(reason));
        });
        Ok(ended.await.unwrap_or_else(|_| "given up".to_owned()))
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

    async fn control(
        &self,
        core: &Arc<Core>,
        hello: &Hello,
        mut stream: Stream,
    ) -> Result<(), greeting::Error> {
        let mut side = core.take_control().await;
        greeting::send(&mut stream, &self.answer(side.machine.resume())).await?;
        side.machine
            .handle_connected(hello.instance, hello.resume, self.instance, clock::both());
        let replayed = side.machine.unacknowledged();
        let commands = &self.metrics.link.commands;
        commands
            .of(ControlOutcome::Replayed)
            .inc_by(u64::try_from(replayed).unwrap_or(u64::MAX));
        let mut pongs = Pongs::new(&self.metrics.link, core.name().as_str());
        core.set_connected(true, clock::now());
        if let Some(media) = self.cores.media() {
            media.linked(core.id(), core.reports().clone());
        }
        self.trouble.clear();
        let peer = stream
            .get_ref()
            .0
            .get_ref()
            .tcp()
            .and_then(TcpStream::peer_addr)
            .ok()
            .map(tracing::field::display);
        tracing::info!(core = %core.name(), peer, core_id = %core.id(), version = hello.version, "core connected");
        let cores::ControlSide { machine, reports } = &mut *side;
        let driving = control::drive(machine, stream, reports, |event| {
            self.on_event(core, &mut pongs, event);
            Vec::new()
        });
        let (reason, is_silence) = tokio::select! {
            ended = driving => (ended.to_string(), ended.is_silence()),
            // The core has given up this connection and all others before this edge could.
            () = core.superseded() => ("a newer control connection has come".to_owned(), true),
        };
        if is_silence {
            core.give_up_connections();
        }
        side.machine.handle_eof();
        core.set_connected(false, clock::now());
        if let Some(media) = self.cores.media() {
            media.lost(core.id());
        }
        let remedy = "look at that edge-c: it dials again by itself as long as it runs";
        tracing::warn!(side = "link", core = %core.name(), reason, remedy, "core disconnected");
        self.trouble
            .note(format!("{} has gone: {reason}", core.name()), remedy);
        Ok(())
    }

    /// Does what happened on the control stream of `core`.
    fn on_event(&self, core: &Core, pongs: &mut Pongs, event: Event<Command>) {
        let commands = &self.metrics.link.commands;
        match event {
            Event::Applied(command) => {
                let outcome = if self.cores.apply(core, command) {
                    ControlOutcome::Applied
                } else {
                    ControlOutcome::Rejected
                };
                commands.of(outcome).inc();
            }
            // The end of the control stream tells of it too.
            Event::PeerLost | Event::PeerReset => {}
            Event::Pong {
                clock_offset_ms,
                round_trip,
            } => pongs.note(clock_offset_ms, round_trip),
            Event::Unknown => {
                commands.of(ControlOutcome::Rejected).inc();
                tracing::info!(side = "link", core = %core.name(), reason = "it is a minor version ahead",
                    remedy = "upgrade edge-e", "a command is not known here");
            }
        }
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

const COMPARE: &str = "compare names and certificates of the two edges with `doctor`";

/// Why a connection was closed; told to the core if it has greeted.
#[derive(Debug)]
struct NotAdmitted {
    /// `None` if the peer just went away.
    label: Option<LinkRefusal>,
    reason: String,
    remedy: String,
}

impl NotAdmitted {
    fn gone(error: &impl std::fmt::Display) -> Self {
        Self {
            label: None,
            reason: error.to_string(),
            remedy: String::new(),
        }
    }

    fn handshake(outcome: HandshakeOutcome, error: &std::io::Error) -> Self {
        let label = match outcome {
            HandshakeOutcome::Closed => return Self::gone(error),
            HandshakeOutcome::TimedOut => LinkRefusal::TimedOut,
            HandshakeOutcome::Ok
            | HandshakeOutcome::Alert
            | HandshakeOutcome::BadCertificate
            | HandshakeOutcome::Incompatible
            | HandshakeOutcome::NotTls
            | HandshakeOutcome::Other => LinkRefusal::Tls,
        };
        Self {
            label: Some(label),
            reason: format!("TLS handshake failed: {error}"),
            remedy: fault::remedy(std::iter::once::<&(dyn std::error::Error + 'static)>(error))
                .unwrap_or(COMPARE)
                .to_owned(),
        }
    }

    fn greeting(error: &greeting::Error) -> Self {
        let label = match error {
            greeting::Error::Io(_) => return Self::gone(error),
            greeting::Error::Peer(_) => LinkRefusal::Greeting,
            greeting::Error::Timeout => LinkRefusal::TimedOut,
        };
        Self {
            label: Some(label),
            reason: error.to_string(),
            remedy: "let only edge-c dial this port; upgrade the older of the two edges".to_owned(),
        }
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

fn peer_names(stream: &Stream) -> Vec<Domain> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    leaf.map(identity::dns_names).unwrap_or_default()
}

fn shared_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(limits::LINK_STREAMS_MAX)
        .initial_stream_window_size(limits::LINK_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::LINK_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::LINK_SEND_BUFFER_BYTES)
        .max_header_list_size(limits::HTTP2_HEADER_LIST_BYTES_MAX)
        .max_concurrent_reset_streams(limits::LINK_RESETS_KEPT)
        .max_pending_accept_reset_streams(limits::LINK_STREAMS_MAX)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(limits::LINK_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::LINK_DEAD_AFTER)
        .keep_alive_while_idle(true);
    builder
}

async fn until_lost(
    losses: &mut watch::Receiver<u64>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) {
    let result = tokio::select! {
        result = connection => result,
        // The core lives as long as this connection counts for it, so this is a loss and not the end of the sender.
        _ = losses.changed() => Ok(()),
    };
    if let Err(error) = result {
        tell_ended(error);
    }
}

fn tell_ended(error: impl std::error::Error + Send + Sync + 'static) {
    let error = anyhow!(error);
    tracing::debug!(side = "link", reason = %format_args!("{error:#}"), "link connection ended");
}
