//! What arrives from inside: datagrams, and connections that registrars open.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::limits;
use common::runtime::lean_tls;
use common::sip::proxy::{NodePeer, Transport};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::shell::{EndOnDrop, Shell};
use crate::upstream::sip::connection::{self, Stream};
use crate::upstream::sip::listen::{self, Bound};

type ServerTls = Option<Arc<ArcSwap<ServerConfig>>>;

/// Serves every socket, and lets the shell's clock run. None of these tasks may end.
pub(super) fn serve(
    shell: &Arc<Shell>,
    bound: Bound,
    tls: &ServerTls,
    runtime: &Handle,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for socket in bound.udp {
        let shell = Arc::clone(shell);
        let reading = async move {
            let Ok(local) = socket.local_addr() else {
                return;
            };
            let received = |remote, message| {
                let peer = NodePeer {
                    transport: Transport::Udp,
                    local,
                    remote,
                    connection: None,
                };
                shell.node_message(peer, message);
            };
            listen::read_datagrams(&socket, received).await;
        };
        tasks.spawn_on(reading, runtime);
    }
    for (transport, listener) in bound.streams {
        let (shell, tls, handle) = (Arc::clone(shell), tls.clone(), runtime.clone());
        let accepting = async move {
            let accepted = |stream, peer| {
                let accepting = accept(Arc::clone(&shell), transport, tls.clone(), stream, peer);
                drop(handle.spawn(accepting));
            };
            listen::accept(&listener, accepted).await;
        };
        tasks.spawn_on(accepting, runtime);
    }
    let shell = Arc::clone(shell);
    tasks.spawn_on(async move { shell.run().await }, runtime);
    tasks
}

async fn accept(
    shell: Arc<Shell>,
    transport: Transport,
    tls: ServerTls,
    stream: TcpStream,
    remote: SocketAddr,
) {
    let Some((id, outbox)) = shell.enter_connection() else {
        tracing::warn!(side = "upstream", %remote, reason = "too many connections inside",
            remedy = "look for an element that connects without end", "SIP connection from inside refused");
        return;
    };
    let _ended = EndOnDrop {
        shell: &shell,
        id,
        outbox: &outbox,
    };
    match handshake(transport, tls, stream).await {
        Ok(Accepted {
            stream,
            local,
            certificate,
        }) => {
            let peer = NodePeer {
                transport,
                local,
                remote,
                connection: Some(id),
            };
            let certificate = certificate.as_ref();
            shell
                .run_connection(id, peer, stream, &outbox, certificate)
                .await;
        }
        Err(error) => tracing::info!(side = "upstream", %remote, reason = %error,
            remedy = "the element must trust edge-c's certificate and show one that edge-c trusts",
            "SIP connection from inside refused"),
    }
}

/// A connection from inside that is up.
struct Accepted {
    stream: Box<dyn Stream>,
    local: SocketAddr,
    /// What the peer proved itself with.
    certificate: Option<CertificateDer<'static>>,
}

async fn handshake(
    transport: Transport,
    tls: ServerTls,
    stream: TcpStream,
) -> std::io::Result<Accepted> {
    connection::configure(&stream)?;
    let local = stream.local_addr()?;
    if transport != Transport::Tls {
        return Ok(Accepted {
            stream: Box::new(stream),
            local,
            certificate: None,
        });
    }
    let tls = tls.ok_or(std::io::ErrorKind::Unsupported)?;
    let tls = tls.load_full();
    let accepting = Box::pin(lean_tls::accept(stream, &tls));
    let accepted = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, accepting).await;
    let (stream, agreed) = accepted.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    Ok(Accepted {
        stream: Box::new(stream),
        local,
        certificate: agreed.peer_certificate,
    })
}
