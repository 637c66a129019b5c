//! Everything that a comparison needs: the node inside, and the chains.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use certs::{Pki, Plan};
use support::dns::Zone;
use support::embedded_dns::EmbeddedDns;
use support::process::Process;
use support::world::{Ports, World};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::arguments::Arguments;
use crate::chain::{Chain, loopback};
use crate::load::Target;
use crate::node;

/// The domain of the users.
pub(crate) const DOMAIN: &str = "example.com";
/// Everybody's.
pub(crate) const PASSWORD: &str = "secret";

/// What a chain is built on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    /// The PKI, and room for configurations and logs.
    pub(crate) dir: &'a Path,
    /// The inside name server.
    pub(crate) dns: SocketAddr,
    /// The node, TLS from the first byte.
    pub(crate) node: SocketAddr,
}

/// All of it, running. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) chains: Vec<Chain>,
    pub(crate) runtime: Runtime,
    /// Works for the load, not for a chain.
    pub(crate) node: Process,
    _dns: EmbeddedDns,
    dir: TempDir,
}

impl Stage {
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let pki = Pki::generate(&Plan::standard(DOMAIN))?;
        pki.write_to(dir.path())?;
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let world = World::on_loopback(DOMAIN, INSIDE_BLOCK, Ports::STANDARD);
        let any = SocketAddr::new(loopback(1), 0);
        let dns = EmbeddedDns::start(runtime.handle(), any, &[Zone::inside(&world)])?;
        let (process, node) = node::start(dir.path(), &pki)?;
        let ground = Ground {
            dir: dir.path(),
            dns: dns.address(),
            node,
        };
        let names = arguments.selection.chains();
        let chains = names.map(|name| Chain::start(name, &ground));
        Ok(Self {
            chains: chains.collect::<Result<_>>()?,
            runtime,
            node: process,
            _dns: dns,
            dir,
        })
    }

    /// Clients of a chain.
    pub(crate) fn target(&self, index: usize) -> Result<Target> {
        let chain = self.chains.get(index).context("no such chain")?;
        Target::new(chain.address, &self.dir.path().join("public/ca.pem"))
    }
}

/// Inner servers live on 127.7.7.x.
const INSIDE_BLOCK: (u8, u8) = (7, 7);
