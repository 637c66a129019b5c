//! Which zones come of `[pinpoint]`, and what is said about the rest.

use std::path::Path;

use common::config::name_server::ZoneSource;

use crate::config::Config;

const START: &str = r#"
name = "edge-c1.link.internal"
core_id = 1
[[edge]]
name = "edge1.example.com"
address = "203.0.113.5:7001"
[link]
certificate = "link-c.pem"
key = "link-c.key"
trust_anchors = ["link-ca.pem"]
[[domain]]
name = "example.com"
[[domain]]
name = "sub.example.com"
deployment = "sub"
voice_services_domain = "voice.example.com"
[dns]
servers = ["10.0.0.53:53"]
[inside]
trust_anchors = ["inside-ca.pem"]
"#;

const NODES: &str = r#"
[[node]]
kind = "ucm"
host = "cucm1.example.com"
[[node]]
kind = "imp"
host = "imp1.example.com"
[[node]]
kind = "ucm"
host = "cucm9.example.com"
port = 9443
deployment = "sub"
"#;

const PINPOINT: &str = r#"
[pinpoint]
listen = ["10.0.0.5:53"]
name_servers = ["edge-c1.example.com"]
"#;

/// The SRV and address records of each zone.
fn zones(rest: &str) -> Vec<String> {
    let loaded = Config::parse(Path::new("edge-c.toml"), &format!("{START}{rest}")).unwrap();
    let pinpoint = loaded.config.pinpoint.unwrap();
    let texts = pinpoint.zones.iter().map(|zone| {
        let ZoneSource::Written(written) = &zone.source else {
            return zone.name.to_string();
        };
        written.text()
    });
    let records = texts.flat_map(|text| {
        let lines = text.lines().map(str::to_owned);
        lines.collect::<Vec<_>>()
    });
    records
        .filter(|line| !line.contains(" SOA ") && !line.contains(" NS "))
        .collect()
}

fn error(rest: &str) -> String {
    let parsed = Config::parse(Path::new("edge-c.toml"), &format!("{START}{rest}"));
    parsed.unwrap_err().to_string()
}

#[test]
fn every_domain_has_its_zone_with_its_own_nodes() {
    let records = zones(&format!("{PINPOINT}{NODES}"));

    let expected = [
        "_cisco-uds._tcp.cisco-internal.example.com. 60 IN SRV 10 10 8443 cucm1.example.com.",
        "_cuplogin._tcp.cisco-internal.example.com. 60 IN SRV 10 10 8443 imp1.example.com.",
        "_cisco-uds._tcp.cisco-internal.voice.example.com. 60 IN SRV 10 10 9443 cucm9.example.com.",
    ];
    assert_eq!(records, expected);
}

#[test]
fn a_zone_may_be_for_one_service_and_servers_may_be_named_apart() {
    let rest = r#"
[[pinpoint.server]]
kind = "ucm"
host = "cucm1.cisco-internal.example.com"
priority = 1
weight = 5
addresses = ["10.0.0.31", "2001:db8::31"]
[[pinpoint.server]]
kind = "imp"
host = "imp1.example.com"
[[pinpoint.zone]]
name = "_cisco-uds._tcp.example.com"
[[pinpoint.zone]]
name = "cisco-internal.example.com"
"#;

    let records = zones(&format!("{PINPOINT}{rest}{NODES}"));

    let expected = [
        "_cisco-uds._tcp.example.com. 60 IN SRV 1 5 8443 cucm1.cisco-internal.example.com.",
        "_cisco-uds._tcp.cisco-internal.example.com. 60 IN SRV 1 5 8443 cucm1.cisco-internal.example.com.",
        "_cuplogin._tcp.cisco-internal.example.com. 60 IN SRV 10 10 8443 imp1.example.com.",
        "cucm1.cisco-internal.example.com. 60 IN A 10.0.0.31",
        "cucm1.cisco-internal.example.com. 60 IN AAAA 2001:db8::31",
    ];
    assert_eq!(records, expected);
}

#[test]
fn what_can_not_be_served_is_said() {
    let listen = "[pinpoint]\nlisten = ['10.0.0.53:53']\nname_servers = ['c1.example.com']\n";
    let inner =
        "[pinpoint]\nlisten = ['10.0.0.5:53']\nname_servers = ['ns.cisco-internal.example.com']\n";
    let unnamed = "[pinpoint]\nlisten = ['10.0.0.5:53']\n";
    let zone = "[[pinpoint.zone]]\nname = 'cisco-internal.example.com'\n";
    for (rest, expected) in [
        (
            format!("{unnamed}{zone}{NODES}"),
            "`pinpoint.name_servers` is needed",
        ),
        (
            format!("{listen}{zone}{NODES}"),
            "`dns.servers` has 10.0.0.53:53, where this edge-c itself serves [pinpoint]",
        ),
        (
            format!("{inner}{zone}{NODES}"),
            "name server ns.cisco-internal.example.com in the zone, and nothing says its addresses",
        ),
        (
            format!("{PINPOINT}{zone}"),
            "makes the zone cisco-internal.example.com without any record",
        ),
        (
            format!("{PINPOINT}{zone}{zone}{NODES}"),
            "has cisco-internal.example.com twice",
        ),
        (
            format!("{PINPOINT}{zone}file = 'x.zone'\ndeployment = 'sub'\n{NODES}"),
            "stands beside file",
        ),
    ] {
        let error = error(&rest);

        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn nodes_that_only_have_an_address_are_warned_of() {
    let node = "[[node]]\nkind = 'ucm'\nhost = '10.0.0.31'\n";
    let text = format!("{START}{PINPOINT}{NODES}{node}");

    let warnings = Config::parse(Path::new("edge-c.toml"), &text)
        .unwrap()
        .warnings;

    let said = warnings
        .iter()
        .any(|warning| warning.place.key == "pinpoint.server" && warning.why.contains("10.0.0.31"));
    assert!(said, "{warnings:?}");
}
