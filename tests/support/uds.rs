//! The simulator of UCM's user data services: every node of every cluster of a [`World`], with
//! faults on demand and a memory of what it was asked. Not a UCM: it signs users in and answers
//! for their resources, no more.

mod answer;
mod control;
mod fault;
mod state;
mod xml;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use certs::Identity;
use tokio::runtime::Runtime;

use crate::http_server::{self, Answer, Handler, HttpServer, Received, Tls};
use crate::place::Place;
use crate::world::World;
use answer::Here;
use state::State;

pub use control::Control;
pub use fault::{Fault, FaultKind};
pub use state::Seen;

/// Every UCM node of a world, running.
///
/// All methods are for ordinary threads; the simulator brings its own runtime.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    place: Place,
    nodes: BTreeMap<String, NodeServer>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

struct NodeServer {
    here: Here,
    tls: Tls,
    sockets: Vec<std::net::SocketAddr>,
    servers: Mutex<Vec<HttpServer>>,
}

impl Simulator {
    /// Starts every UCM node with the same certificate, as a cluster with a multi-server
    /// certificate has it.
    pub fn start(world: World, identity: &Identity, place: &Place) -> Result<Self> {
        let config = http_server::tls_config(identity)?;
        let nodes = world
            .nodes()
            .map(|(cluster, node)| {
                let server = NodeServer {
                    here: Here {
                        cluster,
                        host: node.host.clone(),
                    },
                    tls: http_server::tls(Some(Arc::clone(&config))),
                    sockets: node.sockets(world.ports.uds).collect(),
                    servers: Mutex::default(),
                };
                (node.host.clone(), server)
            })
            .collect::<BTreeMap<_, _>>();
        let simulator = Self {
            shared: Arc::new(Shared(Mutex::new(State::new(world)))),
            place: place.clone(),
            nodes,
            runtime: Some(
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?,
            ),
        };
        for host in simulator.nodes.keys() {
            simulator.start_node(host)?;
        }
        Ok(simulator)
    }

    /// The world as it is now.
    #[must_use]
    pub fn world(&self) -> World {
        self.shared.lock().world.clone()
    }

    /// Makes requests fail from now on.
    pub fn inject(&self, fault: Fault) {
        self.shared.lock().inject(fault);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.shared.lock().clear_faults();
    }

    /// Switches a node off: its port is closed and its connections end.
    pub fn stop_node(&self, host: &str) -> Result<()> {
        self.node(host)?.servers().clear();
        Ok(())
    }

    /// Switches a node on.
    pub fn start_node(&self, host: &str) -> Result<()> {
        let node = self.node(host)?;
        let runtime = self.runtime.as_ref().context("the runtime is gone")?;
        let mut servers = Vec::new();
        for socket in &node.sockets {
            let listener = crate::wait::until("a free port", crate::wait::START_LIMIT, || {
                Ok(Some(self.place.listen(*socket)?))
            })
            .with_context(|| format!("Failed to listen on {socket} for {host}"))?;
            let handler = node.handler(&self.shared);
            let tls = Arc::clone(&node.tls);
            servers.push(HttpServer::start(runtime.handle(), listener, tls, handler)?);
        }
        *node.servers() = servers;
        Ok(())
    }

    /// Changes a node's certificate for the connections to come.
    pub fn present(&self, host: &str, identity: &Identity) -> Result<()> {
        let config = http_server::tls_config(identity)?;
        let tls = &self.node(host)?.tls;
        *tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
        Ok(())
    }

    /// Changes a password.
    pub fn set_password(&self, user: &str, password: &str) {
        self.shared.lock().set_password(user, password);
    }

    /// Makes an access token good for a user.
    pub fn add_token(&self, token: &str, user: &str) {
        self.shared.lock().add_token(token, user);
    }

    /// Makes an access token bad.
    pub fn revoke_token(&self, token: &str) {
        self.shared.lock().revoke_token(token);
    }

    /// Switches the intercluster look-up on or off.
    pub fn set_ils(&self, is_on: bool) {
        self.shared.lock().world.has_ils = is_on;
    }

    /// Switches single sign-on of all clusters on or off.
    pub fn set_sso(&self, is_on: bool) {
        self.shared.lock().world.has_sso = is_on;
    }

    /// The requests so far, oldest first.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen()
    }

    /// The requests so far; forgets them.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        self.shared.lock().take_seen()
    }

    fn node(&self, host: &str) -> Result<&NodeServer> {
        let node = self.nodes.get(host);
        node.with_context(|| format!("There is no UCM node {host}"))
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl NodeServer {
    fn servers(&self) -> MutexGuard<'_, Vec<HttpServer>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handler(&self, shared: &Arc<Shared>) -> Handler {
        let here = self.here.clone();
        let shared = Arc::clone(shared);
        Arc::new(move |request| shared.answer(&here, request))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, here: &Here, request: &Received) -> Answer {
        let mut state = self.lock();
        let good = answer::answer(&mut state, here, request);
        state.remember(Seen {
            host: here.host.clone(),
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body_bytes: request.body.len(),
            status: good.status.as_u16(),
        });
        let faults = state.faults_for(&here.host, request);
        faults
            .into_iter()
            .fold(good, |answer, kind| kind.spoil(request, answer))
    }
}

impl std::fmt::Debug for NodeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeServer")
            .field("here", &self.here)
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}
