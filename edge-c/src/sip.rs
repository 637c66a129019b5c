//! SIP on edge-c: one thread on which clients' streams, the proxy core and the sockets towards registrars live together.
//!
//! ```text
//! edge-e ══ stream ══▶ flow ─▶ shell: proxy core ─▶ upstream::sip ══▶ registrar
//!                               ├─ bodies ─▶ media
//!                               └─ events ─▶ log, metrics, gate, jail
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::id::EdgeIndex;
use common::limits;
use common::link::flow::FlowClose;
use common::link::stream_preface::{ClientTransport, StreamProtocol};
use common::net::{Domain, Host, HostPort};
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::link_streams::{Arrived, Refusal};
use common::runtime::workers::start_thread;
use common::sip::digest::HashSource;
use common::sip::flow_token::FlowTokenKeys;
use common::sip::identity::Aor;
use common::sip::proxy::{
    self, BodyAnchor, CallKey, EdgeName, FlowPeer, IdentityPolicy, InnerNames, NodeState, Proxy,
    Registrar, Transport,
};
use rustls::{ClientConfig, ServerConfig};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::link_client::StreamService;
use crate::sessions::random::{Random as _, SystemRandom};
use crate::upstream::sip::listen::{Bound, Listen};
use crate::upstream::sip::probe::Probes;
use crate::upstream::sip::{Dialling, Inner};
use flows::Flow;
use metrics::SipMetrics;
use shell::{Parts, Shell};

mod flow;
pub mod flows;
mod inside;
pub mod metrics;
pub mod passwords;
pub mod shell;
mod tell;
pub mod users;

/// What SIP is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where registrars reach edge-c.
    pub listen: Vec<Listen>,
    /// Further names of edge-c that routes may have.
    pub names: Vec<Host>,
    /// Where clients reach each edge-e, in the order of the configuration.
    pub edges: Vec<EdgeName>,
    /// Their names, in the same order.
    pub edge_names: Vec<Domain>,
    /// Who may bind an AoR.
    pub identity: IdentityPolicy,
    /// Keys of flow tokens.
    pub flow_token_keys: FlowTokenKeys,
    /// How often clients should say that they are there.
    pub flow_timer: Duration,
    /// Until a connection inside is up.
    pub connect_timeout: Duration,
}

/// How TLS towards the inside is made and verified; a reload replaces both.
#[derive(Clone, Debug)]
pub struct InnerTls {
    /// For connections that are dialled.
    pub client: Arc<ArcSwap<ClientConfig>>,
    /// For connections that arrive, if `tls:` is listened on.
    pub server: Option<Arc<ArcSwap<ServerConfig>>>,
}

/// What SIP needs of the rest of edge-c.
pub struct Services {
    /// Rewrites bodies.
    pub bodies: Box<dyn BodyAnchor + Send>,
    /// Calls that are to be ended because nobody speaks any more.
    pub dead_calls: Option<mpsc::Receiver<CallKey>>,
    /// Knows users.
    pub users: Arc<dyn HashSource + Send + Sync>,
    /// TLS inside.
    pub tls: InnerTls,
    /// What is counted.
    pub metrics: SipMetrics,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// SIP that runs. Its thread ends when this is dropped.
#[derive(Debug)]
pub struct Sip {
    shell: Arc<Shell>,
    runtime: Handle,
    edges: Arc<BTreeMap<Domain, EdgeIndex>>,
    addresses: Vec<(Transport, SocketAddr)>,
    /// Until somebody watches them.
    vital: Mutex<Option<JoinSet<()>>>,
    _alive: watch::Sender<()>,
}

/// How SIP is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// Every registrar node.
    pub nodes: Vec<NodeStatus>,
    /// Client connections.
    pub flows: usize,
    /// Registrations.
    pub registrations: usize,
    /// Calls and other dialogs.
    pub dialogs: usize,
    /// Connections inside.
    pub connections: usize,
}

/// How a registrar node is doing.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Of which registrar.
    pub registrar: Arc<str>,
    /// How it is reached.
    pub transport: Transport,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Its name.
    pub host: Host,
    /// Whether it answers; `None` until that is known.
    pub state: Option<NodeState>,
}

/// Why SIP can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port can't be had.
    #[error("{transport}:{address} {error}", transport = listen.transport.uri_name(), address = listen.address)]
    Bind {
        /// Which.
        listen: Listen,
        /// The system's error.
        error: io::Error,
    },
    /// No random octets.
    #[error("no random octets")]
    Random,
    /// The thread or its runtime can't be had.
    #[error("no thread for SIP: {0}")]
    Thread(#[from] io::Error),
}

impl Sip {
    /// Binds every socket and starts the thread.
    ///
    /// # Errors
    /// [`StartError`] if a port or the thread can't be had.
    pub fn start(config: Config, mut services: Services) -> Result<Self, StartError> {
        let (alive, ended) = watch::channel(());
        let runtime = start_thread("edge-c-sip", ended)?;
        // Sockets belong to the runtime that they are made in.
        let bound = {
            let _entered = runtime.enter();
            Bound::bind(&config.listen)
                .map_err(|(listen, error)| StartError::Bind { listen, error })?
        };
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter();
        let addresses = transports.filter_map(|of| Some((of, bound.address(of)?)));
        let addresses: Vec<_> = addresses.collect();
        let edges = config.edge_names.iter().cloned();
        let edges = edges
            .zip(config.edges.iter().map(|edge| edge.index))
            .collect();
        let server_tls = services.tls.server.clone();
        let dead_calls = services.dead_calls.take();
        let shell = assemble(config, services, &bound, &runtime)?;
        let mut vital = inside::serve(&shell, bound, &server_tls, &runtime);
        if let Some(dead_calls) = dead_calls {
            vital.spawn_on(hang_up(Arc::clone(&shell), dead_calls), &runtime);
        }
        Ok(Self {
            shell,
            runtime,
            edges: Arc::new(edges),
            addresses,
            vital: Mutex::new(Some(vital)),
            _alive: alive,
        })
    }

    /// Who takes the streams of clients; none any more once `drain` has begun.
    #[must_use]
    pub fn stream_service(&self, drain: Signal) -> StreamService {
        let shell = Arc::clone(&self.shell);
        let edges = Arc::clone(&self.edges);
        let runtime = self.runtime.clone();
        let take = move |edge: &Domain, arrived: Arrived| {
            let Some(edge) = edges.get(edge).filter(|_| !drain.is_draining()) else {
                return arrived.refuse(Refusal::Unavailable);
            };
            let shell = Arc::clone(&shell);
            drop(runtime.spawn(take_stream(shell, *edge, arrived)));
        };
        StreamService {
            runtime: self.runtime.clone(),
            take: Arc::new(take),
        }
    }

    /// The thread that clients' streams live on.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// These are the registrars from now on.
    pub fn set_registrars(&self, registrars: Vec<Registrar>) {
        self.shell.set_registrars(registrars);
    }

    /// Watches the tasks without which there is no SIP; ends with the first of them, which none should.
    ///
    /// # Errors
    /// What happened to it.
    pub async fn watch(&self) -> Result<(), String> {
        let vital = self
            .vital
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut vital) = vital else {
            return std::future::pending().await;
        };
        match vital.join_next().await {
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(())) | None => Err("a task of SIP returned".to_owned()),
        }
    }

    /// Closes every client connection that speaks for a user whom `is_gone` says to be gone.
    pub fn close_users(&self, is_gone: impl Fn(&Aor) -> bool) {
        let is_chosen = |flow: &Flow| flow.aors().any(&is_gone);
        let closed = self
            .shell
            .close_flows(FlowClose::Revoked, usize::MAX, is_chosen);
        if closed > 0 {
            tracing::info!(
                closed,
                reason = "the session was revoked",
                "SIP connections closed"
            );
        }
    }

    /// Waits for the drain, then sends clients away: at first those without calls, the others when their calls end. The
    /// drain waits for calls.
    pub async fn drain(&self, signal: Signal) {
        signal.draining().await;
        let _waited_for = signal.in_flight();
        loop {
            let is_idle = |flow: &Flow| !flow.is_busy();
            let closed =
                self.shell
                    .close_flows(FlowClose::Draining, limits::SIP_DRAIN_BATCH, is_idle);
            if closed == 0 && self.shell.status().dialogs == 0 {
                return;
            }
            tokio::time::sleep(limits::SIP_DRAIN_INTERVAL).await;
        }
    }

    /// Where each transport is reached from inside.
    #[must_use]
    pub fn address(&self, transport: Transport) -> Option<SocketAddr> {
        let mut addresses = self.addresses.iter();
        addresses
            .find(|(of, _)| *of == transport)
            .map(|(_, address)| *address)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shell.status()
    }
}

/// Ends calls that are dead. Never returns while there is media.
async fn hang_up(shell: Arc<Shell>, mut dead_calls: mpsc::Receiver<CallKey>) {
    while let Some(call) = dead_calls.recv().await {
        shell.hang_up(call);
    }
}

async fn take_stream(shell: Arc<Shell>, edge: EdgeIndex, arrived: Arrived) {
    let preface = arrived.preface();
    match preface.protocol {
        StreamProtocol::Sip => {}
        StreamProtocol::Xmpp | StreamProtocol::XmppTls => {
            return arrived.refuse(Refusal::NotServed);
        }
    }
    let peer = FlowPeer {
        edge,
        client: preface.client,
        transport: match preface.transport {
            ClientTransport::Tls => Transport::Tls,
            ClientTransport::Wss => Transport::Wss,
        },
        server_name: preface.server_name.clone(),
        tracking: preface.tracking,
    };
    let tracking_id = preface.tracking;
    let Some((id, outbox)) = shell.open_flow(peer) else {
        tracing::warn!(side = "local", %tracking_id, reason = "more clients than one edge-c takes",
            remedy = "add another edge-c", "SIP stream refused");
        return arrived.refuse(Refusal::Unavailable);
    };
    let closing = flow::CloseOnDrop {
        shell: &shell,
        flow: id,
    };
    let Ok(stream) = arrived.accept() else {
        return;
    };
    tracing::debug!(%tracking_id, "SIP stream opened");
    flow::run(closing, stream, &outbox).await;
    tracing::debug!(%tracking_id, "SIP stream ended");
}

fn assemble(
    config: Config,
    services: Services,
    bound: &Bound,
    runtime: &Handle,
) -> Result<Arc<Shell>, StartError> {
    let inner = inner_names(bound, &config.names);
    let seed: [u8; 32] = draw()?;
    let proxy = proxy::Config {
        inner: inner.clone(),
        edges: config.edges,
        registrars: Vec::new(),
        identity: config.identity,
        flow_token_keys: config.flow_token_keys,
        epoch: u32::from_ne_bytes(draw()?),
        flow_timer: config.flow_timer,
    };
    let dialling = Dialling {
        tls: services.tls.client,
        sources: bound.addresses(),
        timeout: config.connect_timeout,
    };
    Ok(Shell::new(Parts {
        proxy: Proxy::new(proxy, seed, clock::now()),
        bodies: services.bodies,
        users: services.users,
        inner: Inner::new(bound.udp.clone()),
        dialling,
        probes: Probes::new(inner, u64::from_ne_bytes(draw()?)),
        metrics: services.metrics,
        runtime: runtime.clone(),
    }))
}

fn inner_names(bound: &Bound, aliases: &[Host]) -> InnerNames {
    let name = |of| {
        bound.address(of).map(|address| HostPort {
            host: Host::Address(address.ip()),
            port: address.port(),
        })
    };
    InnerNames {
        udp: name(Transport::Udp),
        tcp: name(Transport::Tcp),
        tls: name(Transport::Tls),
        aliases: aliases.to_vec(),
    }
}

fn draw<const N: usize>() -> Result<[u8; N], StartError> {
    let mut octets = [0; N];
    SystemRandom
        .fill(&mut octets)
        .map_err(|_| StartError::Random)?;
    Ok(octets)
}

#[cfg(test)]
mod tests;
