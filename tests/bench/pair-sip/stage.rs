//! Everything that a comparison needs: the inner world, the registrar, a phone inside, and the chains.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use certs::{Identity, Leaf, Pki, Plan};
use support::dns::Zone;
use support::embedded_dns::EmbeddedDns;
use support::place::Place;
use support::sip::{Kamailio, TlsFiles, registrar};
use support::uds::Simulator;
use support::world::{Ports, World};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::arguments::Arguments;
use crate::chain::{Chain, inside};
use crate::load::{Answerer, Phones, Target};

/// The domain of the users.
pub(crate) const DOMAIN: &str = "example.com";
/// The name that phones connect to; every chain has its certificate.
pub(crate) const EDGE: &str = "edge1.example.com";

/// What a chain is built on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    /// The PKI, and room for configurations and logs.
    pub(crate) dir: &'a Path,
    /// The inside name server.
    pub(crate) dns: SocketAddr,
    /// The registrar, TCP.
    pub(crate) registrar: SocketAddr,
    /// Where the binaries of another build are.
    pub(crate) baseline: Option<&'a Path>,
}

/// All of it, running. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) chains: Vec<Chain>,
    pub(crate) registrar: Kamailio,
    _answerer: Answerer,
    _simulator: Simulator,
    _dns: EmbeddedDns,
    runtime: Runtime,
    dir: TempDir,
}

impl Stage {
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let pki = Pki::generate(&Plan::standard(DOMAIN))?;
        pki.write_to(dir.path())?;
        let leaf = Leaf::server(&[format!("registrar1.{DOMAIN}")]).with_addresses(&[inside(61)]);
        pki.inside
            .issue(&leaf)?
            .write_to(&dir.path().join("inside/registrar1"))?;
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let world = World::on_loopback(DOMAIN, INSIDE_BLOCK, Ports::STANDARD);
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let dns = EmbeddedDns::start(runtime.handle(), any, &[Zone::inside(&world)])?;
        let ucm = Identity::read_from(&dir.path().join("inside/ucm"))?;
        let simulator = Simulator::start(world, &ucm, &Place::Host)?;
        let tls = TlsFiles::beside(&dir.path().join("inside/registrar1"));
        let plan = registrar::Plan::new("registrar1", inside(61), DOMAIN, tls);
        let registrar = registrar::start(&Place::Host, dir.path(), &plan)?;
        let local = SocketAddr::new(inside(72), 5060);
        let answerer = Answerer::start(&runtime, local, plan.socket())?;
        let ground = Ground {
            dir: dir.path(),
            dns: dns.address(),
            registrar: plan.socket(),
            baseline: arguments.baseline.as_deref(),
        };
        let chains = arguments
            .chains()
            .into_iter()
            .map(|name| Chain::start(name, &ground));
        Ok(Self {
            chains: chains.collect::<Result<_>>()?,
            registrar,
            _answerer: answerer,
            _simulator: simulator,
            _dns: dns,
            runtime,
            dir,
        })
    }

    /// So many phones that are registered through a chain; those of another group are others.
    pub(crate) fn phones(&self, index: usize, group: usize, count: usize) -> Result<Phones> {
        let chain = self.chains.get(index).context("no such chain")?;
        let target = Target {
            address: chain.address,
            name: EDGE,
            authority: &self.dir.path().join("public/ca.pem"),
            // Nobody has the number of another chain's phone.
            first_user: 100_000 * (index + 1) + 10_000 * group,
        };
        let phones = Phones::register(&self.runtime, &target, count);
        phones.with_context(|| {
            format!(
                "{}: logs are in {}",
                chain.name.label(),
                self.dir.path().display()
            )
        })
    }

    /// Starts a peer again that has ended by itself.
    pub(crate) fn restart(&mut self, index: usize) -> Result<()> {
        let chain = self.chains.get_mut(index).context("no such chain")?;
        chain.restart()
    }

    /// Leaves configurations and logs where they are.
    pub(crate) fn keep_logs(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// Where everything is, for somebody who brings a load.
    pub(crate) fn describe(&self, out: &mut impl io::Write) -> Result<()> {
        writeln!(out, "Processes: pgrep -af {}", self.dir.path().display())?;
        for chain in &self.chains {
            writeln!(out, "{}: {}", chain.name.label(), chain.address)?;
        }
        writeln!(out, "It ends when standard input does.")?;
        Ok(())
    }
}

/// Inner servers live on 127.7.7.x.
const INSIDE_BLOCK: (u8, u8) = (7, 7);
