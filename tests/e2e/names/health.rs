//! Names lead to edges that work, and clients find an edge by them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use support::curl::Curl;
use support::pair::{Size, public_sockets};
use support::wait;
use toml::Value;

use super::scene::{SERVICE, dig, listen, server, table};
use crate::stage::{DOMAIN, Stage, edge_name};

/// Two edges, each serving the names of both.
fn cluster(size: Size) -> Stage {
    let mut stage = Stage::prepare(size);
    let edge = |number: u8| {
        let addresses = public_sockets(number).map(|socket| socket.ip().to_string().into());
        let addresses: Vec<Value> = addresses.into();
        table([
            ("name", edge_name(number).into()),
            ("addresses", addresses.into()),
        ])
    };
    for number in 1..=size.edges {
        let member = &mut stage.pair.edges[usize::from(number) - 1];
        let edges: Vec<Value> = (1..=size.edges).map(edge).collect();
        member.set("dns", "listen", listen(number));
        member.set("dns", "edge", edges);
        member.set("dns", "zone", vec![table([("name", DOMAIN.into())])]);
    }
    stage
}

/// The edges that the server of edge number `asked` leads to.
fn answered(stage: &Stage, asked: u8) -> Vec<String> {
    let text = dig(
        &stage.zones.client(),
        server(asked),
        &format!("{SERVICE} SRV +norec +short"),
    );
    let targets = text.lines().filter_map(|line| line.split(' ').nth(3));
    let mut targets: Vec<String> = targets
        .map(|target| target.trim_end_matches('.').to_owned())
        .collect();
    targets.sort();
    targets
}

fn wait_for(stage: &Stage, asked: u8, edges: &[u8]) {
    let expected: Vec<String> = edges.iter().map(|number| edge_name(*number)).collect();
    let waited = wait::until_true("the edges in the answers", Duration::from_secs(30), || {
        Ok(answered(stage, asked) == expected)
    });
    assert!(
        waited.is_ok(),
        "{:?} and not {expected:?}\n{}",
        answered(stage, asked),
        stage.logs()
    );
}

#[test]
fn an_edge_that_stops_or_loses_its_link_leaves_the_answers() {
    let mut stage = cluster(Size { edges: 2, cores: 1 });
    stage.pair.start().unwrap();
    wait_for(&stage, 1, &[1, 2]);
    wait_for(&stage, 2, &[1, 2]);

    stage.pair.edges[1].stop().unwrap();
    wait_for(&stage, 1, &[1]);
    stage.pair.edges[1].start().unwrap();
    wait_for(&stage, 1, &[1, 2]);

    // Nobody tells this edge of the other any more: it speaks against itself only.
    stage.pair.cores[0].stop().unwrap();
    wait_for(&stage, 1, &[2]);
    let log = stage.pair.edges[0].log().unwrap();
    assert!(
        log.contains("the edges in DNS answers have changed"),
        "{log}"
    );
    stage.pair.cores[0].start().unwrap();
    wait_for(&stage, 1, &[1, 2]);
}

#[test]
fn a_client_finds_the_edge_by_its_name_and_signs_in() {
    let mut stage = cluster(Size::ONE);
    stage.pair.start().unwrap();
    wait_for(&stage, 1, &[1]);
    let client = stage.zones.client();

    // As clients do it: the two inner names are not there, the third leads to the edge.
    for name in ["_cisco-uds._tcp.example.com", "_cuplogin._tcp.example.com"] {
        let answer = dig(&client, server(1), &format!("{name} SRV +norec"));
        assert!(answer.contains("status: NXDOMAIN"), "{answer}");
    }
    let srv = dig(&client, server(1), &format!("{SERVICE} SRV +norec +short"));
    let [_, _, port, target] = srv.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("one server: {srv}");
    };
    let address = dig(&client, server(1), &format!("{target} A +norec +short"));
    let address: IpAddr = address.trim().parse().unwrap();
    let (name, socket) = (
        target.trim_end_matches('.'),
        SocketAddr::new(address, port.parse().unwrap()),
    );
    let curl = Curl::new(&client)
        .trust(&stage.path().join("public/ca.pem"))
        .resolve(name, socket);
    let verb = crate::stage::verb_url(1, "get_edge_config?service_name=_cisco-uds");
    let answer = curl.basic("alice", "alice-secret-1").get(&verb).unwrap();

    assert!(verb.contains(&format!("//{name}:{port}/")), "{verb}");
    assert_eq!(answer.status, 200, "{}", stage.logs());
}
