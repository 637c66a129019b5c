//! Clients that take more than their share: of connections, of time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::limits;
use support::pair::Size;
use support::tls_client::{Connection, is_gone};
use support::wait;

use crate::stage::{Stage, verb_url};

#[test]
fn one_address_has_so_many_connections_and_another_has_its_own() {
    let stage = start("connections_per_address_max", 50);
    let dialer = stage.dialer();
    let mut open: Vec<Connection> = (0..50).map(|_| dialer.dial().unwrap()).collect();

    let refused = dialer.dial().unwrap_err();

    assert!(is_gone(&refused), "{refused}");
    let other = stage.client().with(["--interface", "203.0.113.101"]);
    let answer = other.get(&verb_url(1, "get_edge_sso?email=alice@example.com"));
    assert_eq!(answer.unwrap().status, 200);
    let log = stage.pair.edges[0].log().unwrap();
    assert!(log.contains("connections_per_address_max reached"), "{log}");
    let ask = "GET / HTTP/1.1\r\nHost: edge1.example.com\r\n\r\n";
    for connection in &mut open {
        connection.send(ask.as_bytes()).unwrap();
        assert_eq!(connection.response().unwrap().unwrap().status, 404);
    }

    drop(open);
    wait::until_true("room again", wait::START_LIMIT, || {
        Ok(dialer.dial().is_ok())
    })
    .unwrap();
}

#[test]
fn one_address_connects_so_often_and_another_has_its_own_rate() {
    let stage = start("connections_per_second_per_address", 2);
    let dialer = stage.dialer();

    let outcomes: Vec<bool> = (0..20).map(|_| dialer.dial().is_ok()).collect();

    assert!(outcomes[0] && outcomes[1], "{outcomes:?}");
    assert!(outcomes.contains(&false), "{outcomes:?}");
    let other = stage.client().with(["--interface", "203.0.113.101"]);
    let answer = other.get(&verb_url(1, "get_edge_sso?email=alice@example.com"));
    assert_eq!(answer.unwrap().status, 200);
    let log = stage.pair.edges[0].log().unwrap();
    assert!(
        log.contains("connections_per_second_per_address exceeded"),
        "{log}"
    );
    // A refill is half a second away.
    wait::until_true("another turn", wait::START_LIMIT, || {
        Ok(dialer.dial().is_ok())
    })
    .unwrap();
}

#[test]
fn those_who_say_too_little_are_cut_off_and_hold_nobody_up() {
    let stage = start("connections_per_second_per_address", 1_000);
    let dialer = stage.dialer();
    let mut half_open: Vec<TcpStream> = (0..50).map(|_| dialer.dial_tcp().unwrap()).collect();
    for stream in half_open.iter_mut().take(25) {
        // The beginning of a ClientHello.
        stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    }
    let silent: Vec<Connection> = (0..50).map(|_| dialer.dial().unwrap()).collect();
    let mut slow: Vec<Connection> = (0..10).map(|_| dialer.dial().unwrap()).collect();
    let began = Instant::now();

    let mut head = b"GET / HTTP/1.1\r\nHost: edge1.example.com\r\nX-Slow: "
        .iter()
        .cycle();
    let mut cut_after = None;
    while cut_after.is_none() && began.elapsed() < 3 * limits::HTTP_HEAD_TIMEOUT {
        let byte = [*head.next().unwrap()];
        for connection in &mut slow {
            if connection.send(&byte).is_err() || has_ended(connection) {
                cut_after = Some(began.elapsed());
            }
        }
        let photo = stage
            .client()
            .get(&verb_url(1, "get_edge_sso?email=alice@example.com"));
        assert_eq!(photo.unwrap().status, 200, "{}", stage.logs());
        std::thread::sleep(SLOW);
    }

    let cut_after = cut_after.expect("nobody was cut off");
    assert!(cut_after > limits::HTTP_HEAD_TIMEOUT / 2, "{cut_after:?}");
    for stream in &mut half_open {
        let mut rest = Vec::new();
        // Closed or reset: gone either way; a time-out is neither.
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert!(is_gone(&error), "{error}"),
        }
    }
    let log = stage.pair.edges[0].log().unwrap();
    assert!(log.contains("slow head"), "{log}");
    drop(silent);
}

fn has_ended(connection: &Connection) -> bool {
    let tcp = connection.tcp();
    tcp.set_nonblocking(true).unwrap();
    let ended = matches!(tcp.peek(&mut [0]), Ok(0))
        || tcp.peek(&mut [0]).is_err_and(|error| is_gone(&error));
    tcp.set_nonblocking(false).unwrap();
    ended
}

fn start(key: &str, limit: i64) -> Stage {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.edges[0].set("limits", key, limit);
    stage.pair.start().unwrap();
    stage
}

/// How long a slow client waits between two bytes.
const SLOW: Duration = Duration::from_millis(500);
