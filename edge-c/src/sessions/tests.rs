//! What sessions promise, through the public face: restart, kill, revocation, keys, files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use common::id::CoreId;
use common::mra::cookie::{Filter, Refused};
use common::net::{ClientAddr, Deployment, Host};
use common::session::{DeviceName, HomeCluster, Method, UserName};
use tokio::sync::oneshot;

use super::database::tests::{DISK_IS_FULL, make_faulty};
use super::random::tests::CountedRandom;
use super::*;

mod disk;
mod flight;
mod issue;
mod keys;
mod revocation;

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(super) const PASSWORD: &str = "Basic YWxpY2U6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5";

pub(super) fn in_memory() -> Sessions {
    let config = Config {
        state: State::Memory,
        ..config(Path::new(""))
    };
    Sessions::open(config, Arc::new(CountedRandom::default()), NOW).unwrap()
}

pub(super) fn in_directory(path: &Path) -> Sessions {
    open(path, NOW).unwrap()
}

pub(super) fn open(path: &Path, now: UnixTime) -> Result<Sessions, StateError> {
    Sessions::open(config(path), Arc::new(SystemRandom), now)
}

pub(super) fn config(path: &Path) -> Config {
    Config {
        core: CoreId(7),
        lifetime: limits::SESSION_LIFETIME_DEFAULT,
        cookie_domain: None,
        state: State::Directory {
            path: path.to_owned(),
            key_file: None,
        },
        shared: None,
    }
}

pub(super) fn new(user: &str) -> NewSession {
    let host = |text: &str| Host::parse(text).unwrap();
    NewSession {
        user: UserName::parse(user).unwrap(),
        domain: Domain::parse("example.com").unwrap(),
        deployment: Deployment::standard(),
        home: HomeCluster {
            host: host("cucm1.example.com"),
            nodes: vec![host("cucm1.example.com"), host("cucm2.example.com")],
        },
        method: Method::Basic,
        device: Some(DeviceName::parse("CSFALICE").unwrap()),
        client: ClientAddr("192.0.2.9:50000".parse().unwrap()),
        nodes: vec![host("cucm1.example.com")],
        credential: Some(Secret::new(PASSWORD.to_owned())),
        edge_name: Domain::parse("edge1.example.com").unwrap(),
        until: None,
    }
}

pub(super) async fn stop(sessions: &Sessions) {
    sessions.run(|| NOW, std::future::ready(())).await;
}

pub(super) fn copy_of(path: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sessions.redb", "state.key"] {
        fs::copy(path.join(name), dir.path().join(name)).unwrap();
    }
    dir
}

pub(super) fn write_key(path: &Path, octets: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = path.join("state.key");
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}
