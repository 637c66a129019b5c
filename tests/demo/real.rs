//! The same journey through three zones of the network with real peers: BIND and nginx inside, BIND for public DNS, and a
//! packet filter that lets nothing open a connection from the DMZ to the inside. Needs root.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use certs::{Identity, Pki, Plan};
use support::bind::Bind;
use support::dns::Zone;
use support::netns::{self, Zones};
use support::nginx::Nginx;
use support::pair::{Pair, Size, public_sockets};
use support::uds::Simulator;
use support::world::World;

use crate::report::Report;
use crate::scene::{self, Parts, Scene};

/// Ends in this order: the pair before what it stands on.
#[derive(Debug)]
pub(crate) struct Running {
    _pair: Pair,
    inside: Inside,
    _public_dns: Bind,
}

/// The company.
#[derive(Debug)]
struct Inside {
    _simulator: Simulator,
    _nginx: Nginx,
    bind: Bind,
    world: World,
    zones: Zones,
}

/// Starts it step by step; `None` if a step failed.
pub(crate) fn start(report: &mut Report, dir: &Path, domain: &str) -> Option<Scene> {
    report.step("find BIND, nginx, nftables and root", |_| find_tools())?;
    report.step("make three authorities and their certificates", |_| {
        Pki::generate(&Plan::standard(domain))?.write_to(dir)
    })?;
    let zones = report.step("make four network namespaces and a packet filter", |notes| {
        notes.add("client - DMZ - filter - inside: the filter forwards only what the inside has opened");
        Zones::new()
    })?;
    let inside = report.step("start BIND, nginx and the UDS simulator inside", |notes| {
        let inside = start_inside(dir, domain, zones)?;
        notes.add(scene::in_words(&inside.world));
        let addresses: Vec<_> = inside
            .bind
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        notes.add(format!("DNS on {}", addresses.join(" and ")));
        Ok(inside)
    })?;
    report.step(
        "start edge-e in the DMZ, edge-c inside; edge-c dials, mutual TLS 1.3",
        |notes| {
            let (pair, public_dns) = start_pair(dir, domain, &inside)?;
            let [edge, _] = public_sockets(1);
            notes.add(format!(
                "edge-e: clients {edge}; edge-c: dials from the inside"
            ));
            scene(dir, domain, pair, inside, public_dns)
        },
    )
}

/// Packets from the DMZ that tried to open a connection to the inside.
pub(crate) fn assert_nothing_refused(running: &Running) -> Result<()> {
    running.inside.zones.assert_nothing_refused()
}

fn find_tools() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "--real needs root for network namespaces; try: sudo -E deploy/demo --real"
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in [
        ("named", "bind9"),
        ("nginx", "nginx-light"),
        ("nft", "nftables"),
        ("ip", "iproute2"),
    ] {
        let found = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
        ensure!(
            found,
            "{tool} is missing: apt-get install {package}, or run tests/run, which installs it"
        );
    }
    Ok(())
}

fn start_inside(dir: &Path, domain: &str, zones: Zones) -> Result<Inside> {
    let world = World::standard(domain, |number| netns::inside(number).to_vec());
    let identity = |name: &str| Identity::read_from(&dir.join(name));
    let (photos, ucm) = (identity("inside/photos")?, identity("inside/ucm")?);
    let servers = netns::inside(53).map(|address| SocketAddr::new(address, 53));
    let place = zones.inside();
    Ok(Inside {
        bind: Bind::start(&place, dir, &servers, &[Zone::inside(&world)])?,
        _nginx: Nginx::start(&place, dir, &world, (&photos, &ucm))?,
        _simulator: Simulator::start(world.clone(), &ucm, &place)?,
        world,
        zones,
    })
}

fn start_pair(dir: &Path, domain: &str, inside: &Inside) -> Result<(Pair, Bind)> {
    let list = dir.join("allow-list.toml");
    let photos = scene::photo_origin(&inside.world.photos, inside.world.ports.photos);
    fs::write(&list, scene::allow_list(&photos))?;
    let mut pair = Pair::prepare(&inside.zones, dir, &inside.world, Size::ONE);
    for member in pair.edges.iter_mut().chain(&mut pair.cores) {
        member.set("log", "format", "text");
        member.set("log", "filter", "info");
    }
    for core in &mut pair.cores {
        core.set("allow_list", "file", list.to_string_lossy().into_owned());
    }
    pair.start()?;
    let [edge, _] = public_sockets(1);
    let [name_server, _] = netns::public(12).map(|address| SocketAddr::new(address, 53));
    let zone = scene::public_zone(domain, edge.ip(), edge.port());
    let own_dir = dir.join("public-dns");
    fs::create_dir_all(&own_dir)?;
    let public_dns = Bind::start(&inside.zones.dmz(), &own_dir, &[name_server], &[zone])?;
    Ok((pair, public_dns))
}

fn scene(dir: &Path, domain: &str, pair: Pair, inside: Inside, public_dns: Bind) -> Result<Scene> {
    let [edge, _] = public_sockets(1);
    let name_server = public_dns.addresses().first().copied();
    let admin = |members: &[support::pair::Member]| {
        let member = members.first().context("the pair has nobody")?;
        member.admin()
    };
    Ok(Scene {
        outside: inside.zones.client(),
        domain: domain.to_owned(),
        public_dns: name_server.context("no name server outside")?,
        public_dns_is: "a BIND outside the filter",
        edge,
        users: inside.world.users.clone(),
        photos: scene::photo_origin(&inside.world.photos, inside.world.ports.photos),
        dir: dir.to_owned(),
        trust: dir.join("public/ca.pem"),
        admins: [
            (inside.zones.dmz(), admin(&pair.edges)?),
            (inside.zones.inside(), admin(&pair.cores)?),
        ],
        names: ["edge1", "edge-c1"],
        parts: Parts::Real(Box::new(Running {
            _pair: pair,
            inside,
            _public_dns: public_dns,
        })),
    })
}
