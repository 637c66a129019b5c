//! UDS nodes over TLS: users, replication between clusters, and faults.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{Users, basic};

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A document type before the answer.
    Doctype,
    /// Nothing.
    None,
    /// More bytes than any bound allows.
    Oversized,
    /// No answer for an hour.
    Slow,
    /// This status to everything.
    Status(u16),
    /// This status to requests with credentials, for users who are at home here.
    StatusForUsers(u16),
}

/// A user of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) password: String,
    pub(crate) email: String,
    pub(crate) tokens: Vec<String>,
}

/// A request that a node got.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) node: String,
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
}

pub(crate) struct TestUds {
    state: Arc<Mutex<State>>,
    server: Arc<ServerConfig>,
    tasks: BTreeMap<String, JoinHandle<()>>,
}

struct State {
    port: u16,
    clusters: Vec<Cluster>,
    addresses: BTreeMap<String, SocketAddr>,
    faults: BTreeMap<String, Fault>,
    asked: Vec<Asked>,
    connections: usize,
    is_replicated: bool,
}

struct Cluster {
    nodes: Vec<String>,
    users: Users,
}

impl TestUds {
    pub(super) async fn start(clusters: &[&[&str]], server: Arc<ServerConfig>) -> Self {
        let (port, listeners) = listeners(clusters).await;
        let state = State {
            port,
            clusters: clusters
                .iter()
                .map(|nodes| Cluster {
                    nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
                    users: Users::new(),
                })
                .collect(),
            addresses: listeners
                .iter()
                .map(|(name, listener)| (name.clone(), listener.local_addr().unwrap()))
                .collect(),
            faults: BTreeMap::new(),
            asked: Vec::new(),
            connections: 0,
            is_replicated: true,
        };
        let mut nodes = Self {
            state: Arc::new(Mutex::new(state)),
            server,
            tasks: BTreeMap::new(),
        };
        for (name, listener) in listeners {
            nodes.serve(name, listener);
        }
        nodes
    }

    /// Adds a user to the cluster of that index.
    pub(crate) fn add_user(&self, cluster: usize, id: &str, password: &str) {
        let user = User {
            password: password.to_owned(),
            email: format!("{}@example.com", id.to_lowercase()),
            tokens: Vec::new(),
        };
        self.state.lock().unwrap().clusters[cluster]
            .users
            .insert(id.to_owned(), user);
    }

    pub(crate) fn set_email(&self, cluster: usize, id: &str, email: &str) {
        let mut state = self.state.lock().unwrap();
        let user = state.clusters[cluster].users.get_mut(id).unwrap();
        email.clone_into(&mut user.email);
    }

    /// Makes a token good for a user of the first cluster.
    pub(crate) fn add_token(&self, token: &str, id: &str) {
        let mut state = self.state.lock().unwrap();
        let user = state.clusters[0].users.get_mut(id).unwrap();
        user.tokens.push(format!("Bearer {token}"));
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    pub(crate) fn remove_user(&self, cluster: usize, id: &str) {
        self.state.lock().unwrap().clusters[cluster]
            .users
            .remove(id);
    }

    pub(crate) fn set_fault(&self, node: &str, fault: Fault) {
        self.state
            .lock()
            .unwrap()
            .faults
            .insert(node.to_owned(), fault);
    }

    /// Clusters no longer know each other's users.
    pub(crate) fn stop_replication(&self) {
        self.state.lock().unwrap().is_replicated = false;
    }

    /// Closes a node's listener and connections.
    pub(crate) async fn stop(&mut self, node: &str) {
        let task = self.tasks.remove(node).unwrap();
        task.abort();
        drop(task.await);
    }

    /// Opens a stopped node again.
    pub(crate) async fn restart(&mut self, node: &str) {
        let address = self.state.lock().unwrap().addresses[node];
        let listener = TcpListener::bind(address).await.unwrap();
        self.serve(node.to_owned(), listener);
    }

    pub(crate) fn port(&self) -> u16 {
        self.state.lock().unwrap().port
    }

    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.state.lock().unwrap().addresses.clone()
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How many requests had `part` in their target.
    pub(crate) fn times_asked(&self, part: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.target.contains(part))
            .count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    fn serve(&mut self, node: String, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        let name = node.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().unwrap().connections += 1;
                let (state, acceptor, name) = (Arc::clone(&state), acceptor.clone(), name.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| respond(&state, &name, request));
                    let served = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    drop(served);
                });
            }
        });
        self.tasks.insert(node, task);
    }
}

impl Drop for TestUds {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

/// One loopback address per node, all with the same port as the nodes of a cluster have.
async fn listeners(clusters: &[&[&str]]) -> (u16, Vec<(String, TcpListener)>) {
    let names: Vec<_> = clusters.concat();
    'ports: loop {
        let mut port = 0;
        let mut bound = Vec::new();
        for (last, name) in (1..).zip(&names) {
            let Ok(listener) = TcpListener::bind((Ipv4Addr::new(127, 0, 1, last), port)).await
            else {
                continue 'ports;
            };
            port = listener.local_addr().unwrap().port();
            bound.push(((*name).to_owned(), listener));
        }
        return (port, bound);
    }
}

async fn respond(
    state: &Mutex<State>,
    node: &str,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (fault, status, body) = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            node: node.to_owned(),
            target: request.uri().to_string(),
            fields: request.headers().clone(),
        });
        let fault = state.faults.get(node).copied().unwrap_or(Fault::None);
        let (status, body) = state.answer(node, &request);
        (fault, status, body)
    };
    let has_credentials = request.headers().contains_key("authorization");
    let (status, body) = match fault {
        Fault::None => (status, body),
        Fault::Doctype => (status, format!("<!DOCTYPE x>{body}")),
        Fault::Oversized => (status, body + &" ".repeat(1 << 20)),
        Fault::Slow => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            (status, body)
        }
        Fault::Status(status) => (status, String::new()),
        Fault::StatusForUsers(status) if has_credentials => (status, String::new()),
        Fault::StatusForUsers(_) => (status, body),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

impl State {
    fn answer(&self, node: &str, request: &Request<Incoming>) -> (u16, String) {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let cluster = self
            .clusters
            .iter()
            .find(|cluster| cluster.nodes.iter().any(|name| name == node))
            .unwrap();
        match path {
            "/cucm-uds/version" => (
                200,
                "<versionInformation><version>12.5.1</version></versionInformation>".to_owned(),
            ),
            "/cucm-uds/servers" => (200, servers(cluster)),
            "/cucm-uds/clusterUser" => (200, self.cluster_user(cluster, query)),
            _ => self.own(cluster, path, request.headers()),
        }
    }

    fn cluster_user(&self, asked: &Cluster, query: &str) -> String {
        let (key, value) = query.split_once('=').unwrap();
        let value = percent_decode_str(value).decode_utf8().unwrap();
        let found = self
            .clusters
            .iter()
            .filter(|cluster| self.is_replicated || cluster.nodes == asked.nodes)
            .find_map(|cluster| {
                let (id, _) = cluster.users.iter().find(|(id, user)| match key {
                    "username" => id.eq_ignore_ascii_case(&value),
                    _ => user.email.eq_ignore_ascii_case(&value),
                })?;
                Some((&cluster.nodes[0], id))
            });
        let Some((home, id)) = found else {
            return "<clusterUser><result found='false'/></clusterUser>".to_owned();
        };
        let base = format!("https://{home}:{}/cucm-uds", self.port);
        let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
        format!(
            "<clusterUser version='12.5'><result found='true' uri='{base}/user/{id}'/>\
             <homeCluster serversUri='{base}/servers'>{home}</homeCluster></clusterUser>"
        )
    }

    fn own(&self, cluster: &Cluster, path: &str, fields: &HeaderMap) -> (u16, String) {
        let path = percent_decode_str(path).decode_utf8().unwrap();
        let rest = path.strip_prefix("/cucm-uds/user/").unwrap_or_default();
        let (id, below) = rest
            .split_once("/devices")
            .map_or((rest, ""), |(id, _)| (id, "devices"));
        let authorization = fields
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let user = cluster.users.get(id).filter(|user| {
            basic(id, &user.password).reveal() == authorization
                || user.tokens.iter().any(|token| token == authorization)
        });
        match (user, below) {
            (None, _) => (401, String::new()),
            (Some(_), "devices") => (
                200,
                format!("<devices><device><name>CSF{id}</name></device></devices>"),
            ),
            (Some(_), _) => (
                200,
                "<user><imAndPresence><server>imp1.example.com</server></imAndPresence>\
                 <serviceProfile><uri>http://tftp1.example.com:6970/SPDefault.cnf.xml</uri></serviceProfile></user>"
                    .to_owned(),
            ),
        }
    }
}

fn servers(cluster: &Cluster) -> String {
    let list: String = cluster
        .nodes
        .iter()
        .map(|name| format!("<server>{name}</server>"))
        .collect();
    format!("<servers>{list}</servers>")
}
