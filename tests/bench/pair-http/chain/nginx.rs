//! nginx as origin of every chain, and as both roles of a chain of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use support::bench::chain::{Processes, start_listening};
use support::process::Process;

use super::{Chain, loopback};
use crate::arguments::ChainName;
use crate::stage::{Ground, PHOTOS};

/// The server behind every chain.
#[derive(Debug)]
pub(crate) struct Origin {
    processes: Processes,
}

/// What it serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files {
    pub(crate) one_stream_bytes: u64,
    pub(crate) each_stream_bytes: u64,
}

impl Origin {
    /// Serves `/small`, `/one` and `/each`, and the same below `/<segment>`: chains that don't take the edge's segment
    /// away pass the target on as it came.
    pub(crate) fn start(
        ground: &Ground<'_>,
        address: SocketAddr,
        segment: &str,
        files: Files,
    ) -> Result<Self> {
        let dir = ground.dir.join("origin");
        let root = dir.join("www");
        fs::create_dir_all(&root)?;
        fs::write(root.join("small"), "0123456789abcde\n".repeat(64))?;
        fs::File::create(root.join("one"))?.set_len(files.one_stream_bytes)?;
        fs::File::create(root.join("each"))?.set_len(files.each_stream_bytes)?;
        std::os::unix::fs::symlink(".", root.join(segment))?;
        let identity = |name: &str| ground.dir.join("inside").join(name).display().to_string();
        let http = format!(
            r"  sendfile on; open_file_cache max=16 inactive=10m; output_buffers 2 256k;
  default_type application/octet-stream;
  ssl_certificate {}; ssl_certificate_key {};
  server {{ listen {address} ssl backlog=4096; root {}; }}",
            identity("photos.pem"),
            identity("photos.key"),
            root.display()
        );
        let process = start_one("origin", &dir, &http, address)?;
        Ok(Self {
            processes: vec![process].into(),
        })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.pids()
    }
}

/// Keep-alive towards the next hop and a verified peer on each leg, buffers of a size that suits downloads.
pub(super) fn start(name: ChainName, ground: &Ground<'_>, dir: &Path) -> Result<Chain> {
    let pki = ground.dir.display();
    let origin = ground.origin;
    let core = format!(
        r"{PROXY}
  upstream next {{ server {origin}; {KEEPALIVE} }}
  ssl_certificate {pki}/link/edge1.pem; ssl_certificate_key {pki}/link/edge1.key;
  ssl_client_certificate {pki}/link/ca.pem; ssl_verify_client on;
  proxy_ssl_trusted_certificate {pki}/inside/ca.pem; proxy_ssl_name {PHOTOS};
  proxy_set_header Host {PHOTOS}; proxy_set_header X-Forwarded-For $http_x_forwarded_for;
  server {{ listen 127.0.0.1:{CORE_PORT} ssl backlog=4096; location / {{ proxy_pass https://next; }} }}"
    );
    let edge = format!(
        r"{PROXY}
  upstream next {{ server 127.0.0.1:{CORE_PORT}; {KEEPALIVE} }}
  ssl_certificate {pki}/public/edge1.pem; ssl_certificate_key {pki}/public/edge1.key;
  proxy_ssl_certificate {pki}/link/edge-c1.pem; proxy_ssl_certificate_key {pki}/link/edge-c1.key;
  proxy_ssl_trusted_certificate {pki}/link/ca.pem; proxy_ssl_name edge1.link.internal;
  proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
  server {{ listen 127.0.0.1:{EDGE_PORT} ssl backlog=4096; location / {{ proxy_pass https://next; }} }}"
    );
    let processes = vec![
        start_one("nginx-e", &dir.join("e"), &edge, loopback(EDGE_PORT))?,
        start_one("nginx-c", &dir.join("c"), &core, loopback(CORE_PORT))?,
    ];
    Ok(Chain {
        name,
        address: loopback(EDGE_PORT),
        processes: processes.into(),
    })
}

fn start_one(name: &str, dir: &Path, http: &str, address: SocketAddr) -> Result<Process> {
    fs::create_dir_all(dir)?;
    let file = dir.join("nginx.conf");
    fs::write(&file, configuration(dir, http))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(&file);
    command.args(["-e", "stderr"]);
    start_listening(name, command, dir, address)
}

fn configuration(dir: &Path, http: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {}; ", path(dir, kind).display()))
        .collect();
    let pid = path(dir, "pid");
    format!(
        r"daemon off; user root; worker_processes 2; worker_rlimit_nofile 20000;
pid {}; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 300s;
  ssl_protocols TLSv1.3; ssl_session_cache off;
  {temporary}
{http}
}}
",
        pid.display()
    )
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

/// Responses go through memory, never through a file on disk.
const PROXY: &str = r#"  proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_buffering on; proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;
  proxy_max_temp_file_size 0; proxy_request_buffering off; client_max_body_size 0;
  proxy_ssl_verify on; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;"#;
const KEEPALIVE: &str = "keepalive 256; keepalive_requests 1000000000; keepalive_timeout 300s;";
const EDGE_PORT: u16 = 4451;
const CORE_PORT: u16 = 4452;
