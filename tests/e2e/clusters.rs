//! Finding a user's home on the client's behalf: several clusters, failing nodes, failing names.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::mra::edge_config::{EdgeConfig, ServiceAnswer};
use hickory_proto::rr::RecordType;
use support::curl::Answer;
use support::dns::{self, RecordValue, Zone};
use support::netns;
use support::pair::Size;
use support::uds::{Fault, FaultKind};
use support::wait;
use toml::{Table, Value};

use crate::stage::{SignedIn, Stage, UCM, verb_url};

#[test]
fn users_are_found_by_name_and_by_address_in_either_cluster() {
    let stage = Stage::start();

    for (login, id, nodes) in [
        ("alice", "alice", ["cucm1a", "cucm1b"]),
        ("ALICE", "alice", ["cucm1a", "cucm1b"]),
        ("alice@example.com", "alice", ["cucm1a", "cucm1b"]),
        ("bob", "bob", ["cucm2a", "cucm2b"]),
        ("cjones", "cjones", ["cucm2a", "cucm2b"]),
        ("carol@example.com", "cjones", ["cucm2a", "cucm2b"]),
        ("carol", "cjones", ["cucm2a", "cucm2b"]),
    ] {
        let answer = stage.try_sign_in(login, &format!("{id}-secret-1"));

        assert_eq!(home(&stage, &answer), nodes, "{login}");
        let client = SignedIn::read(&stage.client(), 1, &answer);
        let origin = format!("https/{}.example.com/8443", nodes[0]);
        let own = client.get(&origin, &format!("/cucm-uds/user/{id}"));
        assert_eq!(own.status, 200, "{login}\n{}", stage.logs());
    }
}

#[test]
fn clusters_that_do_not_know_each_other_are_asked_in_turn() {
    let stage = Stage::start();
    stage.uds.set_ils(false);

    let alice = stage.try_sign_in("alice", "alice-secret-1");
    let bob = stage.try_sign_in("bob", "bob-secret-1");
    let carol = stage.try_sign_in("carol@example.com", "cjones-secret-1");

    assert_eq!(home(&stage, &alice), ["cucm1a", "cucm1b"]);
    assert_eq!(home(&stage, &bob), ["cucm2a", "cucm2b"]);
    assert_eq!(home(&stage, &carol), ["cucm2a", "cucm2b"]);
    assert_eq!(stage.try_sign_in("mallory", "x").status, 401);
}

#[test]
fn one_dead_node_of_each_cluster_keeps_nobody_out() {
    let stage = Stage::start();
    stage.uds.stop_node("cucm1a.example.com").unwrap();
    stage.uds.stop_node("cucm2a.example.com").unwrap();

    for user in ["alice", "bob", "vera"] {
        let client = stage.sign_in(user);
        let node = if user == "bob" { "cucm2b" } else { "cucm1b" };
        let origin = format!("https/{node}.example.com/8443");
        let own = client.get(&origin, &format!("/cucm-uds/user/{user}"));
        assert_eq!(own.status, 200, "{}", stage.logs());
    }
}

#[test]
fn a_node_that_hangs_costs_time_and_no_sign_in() {
    let stage = Stage::start();
    let hang = Fault::new(FaultKind::Delay { millis: 60_000 });
    stage.uds.inject(hang.at("cucm1a.example.com"));

    let client = stage.client().limit(Duration::from_secs(20));
    let answer = client
        .basic("alice", "alice-secret-1")
        .get(&verb_url(1, "get_edge_config?service_name=_cisco-uds"))
        .unwrap();

    assert_eq!(answer.status, 200, "{}", stage.logs());
    assert_eq!(home(&stage, &answer), ["cucm1b"], "{}", answer.text());
    stage.uds.clear_faults();
    wait::until_true("both nodes", wait::START_LIMIT, || {
        let answer = stage.try_sign_in("alice", "alice-secret-1");
        Ok(home(&stage, &answer) == ["cucm1a", "cucm1b"])
    })
    .unwrap();
}

#[test]
fn nonsense_from_every_cluster_is_a_bad_gateway_and_never_a_wrong_password() {
    let stage = Stage::start();

    for kind in [
        FaultKind::Dtd,
        FaultKind::OversizedXml { bytes: 4 << 20 },
        FaultKind::Reset,
        FaultKind::Status { code: 500 },
        FaultKind::TruncatedBody,
        FaultKind::WrongContentLength,
    ] {
        stage
            .uds
            .inject(Fault::new(kind).on("/cucm-uds/clusterUser"));

        let answer = stage.try_sign_in("vera", "vera-secret-1");

        assert_eq!(answer.status, 502, "{kind:?}\n{}", stage.logs());
        assert!(answer.body.is_empty());
        stage.uds.clear_faults();
    }

    stage.sign_in("vera");
}

#[test]
fn nonsense_from_one_node_is_made_good_by_the_next() {
    for kind in [FaultKind::Dtd, FaultKind::OversizedXml { bytes: 4 << 20 }] {
        let stage = Stage::start();
        stage.uds.inject(Fault::new(kind).at("cucm1a.example.com"));

        stage.sign_in("alice");
        stage.sign_in("bob");
    }
}

#[test]
fn the_last_good_answer_serves_while_the_name_server_is_away() {
    let mut stage = Stage::start();
    let before = services(&stage.try_sign_in("alice", "alice-secret-1"));

    stage.bind.stop().unwrap();
    // Longer than the records live.
    let ttl = Zone::new("any").ttl;
    let over = Instant::now() + Duration::from_secs(u64::from(ttl) + 2);
    wait::until_true("the end of the records' life", wait::START_LIMIT, || {
        let answer = stage.try_sign_in("alice", "alice-secret-1");
        assert_eq!(services(&answer), before, "{}", stage.logs());
        Ok(Instant::now() > over)
    })
    .unwrap();
    let bob = stage.sign_in("bob");
    let own = bob.get("https/cucm2a.example.com/8443", "/cucm-uds/user/bob");
    assert_eq!(own.status, 200, "{}", stage.logs());

    stage.bind.restart().unwrap();
    let mut zone = Zone::inside(&stage.world);
    for record in &mut zone.records {
        if let RecordValue::Srv { weight, .. } = &mut record.value {
            *weight += 1;
        }
    }
    reload(&mut stage, &[zone], "_cisco-uds._tcp.example.com.", "1 6 ");
    wait::until_true("the new records", wait::START_LIMIT, || {
        let answer = stage.try_sign_in("alice", "alice-secret-1");
        Ok(services(&answer)[0].1 == 6)
    })
    .unwrap();
}

#[test]
fn services_in_the_pinpoint_zone_alone_are_enough() {
    let mut stage = Stage::prepare(Size::ONE);
    let zones = Zone::pinpoint(&stage.world);
    let name = "_cisco-uds._tcp.cisco-internal.example.com.";
    reload(&mut stage, &zones, name, "1 5 ");
    stage.pair.start().unwrap();

    let answer = stage.try_sign_in("bob", "bob-secret-1");

    assert_eq!(home(&stage, &answer), ["cucm2a", "cucm2b"]);
    assert_eq!(services(&answer).len(), 4, "{}", answer.text());
}

#[test]
fn everything_works_without_ipv4() {
    let mut stage = Stage::prepare(Size::ONE);
    let mut zone = Zone::inside(&stage.world);
    zone.records
        .retain(|record| !matches!(record.value, RecordValue::Address(a) if a.is_ipv4()));
    reload(&mut stage, &[zone], "cucm1a.example.com.", "fd00:9:1::31");
    let core = &mut stage.pair.cores[0];
    core.set(
        "dns",
        "servers",
        vec![format!("[{}]:53", netns::inside(53)[1])],
    );
    core.set("link", "bind_address", netns::inside(20)[1].to_string());
    let link = SocketAddr::new(netns::link(11)[1], 7001).to_string();
    let edges = core
        .config_mut()
        .get_mut("edge")
        .and_then(Value::as_array_mut);
    let edge: &mut Table = edges.unwrap()[0].as_table_mut().unwrap();
    edge.insert("address".to_owned(), link.into());
    stage.pair.start().unwrap();

    let client = stage.client_v6();
    let answer = client
        .clone()
        .basic("alice", "alice-secret-1")
        .get(&verb_url(1, "get_edge_config?service_name=_cisco-uds"))
        .unwrap();

    assert_eq!(answer.peer, Some(netns::public(11)[1]));
    assert_eq!(home(&stage, &answer), ["cucm1a", "cucm1b"]);
    let alice = SignedIn::read(&client, 1, &answer);
    drop(stage.uds.take_seen());
    let own = alice.get(UCM, "/cucm-uds/user/alice");
    assert_eq!(own.status, 200, "{}", stage.logs());
    let seen = stage.uds.seen();
    let seen = seen.iter().find(|s| s.target == "/cucm-uds/user/alice");
    let client = seen.unwrap().header("x-forwarded-for").unwrap();
    assert!(client.starts_with("2001:db8:a::"), "{client}");
    stage.zones.assert_nothing_refused().unwrap();
}

/// Host labels of the user's own nodes, as the document names them.
fn home(stage: &Stage, answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", stage.logs());
    let config = EdgeConfig::parse(&answer.body).unwrap();
    let hosts = config.user_uds.iter().map(|node| node.address.to_string());
    hosts
        .map(|host| host.split('.').next().unwrap().to_owned())
        .collect()
}

/// Priority and weight of each `_cisco-uds` server.
fn services(answer: &Answer) -> Vec<(u16, u16)> {
    assert_eq!(answer.status, 200);
    let config = EdgeConfig::parse(&answer.body).unwrap();
    let uds = config
        .services
        .iter()
        .find(|service| service.name.as_str() == "_cisco-uds");
    let servers = match &uds.unwrap().answer {
        ServiceAnswer::Servers(servers) => servers.as_slice(),
        ServiceAnswer::NameError | ServiceAnswer::ServerFailure => &[],
    };
    assert!(!servers.is_empty(), "{}", answer.text());
    let orders = servers
        .iter()
        .map(|server| (server.priority, server.weight));
    orders.collect()
}

/// Replaces the zones and waits until `name` has a record that starts so.
fn reload(stage: &mut Stage, zones: &[Zone], name: &str, start: &str) {
    let server = stage.bind.addresses()[0];
    let inside = stage.zones.inside();
    let kind = if name.starts_with('_') {
        RecordType::SRV
    } else {
        RecordType::AAAA
    };
    let is_visible = || {
        let answer = dns::ask(&inside, server, name, kind)?;
        Ok(answer
            .records
            .iter()
            .any(|record| record.starts_with(start)))
    };
    stage.bind.reload(zones, is_visible).unwrap();
}
