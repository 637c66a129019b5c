//! A chain under test: an edge role that clients reach over TLS, and a core role behind a mutual-TLS middle.

mod edges;
mod haproxy;
mod nginx;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use support::place::Place;
use support::process::Process;

pub(crate) use nginx::{Files, Origin};

use crate::arguments::ChainName;
use crate::stage::Ground;

/// A running chain. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: ChainName,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    processes: Vec<Process>,
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
        self.processes.iter().map(Process::pid).collect()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // In order, as workers outlive a master that is killed; if it fails the process is killed next.
        for process in &mut self.processes {
            drop(process.terminate(STOP_LIMIT));
        }
    }
}

fn spawn(name: &str, command: Command, dir: &Path) -> Result<Process> {
    Process::spawn(name, command, &dir.join(format!("{name}.log")))
}

/// Waits until something accepts there.
fn wait_listening(process: &mut Process, address: SocketAddr) -> Result<()> {
    process.wait_ready(|| match Place::Host.connect(address, CONNECT_LIMIT) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error.into()),
    })
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Longer than the grace of the edges.
const STOP_LIMIT: Duration = Duration::from_secs(10);
