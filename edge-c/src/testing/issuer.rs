//! An issuer's HTTPS server on loopback: documents by path, and a memory of what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::oauth::{Algorithm, Rules};
use common::policy::allow_list::Url;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::World;
use crate::config::tokens::{Endpoints, Issuer, IssuerKind};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// The server.
pub(crate) struct TestIssuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<String, (u16, String)>,
    asked: Vec<Asked>,
}

impl TestIssuer {
    /// Starts one with the certificate that all servers of the world have.
    pub(crate) async fn start(world: &World) -> Self {
        let listener = TcpListener::bind((world.nodes.addresses()["idp.example.com"].ip(), 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let acceptor = TlsAcceptor::from(world.nodes.server_config());
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, acceptor) = (Arc::clone(&serving), acceptor.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| respond(&state, request));
                    let served = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    drop(served);
                });
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// Its `iss`.
    pub(crate) fn name(&self) -> String {
        format!("https://idp.example.com:{}", self.address.port())
    }

    /// `[[issuer]]` for it, with ES256 and keys at `/jwks`.
    pub(crate) fn config(&self) -> Issuer {
        let url = |path: &str| Url::parse(&format!("{}{path}", self.name())).unwrap();
        Issuer {
            name: "corp".into(),
            domains: Vec::new(),
            kind: IssuerKind::Jwks {
                url: Some(url("/jwks")),
            },
            rules: Rules {
                issuer: Some(self.name()),
                audiences: vec!["urn:edge".to_owned()],
                scopes: Vec::new(),
                algorithms: vec![Algorithm::Es256],
                types: vec!["at+jwt".to_owned()],
                user_claim: "sub".to_owned(),
                skew: Duration::from_secs(5),
            },
            client: None,
            extra_time: Duration::ZERO,
            endpoints: Endpoints {
                authorization: Some(url("/auth")),
                token: Some(url("/token")),
                revocation: Some(url("/revoke")),
            },
            exchanges: Vec::new(),
        }
    }

    /// What is answered at a path from now on.
    pub(crate) fn set(&self, path: &str, status: u16, body: &str) {
        let document = (status, body.to_owned());
        self.state
            .lock()
            .unwrap()
            .documents
            .insert(path.to_owned(), document);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How many requests had a target that begins so.
    pub(crate) fn times_asked(&self, start: &str) -> usize {
        let asked = self.asked();
        asked
            .iter()
            .filter(|one| one.target.starts_with(start))
            .count()
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(
    state: &Mutex<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let field = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
    let asked = Asked {
        target: head.uri.to_string(),
        authorization: field("authorization"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut state = state.lock().unwrap();
    state.asked.push(asked);
    let known = state.documents.get(head.uri.path()).cloned();
    let (status, body) = known.unwrap_or((404, String::new()));
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}
