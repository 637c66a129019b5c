//! A chain under test: an edge role that clients reach over TLS, and a core role that reaches the node over TLS.

mod edges;
mod peers;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use support::bench::chain::Processes;

use crate::arguments::ChainName;
use crate::stage::Ground;

/// A running chain. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: ChainName,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    processes: Processes,
}

impl Chain {
    pub(crate) fn start(name: ChainName, ground: &Ground<'_>) -> Result<Self> {
        let dir = ground.dir.join(name.label());
        fs::create_dir_all(&dir)?;
        let (address, processes) = match name {
            ChainName::Pair => edges::start(ground, &dir)?,
            ChainName::Nginx => peers::nginx(ground, &dir)?,
            ChainName::Haproxy => peers::haproxy(ground, &dir)?,
        };
        Ok(Self {
            name,
            address,
            processes,
        })
    }

    /// The processes that were started for it; they may have children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.pids()
    }
}

pub(crate) const fn loopback(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))
}

/// An address of the inner world.
pub(crate) const fn inside(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 7, 7, number))
}
