//! The product: edge-e and edge-c as the release binaries, configured as an operator would.

use std::path::Path;

use anyhow::Result;
use support::bench::chain::{Edge, start_edges};

use super::{Chain, loopback};
use crate::arguments::ChainName;
use crate::stage::{DOMAIN, EDGE, Ground, PHOTOS};

/// What differs between two pairs on one machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    transport: &'static str,
    public: u16,
    link: u16,
    admin_e: u16,
    admin_c: u16,
}

pub(super) const POOL: Variant = Variant {
    transport: "pool",
    public: 4431,
    link: 4432,
    admin_e: 4433,
    admin_c: 4434,
};

pub(super) const H2: Variant = Variant {
    transport: "h2",
    public: 4441,
    link: 4442,
    admin_e: 4443,
    admin_c: 4444,
};

pub(super) const BASELINE: Variant = Variant {
    transport: "pool",
    public: 4471,
    link: 4472,
    admin_e: 4473,
    admin_c: 4474,
};

pub(super) fn start(
    name: ChainName,
    ground: &Ground<'_>,
    dir: &Path,
    variant: Variant,
) -> Result<Chain> {
    std::fs::write(dir.join("allow-list.toml"), allow_list())?;
    let edges = [
        Edge {
            binary: "edge-e",
            text: edge_e(ground, variant),
            admin: loopback(variant.admin_e),
        },
        Edge {
            binary: "edge-c",
            text: edge_c(ground, dir, variant),
            admin: loopback(variant.admin_c),
        },
    ];
    let folder = ground.baseline.filter(|_| name == ChainName::Baseline);
    Ok(Chain {
        name,
        address: loopback(variant.public),
        processes: start_edges(dir, folder, edges)?,
    })
}

/// Every client has the same address here, so limits by address are as those for all.
fn edge_e(ground: &Ground<'_>, variant: Variant) -> String {
    let pki = ground.dir.display();
    let Variant {
        public,
        link,
        admin_e,
        ..
    } = variant;
    format!(
        r#"name = "{EDGE}"
[public]
listen = ["127.0.0.1:{public}"]
certificates = [{{ chain = "{pki}/public/edge1.pem", key = "{pki}/public/edge1.key" }}]
[link]
listen = ["127.0.0.1:{link}"]
certificate = "{pki}/link/edge1.pem"
key = "{pki}/link/edge1.key"
trust_anchors = ["{pki}/link/ca.pem"]
allowed_cores = ["edge-c1.link.internal"]
[admin]
listen = "127.0.0.1:{admin_e}"
[limits]
connections_max = 100000
connections_per_address_max = 100000
connections_per_second_per_address = 100000
[drain]
grace = "2s"
"#
    )
}

fn edge_c(ground: &Ground<'_>, dir: &Path, variant: Variant) -> String {
    let pki = ground.dir.display();
    let dns = ground.dns;
    let Variant {
        transport,
        public,
        link,
        admin_c,
        ..
    } = variant;
    let dir = dir.display();
    format!(
        r#"name = "edge-c1.link.internal"
core_id = 1
[[edge]]
name = "{EDGE}"
address = "127.0.0.1:{link}"
certificate_name = "edge1.link.internal"
https_port = {public}
[link]
certificate = "{pki}/link/edge-c1.pem"
key = "{pki}/link/edge-c1.key"
trust_anchors = ["{pki}/link/ca.pem"]
https_transport = "{transport}"
[[domain]]
name = "{DOMAIN}"
[dns]
servers = ["{dns}"]
[inside]
trust_anchors = ["{pki}/inside/ca.pem"]
[allow_list]
file = "{dir}/allow-list.toml"
[session]
state_dir = "{dir}/state"
[admin]
listen = "127.0.0.1:{admin_c}"
[drain]
grace = "2s"
"#
    )
}

/// A list of a common length; the rule in question is the last one.
fn allow_list() -> String {
    let others: String = (0..OTHER_RULES)
        .map(|number| rule(&format!("https://app{number}.{DOMAIN}/api/")))
        .collect();
    others + &rule(&format!("https://{PHOTOS}/"))
}

fn rule(url: &str) -> String {
    format!("[[rule]]\ndescription = \"as of any site\"\nurl = \"{url}\"\nmatch = \"prefix\"\n")
}

const OTHER_RULES: u32 = 50;
