//! The product: edge-e and edge-c as the release binaries, configured as an operator would.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use support::bench::chain::{Edge, Processes, start_edges};

use super::{inside, loopback};
use crate::stage::{DOMAIN, Ground};

pub(super) fn start(ground: &Ground<'_>, dir: &Path) -> Result<(SocketAddr, Processes)> {
    let edges = [
        Edge {
            binary: "edge-e",
            text: edge_e(ground),
            admin: SocketAddr::new(loopback(1), ADMIN_E),
        },
        Edge {
            binary: "edge-c",
            text: edge_c(ground, dir),
            admin: SocketAddr::new(loopback(1), ADMIN_C),
        },
    ];
    let processes = start_edges(dir, None, edges)?;
    Ok((SocketAddr::new(loopback(1), 5223), processes))
}

/// Every client has the same address here, so limits by address are as those for all.
fn edge_e(ground: &Ground<'_>) -> String {
    let pki = ground.dir.display();
    format!(
        r#"name = "edge1.{DOMAIN}"
[public]
listen = ["127.0.0.1:8443"]
certificates = [{{ chain = "{pki}/public/edge1.pem", key = "{pki}/public/edge1.key" }}]
[xmpp]
listen = ["127.0.0.1:5223"]
unauthenticated_max = 50000
unauthenticated_per_address_max = 50000
[link]
listen = ["127.0.0.1:7001"]
certificate = "{pki}/link/edge1.pem"
key = "{pki}/link/edge1.key"
trust_anchors = ["{pki}/link/ca.pem"]
allowed_cores = ["edge-c1.link.internal"]
[admin]
listen = "127.0.0.1:{ADMIN_E}"
[limits]
connections_max = 100000
connections_per_address_max = 100000
connections_per_second_per_address = 100000
[drain]
grace = "1s"
"#
    )
}

fn edge_c(ground: &Ground<'_>, dir: &Path) -> String {
    let pki = ground.dir.display();
    let (dns, node, dir, advertised) = (ground.dns, ground.node, dir.display(), inside(20));
    format!(
        r#"name = "edge-c1.link.internal"
core_id = 1
[[edge]]
name = "edge1.{DOMAIN}"
address = "127.0.0.1:7001"
certificate_name = "edge1.link.internal"
advertised_addresses = ["{advertised}"]
[link]
certificate = "{pki}/link/edge-c1.pem"
key = "{pki}/link/edge-c1.key"
trust_anchors = ["{pki}/link/ca.pem"]
[[domain]]
name = "{DOMAIN}"
[xmpp]
session_gate = "off"
[[xmpp.domain]]
names = ["{DOMAIN}"]
nodes = ["tls:{node}"]
[dns]
servers = ["{dns}"]
[inside]
trust_anchors = ["{pki}/inside/ca.pem"]
[session]
state_dir = "{dir}/state"
[admin]
listen = "127.0.0.1:{ADMIN_C}"
[drain]
grace = "1s"
"#
    )
}

const ADMIN_E: u16 = 9001;
const ADMIN_C: u16 = 9002;
