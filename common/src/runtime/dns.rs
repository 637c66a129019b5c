//! The sockets of the authoritative name server: packets and connections in, what [`crate::dns`] decides out.
//!
//! UDP is answered by one task for each socket, in turns that let other tasks go on. TCP has few connections, each for a
//! short time: who needs it has one question that did not fit.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};

use super::drain::Signal;
use super::udp::{BulkSocket, Destination};
use super::{clock, listen};
use crate::dns::rate::{Limiter, RatePolicy, RateVerdict};
use crate::dns::{Asked, Responder, Transport, truncate};
use crate::limits;
use crate::media::class::Dscp;
use crate::redact::Redacted;

mod metrics;
mod tcp;
mod zones;

pub use metrics::{Limited, Metrics, Outcome, Over};
pub use zones::{Opened, ZoneServer};

/// What is answered, and how often.
#[derive(Clone, Debug)]
pub struct Served {
    /// The zones.
    pub responder: Responder,
    /// How often the same is said to the same clients.
    pub rate: RatePolicy,
}

/// A name server; what it serves can be exchanged while it runs. Clones are the same server.
#[derive(Clone, Debug)]
pub struct DnsServer {
    served: Arc<ArcSwap<Served>>,
    connections: tcp::Connections,
    metrics: Metrics,
}

/// The sockets of one address.
#[derive(Debug)]
pub struct Sockets {
    udp: BulkSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds both. Port 0 is for tests: TCP gets the port that UDP got.
    ///
    /// # Errors
    /// The system's error.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let text = |error: io::Error| {
            io::Error::new(error.kind(), format!("can't use UDP on {address}: {error}"))
        };
        let udp = BulkSocket::bind(address).map_err(text)?;
        let tcp = listen::bind(udp.socket().local_addr()?)?;
        Ok(Self { udp, tcp })
    }

    /// Where they are.
    ///
    /// # Errors
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.socket().local_addr()
    }
}

impl DnsServer {
    /// A server that serves nobody yet.
    #[must_use]
    pub fn new(served: Served, metrics: Metrics) -> Self {
        Self {
            served: Arc::new(ArcSwap::from_pointee(served)),
            connections: tcp::Connections::default(),
            metrics,
        }
    }

    /// From now on this is served.
    pub fn replace(&self, served: Served) {
        self.served.store(Arc::new(served));
    }

    /// What is served.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Serves until the drain is over: whoever asks meanwhile hears of the others.
    ///
    /// # Errors
    /// The system's error if a socket can't be used any more.
    pub async fn serve(self, sockets: Sockets, drain: Signal) -> io::Result<()> {
        let seed = seed()?;
        let udp = Udp {
            server: self.clone(),
            readiness: UdpSocket::from_std(sockets.udp.socket().try_clone()?)?,
            socket: sockets.udp,
            limiter: Limiter::new(seed, clock::now()),
            query: Vec::new(),
            answer: Vec::new(),
            limited: 0,
            told: None,
            drops: 0,
        };
        tokio::select! {
            result = udp.serve() => result,
            () = self.connections.clone().serve(&self, &sockets.tcp, &drain) => Ok(()),
            () = drain.over() => Ok(()),
        }
    }
}

/// Random octets for keys.
///
/// # Errors
/// The system's error.
pub fn seed() -> io::Result<[u8; 16]> {
    let mut seed = [0; 16];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(seed)
}

/// One UDP socket.
struct Udp {
    server: DnsServer,
    /// The same socket again, for tokio to wait for.
    readiness: UdpSocket,
    socket: BulkSocket,
    limiter: Limiter,
    query: Vec<u8>,
    answer: Vec<u8>,
    /// Answers over the rate that were not told of.
    limited: u64,
    told: Option<Instant>,
    drops: u32,
}

/// Packets of one client.
struct Batch {
    from: SocketAddr,
    to: Option<IpAddr>,
    segment: usize,
}

impl Udp {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            self.readiness.readable().await?;
            self.turn()?;
            // A flood of queries leaves room for those who sign in.
            tokio::task::yield_now().await;
        }
    }

    /// Answers what has come, up to a limit.
    fn turn(&mut self) -> io::Result<()> {
        let served = self.server.served.load_full();
        let (now, unix) = (clock::now(), clock::unix_now());
        for _ in 0..limits::DNS_TURN_PACKETS {
            let Some(batch) = self.receive()? else {
                break;
            };
            let query = std::mem::take(&mut self.query);
            for packet in query.chunks(batch.segment) {
                let asked = Asked {
                    client: batch.from.ip().to_canonical(),
                    transport: Transport::Udp,
                    now: unix,
                };
                if self.decide(&served, packet, &asked, now) {
                    self.send(&batch);
                }
            }
            self.query = query;
        }
        Ok(())
    }

    /// The next packets; `None` if there are none. A socket that fails is waited for like one with nothing to read.
    fn receive(&mut self) -> io::Result<Option<Batch>> {
        let (socket, query) = (&mut self.socket, &mut self.query);
        let read = || match socket.receive() {
            Ok(Some(received)) => {
                query.clear();
                query.extend_from_slice(received.bytes);
                Ok(Batch {
                    from: received.from,
                    to: received.to,
                    segment: received.segment,
                })
            }
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        let ready = self.readiness.try_io(Interest::READABLE, read);
        let drops = self.socket.drops();
        self.server
            .metrics
            .note_drops(drops.wrapping_sub(self.drops));
        self.drops = drops;
        match ready {
            Ok(batch) => Ok(Some(batch)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // An earlier answer met a closed port.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the answer; whether it goes out.
    fn decide(&mut self, served: &Served, packet: &[u8], asked: &Asked, now: Instant) -> bool {
        let metrics = &self.server.metrics;
        let answered = served.responder.answer(packet, asked, &mut self.answer);
        metrics.count(Transport::Udp, answered.as_ref());
        let Some(answered) = answered else {
            return false;
        };
        // RFC 9018: who has our cookie is at its address.
        if answered.has_cookie {
            return true;
        }
        let verdict = self
            .limiter
            .verdict(&served.rate, asked.client, answered.likeness(), now);
        match verdict {
            RateVerdict::Send => return true,
            RateVerdict::Slip => {
                metrics.limited.of(Limited::Slipped).inc();
                truncate(&mut self.answer, &answered);
            }
            RateVerdict::Drop => {
                metrics.limited.of(Limited::Dropped).inc();
            }
        }
        self.limited = self.limited.saturating_add(1);
        self.tell(asked.client, now);
        verdict == RateVerdict::Slip
    }

    /// One line a minute, however many ask.
    fn tell(&mut self, client: IpAddr, now: Instant) {
        let is_due =
            |told: Instant| now.saturating_duration_since(told) >= limits::DNS_LIMITED_LOG_INTERVAL;
        if self.told.is_none_or(is_due) {
            self.told = Some(now);
            let answers = std::mem::take(&mut self.limited);
            tracing::info!(side = "downstream", client = %Redacted::new(&client.to_string()), answers,
                reason = "the same question came too often",
                remedy = "none if the address is forged; exempt a resolver of your own in [dns] rate_limit",
                "answers were held back");
        }
    }

    fn send(&mut self, batch: &Batch) {
        let destination = Destination {
            to: batch.from,
            from: batch.to,
            dscp: Dscp::BEST_EFFORT,
        };
        match self.socket.send(&self.answer, None, &destination) {
            Ok(true) => {}
            Ok(false) => self.server.metrics.note_drops(1),
            Err(error) => {
                tracing::debug!(side = "downstream", reason = %error, "an answer could not be sent");
            }
        }
    }
}

#[cfg(test)]
mod tests;
