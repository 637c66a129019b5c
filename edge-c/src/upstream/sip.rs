//! SIP towards the inside: UDP, TCP and TLS to registrar nodes, and the sockets on which these reach edge-c.
//!
//! Routes nothing: where a message goes, the proxy core has decided. One connection serves both directions (RFC 5923):
//! requests of a node arrive on the connection that was dialled to it as well as on the listening sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use common::limits;
use common::net::Host;
use common::sip::proxy::{ConnectionId, Transport};
use rustls::ClientConfig;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use tokio::net::UdpSocket;

pub mod connection;
pub mod listen;
pub mod outbox;
pub mod probe;
pub mod resolve;

use crate::dial;
use outbox::{Outbox, Room};

/// Where a connection was dialled to: messages for the same place share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// TCP or TLS.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
    /// The name that the certificate must have.
    pub tls_name: Option<Host>,
}

/// How connections are dialled.
#[derive(Clone, Debug)]
pub struct Dialling {
    /// How certificates are verified, and the own one; a reload replaces it.
    pub tls: Arc<ArcSwap<ClientConfig>>,
    /// The own addresses to dial from: the first of the right family.
    pub sources: Vec<IpAddr>,
    /// Until TCP is up, and as long again for TLS.
    pub timeout: Duration,
}

/// Every socket and connection towards the inside; `T` says which message could not be sent.
#[derive(Debug)]
pub struct Inner<T> {
    udp: Vec<Arc<UdpSocket>>,
    open: BTreeMap<ConnectionId, Arc<Outbox<T>>>,
    dialled: BTreeMap<Target, ConnectionId>,
    /// Connections that elements opened and lend for requests to them (RFC 5923), by where such requests would go.
    lent: BTreeMap<SocketAddr, (ConnectionId, CertificateDer<'static>)>,
    last: u64,
}

/// What became of a message that was to be sent.
#[derive(Debug)]
pub enum Sent<T> {
    /// It is on its way, or waits for its connection.
    Queued,
    /// It waits for a connection that must be dialled first.
    Dial(NewConnection<T>),
    /// It can't be sent, and why.
    Failed(T, &'static str),
}

/// A connection that is entered and has messages waiting; whoever gets this runs it.
#[derive(Debug)]
pub struct NewConnection<T> {
    /// Its number.
    pub id: ConnectionId,
    /// Where to, if it is to be dialled.
    pub target: Target,
    /// What it is to send.
    pub outbox: Arc<Outbox<T>>,
}

impl<T> Inner<T> {
    /// Sends UDP from `udp`; there are no connections yet.
    #[must_use]
    pub const fn new(udp: Vec<Arc<UdpSocket>>) -> Self {
        Self {
            udp,
            open: BTreeMap::new(),
            dialled: BTreeMap::new(),
            lent: BTreeMap::new(),
            last: 0,
        }
    }

    /// Sends `bytes` over `connection` if that is open, else to `target`.
    pub fn send(
        &mut self,
        target: Target,
        connection: Option<ConnectionId>,
        bytes: Bytes,
        ticket: T,
    ) -> Sent<T> {
        if target.transport == Transport::Udp {
            return self.send_datagram(target.address, &bytes, ticket);
        }
        let asked_for = connection.filter(|id| self.open.contains_key(id));
        let id = asked_for
            .or_else(|| self.dialled.get(&target).copied())
            .or_else(|| self.lent_for(&target));
        if let Some(outbox) = id.and_then(|id| self.open.get(&id)) {
            return match outbox.push(bytes, ticket) {
                Ok(()) => Sent::Queued,
                Err(ticket) => Sent::Failed(ticket, "its queue is full"),
            };
        }
        if !matches!(target.transport, Transport::Tcp | Transport::Tls) {
            return Sent::Failed(ticket, "clients are never dialled");
        }
        match self.enter(Some(target.clone())) {
            Some((id, outbox)) => match outbox.push(bytes, ticket) {
                Ok(()) => Sent::Dial(NewConnection { id, target, outbox }),
                Err(ticket) => Sent::Failed(ticket, "the message is too long"),
            },
            None => Sent::Failed(ticket, "too many connections inside"),
        }
    }

    /// Enters a connection, which `target` finds again; `None` if there are too many.
    pub fn enter(&mut self, target: Option<Target>) -> Option<(ConnectionId, Arc<Outbox<T>>)> {
        if self.open.len() >= limits::SIP_INNER_CONNECTIONS_MAX {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        let id = ConnectionId(self.last);
        let outbox = Arc::new(Outbox::new(ROOM));
        self.open.insert(id, Arc::clone(&outbox));
        if let Some(target) = target {
            self.dialled.insert(target, id);
        }
        Some((id, outbox))
    }

    /// Whoever connected wants requests for `address` on that connection; the certificate has to bear each of them out.
    pub fn lend(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        certificate: CertificateDer<'static>,
    ) {
        if self.open.contains_key(&id) {
            self.lent.insert(address, (id, certificate));
        }
    }

    /// RFC 5923 section 8: a connection that was lent is as good as one dialled if its certificate has the name that a
    /// dialled one would have to have.
    fn lent_for(&self, target: &Target) -> Option<ConnectionId> {
        if target.transport != Transport::Tls {
            return None;
        }
        let (id, certificate) = self.lent.get(&target.address)?;
        let address = Host::Address(target.address.ip());
        let name = dial::server_name(target.tls_name.as_ref().unwrap_or(&address))?;
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        let is_borne_out = verify_server_name(&certificate, &name).is_ok();
        is_borne_out.then_some(*id)
    }

    /// The connection is gone.
    pub fn remove(&mut self, id: ConnectionId) {
        self.open.remove(&id);
        self.dialled.retain(|_, dialled| *dialled != id);
        self.lent.retain(|_, (lent, _)| *lent != id);
    }

    /// Connections open or being dialled.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.len()
    }

    fn send_datagram(&self, address: SocketAddr, bytes: &[u8], ticket: T) -> Sent<T> {
        let is_same_family = |socket: &&Arc<UdpSocket>| {
            socket
                .local_addr()
                .is_ok_and(|own| own.is_ipv4() == address.is_ipv4())
        };
        let Some(socket) = self.udp.iter().find(is_same_family) else {
            return Sent::Failed(ticket, "there is no UDP socket of that address family");
        };
        match socket.try_send_to(bytes, address) {
            Ok(_) => Sent::Queued,
            // As good as lost on the way: it is sent again.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Sent::Queued,
            Err(error) => {
                tracing::debug!(side = "upstream", reason = %error, "a datagram was not sent");
                Sent::Failed(ticket, "the system did not take the datagram")
            }
        }
    }
}

const ROOM: Room = Room {
    messages: limits::SIP_INNER_QUEUE_MESSAGES,
    bytes: limits::SIP_INNER_QUEUE_BYTES,
};
