//! Prosody as an IM and Presence node. Nodes know nothing of each other: each has all accounts, as those of one cluster.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use certs::Identity;

use super::daemon::{self, Daemon};
use crate::place::Place;
use crate::template::fill;

/// Where it stands and whom it knows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names its folder and its log.
    pub name: String,
    /// Listens here: 5222 with STARTTLS, 5223 with TLS from the start, 5280 for WebSocket.
    pub address: IpAddr,
    /// The domain of its users; chat rooms are at `conference.<domain>`.
    pub domain: String,
    /// Local parts and passwords.
    pub accounts: Vec<(String, String)>,
    /// TLS as Prosody names it: `tlsv1_2+`, or `tlsv1_2` for nothing newer. It offers channel binding over TLS 1.2 only.
    pub protocol: &'static str,
    /// Its certificate.
    pub identity: Identity,
}

/// Starts it; returns when it accepts connections.
pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Daemon> {
    let own = dir.join(&plan.name);
    fs::create_dir_all(&own)?;
    plan.identity.write_to(&own.join("node"))?;
    write_accounts(&own, plan)?;
    let values = [
        ("DIR", own.display().to_string()),
        ("ADDRESS", plan.address.to_string()),
        ("DOMAIN", plan.domain.clone()),
        ("PROTOCOL", plan.protocol.to_owned()),
    ];
    let file = own.join("prosody.cfg.lua");
    fs::write(&file, fill(include_str!("prosody.cfg.lua"), &values))?;
    let plan = daemon::Plan {
        name: plan.name.clone(),
        program: "prosody",
        arguments: vec![
            "--config".to_owned(),
            file.display().to_string(),
            "-F".to_owned(),
        ],
        environment: Vec::new(),
        probes: [5222, 5223, 5280]
            .map(|port| SocketAddr::new(plan.address, port))
            .to_vec(),
        ready: None,
    };
    Daemon::start(place, dir, plan)
}

/// As files of its store: asking its tool takes a third of a second for each.
fn write_accounts(dir: &Path, plan: &Plan) -> Result<()> {
    let store = dir.join("data").join(encode(&plan.domain)).join("accounts");
    fs::create_dir_all(&store)?;
    for (name, password) in &plan.accounts {
        let text = format!("return {{ [\"password\"] = {password:?}; }};\n");
        fs::write(store.join(format!("{}.dat", encode(name))), text)?;
    }
    Ok(())
}

/// Names of its files: everything but letters and digits is escaped.
fn encode(name: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02x}")
        }
    };
    name.bytes().map(byte).collect()
}
