//! DNS over TCP (RFC 7766): few connections, few queries on each, answers in order.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::DnsServer;
use crate::dns::{Asked, Transport};
use crate::limits;
use crate::runtime::drain::Signal;
use crate::runtime::{clock, listen};

/// Who is connected. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Vec<IpAddr>>>);

/// A place among the connections.
struct Place {
    connections: Connections,
    client: IpAddr,
}

impl Connections {
    pub(super) async fn serve(self, server: &DnsServer, listener: &TcpListener, drain: &Signal) {
        loop {
            let (stream, peer) = listen::accept(listener).await;
            let Some(place) = self.take(peer.ip()) else {
                server.metrics.refused.inc();
                continue;
            };
            let server = server.clone();
            let drain = drain.clone();
            // Counted by its place; it ends by itself, and holds nothing that a panic could leave behind.
            drop(tokio::spawn(async move {
                server.metrics.connections.inc();
                tokio::select! {
                    result = tokio::time::timeout(limits::DNS_TCP_LIFETIME, converse(&server, stream, peer)) => {
                        if let Ok(Err(error)) = result {
                            tracing::debug!(side = "downstream", reason = %error, "DNS connection ended");
                        }
                    }
                    () = drain.over() => {}
                }
                server.metrics.connections.dec();
                drop(place);
            }));
        }
    }

    fn take(&self, client: IpAddr) -> Option<Place> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = clients.iter().filter(|other| **other == client).count();
        let is_full = clients.len() >= limits::DNS_TCP_CONNECTIONS_MAX
            || of_client >= limits::DNS_TCP_CONNECTIONS_PER_ADDRESS_MAX;
        (!is_full).then(|| {
            clients.push(client);
            Place {
                connections: self.clone(),
                client,
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self
            .connections
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = clients.iter().position(|other| *other == self.client) {
            clients.swap_remove(at);
        }
    }
}

async fn converse(server: &DnsServer, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut query, mut answer, mut framed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..limits::DNS_TCP_QUERIES_MAX {
        let reading =
            tokio::time::timeout(limits::DNS_TCP_IDLE_TIMEOUT, read(&mut stream, &mut query));
        if !reading.await?? {
            return Ok(());
        }
        let asked = Asked {
            client: peer.ip(),
            transport: Transport::Tcp,
            now: clock::unix_now(),
        };
        let served = server.served();
        let answered = served.responder.answer(&query, &asked, &mut answer);
        server.metrics.count(Transport::Tcp, answered.as_ref());
        if answered.is_none() {
            return Ok(());
        }
        let len = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        framed.clear();
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(&answer);
        tokio::time::timeout(limits::DNS_TCP_IDLE_TIMEOUT, stream.write_all(&framed)).await??;
    }
    Ok(())
}

/// Reads one message; `false` if the client has no more. Not cancel safe: a time-out ends the connection.
async fn read(stream: &mut TcpStream, query: &mut Vec<u8>) -> io::Result<bool> {
    let mut len = [0; 2];
    let first = stream.read(&mut len[..1]).await?;
    if first == 0 {
        return Ok(false);
    }
    stream.read_exact(&mut len[1..]).await?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > limits::DNS_TCP_QUERY_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a query over the limit",
        ));
    }
    query.resize(len, 0);
    stream.read_exact(query).await?;
    Ok(true)
}
