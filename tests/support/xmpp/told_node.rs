//! A node behind `HAProxy` that wants a PROXY header before anything else, and writes down what it says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::daemon::{self, Daemon};
use crate::place::Place;

/// Starts it at `address`, before the node; the log has a line `from <client> to <where it connected>` a connection.
pub fn start(place: &Place, dir: &Path, address: SocketAddr, node: SocketAddr) -> Result<Daemon> {
    let file = dir.join("told-node.cfg");
    let text = format!(
        "global
  log stderr format raw local0 info
defaults
  mode tcp
  log global
  option logasap
  timeout connect 2s
  timeout client 1h
  timeout server 1h
frontend told
  bind {address} accept-proxy
  log-format \"from %ci to %fi\"
  default_backend nodes
backend nodes
  server node {node}
"
    );
    fs::write(&file, text)?;
    let plan = daemon::Plan {
        name: "told-node".to_owned(),
        program: "haproxy",
        // In the foreground, one process.
        arguments: vec![
            "-db".to_owned(),
            "-f".to_owned(),
            file.display().to_string(),
        ],
        environment: Vec::new(),
        probes: vec![address],
        ready: None,
    };
    Daemon::start(place, dir, plan)
}
