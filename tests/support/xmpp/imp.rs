//! An IM and Presence node as no free server plays it: PLAIN and CISCO-VTG-TOKEN and nothing else, one-time passwords over
//! SOAP, the names of home and backup node among the mechanisms, and `see-other-host`. Also lean enough to stand behind
//! thousands of streams of a benchmark.
//!
//! It answers what clients need to chat, and is no XMPP server.

mod scan;
pub mod soap;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand;
use certs::Identity;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::http_server::{self, HttpServer};
use crate::place::Place;

/// Where it stands and whom it knows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Listens here: 5222 with STARTTLS, 5223 with TLS from the start, 8443 for SOAP.
    pub address: IpAddr,
    /// The domain of its users.
    pub domain: String,
    /// Who may sign in.
    pub accounts: Accounts,
    /// FQDNs of the user's home and backup node, which it tells to clients.
    pub home_and_backup: Option<[String; 2]>,
    /// Its certificate.
    pub identity: Identity,
}

/// Who may sign in.
#[derive(Clone, Debug)]
pub enum Accounts {
    /// Everybody with this password.
    Everybody(String),
    /// User ids and passwords.
    Listed(BTreeMap<String, String>),
}

/// A running node. All its connections are cut when it is dropped.
#[derive(Debug)]
pub struct Imp {
    state: Arc<State>,
    _soap: Option<HttpServer>,
    // Last, so that the servers end while their runtime still is there.
    _runtime: Runtime,
}

/// An attempt to sign in that has reached it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `PLAIN` or `CISCO-VTG-TOKEN`.
    pub mechanism: String,
    /// As the client wrote it.
    pub user: String,
    /// Whether it let the user in.
    pub is_success: bool,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    tls: Arc<ServerConfig>,
    changing: Mutex<Changing>,
}

#[derive(Debug, Default)]
struct Changing {
    /// Where it sends every client instead of serving it.
    other_host: Option<String>,
    /// SOAP sessions: key and user.
    sessions: BTreeMap<String, String>,
    /// Passwords that are good once, with their user.
    one_time: BTreeSet<(String, String)>,
    attempts: Vec<Attempt>,
    /// Connections so far.
    connections: u64,
    /// Who is there: bare JID, and where to write.
    online: BTreeMap<String, mpsc::Sender<String>>,
}

impl Imp {
    /// Starts it with one thread of its own.
    pub fn start(place: &Place, plan: Plan) -> Result<Self> {
        Self::start_with(place, plan, 1)
    }

    /// Starts it with so many threads; SOAP is left out when the port is taken.
    pub fn start_with(place: &Place, plan: Plan, threads: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()?;
        let address = plan.address;
        let http = http_server::tls_config(&plan.identity)?;
        let mut tls = ServerConfig::clone(&http);
        tls.alpn_protocols = vec![b"xmpp-client".to_vec()];
        let state = Arc::new(State {
            plan,
            tls: Arc::new(tls),
            changing: Mutex::default(),
        });
        for (port, is_direct) in [(5222, false), (5223, true)] {
            let listener = place
                .listen(SocketAddr::new(address, port))
                .with_context(|| format!("Failed to listen on port {port}"))?;
            listener.set_nonblocking(true)?;
            runtime.spawn(accept(listener, Arc::clone(&state), is_direct));
        }
        let soap = place.listen(SocketAddr::new(address, 8443)).ok();
        let handler = soap::handler(Arc::clone(&state));
        let tls = http_server::tls(Some(http));
        let soap = soap
            .map(|listener| HttpServer::start(runtime.handle(), listener, tls, handler))
            .transpose()?;
        Ok(Self {
            state,
            _soap: soap,
            _runtime: runtime,
        })
    }

    /// From now on it sends every client to that host, or serves again.
    pub fn send_elsewhere(&self, host: Option<&str>) {
        self.state.changing().other_host = host.map(str::to_owned);
    }

    /// All attempts to sign in so far.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.state.changing().attempts.clone()
    }

    /// How many connections it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.changing().connections
    }
}

impl State {
    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_password(&self, user: &str, password: &str) -> bool {
        // A bare JID names the user as well.
        let id = user.split('@').next().unwrap_or_default();
        match &self.plan.accounts {
            Accounts::Everybody(own) => own == password,
            Accounts::Listed(all) => all.get(id).is_some_and(|own| own == password),
        }
    }

    /// A password that is good once.
    fn is_one_time(&self, user: &str, token: &str) -> bool {
        let id = user.split('@').next().unwrap_or_default();
        let spent = (id.to_owned(), token.to_owned());
        self.changing().one_time.remove(&spent)
    }
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>, is_direct: bool) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    // Aborted with the runtime: then the connections go as well.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((tcp, _)) = listener.accept().await else {
            continue;
        };
        state.changing().connections += 1;
        connections.spawn(serve(tcp, Arc::clone(&state), is_direct));
    }
}

async fn serve(mut tcp: TcpStream, state: Arc<State>, is_direct: bool) {
    // A connection that is gone by now fails at its first read.
    drop(tcp.set_nodelay(true));
    if !is_direct && stream::prelude(&mut tcp, &state.plan.domain).await.is_err() {
        return;
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&state.tls));
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    // However a stream ends, the client sees it.
    drop(stream::serve(tls, state).await);
}

/// A name that nobody guesses.
fn random() -> String {
    let mut bytes = [0; 12];
    rand::fill(&mut bytes).expect("the system's source of randomness");
    bytes.map(|byte| format!("{byte:02x}")).concat()
}
