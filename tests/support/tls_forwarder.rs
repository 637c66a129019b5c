//! Carries TCP connections on over TLS, one for one: for clients that have no TLS.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::{io, thread};

use anyhow::{Context as _, Result};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use crate::place::Place;

/// A forwarder on a thread of its own; gone when dropped.
#[derive(Debug)]
pub struct TlsForwarder {
    local: SocketAddr,
    failed: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Where to, and as whom.
#[derive(Clone)]
struct Far {
    connector: TlsConnector,
    name: ServerName<'static>,
    socket: SocketAddr,
    sources: Vec<IpAddr>,
}

impl TlsForwarder {
    /// Listens on a port of that place's loopback. Connections leave from the sources in turn: one address has limits.
    pub fn start(
        place: &Place,
        socket: SocketAddr,
        name: &str,
        authority: &Path,
        sources: &[IpAddr],
    ) -> Result<Self> {
        let mut anchors = RootCertStore::empty();
        anchors.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(anchors)
            .with_no_client_auth();
        let far = Far {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(name.to_owned())?,
            socket,
            sources: sources.to_vec(),
        };
        let listener = place.listen(SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 0))?;
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let failed = Arc::new(AtomicUsize::new(0));
        let (place, failures) = (place.clone(), Arc::clone(&failed));
        let thread = thread::Builder::new()
            .name("tls-forwarder".to_owned())
            .spawn(move || {
                run(&place, listener, &far, stopped, &failures).expect("a forwarder runs");
            })
            .context("no thread")?;
        Ok(Self {
            local,
            failed,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Connections that were refused, or ended in disorder.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for TlsForwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(
    place: &Place,
    listener: TcpListener,
    far: &Far,
    stopped: oneshot::Receiver<()>,
    failed: &Arc<AtomicUsize>,
) -> io::Result<()> {
    place.enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let accept = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        for number in 0.. {
            let (near, _) = listener.accept().await?;
            let (far, failed) = (far.clone(), Arc::clone(failed));
            tokio::spawn(async move {
                if carry(near, &far, number).await.is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(())
    };
    runtime.block_on(async {
        tokio::select! {
            outcome = accept => outcome,
            _ = stopped => Ok(()),
        }
    })
}

async fn carry(mut near: TcpStream, far: &Far, number: usize) -> io::Result<()> {
    near.set_nodelay(true)?;
    let socket = TcpSocket::new_v4()?;
    let source = far
        .sources
        .iter()
        .cycle()
        .nth(number % far.sources.len().max(1));
    if let Some(source) = source {
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    let tcp = socket.connect(far.socket).await?;
    tcp.set_nodelay(true)?;
    let mut tls = far.connector.connect(far.name.clone(), tcp).await?;
    match copy_bidirectional(&mut near, &mut tls).await {
        // A client that is done with its connection need not say so.
        Err(error) if crate::tls_client::is_gone(&error) => Ok(()),
        outcome => outcome.map(drop),
    }
}
