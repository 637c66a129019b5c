//! A node: STARTTLS and direct TLS, PLAIN for everybody but mallory, and an echo from then on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::tls::config as tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const HEADER: &str = "<?xml version='1.0'?><stream:stream from='example.com' id='n1' version='1.0' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams'>";
const STARTTLS: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
    </stream:features>";
const MECHANISMS: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms \
    xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><mechanism>EXTERNAL</mechanism></mechanisms>\
    </stream:features>";
const BIND: &str =
    "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";

/// Signs the certificates of nodes.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    anchors: Arc<RootCertStore>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut anchors = RootCertStore::empty();
        let own = params.self_signed(&key).unwrap();
        anchors.add(own.der().clone()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            anchors: Arc::new(anchors),
        }
    }

    pub(super) fn anchors(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.anchors)
    }

    pub(super) fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap()
    }
}

pub(super) struct TestNode {
    address: SocketAddr,
    direct: SocketAddr,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    attempts: AtomicUsize,
    other: Mutex<Option<String>>,
    left: Notify,
}

impl TestNode {
    pub(super) async fn start(authority: &Authority) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server()));
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for is_direct in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            tasks.spawn(accept(
                listener,
                acceptor.clone(),
                Arc::clone(&state),
                is_direct,
            ));
        }
        Self {
            address: addresses[0],
            direct: addresses[1],
            state,
            tasks,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn direct_address(&self) -> SocketAddr {
        self.direct
    }

    /// Connections on which TLS stood.
    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Passwords that were looked at.
    pub(super) fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::SeqCst)
    }

    /// Sends clients to another node from now on.
    pub(super) fn point_at(&self, other: Option<String>) {
        *self.state.other.lock().unwrap() = other;
    }

    /// Resolves when a client has left.
    pub(super) async fn until_left(&self) {
        self.state.left.notified().await;
    }

    /// Dies with all its connections; where it was.
    pub(super) async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>, is_direct: bool) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            drop(serve(stream, acceptor, &state, is_direct).await);
            state.left.notify_one();
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    state: &State,
    is_direct: bool,
) -> std::io::Result<()> {
    if !is_direct {
        until(&mut stream, ">", 2).await?;
        stream
            .write_all(format!("{HEADER}{STARTTLS}").as_bytes())
            .await?;
        until(&mut stream, "/>", 1).await?;
        stream
            .write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            .await?;
    }
    let mut stream = acceptor.accept(stream).await?;
    state.connections.fetch_add(1, Ordering::SeqCst);
    until(&mut stream, ">", 2).await?;
    stream.write_all(HEADER.as_bytes()).await?;
    let other = state.other.lock().unwrap().clone();
    if let Some(other) = other {
        let error = format!(
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{other}</see-other-host>\
             </stream:error></stream:stream>"
        );
        stream.write_all(error.as_bytes()).await?;
        return stream.shutdown().await;
    }
    stream.write_all(MECHANISMS.as_bytes()).await?;
    loop {
        let auth = until(&mut stream, "</auth>", 1).await?;
        state.attempts.fetch_add(1, Ordering::SeqCst);
        // base64 of NUL mallory NUL.
        if !auth.contains("AG1hbGxvcnkA") {
            break;
        }
        stream
            .write_all(
                b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
            )
            .await?;
    }
    stream
        .write_all(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        .await?;
    until(&mut stream, ">", 2).await?;
    stream
        .write_all(format!("{HEADER}{BIND}").as_bytes())
        .await?;
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await.map(|_| ())
}

/// Reads until `what` has come `times` times, and not further.
async fn until<T>(stream: &mut T, what: &str, times: usize) -> std::io::Result<String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut text = String::new();
    while text.matches(what).count() < times {
        text.push(char::from(stream.read_u8().await?));
    }
    Ok(text)
}
