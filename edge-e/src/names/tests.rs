use std::net::SocketAddr;
use std::path::Path;

use common::dns::{Asked, Name, Outcome, Transport, number};
use common::time::UnixTime;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::*;
use crate::config::Config;

const START: &str = r#"
name = "edge1.example.com"
[public]
listen = ["192.0.2.1:8443"]
[[public.certificates]]
chain = "edge.pem"
key = "edge.key"
[link]
listen = ["127.0.0.1:7001"]
certificate = "link.pem"
key = "link.key"
trust_anchors = ["ca.pem"]
allowed_cores = ["c.link"]
[dns]
listen = ["127.0.0.1:5300"]
[[dns.zone]]
name = "_collab-edge._tls.example.com"
"#;

const CLUSTER: &str = r#"
[[dns.edge]]
name = "edge1.example.com"
addresses = ["192.0.2.1"]
[[dns.edge]]
name = "edge2.example.com"
addresses = ["192.0.2.2", "2001:db8::2"]
"#;

fn dns(rest: &str) -> NameServer {
    let loaded = Config::parse(Path::new("edge-e.toml"), &format!("{START}{rest}"));
    loaded.unwrap().config.dns.unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn names(rest: &str) -> (Names, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let names = Names::new(&domain("edge1.example.com"), &dns(rest), metrics).unwrap();
    (names, registry)
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(Name::from(&domain(name)).wire());
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

/// What became of the query, and how many records are in the answer.
fn ask(names: &Names, name: &str) -> (Outcome, u8) {
    let asked = Asked {
        client: "198.51.100.1:5353".parse::<SocketAddr>().unwrap().ip(),
        transport: Transport::Udp,
        now: UnixTime(1_800_000_000),
    };
    let mut out = Vec::new();
    let served = names.server().served();
    let answered = served
        .responder
        .answer(&query(name, number::SRV), &asked, &mut out);
    (answered.unwrap().outcome, out[7])
}

const SERVICE: &str = "_collab-edge._tls.example.com";

fn gone(edges: &[&str]) -> BTreeSet<Domain> {
    edges.iter().map(|edge| domain(edge)).collect()
}

#[test]
fn the_edges_that_are_alive_are_answered() {
    let (names, registry) = names(CLUSTER);
    let now = clock::now();
    assert_eq!(ask(&names, SERVICE), (Outcome::Records, 2));

    names.look(gone(&["edge2.example.com", "edge9.example.com"]), now);
    assert_eq!(ask(&names, SERVICE), (Outcome::Records, 1));
    let mut page = String::new();
    text::encode(&mut page, &registry).unwrap();
    assert!(page.contains("dns_edges_answered 1\n"), "{page}");

    names.look(gone(&["edge1.example.com", "edge2.example.com"]), now);
    assert_eq!(ask(&names, SERVICE), (Outcome::NoData, 0));

    names.look(BTreeSet::new(), now);
    assert_eq!(ask(&names, SERVICE), (Outcome::Records, 2));
}

#[test]
fn a_reload_serves_the_new_zone_and_remembers_who_is_gone() {
    let (names, _) = names(CLUSTER);
    names.look(gone(&["edge2.example.com"]), clock::now());
    let more = format!("{CLUSTER}[[dns.zone]]\nname = \"other.test\"\n");

    names.apply(&dns(&more)).unwrap();

    assert_eq!(ask(&names, SERVICE), (Outcome::Records, 1));
    assert_eq!(
        ask(&names, "_collab-edge._tls.other.test"),
        (Outcome::Records, 1)
    );
}

#[test]
fn an_edge_alone_is_served_without_being_named() {
    let (names, _) = names("");

    assert_eq!(ask(&names, SERVICE), (Outcome::Records, 1));
}

#[tokio::test(start_paused = true)]
async fn an_edge_without_a_link_leaves_the_answers_and_comes_back() {
    use common::id::CoreId;
    use common::runtime::drain::Drain;

    let (names, _) = names("");
    let names = Arc::new(names);
    let cores: Arc<Cores> = Arc::default();
    let drain = Drain::new();
    drop(tokio::spawn(
        Arc::clone(&names).keep(Arc::clone(&cores), drain.signal()),
    ));
    let state = || ask(&names, SERVICE).0;
    tokio::time::sleep(INTERVAL).await;
    assert_eq!(state(), Outcome::NoData, "no edge-c has come yet");

    let core = cores.join(CoreId(1), &domain("c.link")).unwrap();
    core.set_connected(true, clock::now());
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(state(), Outcome::Records);

    core.set_connected(false, clock::now());
    tokio::time::sleep(limits::DNS_LINK_GONE_AFTER / 2).await;
    assert_eq!(state(), Outcome::Records, "edge-c may be dialling again");
    tokio::time::sleep(limits::DNS_LINK_GONE_AFTER).await;
    assert_eq!(state(), Outcome::NoData);

    core.set_connected(true, clock::now());
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(state(), Outcome::Records);

    drain.start(common::runtime::drain::Cause::Admin);
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(state(), Outcome::NoData, "it drains");
}

#[test]
fn what_is_wrong_in_the_configuration_is_said() {
    for (rest, expected) in [
        (
            "[[dns.zone]]\nname = \"x.test\"\ndomains = [\"y.test\"]\n",
            "_collab-edge._tls.y.test is outside the zone x.test",
        ),
        (
            "[[dns.zone]]\nname = \"x.test\"\nfile = \"x.zone\"\ndomains = [\"x.test\"]\n",
            "stands beside file",
        ),
        (
            "[[dns.zone]]\nname = \"_collab-edge._tls.example.com\"\n",
            "has _collab-edge._tls.example.com twice",
        ),
        ("[dns.rate_limit]\nslip = 11\n", "dns.rate_limit.slip"),
        (
            "[[dns.edge]]\nname = \"e.x.test\"\naddresses = []\n",
            "addresses",
        ),
    ] {
        let text = format!("{START}{rest}");
        let error = Config::parse(Path::new("edge-e.toml"), &text)
            .unwrap_err()
            .to_string();

        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_name_server_in_the_zone_needs_addresses() {
    let text = START.replace(
        "[dns]",
        "[dns]\nname_servers = [\"ns._collab-edge._tls.example.com\"]",
    );

    let error = Config::parse(Path::new("edge-e.toml"), &text)
        .unwrap_err()
        .to_string();

    assert!(error.contains("nothing says its addresses"), "{error}");
}
