//! Whoever may not form the link does not, both edges say why, and once it is mended it forms by itself.

use std::net::SocketAddr;

use certs::Identity;
use serde_json::Value;
use support::netns;
use support::pair::{Member, Size};
use support::tls_client::Dialer;
use support::wait;

use crate::stage::Stage;

/// What is wrong, and what each edge must say.
struct Wrong {
    /// The identity, and in whose place: `edge-c1` or `edge1`.
    identity: &'static str,
    of: &'static str,
    /// In the reason that edge-e gives, and in its remedy.
    edge: [&'static str; 2],
    /// The same of edge-c.
    core: [&'static str; 2],
}

const WRONG: [Wrong; 6] = [
    Wrong {
        identity: "faulty/edge-c1-expired",
        of: "edge-c1",
        edge: ["expired", "renew the other edge's link certificate"],
        core: ["CertificateExpired", "renew this edge's link certificate"],
    },
    Wrong {
        identity: "faulty/edge-c1-foreign",
        of: "edge-c1",
        edge: ["UnknownIssuer", "trust_anchors here"],
        core: ["UnknownCA", "trust_anchors of the other edge"],
    },
    Wrong {
        identity: "faulty/stranger",
        of: "edge-c1",
        edge: ["stranger.link.internal", "set `name`"],
        core: ["stranger.link.internal", "set `name`"],
    },
    Wrong {
        identity: "faulty/edge1-expired",
        of: "edge1",
        edge: ["CertificateExpired", "renew this edge's link certificate"],
        core: ["expired", "renew the other edge's link certificate"],
    },
    Wrong {
        identity: "faulty/edge1-foreign",
        of: "edge1",
        edge: ["UnknownCA", "trust_anchors of the other edge"],
        core: ["UnknownIssuer", "trust_anchors here"],
    },
    Wrong {
        identity: "edge2",
        of: "edge1",
        edge: ["BadCertificate", "its log says why"],
        core: ["not valid for name", "certificate_name"],
    },
];

#[test]
fn a_wrong_certificate_forms_no_link_until_it_is_replaced() {
    let mut stage = Stage::prepare(Size::ONE);
    for wrong in WRONG {
        let target = stage.path().join("link").join(wrong.of);
        let right = Identity::read_from(&target).unwrap();
        let source = stage.path().join("link").join(wrong.identity);
        Identity::read_from(&source)
            .unwrap()
            .write_to(&target)
            .unwrap();
        let (edge, core) = (&mut stage.pair.edges[0], &mut stage.pair.cores[0]);
        edge.spawn().unwrap();
        core.spawn().unwrap();

        assert_refused(edge, "link connection refused", wrong.edge);
        assert_refused(core, "can't link", wrong.core);

        right.write_to(&target).unwrap();
        edge.wait_ready().unwrap();
        core.wait_ready().unwrap();
        core.kill().unwrap();
        edge.kill().unwrap();
        for member in [edge, core] {
            member.forget_log().unwrap();
        }
    }
    stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn a_core_that_is_not_on_the_list_forms_no_link_until_it_is() {
    let mut stage = Stage::prepare(Size::ONE);
    let (edge, core) = (&mut stage.pair.edges[0], &mut stage.pair.cores[0]);
    edge.set("link", "allowed_cores", vec!["edge-c9.link.internal"]);
    edge.spawn().unwrap();
    core.spawn().unwrap();

    let wanted = [
        "edge-c1.link.internal is not in allowed_cores",
        "add the core's name",
    ];
    assert_refused(edge, "link connection refused", wanted);
    assert_refused(core, "can't link", wanted);

    edge.set("link", "allowed_cores", vec!["edge-c1.link.internal"]);
    edge.reload().unwrap();
    edge.wait_ready().unwrap();
    core.wait_ready().unwrap();
}

#[test]
fn two_cores_with_one_number_do_not_share_it() {
    let mut stage = Stage::prepare(Size { edges: 1, cores: 2 });
    let edge = &mut stage.pair.edges[0];
    edge.start_alone().unwrap();
    let [first, second] = &mut stage.pair.cores[..] else {
        unreachable!("two cores were asked for")
    };
    first.start().unwrap();
    second.config_mut().insert("core_id".to_owned(), 1.into());
    second.spawn().unwrap();

    let wanted = [
        "core_id 1 is in use by edge-c1.link.internal",
        "core_id of its own",
    ];
    assert_refused(second, "can't link", wanted);
    assert_logged(edge, "link connection refused", wanted);
    assert_eq!(first.ask_admin("/ready").unwrap().0, 200);

    second.config_mut().insert("core_id".to_owned(), 2.into());
    second.restart().unwrap();
    let status = edge.ask_admin("/status").unwrap().1;
    let status: Value = serde_json::from_str(&status).unwrap();
    let connected = status["cores"].as_array().unwrap();
    assert!(
        connected.iter().all(|core| core["is_connected"] == true),
        "{status}"
    );
    assert_eq!(connected.len(), 2, "{status}");
}

#[test]
fn without_a_client_certificate_nobody_gets_as_far_as_the_greeting() {
    let stage = Stage::start();
    let [socket, _] = netns::link(11).map(|address| SocketAddr::new(address, 7001));
    let ca = stage.path().join("link/ca.pem");
    let name = "edge1.link.internal";
    let dialer = Dialer::new(&stage.zones.inside(), socket, name, &ca, &["edge-link/1"]).unwrap();

    let mut connection = dialer.dial().unwrap();
    let refusal = connection.receive(1).unwrap_err();

    assert!(
        refusal.to_string().contains("CertificateRequired"),
        "{refusal}"
    );
    let wanted = ["no certificates", "set certificate and key"];
    assert_logged(&stage.pair.edges[0], "link connection refused", wanted);
    assert_eq!(stage.pair.edges[0].ask_admin("/ready").unwrap().0, 200);
}

#[test]
fn the_link_works_over_ipv6_and_nothing_is_opened_towards_the_inside() {
    let mut stage = Stage::prepare(Size::ONE);
    let [_, socket] = netns::link(11).map(|address| SocketAddr::new(address, 7001));
    let [_, own] = netns::inside(20);
    let core = &mut stage.pair.cores[0];
    core.set("link", "bind_address", own.to_string());
    let edges = core.config_mut().get_mut("edge").unwrap();
    let edge = edges.as_array_mut().unwrap()[0].as_table_mut().unwrap();
    edge.insert("address".to_owned(), socket.to_string().into());
    stage.pair.start().unwrap();

    let client = stage.sign_in("alice");
    let photo = client.get("https/photos.example.com/443", "/photos/alice.jpg");

    assert_eq!(photo.status, 200, "{}", stage.logs());
    let peers = stage.pair.edges[0].log().unwrap();
    assert!(peers.contains("[fd00:9:1::20]:"), "{peers}");
    stage.zones.assert_nothing_refused().unwrap();
}

/// Not ready, for that reason, which stands in the log too.
fn assert_refused(member: &Member, message: &str, wanted: [&str; 2]) {
    assert_logged(member, message, wanted);
    let [reason, remedy] = wanted;
    wait::until_true(
        &format!("{} not ready because of {reason:?}", member.name()),
        wait::START_LIMIT,
        || {
            let (status, text) = member.ask_admin("/ready")?;
            anyhow::ensure!(status == 503, "{} is ready", member.name());
            anyhow::ensure!(text.contains(reason) && text.contains(remedy), "{text}");
            Ok(true)
        },
    )
    .unwrap();
}

/// A line with side, reason and remedy.
fn assert_logged(member: &Member, message: &str, [reason, remedy]: [&str; 2]) {
    let is_it = |line: &str| {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            return false;
        };
        let has = |key: &str, part: &str| line[key].as_str().is_some_and(|v| v.contains(part));
        has("message", message)
            && has("side", "link")
            && has("reason", reason)
            && has("remedy", remedy)
    };
    let found = member.wait_log(is_it);
    let log = member.log().unwrap();
    assert!(found.is_ok(), "{message}, {reason}, {remedy}\n{log}");
}
