//! A real redis-server inside, over TLS, with one user that may do what edge-c needs and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use certs::{Authority, Leaf};

use crate::pair::Member;
use crate::place::Place;
use crate::process::Process;

/// The store that several edge-c share. It writes what it is told to disk, as the README asks for.
#[derive(Debug)]
pub struct Redis {
    place: Place,
    dir: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Redis {
    /// Starts it with a certificate of `authority`; `dir` holds its files.
    pub fn start(
        place: &Place,
        dir: &Path,
        address: SocketAddr,
        authority: &Authority,
    ) -> Result<Self> {
        let dir = dir.join("redis");
        fs::create_dir_all(&dir)?;
        let leaf = Leaf::server(&["redis.example.com".to_owned()]);
        let identity = authority.issue(&leaf.with_addresses(&[address.ip()]))?;
        identity.write_to(&dir.join("redis"))?;
        fs::write(dir.join("ca.pem"), authority.pem())?;
        let password = dir.join("password");
        fs::write(&password, format!("{PASSWORD}\n"))?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        let text = format!(
            "port 0\ntls-port {port}\nbind {ip}\ntls-cert-file {dir}/redis.pem\ntls-key-file {dir}/redis.key\n\
             tls-ca-cert-file {dir}/ca.pem\ntls-auth-clients no\ndir {dir}\nappendonly yes\nappendfsync always\n\
             save \"\"\nmaxmemory-policy noeviction\nuser default off\n\
             user edge on >{PASSWORD} ~{{edge}}:* -@all +@read +@write +@scripting +@connection +info +time\n",
            port = address.port(),
            ip = address.ip(),
            dir = dir.display(),
        );
        fs::write(dir.join("redis.conf"), text)?;
        let mut redis = Self {
            place: place.clone(),
            dir,
            address,
            process: None,
        };
        redis.resume()?;
        Ok(redis)
    }

    /// The file with the key that all edge-c have.
    #[must_use]
    pub fn key_file(&self, core: &Member) -> PathBuf {
        self.dir.join(format!("{}.key", core.name()))
    }

    /// Tells an edge-c to share its sessions here, and gives it the key that all have.
    pub fn share(&self, core: &mut Member) -> Result<()> {
        let key = self.key_file(core);
        fs::write(&key, [7; 32])?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        core.set("session", "key_file", path_text(&key));
        core.set("session", "store", "redis");
        let mut table = toml::Table::new();
        table.insert(
            "url".to_owned(),
            format!("rediss://{}/0", self.address).into(),
        );
        table.insert("user".to_owned(), "edge".into());
        let password = path_text(&self.dir.join("password"));
        table.insert("password_file".to_owned(), password.into());
        core.set("session", "redis", table);
        Ok(())
    }

    /// Stops it in order (SIGTERM).
    pub fn stop(&mut self) -> Result<()> {
        let process = self.process.take();
        process.map_or(Ok(()), |mut process| {
            process.terminate(STOP_LIMIT).map(drop)
        })
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process
            .take()
            .map_or(Ok(()), |mut process| process.kill())
    }

    /// Starts it again with what is on disk.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.place.command("redis-server");
        command.arg(self.dir.join("redis.conf"));
        let mut process = Process::spawn("redis-server", command, &self.dir.join("redis.log"))?;
        let (place, address) = (self.place.clone(), self.address);
        process.wait_ready(|| Ok(place.connect(address, CONNECT_LIMIT).is_ok()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Forgets everything that is on disk, to be called while it is down.
    pub fn lose_everything(&self) -> Result<()> {
        fs::remove_dir_all(self.dir.join("appendonlydir"))
            .context("Failed to remove the log of the store")
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

const PASSWORD: &str = "correct-horse-battery";
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const STOP_LIMIT: Duration = Duration::from_secs(10);
