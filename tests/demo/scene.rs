//! What the journey needs to know of the world it goes through; how that world came about is for [`host`](crate::host)
//! and [`real`](crate::real).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use support::dns::Zone;
use support::place::Place;
use support::world::{Node, User, World};

/// A pair that runs between a client and a company.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Where the client is.
    pub(crate) outside: Place,
    /// The service domain.
    pub(crate) domain: String,
    /// The name server that stands in for public DNS.
    pub(crate) public_dns: SocketAddr,
    /// What it is, in words.
    pub(crate) public_dns_is: &'static str,
    /// The edge as clients reach it.
    pub(crate) edge: SocketAddr,
    /// Everybody inside.
    pub(crate) users: Vec<User>,
    /// Scheme, host and port of the photo server.
    pub(crate) photos: String,
    /// The authority of the edge's public certificate.
    pub(crate) trust: PathBuf,
    /// Where everything is written to.
    pub(crate) dir: PathBuf,
    /// Admin listeners and where to ask them from: edge-e, edge-c.
    pub(crate) admins: [(Place, SocketAddr); 2],
    /// File names of configuration and log, without extension: edge-e, edge-c.
    pub(crate) names: [&'static str; 2],
    /// What runs, for as long as this lives.
    pub(crate) parts: Parts,
}

/// Held for its end only.
#[derive(Debug)]
#[expect(dead_code, reason = "held so that it ends with the scene")]
pub(crate) enum Parts {
    Host(Box<crate::host::Running>),
    Real(Box<crate::real::Running>),
}

impl Scene {
    /// Everything that edge-c has logged.
    pub(crate) fn core_log(&self) -> Result<String> {
        let [_, core] = self.names;
        Ok(fs::read_to_string(self.dir.join(format!("{core}.log")))?)
    }
}

/// The name of the one edge-e.
pub(crate) fn edge_name(domain: &str) -> String {
    format!("edge1.{domain}")
}

/// What public DNS has of a company: the way to its edge, and nothing of the inside.
pub(crate) fn public_zone(domain: &str, address: IpAddr, port: u16) -> Zone {
    let mut zone = Zone::new(domain);
    let edge = edge_name(domain);
    zone.add_srv(
        &format!("_collab-edge._tls.{domain}"),
        (10, 10),
        port,
        &edge,
    );
    zone.add_host(&Node {
        host: edge,
        addresses: vec![address],
    });
    zone
}

/// Scheme, host and port of the photo server.
pub(crate) fn photo_origin(world_photos: &Node, port: u16) -> String {
    match port {
        443 => format!("https://{}", world_photos.host),
        _ => format!("https://{}:{port}", world_photos.host),
    }
}

/// The allow list of the demo: photos, and the tests that keep it honest.
pub(crate) fn allow_list(photos: &str) -> String {
    format!(
        "# Read again within seconds when it changes. Nodes that DNS names bring rules of their own.\n\
         [[rule]]\n\
         description = \"contact photos\"\n\
         url = \"{photos}/photos/\"\n\
         match = \"prefix\"\n\
         methods = [\"GET\", \"HEAD\"]\n\
         \n\
         [[test]]\n\
         url = \"{photos}/photos/alice.jpg\"\n\
         expected = \"allow\"\n\
         \n\
         [[test]]\n\
         url = \"{photos}/photos/../private/\"\n\
         expected = \"block\"\n"
    )
}

/// How many clusters and nodes there are, in words.
pub(crate) fn in_words(world: &World) -> String {
    let nodes = world.nodes().count();
    format!(
        "{} UCM clusters with {nodes} nodes, {} users, photos on {}",
        world.clusters.len(),
        world.users.len(),
        world.photos.host
    )
}
