//! A peer of another version is told so before anything else is said.

use std::net::SocketAddr;

use certs::Identity;
use common::id::CoreId;
use common::link::greeting::{self, Answer, Hello, PROTOCOL, Protocol, Purpose};
use support::netns;
use support::tls_client::{Connection, Dialer};

use crate::stage::Stage;

#[test]
fn a_core_of_another_major_version_is_refused_with_what_to_do() {
    let stage = Stage::start();
    let mut connection = dial(&stage);

    let later = Protocol { major: 2, minor: 0 };
    let answer = greet(&mut connection, &hello(later)).unwrap();

    let Answer::Refused { reason, remedy, .. } = answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("speaks link protocol 2.0"), "{reason}");
    assert!(remedy.contains("upgrade the older"), "{remedy}");
    assert!(connection.is_closed().unwrap());
    let edge = &stage.pair.edges[0];
    let logged = edge.wait_log(|line| line.contains("speaks link protocol 2.0"));
    assert!(logged.unwrap().contains("upgrade the older"));
    assert_eq!(edge.ask_admin("/ready").unwrap().0, 200);
}

#[test]
fn one_minor_version_apart_is_welcome_and_two_are_not() {
    let stage = Stage::start();
    let apart = |minor| Protocol {
        major: PROTOCOL.major,
        minor: PROTOCOL.minor + minor,
    };

    let next = greet(&mut dial(&stage), &hello(apart(1)));
    assert!(matches!(next, Some(Answer::Welcome { .. })), "{next:?}");
    let after_next = greet(&mut dial(&stage), &hello(apart(2)));
    assert!(
        matches!(after_next, Some(Answer::Refused { .. })),
        "{after_next:?}"
    );
}

#[test]
fn what_is_no_greeting_ends_the_connection_without_an_answer() {
    let stage = Stage::start();
    for hostile in [
        &b"GET / HTTP/1.1\r\nHost: edge1.link.internal\r\n\r\n"[..],
        &[0xff; 64],
        &[0, 0, 0, 2, b'{', b'}'],
        &[0, 0, 0, 0],
    ] {
        let mut connection = dial(&stage);
        connection.send(hostile).unwrap();
        assert!(connection.is_closed().unwrap(), "{hostile:?}");
    }
    assert_eq!(stage.pair.edges[0].ask_admin("/ready").unwrap().0, 200);
    let client = stage.sign_in("alice");
    assert_eq!(
        client
            .get("https/photos.example.com/443", "/photos/alice.jpg")
            .status,
        200
    );
}

/// As edge-c1, with its certificate.
fn dial(stage: &Stage) -> Connection {
    let [socket, _] = netns::link(11).map(|address| SocketAddr::new(address, 7001));
    let identity = Identity::read_from(&stage.path().join("link/edge-c1")).unwrap();
    let dialer = Dialer::with_identity(
        &stage.zones.inside(),
        socket,
        "edge1.link.internal",
        &stage.path().join("link/ca.pem"),
        &["edge-link/1"],
        Some(&identity),
    );
    dialer.unwrap().dial().unwrap()
}

fn hello(protocol: Protocol) -> Hello {
    Hello {
        version: "9.9.9".to_owned(),
        protocol,
        core: "edge-c1.link.internal".to_owned(),
        core_id: CoreId(1),
        instance: 4711,
        purpose: Purpose::HttpsShared,
        resume: None,
        nonce: None,
    }
}

fn greet(connection: &mut Connection, hello: &Hello) -> Option<Answer> {
    connection.send(&greeting::encode(hello)).unwrap();
    let prefix = connection.receive(4).ok()?;
    let length = greeting::body_len(prefix.try_into().unwrap()).unwrap();
    let body = connection.receive(length).unwrap();
    Some(greeting::decode(&body).unwrap())
}
