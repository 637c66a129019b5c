//! HAProxy in both roles.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use support::process::Process;

use super::{Chain, loopback, spawn, wait_listening};
use crate::arguments::ChainName;
use crate::stage::{Ground, PHOTOS};

/// Connections are reused towards the next hop, every peer is verified.
pub(super) fn start(name: ChainName, ground: &Ground<'_>, dir: &Path) -> Result<Chain> {
    let pki = |file: &str| ground.dir.join(file);
    join(&pki("public/edge1"), &dir.join("public.pem"))?;
    join(&pki("link/edge1"), &dir.join("server.pem"))?;
    join(&pki("link/edge-c1"), &dir.join("client.pem"))?;
    let origin = ground.origin;
    let (here, link_ca, inside_ca) = (
        dir.display(),
        pki("link/ca.pem").display().to_string(),
        pki("inside/ca.pem").display().to_string(),
    );
    let core = format!(
        "{DEFAULTS}
frontend middle
  bind 127.0.0.1:{CORE_PORT} ssl crt {here}/server.pem ca-file {link_ca} verify required
  default_backend next
backend next
  http-request set-header Host {PHOTOS}
  server origin {origin} ssl ca-file {inside_ca} verify required sni str({PHOTOS}) {POOL}
"
    );
    let edge = format!(
        "{DEFAULTS}
frontend public
  bind 127.0.0.1:{EDGE_PORT} ssl crt {here}/public.pem
  option forwardfor
  default_backend next
backend next
  server core 127.0.0.1:{CORE_PORT} ssl crt {here}/client.pem ca-file {link_ca} verify required sni str(edge1.link.internal) {POOL}
"
    );
    let processes = vec![
        start_one("haproxy-e", dir, &edge, EDGE_PORT)?,
        start_one("haproxy-c", dir, &core, CORE_PORT)?,
    ];
    Ok(Chain {
        name,
        address: loopback(EDGE_PORT),
        processes,
    })
}

fn start_one(name: &str, dir: &Path, text: &str, port: u16) -> Result<Process> {
    let file = dir.join(format!("{name}.cfg"));
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    // In the foreground: the pid is the one that works.
    command.arg("-db").arg("-f").arg(&file);
    let mut process = spawn(name, command, dir)?;
    wait_listening(&mut process, loopback(port))?;
    Ok(process)
}

/// HAProxy wants chain and key in one file.
fn join(identity: &Path, to: &Path) -> Result<()> {
    let chain = fs::read_to_string(identity.with_extension("pem"))?;
    let key = fs::read_to_string(identity.with_extension("key"))?;
    fs::write(to, chain + &key)?;
    Ok(())
}

const DEFAULTS: &str = "global
  nbthread 2
  maxconn 9000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option http-keep-alive
  http-reuse always";
const POOL: &str = "pool-max-conn 256";
const EDGE_PORT: u16 = 4461;
const CORE_PORT: u16 = 4462;
