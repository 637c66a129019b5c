//! What the edges of a test are told. Tests change it through [`Member::set`](super::Member::set).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use toml::{Table, toml};

use super::{LINK_PORT, loopback, public_sockets};
use crate::netns;
use crate::world::World;

pub(super) fn edge_e(dir: &Path, world: &World, number: u8, cores: u8) -> Table {
    let file = |name: String| dir.join(name).to_string_lossy().into_owned();
    let name = format!("edge{number}.{}", world.domain);
    let public = strings(public_sockets(number));
    let chain = file(format!("public/edge{number}.pem"));
    let key = file(format!("public/edge{number}.key"));
    let link = strings(link_sockets(number));
    let link_chain = file(format!("link/edge{number}.pem"));
    let link_key = file(format!("link/edge{number}.key"));
    let link_ca = file("link/ca.pem".to_owned());
    let cores = strings((1..=cores).map(|n| format!("edge-c{n}.link.internal")));
    let admin = loopback(9000 + u16::from(number)).to_string();
    let mut table = toml! {
        [log]
        format = "json"
        filter = "debug"
        [drain]
        grace = "5s"
    };
    table.insert("name".to_owned(), name.into());
    set(&mut table, "public", "listen", public);
    let certificate = Table::from_iter([("chain", chain), ("key", key)].map(entry));
    set(&mut table, "public", "certificates", vec![certificate]);
    set(&mut table, "link", "listen", link);
    set(&mut table, "link", "certificate", link_chain);
    set(&mut table, "link", "key", link_key);
    set(&mut table, "link", "trust_anchors", vec![link_ca]);
    set(&mut table, "link", "allowed_cores", cores);
    set(&mut table, "admin", "listen", admin);
    table
}

pub(super) fn edge_c(dir: &Path, world: &World, number: u8, edges: u8) -> Table {
    let file = |name: String| dir.join(name).to_string_lossy().into_owned();
    let [own, _] = netns::inside(19 + number);
    let [dns, _] = netns::inside(53).map(|address| SocketAddr::new(address, 53).to_string());
    let mut table = toml! {
        [link]
        https_transport = "pool"
        [dns]
        timeout = "1s"
        [log]
        format = "json"
        filter = "debug"
        [drain]
        grace = "5s"
    };
    table.insert(
        "name".to_owned(),
        format!("edge-c{number}.link.internal").into(),
    );
    table.insert("core_id".to_owned(), i64::from(number).into());
    let edges = (1..=edges).map(|edge| edge_section(world, edge));
    table.insert("edge".to_owned(), edges.collect::<Vec<_>>().into());
    let domain = Table::from_iter([("name", world.domain.clone())].map(entry));
    table.insert("domain".to_owned(), vec![domain].into());
    set(
        &mut table,
        "link",
        "certificate",
        file(format!("link/edge-c{number}.pem")),
    );
    set(
        &mut table,
        "link",
        "key",
        file(format!("link/edge-c{number}.key")),
    );
    set(
        &mut table,
        "link",
        "trust_anchors",
        vec![file("link/ca.pem".to_owned())],
    );
    set(&mut table, "link", "bind_address", own.to_string());
    set(&mut table, "dns", "servers", vec![dns]);
    set(
        &mut table,
        "inside",
        "trust_anchors",
        vec![file("inside/ca.pem".to_owned())],
    );
    set(
        &mut table,
        "session",
        "state_dir",
        file(format!("edge-c{number}")),
    );
    let admin = loopback(9100 + u16::from(number)).to_string();
    set(&mut table, "admin", "listen", admin);
    table
}

/// What edge-c says of an edge-e to clients, and where it dials it: over IPv4, as a rule.
fn edge_section(world: &World, number: u8) -> Table {
    let [address, _] = link_sockets(number);
    let [public, _] = netns::public(10 + number);
    let mut section = Table::from_iter(
        [
            ("name", format!("edge{number}.{}", world.domain)),
            ("address", address.to_string()),
            ("certificate_name", format!("edge{number}.link.internal")),
        ]
        .map(entry),
    );
    section.insert("advertised_addresses".to_owned(), strings([public]).into());
    section
}

/// Where an edge-e listens for edge-c.
fn link_sockets(number: u8) -> [SocketAddr; 2] {
    netns::link(10 + number).map(|address: IpAddr| SocketAddr::new(address, LINK_PORT))
}

fn entry((key, value): (&str, String)) -> (String, toml::Value) {
    (key.to_owned(), value.into())
}

fn strings(values: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

pub(super) fn set(table: &mut Table, section: &str, key: &str, value: impl Into<toml::Value>) {
    let section = table.entry(section).or_insert_with(|| Table::new().into());
    if let toml::Value::Table(section) = section {
        section.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use certs::{Pki, Plan};
    use common::time::UnixTime;

    use super::*;

    #[test]
    fn the_edges_accept_it_without_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::standard("example.com", |number| netns::inside(number).to_vec());
        let plan = Plan::standard("example.com");
        Pki::generate(&plan).unwrap().write_to(dir.path()).unwrap();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = UnixTime(since_1970.as_secs());
        let write = |name: &str, table: &Table| {
            let file = dir.path().join(name);
            std::fs::write(&file, toml::to_string(table).unwrap()).unwrap();
            file
        };

        for number in 1..=2 {
            let file = write("edge-e.toml", &edge_e(dir.path(), &world, number, 2));
            let loaded = edge_e::config::Config::load(&file, now).unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            let file = write("edge-c.toml", &edge_c(dir.path(), &world, number, 2));
            let loaded = edge_c::config::Config::load(&file, now).unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
    }
}
