//! The sockets on which registrars reach edge-c, and the loops that read them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use common::limits;
use common::runtime::listen;
use common::sip::framing::{self, Item};
use common::sip::proxy::Transport;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// One entry of `[sip] listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// Bound sockets; they belong to the runtime in which they were bound.
#[derive(Debug, Default)]
pub struct Bound {
    /// For UDP, both ways.
    pub udp: Vec<Arc<UdpSocket>>,
    /// For TCP and TLS.
    pub streams: Vec<(Transport, TcpListener)>,
}

impl Bound {
    /// Binds all of them.
    ///
    /// # Errors
    /// The entry that can't be had, and the system's error.
    pub fn bind(all: &[Listen]) -> Result<Self, (Listen, io::Error)> {
        let mut bound = Self::default();
        for one in all {
            bound.add(*one).map_err(|error| (*one, error))?;
        }
        Ok(bound)
    }

    fn add(&mut self, one: Listen) -> io::Result<()> {
        if one.transport == Transport::Udp {
            let socket = std::net::UdpSocket::bind(one.address)?;
            socket.set_nonblocking(true)?;
            self.udp.push(Arc::new(UdpSocket::from_std(socket)?));
        } else {
            self.streams
                .push((one.transport, listen::bind(one.address)?));
        }
        Ok(())
    }

    /// Where each transport listens first, with the port that the system chose if it was left to it.
    #[must_use]
    pub fn address(&self, transport: Transport) -> Option<SocketAddr> {
        if transport == Transport::Udp {
            return self.udp.first()?.local_addr().ok();
        }
        let (_, listener) = self.streams.iter().find(|(of, _)| *of == transport)?;
        listener.local_addr().ok()
    }

    /// The own addresses, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let udp = self
            .udp
            .iter()
            .filter_map(|socket| socket.local_addr().ok());
        let streams = self
            .streams
            .iter()
            .filter_map(|(_, listener)| listener.local_addr().ok());
        let addresses = udp.chain(streams).map(|address| address.ip());
        addresses
            .filter(|address| !address.is_unspecified())
            .collect()
    }
}

/// Reads datagrams for ever; `received` gets the sender and each message.
pub async fn read_datagrams(socket: &UdpSocket, mut received: impl FnMut(SocketAddr, Bytes)) {
    let mut buffer = vec![0; limits::SIP_DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, sender)) => {
                let datagram = buffer.get(..len).unwrap_or_default();
                match framing::datagram(datagram) {
                    Ok(Item::Message(message)) => received(sender, message),
                    Ok(Item::Ping | Item::Stun(_)) => {}
                    Err(error) => {
                        tracing::debug!(side = "upstream", %sender, reason = %error, "a datagram is not SIP");
                    }
                }
            }
            // An ICMP message about an earlier datagram; the socket is fine.
            Err(error) => {
                tracing::debug!(side = "upstream", reason = %error, "a datagram could not be read");
            }
        }
    }
}

/// Accepts for ever; `accepted` must not wait.
pub async fn accept(listener: &TcpListener, mut accepted: impl FnMut(TcpStream, SocketAddr)) {
    loop {
        let (stream, peer) = listen::accept(listener).await;
        accepted(stream, peer);
    }
}
