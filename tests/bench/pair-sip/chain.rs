//! A chain under test: what stands between phones and the registrar.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Result, bail};
use support::bench::chain::{self, Processes, start_edges};
use support::place::Place;
use support::sip::{Kamailio, TlsFiles, reference_edge};

use crate::arguments::ChainName;
use crate::stage::{DOMAIN, EDGE, Ground};

/// A running chain. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: ChainName,
    /// Where phones connect.
    pub(crate) address: SocketAddr,
    edge: Edge,
}

#[derive(Debug)]
enum Edge {
    Pair(Processes),
    Kamailio(Kamailio),
}

impl Chain {
    pub(crate) fn start(name: ChainName, ground: &Ground<'_>) -> Result<Self> {
        let dir = ground.dir.join(name.label());
        fs::create_dir_all(&dir)?;
        match name {
            ChainName::Pair => pair(name, ground, &dir, 1),
            ChainName::Baseline => pair(name, ground, &dir, 2),
            ChainName::Kamailio => kamailio(name, ground, &dir),
        }
    }

    /// The processes that were started for it; they may have children.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        match &self.edge {
            Edge::Pair(processes) => Ok(processes.pids()),
            // The first is the parent of all others.
            Edge::Kamailio(kamailio) => Ok(kamailio.pids()?.into_iter().take(1).collect()),
        }
    }

    /// Starts a peer again that has ended by itself; it has forgotten every phone. A pair that ends is a failure.
    pub(crate) fn restart(&mut self) -> Result<()> {
        match &mut self.edge {
            Edge::Pair(_) => bail!("the pair is not started again"),
            Edge::Kamailio(kamailio) => {
                // It does not end in order any more.
                drop(kamailio.stop());
                kamailio.restart()
            }
        }
    }
}

fn kamailio(name: ChainName, ground: &Ground<'_>, dir: &Path) -> Result<Chain> {
    let plan = reference_edge::Plan {
        name: EDGE.to_owned(),
        domain: DOMAIN.to_owned(),
        public: loopback(9),
        link: inside(11),
        registrar: ground.registrar,
        // With more, this Kamailio ends by itself under load: its processes free what OpenSSL 3 shares among them twice.
        children: 1,
        tls: TlsFiles::beside(&ground.dir.join("public/edge1")),
    };
    let kamailio = reference_edge::start(&Place::Host, dir, &plan)?;
    Ok(Chain {
        name,
        address: SocketAddr::new(plan.public, 5061),
        edge: Edge::Kamailio(kamailio),
    })
}

fn pair(name: ChainName, ground: &Ground<'_>, dir: &Path, number: u8) -> Result<Chain> {
    let ports = Ports {
        public: SocketAddr::new(loopback(number), 5061),
        https: SocketAddr::new(loopback(number), 8443),
        link: SocketAddr::new(loopback(number), 7001),
        inside: inside(19 + number),
        number,
    };
    let edges = [
        chain::Edge {
            binary: "edge-e",
            text: edge_e(ground, &ports),
            admin: ports.admin(1),
        },
        chain::Edge {
            binary: "edge-c",
            text: edge_c(ground, dir, &ports),
            admin: ports.admin(2),
        },
    ];
    let folder = ground.baseline.filter(|_| name == ChainName::Baseline);
    Ok(Chain {
        name,
        address: ports.public,
        edge: Edge::Pair(start_edges(dir, folder, edges)?),
    })
}

struct Ports {
    public: SocketAddr,
    https: SocketAddr,
    link: SocketAddr,
    inside: IpAddr,
    number: u8,
}

impl Ports {
    fn admin(&self, role: u16) -> SocketAddr {
        SocketAddr::new(loopback(self.number), 9000 + role)
    }
}

/// Every phone has the same address here, so limits by address are as those for all.
fn edge_e(ground: &Ground<'_>, ports: &Ports) -> String {
    let pki = ground.dir.display();
    let Ports {
        public,
        https,
        link,
        ..
    } = ports;
    let (admin, media) = (ports.admin(1), public.ip());
    format!(
        r#"name = "{EDGE}"
[public]
listen = ["{https}"]
certificates = [{{ chain = "{pki}/public/edge1.pem", key = "{pki}/public/edge1.key" }}]
[sip]
listen = ["{public}"]
[media]
listen = ["{media}"]
ports = "36000-59999"
[link]
listen = ["{link}"]
certificate = "{pki}/link/edge1.pem"
key = "{pki}/link/edge1.key"
trust_anchors = ["{pki}/link/ca.pem"]
allowed_cores = ["edge-c1.link.internal"]
[admin]
listen = "{admin}"
[limits]
connections_max = 100000
connections_per_address_max = 100000
connections_per_second_per_address = 100000
[drain]
grace = "1s"
"#
    )
}

fn edge_c(ground: &Ground<'_>, dir: &Path, ports: &Ports) -> String {
    let pki = ground.dir.display();
    let (dns, registrar, dir) = (ground.dns, ground.registrar, dir.display());
    let Ports {
        public,
        link,
        inside,
        ..
    } = ports;
    let (admin, advertised) = (ports.admin(2), public.ip());
    format!(
        r#"name = "edge-c1.link.internal"
core_id = 1
[[edge]]
name = "{EDGE}"
address = "{link}"
certificate_name = "edge1.link.internal"
advertised_addresses = ["{advertised}"]
[link]
certificate = "{pki}/link/edge-c1.pem"
key = "{pki}/link/edge-c1.key"
trust_anchors = ["{pki}/link/ca.pem"]
[[domain]]
name = "{DOMAIN}"
[sip]
listen = ["udp:{inside}:5060", "tcp:{inside}:5060"]
[[registrar]]
name = "bench"
hosts = ["{DOMAIN}"]
nodes = ["tcp:{registrar}"]
mode = "path"
media = "rtp"
authentication = "registrar"
[media]
listen = ["{inside}"]
networks = ["127.0.0.0/8"]
[dns]
servers = ["{dns}"]
[inside]
trust_anchors = ["{pki}/inside/ca.pem"]
[session]
state_dir = "{dir}/state"
[admin]
listen = "{admin}"
[drain]
grace = "1s"
"#
    )
}

const fn loopback(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))
}

/// An address of the inner world.
pub(crate) const fn inside(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 7, 7, number))
}
