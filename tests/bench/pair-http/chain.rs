//! A chain under test: an edge role that clients reach over TLS, and a core role behind a mutual-TLS middle.

mod edges;
mod haproxy;
mod nginx;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use support::bench::chain::Processes;

pub(crate) use nginx::{Files, Origin};

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
        let dir = ground.dir.join(name.label().replace(['(', ')', ' '], ""));
        fs::create_dir_all(&dir)?;
        match name {
            ChainName::PairPool => edges::start(name, ground, &dir, edges::POOL),
            ChainName::PairH2 => edges::start(name, ground, &dir, edges::H2),
            ChainName::Baseline => edges::start(name, ground, &dir, edges::BASELINE),
            ChainName::Nginx => nginx::start(name, ground, &dir),
            ChainName::Haproxy => haproxy::start(name, ground, &dir),
        }
    }

    /// The processes that were started for it; they may have children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.pids()
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
