//! Everything that a comparison needs: the inner world, the origin, the chains, and a session at the pair.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use certs::{Identity, Pki, Plan};
use support::curl::{Answer, Curl};
use support::dns::Zone;
use support::embedded_dns::EmbeddedDns;
use support::place::Place;
use support::uds::Simulator;
use support::wait;
use support::world::{Ports, World};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::arguments::{Arguments, Sizes};
use crate::chain::{Chain, Files, Origin};

/// The domain of the users.
pub(crate) const DOMAIN: &str = "example.com";
/// The name that clients connect to; every chain has its certificate.
pub(crate) const EDGE: &str = "edge1.example.com";
/// The name of the origin.
pub(crate) const PHOTOS: &str = "photos.example.com";

/// What a chain is built on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    /// The PKI, and room for configurations and logs.
    pub(crate) dir: &'a Path,
    /// The inside name server.
    pub(crate) dns: SocketAddr,
    /// The origin.
    pub(crate) origin: SocketAddr,
    /// Where the binaries of another build are.
    pub(crate) baseline: Option<&'a Path>,
}

/// All of it, running.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) chains: Vec<Chain>,
    pub(crate) origin: Origin,
    /// The public authority's certificate.
    pub(crate) trust: PathBuf,
    segment: String,
    cookies: Vec<String>,
    _simulator: Simulator,
    _dns: EmbeddedDns,
    _runtime: Runtime,
    dir: TempDir,
}

impl Stage {
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Pki::generate(&Plan::standard(DOMAIN))?.write_to(dir.path())?;
        let world = World::on_loopback(DOMAIN, INSIDE_BLOCK, Ports::STANDARD);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let dns = EmbeddedDns::start(runtime.handle(), any, &[Zone::inside(&world)])?;
        let ucm = Identity::read_from(&dir.path().join("inside/ucm"))?;
        let simulator = Simulator::start(world.clone(), &ucm, &Place::Host)?;
        let origin_address = world
            .photos
            .sockets(world.ports.photos)
            .next()
            .context("the origin has no address")?;
        let ground = Ground {
            dir: dir.path(),
            dns: dns.address(),
            origin: origin_address,
            baseline: arguments.baseline.as_deref(),
        };
        let segment = STANDARD_NO_PAD.encode(format!("{DOMAIN}/https/{PHOTOS}/443"));
        ensure!(!segment.contains('/'), "the segment is two: {segment}");
        let origin = Origin::start(&ground, origin_address, &segment, files(arguments.sizes()))?;
        let chains = arguments.chains();
        let chains = chains.into_iter().map(|name| Chain::start(name, &ground));
        let mut stage = Self {
            chains: chains.collect::<Result<_>>()?,
            origin,
            trust: dir.path().join("public/ca.pem"),
            segment,
            cookies: Vec::new(),
            _simulator: simulator,
            _dns: dns,
            _runtime: runtime,
            dir,
        };
        stage.sign_in()?;
        for index in 0..stage.chains.len() {
            stage.check(index)?;
        }
        Ok(stage)
    }

    /// The target of a file, as a client asks for it.
    pub(crate) fn target(&self, file: &str) -> String {
        format!("/{}/{file}", self.segment)
    }

    /// The value of the `Cookie` field for a chain; a peer gets one that is as long as the pair's.
    pub(crate) fn cookie(&self, chain: usize) -> &str {
        self.cookies.get(chain).map_or("", String::as_str)
    }

    /// A client with a session.
    pub(crate) fn client(&self, index: usize) -> Result<(Curl, String)> {
        let chain = self.chains.get(index).context("no such chain")?;
        let curl = self.curl(chain).header("Cookie", self.cookie(index));
        Ok((curl, format!("https://{EDGE}:{}", chain.address.port())))
    }

    /// Where everything is, for somebody who brings a load.
    pub(crate) fn describe(&self, out: &mut impl io::Write) -> Result<()> {
        let dir = self.dir.path().display();
        writeln!(out, "Processes: pgrep -af {dir}; a load on each chain:")?;
        for (index, chain) in self.chains.iter().enumerate() {
            let (name, address) = (chain.name.label(), chain.address);
            let (target, cookie) = (self.target("small"), self.cookie(index));
            writeln!(
                out,
                "{name}:\n  nsenter --net -t $(pgrep -of {dir}) wrk -t2 -c64 -d10s --latency -H 'Host: {EDGE}' \
                 -H 'Cookie: {cookie}' https://{address}{target}"
            )?;
        }
        writeln!(out, "It ends when standard input does.")?;
        Ok(())
    }

    fn curl(&self, chain: &Chain) -> Curl {
        Curl::new(&Place::Host)
            .http1()
            .trust(&self.trust)
            .resolve(EDGE, chain.address)
            .limit(DOWNLOAD_LIMIT)
    }

    /// Signs a user in at each pair; a session belongs to the edge-c that made it.
    fn sign_in(&mut self) -> Result<()> {
        let mut cookies = Vec::new();
        for chain in &self.chains {
            if chain.name.is_peer() {
                cookies.push(None);
                continue;
            }
            let curl = self.curl(chain).basic("alice", "alice-secret-1");
            let home = STANDARD_NO_PAD.encode(DOMAIN);
            let port = chain.address.port();
            let url = format!(
                "https://{EDGE}:{port}/{home}/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin"
            );
            // Ready means linked; discovery of the inner servers may take a moment longer.
            let answer = wait::until("a sign-in", wait::START_LIMIT, || {
                let answer = curl.get(&url)?;
                ensure!(answer.status == 200, "sign-in: {}", answer.status);
                Ok(Some(answer))
            })?;
            cookies.push(Some(session(&answer)?));
        }
        let spare = cookies.iter().flatten().next().cloned();
        let stand_in = spare.unwrap_or_else(|| format!("X-Auth={}", "x".repeat(64)));
        let filled = cookies.into_iter();
        self.cookies = filled
            .map(|cookie| cookie.unwrap_or_else(|| stand_in.clone()))
            .collect();
        Ok(())
    }

    /// Fails unless the chain answers with what the origin has.
    fn check(&self, index: usize) -> Result<()> {
        let (curl, base) = self.client(index)?;
        let answer = curl.get(&format!("{base}{}", self.target("small")))?;
        let is_whole = answer.status == 200 && answer.body.len() == 1024;
        ensure!(
            is_whole,
            "{}: status {}, {} bytes; logs are in {}",
            self.chains.get(index).map_or("", |c| c.name.label()),
            answer.status,
            answer.body.len(),
            self.dir.path().display()
        );
        Ok(())
    }
}

fn session(answer: &Answer) -> Result<String> {
    let cookie = answer.header("set-cookie").context("no Set-Cookie")?;
    let pair = cookie.split(';').next().unwrap_or_default();
    ensure!(pair.starts_with("X-Auth="), "no session: {cookie}");
    Ok(pair.to_owned())
}

const fn files(sizes: Sizes) -> Files {
    Files {
        one_stream_bytes: sizes.one_stream_bytes,
        each_stream_bytes: sizes.each_stream_bytes,
    }
}

/// Inner servers live on 127.7.7.x.
const INSIDE_BLOCK: (u8, u8) = (7, 7);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(120);
