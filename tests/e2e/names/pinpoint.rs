//! The zones that edge-c serves inside: every answer is that of BIND with the same zones, and a reload changes them.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use support::netns;
use support::wait;
use toml::Value;

use super::bind::{Bind, compare};
use super::scene::{Scene, dig, table, unlimited};

/// What the configuration below says, for BIND.
const WRITTEN: &str = "$TTL 60
@ IN SOA edge-c1.example.com. hostmaster ( 1 3600 600 86400 30 )
@ IN NS edge-c1.example.com.
_cisco-uds._tcp IN SRV 2 20 8443 cucm2.example.com.
_cisco-uds._tcp IN SRV 1 5 8443 cucm1
cucm1 IN A 10.9.1.31
cucm1 IN AAAA fd00:9:1::31
_cuplogin._tcp IN SRV 10 10 8443 cup1.example.com.
";

/// A zone file, for both.
const FILE: &str = "$TTL 300
@ IN SOA edge-c1.example.com. hostmaster.example.com. ( 7 3600 600 86400 60 )
@ IN NS edge-c1.example.com.
@ IN SRV 6 30 8443 cucm3.example.com.
";

const QUESTIONS: &[&str] = &[
    "_cisco-uds._tcp.cisco-internal.example.com SRV",
    "_cisco-uds._tcp.cisco-internal.example.com SRV +tcp",
    "_CISCO-uds._tcp.cisco-internal.example.com SRV +noedns",
    "_cuplogin._tcp.cisco-internal.example.com SRV",
    "_cuplogin._tcp.cisco-internal.example.com SRV +dnssec",
    "_collab-edge._tls.cisco-internal.example.com SRV",
    "_cisco-uds._tcp.cisco-internal.example.com A",
    "_tcp.cisco-internal.example.com SRV",
    "cisco-internal.example.com SOA",
    "cisco-internal.example.com NS",
    "cisco-internal.example.com A",
    "cucm1.cisco-internal.example.com A",
    "cucm1.cisco-internal.example.com AAAA",
    "cucm2.cisco-internal.example.com A",
    "_cisco-uds._tcp.example.com SRV",
    "_cisco-uds._tcp.example.com NS",
    "_cisco-uds._tcp.example.com TXT",
    "x._cisco-uds._tcp.example.com SRV",
    "_cuplogin._tcp.example.com SRV",
    "example.com SOA",
    "cisco-internal.example.com AXFR +tcp",
];

const SERVICE: &str = "_cisco-uds._tcp.cisco-internal.example.com";

fn server(kind: &str, host: &str, priority: u16, weight: u16) -> Value {
    let numbers = [("priority", priority), ("weight", weight)];
    let mut server = table([("kind", kind.into()), ("host", host.into())]);
    if let Value::Table(server) = &mut server {
        server.extend(numbers.map(|(key, value)| (key.to_owned(), i64::from(value).into())));
        if host.contains("cisco-internal") {
            let addresses = netns::inside(31).map(|address| address.to_string().into());
            server.insert("addresses".to_owned(), Value::Array(addresses.into()));
        }
    }
    server
}

/// edge-c alone, with two zones; where it serves them.
fn start(scene: &mut Scene) -> SocketAddr {
    let file = scene.path().join("uds.zone");
    fs::write(&file, FILE).unwrap();
    let sockets = netns::inside(20).map(|address| SocketAddr::new(address, 53));
    let listen: Vec<Value> = sockets.map(|socket| socket.to_string().into()).into();
    let servers = vec![
        server("ucm", "cucm2.example.com", 2, 20),
        server("ucm", "cucm1.cisco-internal.example.com", 1, 5),
        server("imp", "cup1.example.com", 10, 10),
    ];
    let zones = vec![
        table([("name", "cisco-internal.example.com".into())]),
        table([
            ("name", "_cisco-uds._tcp.example.com".into()),
            ("file", file.to_string_lossy().into_owned().into()),
        ]),
    ];
    let core = &mut scene.pair.cores[0];
    core.set("pinpoint", "listen", listen);
    core.set("pinpoint", "name_servers", vec!["edge-c1.example.com"]);
    core.set("pinpoint", "server", servers);
    core.set("pinpoint", "zone", zones);
    core.set("pinpoint", "rate_limit", unlimited());
    core.start_alone().unwrap();
    sockets[0]
}

#[test]
fn clients_inside_get_the_answers_of_bind() {
    let mut scene = Scene::prepare();
    let ours = start(&mut scene);
    let inside = scene.zones.inside();
    let written = scene.path().join("written.zone");
    fs::write(&written, WRITTEN).unwrap();
    let zones = [
        ("cisco-internal.example.com", written.as_path()),
        (
            "_cisco-uds._tcp.example.com",
            &scene.path().join("uds.zone"),
        ),
    ];
    let bind = Bind::start(&inside, scene.path(), &zones);

    compare(&inside, ours, bind.at, QUESTIONS.iter().copied());

    let [_, v6] = netns::inside(20);
    let answer = dig(
        &inside,
        SocketAddr::new(v6, 53),
        &format!("{SERVICE} SRV +norec"),
    );
    assert!(answer.contains("ANSWER: 2,"), "{answer}");
    let (_, page) = scene.pair.cores[0].ask_admin("/metrics").unwrap();
    let counted = "edge_dns_queries_total{transport=\"udp\",outcome=\"records\"}";
    assert!(page.contains(counted), "{page}");
}

#[test]
fn a_reload_changes_the_zones_and_a_bad_one_changes_nothing() {
    let mut scene = Scene::prepare();
    let ours = start(&mut scene);
    let inside = scene.zones.inside();
    let answer = || dig(&inside, ours, &format!("{SERVICE} SRV +norec +short"));
    assert!(answer().contains("2 20 8443 cucm2.example.com."));

    let core = &mut scene.pair.cores[0];
    core.set(
        "pinpoint",
        "server",
        vec![server("ucm", "cucm9.example.com", 3, 3)],
    );
    core.reload().unwrap();
    wait::until_true("the new server", Duration::from_secs(20), || {
        Ok(answer() == "3 3 8443 cucm9.example.com.\n")
    })
    .unwrap();

    fs::write(scene.path().join("uds.zone"), "@ IN A 10.0.0.1\n").unwrap();
    let told = scene.pair.cores[0].wait_log(|line| line.contains("there must be one SOA record"));
    assert!(told.is_ok());
    let file = dig(
        &inside,
        ours,
        "_cisco-uds._tcp.example.com SRV +norec +short",
    );
    assert_eq!(file, "6 30 8443 cucm3.example.com.\n");
}

#[test]
fn the_doctor_says_whether_the_inside_name_servers_lead_to_the_zones() {
    let mut scene = Scene::prepare();
    start(&mut scene);
    let core = &scene.pair.cores[0];
    let file = core.config_file();

    let output = core
        .run(&["doctor", "--config", &file.to_string_lossy()])
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();

    // Nobody is at the address of the inside name server.
    assert!(text.contains(&format!("warn  name {SERVICE}: ")), "{text}");
    assert!(text.contains("pass  listener pinpoint.listen"), "{text}");
}
