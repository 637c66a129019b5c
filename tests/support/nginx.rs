//! A real nginx as the HTTPS server inside: photos, configuration files, big downloads, uploads.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use certs::Identity;
use rustix::process::Signal;
use serde::Deserialize;

use crate::files;
use crate::place::Place;
use crate::process::Process;
use crate::world::World;

/// A running nginx. Stopped in order when dropped, as workers outlive a master that is killed.
#[derive(Debug)]
pub struct Nginx {
    dir: PathBuf,
    place: Place,
    sockets: Vec<SocketAddr>,
    process: Process,
}

/// One line of its request log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Logged {
    /// The server's own name for itself: `photos` or `files`.
    pub server: String,
    /// `GET`, `PUT` ..
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    /// What was answered.
    pub status: String,
    /// `Host`.
    pub host: String,
    /// `Via`.
    pub via: String,
    /// `X-Forwarded-For`.
    pub forwarded_for: String,
    /// `X-Tracking-Id`.
    pub tracking_id: String,
    /// `Authorization`.
    pub authorization: String,
    /// `Cookie`.
    pub cookie: String,
    /// Bytes of the request's body.
    pub received: String,
    /// Bytes of the answer's body.
    pub sent: String,
}

impl Nginx {
    /// Starts it below `dir` with:
    ///
    /// - photos over HTTPS on the world's photo server: `/photos/<id>.jpg`, `/large.bin` (a sparse
    ///   file of [`LARGE_BYTES`]), `PUT /upload/<name>`, `/redirect` that redirects to a photo and
    ///   `/redirect/away` to nowhere, `/gzip/<id>.jpg` chunked and compressed, `/empty` (204), and
    ///   `/cookies` that sets one of its own and one that it has no business with;
    /// - configuration files over HTTP and HTTPS on every UCM node.
    pub fn start(
        place: &Place,
        dir: &Path,
        world: &World,
        (photos, ucm): (&Identity, &Identity),
    ) -> Result<Self> {
        let dir = dir.join("nginx");
        fs::create_dir_all(dir.join("upload"))?;
        photos.write_to(&dir.join("photos"))?;
        ucm.write_to(&dir.join("ucm"))?;
        write_files(&dir.join("www/photos"), &files::photos(world))?;
        write_files(&dir.join("www/files"), &files::configuration(world))?;
        let large = fs::File::create(dir.join("www/photos/large.bin"))?;
        large.set_len(LARGE_BYTES)?;

        let sites = Sites::new(world);
        fs::write(dir.join("nginx.conf"), sites.configuration(&dir, world))?;
        let mut command = place.command("nginx");
        command
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"));
        command.args(["-e", "stderr"]);
        let process = Process::spawn("nginx", command, &dir.join("error.log"))?;
        let mut nginx = Self {
            dir,
            place: place.clone(),
            sockets: sites.all(),
            process,
        };
        let sockets = &nginx.sockets;
        nginx.process.wait_ready(|| is_listening(place, sockets))?;
        Ok(nginx)
    }

    /// The requests so far. A request is logged when its answer has been sent.
    pub fn requests(&self) -> Result<Vec<Logged>> {
        let text = fs::read_to_string(self.dir.join("access.log"))?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not a line: {line}")))
            .collect()
    }

    /// Where an upload is kept.
    #[must_use]
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.dir.join("upload").join(name)
    }

    /// Presents another certificate for photos from now on.
    pub fn present(
        &mut self,
        photos: &Identity,
        is_presented: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        photos.write_to(&self.dir.join("photos"))?;
        self.process.signal(Signal::HUP)?;
        crate::wait::until_true(
            "the new certificate",
            crate::wait::START_LIMIT,
            is_presented,
        )
    }

    /// Stops it.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_LIMIT)?;
        Ok(())
    }

    /// Whether every socket accepts connections.
    pub fn is_listening(&self) -> Result<bool> {
        is_listening(&self.place, &self.sockets)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // If it fails the process is killed next; nothing more can be done here.
        drop(self.stop());
    }
}

struct Sites {
    photos: Vec<SocketAddr>,
    files_http: Vec<SocketAddr>,
    files_https: Vec<SocketAddr>,
}

impl Sites {
    fn new(world: &World) -> Self {
        let on_nodes = |port| -> Vec<SocketAddr> {
            world
                .nodes()
                .flat_map(|(_, node)| node.sockets(port))
                .collect()
        };
        Self {
            photos: world.photos.sockets(world.ports.photos).collect(),
            files_http: on_nodes(world.ports.files_http),
            files_https: on_nodes(world.ports.files_https),
        }
    }

    fn all(&self) -> Vec<SocketAddr> {
        [&self.photos, &self.files_http, &self.files_https]
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    fn configuration(&self, dir: &Path, world: &World) -> String {
        let dir = dir.display();
        let photos = listen(&self.photos, " ssl");
        let files = listen(&self.files_http, "") + &listen(&self.files_https, " ssl");
        let photo_host = &world.photos.host;
        format!(
            r#"daemon off;
worker_processes 1;
user root;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  log_format lines escape=json '{LOG_LINE}';
  access_log {dir}/access.log lines;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  scgi_temp_path {dir}/scgi;
  uwsgi_temp_path {dir}/uwsgi;
  default_type application/octet-stream;
  types {{ image/jpeg jpg; text/xml xml; }}
  sendfile on;
  tcp_nodelay on;
  ssl_protocols TLSv1.2 TLSv1.3;
  keepalive_requests 100000;
  server {{
    server_name photos;
    {photos}
    ssl_certificate {dir}/photos.pem;
    ssl_certificate_key {dir}/photos.key;
    root {dir}/www/photos;
    client_max_body_size 0;
    location = /redirect {{ return 302 https://{photo_host}/photos/alice.jpg; }}
    location = /redirect/away {{ return 302 https://elsewhere.invalid/x; }}
    location = /empty {{ return 204; }}
    location = /cookies {{
      add_header Set-Cookie "X-Auth=stolen; Path=/";
      add_header Set-Cookie "mine=1; Path=/";
      return 204;
    }}
    location /gzip/ {{
      alias {dir}/www/photos/photos/;
      gzip on;
      gzip_types *;
      gzip_proxied any;
      gzip_min_length 1;
    }}
    location /upload/ {{
      root {dir};
      dav_methods PUT;
    }}
  }}
  server {{
    server_name files;
    {files}
    ssl_certificate {dir}/ucm.pem;
    ssl_certificate_key {dir}/ucm.key;
    root {dir}/www/files;
  }}
}}
"#
        )
    }
}

fn listen(sockets: &[SocketAddr], options: &str) -> String {
    sockets
        .iter()
        .map(|socket| format!("listen {socket}{options}; "))
        .collect()
}

fn write_files(dir: &Path, files: &std::collections::BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (path, content) in files {
        let file = dir.join(path.trim_start_matches('/'));
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, content)?;
    }
    Ok(())
}

fn is_listening(place: &Place, sockets: &[SocketAddr]) -> Result<bool> {
    for socket in sockets {
        match place.connect(*socket, CONNECT_LIMIT) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The size of `/large.bin`: 2 GiB, sparse.
pub const LARGE_BYTES: u64 = 2 << 30;

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const STOP_LIMIT: Duration = Duration::from_secs(10);

const LOG_LINE: &str = r#"{"server":"$server_name","method":"$request_method","target":"$request_uri","status":"$status","host":"$http_host","via":"$http_via","forwarded_for":"$http_x_forwarded_for","tracking_id":"$http_x_tracking_id","authorization":"$http_authorization","cookie":"$http_cookie","received":"$content_length","sent":"$body_bytes_sent"}"#;
