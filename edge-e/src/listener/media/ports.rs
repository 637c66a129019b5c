//! The public sockets of allocations: opened in pairs on every public address, marked by what they carry.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use common::limits;
use common::media::class::{Component, Dscp};
use common::media::port_pool::{PortPair, PortPool};
use common::media::relay::{AllocIndex, Via};
use common::media::supply::Family;
use common::runtime::udp::poll::Token;
use common::runtime::udp::watch::Watch;
use common::runtime::udp::{bind, enlarge_buffers, mark};
use smallvec::SmallVec;

use super::MediaPorts;

/// A socket in the thread's set: whose, which of the two ports, on which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: AllocIndex,
    pub(super) component: Component,
    pub(super) via: Via,
}

const RTCP: u64 = 1 << 8;

impl Place {
    pub(super) fn token(self) -> Token {
        let component = match self.component {
            Component::Rtp => 0,
            Component::Rtcp => RTCP,
        };
        Token(u64::from(self.index.0) << 16 | component | u64::from(self.via.0))
    }

    pub(super) fn of(Token(token): Token) -> Option<Self> {
        let component = if token & RTCP == 0 {
            Component::Rtp
        } else {
            Component::Rtcp
        };
        Some(Self {
            index: AllocIndex(u32::try_from(token >> 16).ok()?),
            component,
            via: Via(u8::try_from(token & 0xff).ok()?),
        })
    }
}

/// Why there are no ports.
#[derive(Debug)]
pub(super) enum NoPorts {
    /// None is free.
    Exhausted,
    /// The system gives none.
    System(io::Error),
}

/// Both sockets on one address.
#[derive(Debug)]
struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

/// All public sockets, by allocation.
#[derive(Debug)]
pub(super) struct Ports {
    listen: Vec<IpAddr>,
    pool: PortPool,
    open: Vec<Open>,
}

/// The sockets of one allocation on every address; empty if there is none.
type Open = SmallVec<[Pair; 1]>;

/// Sockets that are open and belong to nobody yet.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) ports: PortPair,
    sockets: Open,
}

impl Ports {
    pub(super) fn new(ports: &MediaPorts) -> Self {
        Self {
            listen: ports.listen.clone(),
            pool: PortPool::new(&ports.ports),
            open: Vec::new(),
        }
    }

    /// Opens a random pair; another process may have some of them.
    pub(super) fn open(&mut self, dscp: Dscp, now: Instant) -> Result<Opened, NoPorts> {
        for _ in 0..limits::MEDIA_BIND_TRIES {
            let ports = self.pool.take(random(), now).ok_or(NoPorts::Exhausted)?;
            match self.bind(ports, dscp) {
                Ok(sockets) => return Ok(Opened { ports, sockets }),
                Err(error) => {
                    self.pool.give_back(ports, now);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(NoPorts::System(error));
                    }
                }
            }
        }
        Err(NoPorts::Exhausted)
    }

    /// Opens the very ports that a call has used before.
    pub(super) fn open_again(
        &mut self,
        rtp: u16,
        dscp: Dscp,
        now: Instant,
    ) -> Result<Opened, NoPorts> {
        let ports = self.pool.take_port(rtp).ok_or(NoPorts::Exhausted)?;
        match self.bind(ports, dscp) {
            Ok(sockets) => Ok(Opened { ports, sockets }),
            Err(error) => {
                self.pool.give_back(ports, now);
                Err(if error.kind() == io::ErrorKind::AddrInUse {
                    NoPorts::Exhausted
                } else {
                    NoPorts::System(error)
                })
            }
        }
    }

    fn bind(&self, ports: PortPair, dscp: Dscp) -> io::Result<Open> {
        let socket = |address: &IpAddr, port| {
            let socket = bind(SocketAddr::new(*address, port))?;
            enlarge_buffers(&socket, limits::MEDIA_SOCKET_BUFFER_BYTES)?;
            mark(&socket, Family::of(*address), dscp)?;
            Ok::<_, io::Error>(socket)
        };
        let pair = |address| {
            Ok(Pair {
                rtp: socket(address, ports.rtp())?,
                rtcp: socket(address, ports.rtcp())?,
            })
        };
        self.listen.iter().map(pair).collect()
    }

    /// From now on the sockets are heard as those of `index`.
    pub(super) fn keep(
        &mut self,
        index: AllocIndex,
        opened: Opened,
        watch: &Watch,
    ) -> io::Result<()> {
        let at = index.0 as usize;
        if self.open.len() <= at {
            self.open.resize_with(at + 1, Open::new);
        }
        for (via, pair) in (0..).zip(&opened.sockets) {
            for (component, socket) in [(Component::Rtp, &pair.rtp), (Component::Rtcp, &pair.rtcp)]
            {
                let place = Place {
                    index,
                    component,
                    via: Via(via),
                };
                watch.add_call(socket, place.token())?;
            }
        }
        if let Some(open) = self.open.get_mut(at) {
            *open = opened.sockets;
        }
        Ok(())
    }

    /// Closes the sockets of an allocation; its ports rest.
    pub(super) fn close(&mut self, index: AllocIndex, ports: PortPair, now: Instant) {
        if let Some(open) = self.open.get_mut(index.0 as usize) {
            open.clear();
        }
        self.pool.give_back(ports, now);
    }

    /// Gives back ports that nobody could take.
    pub(super) fn give_back(&mut self, opened: Opened, now: Instant) {
        drop(opened.sockets);
        self.pool.give_back(opened.ports, now);
    }

    /// Marks what an allocation sends from now on.
    pub(super) fn mark(&self, index: AllocIndex, dscp: Dscp) {
        let pairs = self.open.get(index.0 as usize).into_iter().flatten();
        for (address, pair) in self.listen.iter().zip(pairs) {
            for socket in [&pair.rtp, &pair.rtcp] {
                if let Err(error) = mark(socket, Family::of(*address), dscp) {
                    tracing::debug!(reason = %error, "a media socket is not marked");
                }
            }
        }
    }

    pub(super) fn socket(&self, place: Place) -> Option<&UdpSocket> {
        let pair = self
            .open
            .get(place.index.0 as usize)?
            .get(usize::from(place.via.0))?;
        Some(match place.component {
            Component::Rtp => &pair.rtp,
            Component::Rtcp => &pair.rtcp,
        })
    }
}

/// Ports that can be guessed can be sprayed.
fn random() -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        // Worse ports are better than none: nothing is sent to whom edge-c has not authenticated.
        return common::runtime::clock::unix_ms();
    }
    u64::from_be_bytes(bytes)
}
