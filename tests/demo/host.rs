//! Everything on this machine as an ordinary user: the inner world as one process, the pair as two, on a block of loopback
//! addresses of its own, so that several demos can run at a time.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use certs::{Pki, Plan};
use support::embedded_dns::EmbeddedDns;
use support::inner_world::Description;
use support::pair;
use support::place::Place;
use support::process::Process;
use tokio::runtime::{Builder, Runtime};

use crate::report::Report;
use crate::scene::{self, Parts, Scene};

/// Ends in this order: the pair before what it stands on.
#[derive(Debug)]
pub(crate) struct Running {
    _core: Process,
    _edge: Process,
    _inner_world: Process,
    _public_dns: EmbeddedDns,
    _runtime: Runtime,
}

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
struct Sockets {
    public: SocketAddr,
    link: SocketAddr,
    edge_admin: SocketAddr,
    core_admin: SocketAddr,
}

/// Starts it step by step; `None` if a step failed.
pub(crate) fn start(report: &mut Report, dir: &Path, domain: &str) -> Option<Scene> {
    report.step("make three authorities and their certificates", |notes| {
        Pki::generate(&Plan::standard(domain))?.write_to(&dir.join("pki"))?;
        notes.add("public: what clients trust; link: edge-e and edge-c alone; inside: the company's servers");
        Ok(())
    })?;
    let (inner_world, facts) = report.step(
        "start the inner world: DNS, UDS of two clusters, files, photos",
        |notes| {
            let (process, facts) = start_inner_world(dir, domain)?;
            for (number, nodes) in (1..).zip(&facts.clusters) {
                let hosts: Vec<_> = nodes.iter().map(|node| node.host.as_str()).collect();
                notes.add(format!("cluster {number}: {}", hosts.join(", ")));
            }
            notes.add(format!("pid {}, DNS on {}", process.pid(), facts.dns));
            Ok((process, facts))
        },
    )?;
    report.step(
        "start edge-e and edge-c; edge-c dials, mutual TLS 1.3",
        |notes| {
            let sockets = sockets(&facts)?;
            write_configurations(dir, &facts, sockets)?;
            let mut edge = start_edge(dir, "edge-e")?;
            let mut core = start_edge(dir, "edge-c")?;
            wait_ready(&mut edge, sockets.edge_admin)?;
            wait_ready(&mut core, sockets.core_admin)?;
            notes.add(format!(
                "edge-e pid {}: clients {}, link {}",
                edge.pid(),
                sockets.public,
                sockets.link
            ));
            notes.add(format!(
                "edge-c pid {}: listens for operators only, on {}",
                core.pid(),
                sockets.core_admin
            ));
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let zone = scene::public_zone(domain, sockets.public.ip(), sockets.public.port());
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let public_dns = EmbeddedDns::start(runtime.handle(), any, &[zone])?;
            Ok(Scene {
                outside: Place::Host,
                domain: domain.to_owned(),
                public_dns: public_dns.address(),
                public_dns_is: "a name server inside this program",
                edge: sockets.public,
                users: facts.users.clone(),
                photos: scene::photo_origin(&facts.photos, facts.ports.photos),
                dir: dir.to_owned(),
                trust: dir.join("pki/public/ca.pem"),
                admins: [
                    (Place::Host, sockets.edge_admin),
                    (Place::Host, sockets.core_admin),
                ],
                names: ["edge-e", "edge-c"],
                parts: Parts::Host(Box::new(Running {
                    _core: core,
                    _edge: edge,
                    _inner_world: inner_world,
                    _public_dns: public_dns,
                    _runtime: runtime,
                })),
            })
        },
    )
}

/// On the ports of the real servers if nobody has them on every address; else on free ones.
fn start_inner_world(dir: &Path, domain: &str) -> Result<(Process, Description)> {
    let mut last = None;
    for ports in [&[][..], &["--uds-port", "0", "--photos-port", "0"]] {
        match try_inner_world(dir, domain, ports) {
            Ok(started) => return Ok(started),
            Err(error) => last = Some(error),
        }
    }
    last.map_or_else(|| bail!("not tried"), Err)
}

fn try_inner_world(dir: &Path, domain: &str, ports: &[&str]) -> Result<(Process, Description)> {
    let log = dir.join("inner-world.log");
    // What an attempt before has said must not be taken for the answer.
    if let Err(error) = fs::remove_file(&log)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error.into());
    }
    let mut command = Place::Host.command(&pair::binary("inner-world")?.to_string_lossy());
    command.arg("--pki").arg(dir.join("pki"));
    command.args(["--domain", domain]).args(ports);
    let mut process = Process::spawn("inner-world", command, &log)?;
    process.wait_ready(|| Ok(fs::read_to_string(&log)?.ends_with('\n')))?;
    let text = process.log()?;
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("the inner world said: {text}"))?;
    Ok((process, serde_json::from_str(line)?))
}

/// edge-e and edge-c on the block of addresses that the inner world has found.
fn sockets(facts: &Description) -> Result<Sockets> {
    let node = facts.clusters.iter().flatten().next();
    let address = node.and_then(|node| node.addresses.first());
    let Some(IpAddr::V4(v4)) = address else {
        bail!("the inner world has no IPv4 address");
    };
    let [_, a, b, _] = v4.octets();
    let at = |last, port| free_socket(Ipv4Addr::new(127, a, b, last), port);
    Ok(Sockets {
        public: at(11, 8443)?,
        link: at(12, 7001)?,
        edge_admin: at(13, 9001)?,
        core_admin: at(20, 9002)?,
    })
}

/// The usual port if it is free, else any.
fn free_socket(address: Ipv4Addr, usual: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind((address, usual)).or_else(|_| TcpListener::bind((address, 0)));
    let listener = listener.with_context(|| format!("Failed to listen on {address}"))?;
    Ok(listener.local_addr()?)
}

fn write_configurations(dir: &Path, facts: &Description, sockets: Sockets) -> Result<()> {
    fs::create_dir_all(dir.join("state"))?;
    let photos = scene::photo_origin(&facts.photos, facts.ports.photos);
    fs::write(dir.join("allow-list.toml"), scene::allow_list(&photos))?;
    fs::write(dir.join("edge-e.toml"), edge_e(&facts.domain, sockets))?;
    fs::write(dir.join("edge-c.toml"), edge_c(facts, sockets))?;
    Ok(())
}

fn edge_e(domain: &str, sockets: Sockets) -> String {
    let Sockets {
        public,
        link,
        edge_admin,
        ..
    } = sockets;
    format!(
        "# Every key is explained in deploy/edge-e.example.toml.\n\
         name = \"edge1.{domain}\"\n\
         \n\
         [public]\n\
         listen = [\"{public}\"]\n\
         \n\
         [[public.certificates]]\n\
         chain = \"pki/public/edge1.pem\"\n\
         key = \"pki/public/edge1.key\"\n\
         \n\
         [link]\n\
         listen = [\"{link}\"]\n\
         certificate = \"pki/link/edge1.pem\"\n\
         key = \"pki/link/edge1.key\"\n\
         trust_anchors = [\"pki/link/ca.pem\"]\n\
         allowed_cores = [\"edge-c1.link.internal\"]\n\
         \n\
         [admin]\n\
         listen = \"{edge_admin}\"\n"
    )
}

fn edge_c(facts: &Description, sockets: Sockets) -> String {
    let Description { domain, dns, .. } = facts;
    let Sockets {
        public,
        link,
        core_admin,
        ..
    } = sockets;
    let (address, port) = (public.ip(), public.port());
    format!(
        "# Every key is explained in deploy/edge-c.example.toml.\n\
         name = \"edge-c1.link.internal\"\n\
         core_id = 1\n\
         \n\
         [[edge]]\n\
         name = \"edge1.{domain}\"\n\
         address = \"{link}\"\n\
         certificate_name = \"edge1.link.internal\"\n\
         advertised_addresses = [\"{address}\"]\n\
         https_port = {port}\n\
         \n\
         [link]\n\
         certificate = \"pki/link/edge-c1.pem\"\n\
         key = \"pki/link/edge-c1.key\"\n\
         trust_anchors = [\"pki/link/ca.pem\"]\n\
         \n\
         [[domain]]\n\
         name = \"{domain}\"\n\
         \n\
         [dns]\n\
         servers = [\"{dns}\"]\n\
         \n\
         [inside]\n\
         trust_anchors = [\"pki/inside/ca.pem\"]\n\
         \n\
         [allow_list]\n\
         file = \"allow-list.toml\"\n\
         \n\
         [session]\n\
         state_dir = \"state\"\n\
         \n\
         [admin]\n\
         listen = \"{core_admin}\"\n"
    )
}

fn start_edge(dir: &Path, name: &str) -> Result<Process> {
    let mut command = Place::Host.command(&pair::binary(name)?.to_string_lossy());
    command
        .args(["run", "--config"])
        .arg(dir.join(format!("{name}.toml")));
    Process::spawn(name, command, &dir.join(format!("{name}.log")))
}

fn wait_ready(process: &mut Process, admin: SocketAddr) -> Result<()> {
    process.wait_ready(|| {
        let answer = pair::ask_admin(&Place::Host, admin, "/ready");
        // Nobody listens while it starts; that is not a reason to stop asking.
        Ok(answer.is_ok_and(|(status, _)| status == 200))
    })
}
