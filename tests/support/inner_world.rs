//! Everything inside, in one process on loopback, for an ordinary user: DNS, UDS, files, photos.
//!
//! For the demo. Nothing here needs root, a fixed port or anything installed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use certs::{Identity, Pki, Plan};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::dns::Zone;
use crate::embedded_dns::EmbeddedDns;
use crate::files;
use crate::http_server::{self, Answer, Handler, HttpServer, Received};
use crate::place::Place;
use crate::uds::{Control, Simulator};
use crate::world::{Node, Ports, User, World};

/// How to set it up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The service domain.
    pub domain: String,
    /// A PKI as [`certs`] writes it; made if it is not there.
    pub pki: PathBuf,
    /// Where services listen on the nodes' addresses; 0 takes a free port.
    pub ports: Ports,
    /// Where DNS listens.
    pub dns: SocketAddr,
    /// Where the simulator takes orders.
    pub control: SocketAddr,
    /// Whether the services records are in the pinpoint zone only.
    pub has_pinpoint_zone: bool,
    /// Whether the clusters know each other's users.
    pub has_ils: bool,
}

/// The running inside.
#[derive(Debug)]
pub struct InnerWorld {
    description: Description,
    _servers: Vec<HttpServer>,
    _control: Control,
    _simulator: Arc<Simulator>,
    _dns: EmbeddedDns,
    // Last, so that the servers end while their runtime still is there.
    _runtime: Runtime,
}

/// What a script needs to know of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The service domain.
    pub domain: String,
    /// The inside name server.
    pub dns: SocketAddr,
    /// The simulator's control endpoint.
    pub control: SocketAddr,
    /// The PKI's folder.
    pub pki: PathBuf,
    /// The authority of all servers inside.
    pub inside_ca: PathBuf,
    /// Where services listen.
    pub ports: Ports,
    /// UCM nodes, by cluster.
    pub clusters: Vec<Vec<Node>>,
    /// The photo server.
    pub photos: Node,
    /// Everybody, with passwords.
    pub users: Vec<User>,
}

impl InnerWorld {
    /// Starts everything; all sockets are bound when this returns.
    pub fn start(setup: &Setup) -> Result<Self> {
        let (ucm, photos) = identities(&setup.pki, &setup.domain)?;
        let mut world = free_world(setup)?;
        world.has_ils = setup.has_ils;
        let zones = if setup.has_pinpoint_zone {
            Zone::pinpoint(&world).to_vec()
        } else {
            vec![Zone::inside(&world)]
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let dns = EmbeddedDns::start(runtime.handle(), setup.dns, &zones)?;
        let simulator = Arc::new(Simulator::start(world.clone(), &ucm, &Place::Host)?);
        let control = Control::start(&simulator, setup.control)?;
        let servers = start_files(&runtime, &world, (&ucm, &photos))?;
        let description = Description {
            domain: world.domain,
            dns: dns.address(),
            control: control.address(),
            pki: setup.pki.clone(),
            inside_ca: setup.pki.join("inside/ca.pem"),
            ports: world.ports,
            clusters: world.clusters.into_iter().map(|c| c.nodes).collect(),
            photos: world.photos,
            users: world.users,
        };
        Ok(Self {
            description,
            _servers: servers,
            _control: control,
            _simulator: simulator,
            _dns: dns,
            _runtime: runtime,
        })
    }

    /// Where everything is.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }
}

/// The certificates of UCM and the photo server.
fn identities(pki: &Path, domain: &str) -> Result<(Identity, Identity)> {
    if !pki.join("inside/ca.pem").exists() {
        Pki::generate(&Plan::standard(domain))?.write_to(pki)?;
    }
    let read = |name: &str| {
        let stem = pki.join("inside").join(name);
        Identity::read_from(&stem)
    };
    Ok((read("ucm")?, read("photos")?))
}

/// A world on a block of loopback addresses of its own, with the wanted ports free on each.
fn free_world(setup: &Setup) -> Result<World> {
    let process = std::process::id();
    let mut last = None;
    for attempt in 0..BLOCKS_TRIED {
        let seed = process.wrapping_mul(BLOCKS_TRIED).wrapping_add(attempt);
        let [_, _, a, b] = seed.to_be_bytes();
        // 127.0.0.x is where everybody else listens.
        let block = (a.max(1), b);
        match free_ports(block, setup.ports) {
            Ok(ports) => return Ok(World::on_loopback(&setup.domain, block, ports)),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).context("Failed to find free loopback addresses"),
        None => bail!("no loopback addresses were tried"),
    }
}

/// The ports, with 0 replaced by one that is free now on the block's first address.
fn free_ports((a, b): (u8, u8), ports: Ports) -> Result<Ports> {
    let free = |number: u8, port: u16| -> Result<u16> {
        let address = SocketAddr::from((Ipv4Addr::new(127, a, b, number), port));
        let listener =
            TcpListener::bind(address).with_context(|| format!("Failed to listen on {address}"))?;
        Ok(listener.local_addr()?.port())
    };
    Ok(Ports {
        uds: free(31, ports.uds)?,
        files_http: free(31, ports.files_http)?,
        files_https: free(31, ports.files_https)?,
        photos: free(80, ports.photos)?,
    })
}

fn start_files(
    runtime: &Runtime,
    world: &World,
    (ucm, photos): (&Identity, &Identity),
) -> Result<Vec<HttpServer>> {
    let ucm = http_server::tls_config(ucm)?;
    let photos = http_server::tls_config(photos)?;
    let files = site(files::configuration(world));
    let pictures = site(files::photos(world));
    let mut sites = Vec::new();
    for (_, node) in world.nodes() {
        let http = node.sockets(world.ports.files_http);
        sites.extend(http.map(|socket| (socket, None, &files)));
        let https = node.sockets(world.ports.files_https);
        sites.extend(https.map(|socket| (socket, Some(&ucm), &files)));
    }
    let https = world.photos.sockets(world.ports.photos);
    sites.extend(https.map(|socket| (socket, Some(&photos), &pictures)));
    sites
        .into_iter()
        .map(|(socket, config, handler)| {
            let listener = TcpListener::bind(socket)
                .with_context(|| format!("Failed to listen on {socket}"))?;
            let tls = http_server::tls(config.map(Arc::clone));
            HttpServer::start(runtime.handle(), listener, tls, Arc::clone(handler))
        })
        .collect()
}

/// Serves files from memory.
fn site(files: BTreeMap<String, Vec<u8>>) -> Handler {
    Arc::new(move |request: &Received| {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Answer::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (path, _) = request.path_and_query();
        let content_type = match path.rsplit_once('.') {
            Some((_, "jpg")) => "image/jpeg",
            _ => "text/xml",
        };
        files.get(path).map_or_else(
            || Answer::empty(StatusCode::NOT_FOUND),
            |content| Answer::new(StatusCode::OK, content_type, content.clone()),
        )
    })
}

impl Setup {
    /// Everything on loopback; UCM's own ports, which are free on most blocks of addresses.
    #[must_use]
    pub fn new(domain: &str, pki: &Path) -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            domain: domain.to_owned(),
            pki: pki.to_owned(),
            ports: Ports {
                photos: 8444,
                ..Ports::STANDARD
            },
            dns: any,
            control: any,
            has_pinpoint_zone: false,
            has_ils: true,
        }
    }
}

const BLOCKS_TRIED: u32 = 16;
