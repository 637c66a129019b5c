//! HAProxy in both roles.

use std::path::Path;

use anyhow::Result;
use support::bench::chain::{join_identity, start_haproxy};

use super::{Chain, loopback};
use crate::arguments::ChainName;
use crate::stage::{Ground, PHOTOS};

/// Connections are reused towards the next hop, every peer is verified.
pub(super) fn start(name: ChainName, ground: &Ground<'_>, dir: &Path) -> Result<Chain> {
    let pki = |file: &str| ground.dir.join(file);
    join_identity(&pki("public/edge1"), &dir.join("public.pem"))?;
    join_identity(&pki("link/edge1"), &dir.join("server.pem"))?;
    join_identity(&pki("link/edge-c1"), &dir.join("client.pem"))?;
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
        start_haproxy("haproxy-e", &edge, dir, loopback(EDGE_PORT))?,
        start_haproxy("haproxy-c", &core, dir, loopback(CORE_PORT))?,
    ];
    Ok(Chain {
        name,
        address: loopback(EDGE_PORT),
        processes: processes.into(),
    })
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
