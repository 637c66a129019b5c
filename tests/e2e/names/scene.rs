//! An edge that serves names, and those who ask it.

use std::net::SocketAddr;
use std::path::Path;

use certs::{Pki, Plan};
use support::netns::{self, Zones};
use support::pair::{Pair, Size, public_sockets};
use support::place::Place;
use support::world::World;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::stage::DOMAIN;

/// The name of the service.
pub(super) const SERVICE: &str = "_collab-edge._tls.example.com";

/// Edges without anybody behind them.
pub(super) struct Scene {
    pub(super) pair: Pair,
    pub(super) zones: Zones,
    dir: TempDir,
}

impl Scene {
    /// Nothing runs yet.
    pub(super) fn prepare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::standard(DOMAIN, |number| netns::inside(number).to_vec());
        let pki = Pki::generate(&Plan::standard(DOMAIN)).unwrap();
        pki.write_to(dir.path()).unwrap();
        let zones = Zones::new().unwrap();
        let pair = Pair::prepare(&zones, dir.path(), &world, Size::ONE);
        Self { pair, zones, dir }
    }

    /// Starts the edge with these zones, each a name and a file.
    pub(super) fn start(&mut self, zones: &[(&str, &Path)]) {
        let zones = zones.iter().map(|(name, file)| {
            let file = file.to_string_lossy().into_owned();
            table([("name", (*name).into()), ("file", file.into())])
        });
        let zones: Vec<Value> = zones.collect();
        let edge = &mut self.pair.edges[0];
        edge.set("dns", "listen", listen(1));
        edge.set("dns", "zone", zones);
        // What is compared would be held back; the flood has a test of its own.
        edge.set("dns", "rate_limit", unlimited());
        edge.start_alone().unwrap();
    }

    /// Where configurations and logs are.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Where edge number `number` serves names.
pub(super) fn server(number: u8) -> SocketAddr {
    let [v4, _] = public_sockets(number);
    SocketAddr::new(v4.ip(), 53)
}

/// The setting for it, both families.
pub(super) fn listen(number: u8) -> Vec<Value> {
    let sockets = public_sockets(number).map(|socket| SocketAddr::new(socket.ip(), 53));
    sockets.map(|socket| socket.to_string().into()).into()
}

/// No rate limit.
pub(super) fn unlimited() -> Value {
    table([("responses_per_second", 0.into())])
}

/// A TOML table.
pub(super) fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Value::Table(Table::from_iter(entries))
}

/// What `dig` prints for one question; a failure of `dig` itself is in it too.
pub(super) fn dig(place: &Place, server: SocketAddr, arguments: &str) -> String {
    let mut command = place.command("dig");
    command.arg(format!("@{}", server.ip()));
    command.args(["-p", &server.port().to_string()]);
    command.args(["+tries=3", "+time=2", "+nocmd", "+nostats"]);
    command.args(arguments.split_whitespace());
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of an answer without what differs from one asking to the next; the records of a section in order.
pub(super) fn comparable(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut section = Vec::new();
    // What `dig` did to get there is not part of the answer.
    for line in text.lines().filter(|line| !line.ends_with("retrying.")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = words.join(" ").to_lowercase();
        let line = match line.split_once(", id: ") {
            Some((before, _)) => before.to_owned(),
            None if line.starts_with("; cookie: ") => "; cookie".to_owned(),
            None => line,
        };
        if line.is_empty() || line.starts_with(";;") {
            section.sort();
            lines.append(&mut section);
            if !line.is_empty() {
                lines.push(line);
            }
        } else {
            section.push(line);
        }
    }
    section.sort();
    lines.append(&mut section);
    lines
}
