//! What silent connections cost in memory, both ends in this process: `cargo bench -p common --bench idle`.
//!
//! Prints kibibytes of private memory for one pair of ends, each after some octets have gone both ways. Not a benchmark of
//! time, so it counts by itself.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark of known values that prints its result"
)]

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use certs::{Authority, Leaf};
use common::id::TrackingId;
use common::link::stream_preface::{ClientTransport, StreamPreface, StreamProtocol, TlsVersion};
use common::net::ClientAddr;
use common::runtime::lean_tls::{self, LeanTls};
use common::runtime::link_streams::{LinkStream, Opener, serve};
use common::tls::config::{Certificates, provider, public_server};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PAIRS: usize = 2000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let configs = configs();
        println!("sizes: LeanTls<TcpStream> {}, LinkStream {}", size_of::<LeanTls<TcpStream>>(), size_of::<LinkStream>());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The first of each pays for what all share.
        for pairs in [10, PAIRS] {
            let plain = measure(pairs, || plain(&listener)).await;
            let tls = measure(pairs, || tls(&listener, &configs)).await;
            let streams = streams(pairs).await;
            println!("{pairs} pairs, KiB each: TCP {plain:.2}, lean TLS over TCP {tls:.2}, link stream {streams:.2}");
        }
    });
}

/// KiB of private memory for each that `make` makes and spawns.
async fn measure<F: Future<Output = ()>>(count: usize, make: impl Fn() -> F) -> f64 {
    let before = private_kib();
    for _ in 0..count {
        make().await;
    }
    settle().await;
    (private_kib() - before) / count as f64
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
}

fn private_kib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:"));
    let number = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    number.parse().unwrap()
}

async fn tcp(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

async fn plain(listener: &TcpListener) {
    let (near, far) = tcp(listener).await;
    idle(near, far).await;
}

async fn tls(listener: &TcpListener, configs: &Configs) {
    let (near, far) = tcp(listener).await;
    let name = ServerName::try_from("example.com").unwrap();
    let connecting = Box::pin(lean_tls::connect(near, Arc::clone(&configs.client), name));
    let accepting = Box::pin(lean_tls::accept(far, &configs.server));
    let (near, far) = tokio::join!(connecting, accepting);
    idle(near.unwrap().0, far.unwrap().0).await;
}

/// Both ends say something, then wait in tasks of their own.
async fn idle<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut near: T, mut far: T) {
    near.write_all(&[7; 300]).await.unwrap();
    near.flush().await.unwrap();
    let mut read = [0; 300];
    far.read_exact(&mut read).await.unwrap();
    far.write_all(&read).await.unwrap();
    far.flush().await.unwrap();
    near.read_exact(&mut read).await.unwrap();
    for mut end in [near, far] {
        drop(tokio::spawn(async move {
            let mut octet = [0];
            drop(end.read(&mut octet).await);
        }));
    }
}

async fn streams(count: usize) -> f64 {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let opener = Arc::new(Opener::new());
    let driven = Arc::clone(&opener);
    drop(tokio::spawn(async move { driven.drive(ours).await }));
    let (sender, mut arrived) = mpsc::channel(8);
    let take = move |stream| drop(sender.try_send(stream));
    drop(tokio::spawn(serve(theirs, pending(), || {}, take)));
    while opener.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let before = private_kib();
    for _ in 0..count {
        let opening = Arc::clone(&opener);
        let opening = tokio::spawn(async move { opening.open(&preface()).await.unwrap() });
        let mut far = arrived.recv().await.unwrap().accept().unwrap();
        let mut near = opening.await.unwrap();
        near.send(Bytes::from(vec![7; 300])).await.unwrap();
        let said = far.receive().await.unwrap();
        far.send(said).await.unwrap();
        drop(near.receive().await);
        for mut end in [near, far] {
            drop(tokio::spawn(async move { end.receive().await }));
        }
    }
    settle().await;
    (private_kib() - before) / count as f64
}

fn preface() -> StreamPreface {
    StreamPreface {
        protocol: StreamProtocol::Xmpp,
        transport: ClientTransport::Tls,
        client: ClientAddr(([192, 0, 2, 7], 50_000).into()),
        local: ([192, 0, 2, 1], 5222).into(),
        server_name: None,
        tls_version: TlsVersion::V1_3,
        domain: None,
        tracking: TrackingId::new([7; 16]),
    }
}

struct Configs {
    server: ServerConfig,
    client: Arc<ClientConfig>,
}

fn configs() -> Configs {
    let authority = Authority::new("public").unwrap();
    let names = ["example.com".to_owned()];
    let identity = authority.issue(&Leaf::server(&names)).unwrap();
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let key = CertifiedKey::from_der(chain, key, &provider()).unwrap();
    let server = public_server(Arc::new(Certificates::new(key, Vec::new()))).unwrap();
    let mut anchors = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    anchors.add(anchor).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(anchors)
        .with_no_client_auth();
    Configs {
        server,
        client: Arc::new(client),
    }
}
