//! A foreign edge in the DMZ in place of the pair: what the clients and nodes of these tests are proven with.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use certs::Identity;

use super::daemon::{self, Daemon};
use crate::place::Place;
use crate::template::fill;

/// Where it stands.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients arrive here: 5222, 5223 and 8443.
    pub public: IpAddr,
    /// The nodes, the first as long as it lives.
    pub nodes: Vec<IpAddr>,
    /// The name in the nodes' certificates.
    pub domain: String,
    /// The authority of the nodes, PEM.
    pub authority: String,
    /// Its certificate.
    pub identity: Identity,
}

/// Starts it; returns when it accepts connections.
pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Daemon> {
    let own = dir.join("reference-edge");
    fs::create_dir_all(&own)?;
    let Identity {
        chain_pem, key_pem, ..
    } = &plan.identity;
    fs::write(own.join("edge.pem"), format!("{chain_pem}{key_pem}"))?;
    fs::write(own.join("inside.pem"), &plan.authority)?;
    let authority = own.join("inside.pem");
    let (name, authority) = (&plan.domain, authority.display());
    let tls = format!(
        "ssl verify required ca-file {authority} sni str({name}) verifyhost {name} check-ssl check-sni {name}"
    );
    let values = [
        ("DIR", own.display().to_string()),
        ("PUBLIC", plan.public.to_string()),
        ("CONNECTIONS", "1000".to_owned()),
        ("THREADS", "2".to_owned()),
        ("DIRECT", servers(plan, 5223, &tls)),
        ("STARTTLS", servers(plan, 5222, "")),
        ("WEBSOCKET", servers(plan, 5280, "")),
    ];
    let file = own.join("haproxy.cfg");
    fs::write(&file, fill(include_str!("reference_edge.cfg"), &values))?;
    let plan = daemon::Plan {
        name: "reference-edge".to_owned(),
        program: "haproxy",
        // In the foreground, one process.
        arguments: vec![
            "-db".to_owned(),
            "-f".to_owned(),
            file.display().to_string(),
        ],
        environment: Vec::new(),
        probes: [5222, 5223, 8443]
            .map(|port| SocketAddr::new(plan.public, port))
            .to_vec(),
        ready: None,
    };
    Daemon::start(place, dir, plan)
}

fn servers(plan: &Plan, port: u16, options: &str) -> String {
    let line = |(index, address): (usize, &IpAddr)| {
        let rank = if index == 0 { "" } else { "backup" };
        format!("  server node{index} {address}:{port} {options} {rank}\n")
    };
    plan.nodes.iter().enumerate().map(line).collect()
}
