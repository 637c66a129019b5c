//! nginx and HAProxy, each in both roles: TLS from clients, mutual TLS between, verified TLS to the node, bytes untouched.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use support::bench::chain::{Processes, join_identity, start_haproxy, start_listening};

use super::loopback;
use crate::stage::{DOMAIN, Ground};

pub(super) fn haproxy(ground: &Ground<'_>, dir: &Path) -> Result<(SocketAddr, Processes)> {
    let pki = |file: &str| ground.dir.join(file);
    join_identity(&pki("public/edge1"), &dir.join("public.pem"))?;
    join_identity(&pki("link/edge1"), &dir.join("server.pem"))?;
    join_identity(&pki("link/edge-c1"), &dir.join("client.pem"))?;
    let (here, node, authorities) = (dir.display(), ground.node, ground.dir.display());
    let core = format!(
        "{HAPROXY}
listen middle
  bind 127.0.0.1:4462 ssl crt {here}/server.pem ca-file {authorities}/link/ca.pem verify required
  server node {node} ssl ca-file {authorities}/inside/ca.pem verify required sni str({DOMAIN}) verifyhost {DOMAIN}
"
    );
    let edge = format!(
        "{HAPROXY}
listen public
  bind 127.0.0.1:4461 ssl crt {here}/public.pem alpn xmpp-client
  server core 127.0.0.1:4462 ssl crt {here}/client.pem ca-file {authorities}/link/ca.pem verify required sni str(edge1.link.internal)
"
    );
    let address = |port| SocketAddr::new(loopback(1), port);
    // Two of each on one port, among whom the system spreads connections: one has descriptors for half of the streams.
    let processes = vec![
        start_haproxy("haproxy-c1", &core, dir, address(4462))?,
        start_haproxy("haproxy-c2", &core, dir, address(4462))?,
        start_haproxy("haproxy-e1", &edge, dir, address(4461))?,
        start_haproxy("haproxy-e2", &edge, dir, address(4461))?,
    ];
    Ok((address(4461), processes.into()))
}

pub(super) fn nginx(ground: &Ground<'_>, dir: &Path) -> Result<(SocketAddr, Processes)> {
    let (pki, node) = (ground.dir.display(), ground.node);
    let core = format!(
        "  ssl_certificate {pki}/link/edge1.pem; ssl_certificate_key {pki}/link/edge1.key;
  ssl_client_certificate {pki}/link/ca.pem; ssl_verify_client on;
  proxy_ssl_trusted_certificate {pki}/inside/ca.pem; proxy_ssl_name {DOMAIN};
  server {{ listen 127.0.0.1:4452 ssl reuseport backlog=4096; proxy_pass {node}; }}"
    );
    let edge = format!(
        "  ssl_certificate {pki}/public/edge1.pem; ssl_certificate_key {pki}/public/edge1.key; ssl_alpn xmpp-client;
  proxy_ssl_certificate {pki}/link/edge-c1.pem; proxy_ssl_certificate_key {pki}/link/edge-c1.key;
  proxy_ssl_trusted_certificate {pki}/link/ca.pem; proxy_ssl_name edge1.link.internal;
  server {{ listen 127.0.0.1:4451 ssl reuseport backlog=4096; proxy_pass 127.0.0.1:4452; }}"
    );
    let start = |name: &str, text: &str, port| {
        let own = dir.join(name);
        fs::create_dir_all(&own)?;
        let here = own.display();
        let configuration = format!(
            "daemon off; user root; worker_processes 2; 
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
pid {here}/pid; error_log stderr warn;
events {{ worker_connections 19000; }}
stream {{
  ssl_protocols TLSv1.3; ssl_session_cache off; tcp_nodelay on; proxy_timeout 1h;
  proxy_ssl on; proxy_ssl_verify on; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;
{text}
}}
"
        );
        fs::write(own.join("nginx.conf"), configuration)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&own).args(["-e", "stderr", "-c"]);
        command.arg(own.join("nginx.conf"));
        start_listening(name, command, dir, SocketAddr::new(loopback(1), port))
    };
    let processes = vec![
        start("nginx-c", &core, 4452)?,
        start("nginx-e", &edge, 4451)?,
    ];
    Ok((SocketAddr::new(loopback(1), 4451), processes.into()))
}

const HAPROXY: &str = "global
  nbthread 1
  maxconn 9700
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h";
