//! HTTP/2 that breaks the rules, written frame by frame (RFC 9113).

use std::time::{Duration, Instant};

use support::pair::Size;
use support::tls_client::Connection;

use super::{PHOTOS, Scene};
use crate::stage::{Stage, proxied_path};

/// What a stream ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// An answer with this status; 0 if it is none of those in the static table of HPACK.
    Answer(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// `GOAWAY` with this code, or just the end.
    Gone(Option<u32>),
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn streams_that_break_the_rules_end_and_nothing_crosses() {
    let mut scene = Scene::new();
    let path = proxied_path(PHOTOS, "/photos/alice.jpg");
    let cookie = format!("X-Auth={}", scene.client.cookie);
    let pseudo = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "edge1.example.com:8443"),
        (":path", path.as_str()),
    ];
    let honest = [&pseudo[..], &[("cookie", cookie.as_str())]].concat();
    let with = |more: &[(&'static str, &'static str)]| [&honest[..], more].concat();
    let regular_first = [&[("cookie", cookie.as_str())], &pseudo[..]].concat();
    let without = |name: &str| honest.iter().copied().filter(|(n, _)| *n != name).collect();
    let other_path = honest.iter().map(|(name, value)| match *name {
        ":path" => (*name, "https://photos.example.com/photos/alice.jpg"),
        _ => (*name, *value),
    });
    let mut wrong = Vec::new();
    for (name, wanted, fields) in [
        (
            "a pseudo field after a regular one",
            PROTOCOL_ERROR,
            regular_first,
        ),
        ("an upper-case name", UNREADABLE, with(&[("X-Upper", "1")])),
        (
            "Connection",
            PROTOCOL_ERROR,
            with(&[("connection", "close")]),
        ),
        (
            "Transfer-Encoding",
            PROTOCOL_ERROR,
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("Keep-Alive", PROTOCOL_ERROR, with(&[("keep-alive", "5")])),
        ("Upgrade", PROTOCOL_ERROR, with(&[("upgrade", "websocket")])),
        (
            "TE other than trailers",
            PROTOCOL_ERROR,
            with(&[("te", "gzip")]),
        ),
        (
            "an unknown pseudo field",
            UNREADABLE,
            with(&[(":edge", "1")]),
        ),
        (
            "two paths",
            PROTOCOL_ERROR,
            [&[(":path", "/")], &honest[..]].concat(),
        ),
        ("no path", PROTOCOL_ERROR, without(":path")),
        ("no method", PROTOCOL_ERROR, without(":method")),
        (
            "a path in absolute form",
            PROTOCOL_ERROR,
            other_path.collect(),
        ),
        (
            "CR and LF in a value",
            UNREADABLE,
            with(&[("x-split", "a\r\nx-injected: b")]),
        ),
        ("NUL in a value", UNREADABLE, with(&[("x-nul", "a\0b")])),
        (
            "a response's status",
            PROTOCOL_ERROR,
            with(&[(":status", "200")]),
        ),
        (
            "a length that is a lie",
            PROTOCOL_ERROR,
            with(&[("content-length", "10")]),
        ),
    ] {
        let mut connection = open(&scene);
        connection.send(&headers(1, &fields)).unwrap();

        let end = end_of(&mut connection, 1);

        if end != wanted {
            wrong.push(format!("{name}: {end:?} instead of {wanted:?}"));
        }
        scene.assert_crossed(name, &[]);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut connection = open(&scene);
    connection.send(&headers(1, &honest)).unwrap();
    assert_eq!(end_of(&mut connection, 1), End::Answer(200));
    scene.assert_crossed("an honest one", &["/photos/alice.jpg"]);
}

#[test]
fn rapid_resets_end_the_connection_that_sends_them_and_no_other() {
    let scene = Scene::new();
    let path = proxied_path(PHOTOS, "/large.bin");
    let cookie = format!("X-Auth={}", scene.client.cookie);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "edge1.example.com:8443"),
        (":path", path.as_str()),
        ("cookie", cookie.as_str()),
    ];
    let mut bystander = scene.stage.dialer().dial().unwrap();
    let range = format!("Range: bytes=0-{}\r\n", BYSTANDER_BYTES - 1);
    bystander
        .send(scene.client.get_text(&path, &range).as_bytes())
        .unwrap();
    assert_eq!(bystander.head().unwrap().unwrap().status, 206);

    let mut attacker = open(&scene);
    let mut is_gone = false;
    for number in 0..RESETS {
        let stream = 2 * number + 1;
        let burst = [headers(stream, &fields), reset(stream)].concat();
        if attacker.send(&burst).is_err() {
            is_gone = true;
            break;
        }
    }
    let end = end_of(&mut attacker, 2 * RESETS + 1);

    assert!(is_gone || matches!(end, End::Gone(_)), "{end:?}");
    assert_eq!(
        bystander.receive(BYSTANDER_BYTES).unwrap().len(),
        BYSTANDER_BYTES
    );
    for _ in 0..10 {
        let photo = scene.client.get(PHOTOS, "/photos/alice.jpg");
        assert_eq!(photo.status, 200, "{}", scene.stage.logs());
    }
    let log = scene.stage.pair.cores[0].log().unwrap();
    assert!(!log.contains("link lost"), "{log}");
}

#[test]
fn pings_do_not_keep_a_request_alive_that_stands_still() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.edges[0].set("public", "stall_timeout", "2s");
    stage.pair.start().unwrap();
    let client = stage.sign_in("alice");
    let path = proxied_path(PHOTOS, "/large.bin");
    let cookie = format!("X-Auth={}", client.cookie);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "edge1.example.com:8443"),
        (":path", path.as_str()),
        ("cookie", cookie.as_str()),
    ];
    let mut connection = preface(&stage);
    // No window is ever given: the answer stops after the first 64 KiB.
    connection.send(&headers(1, &fields)).unwrap();

    let start = Instant::now();
    let mut is_gone = false;
    while !is_gone && start.elapsed() < PATIENCE {
        // Every answer is a sign of life, and none of them is progress. The answer paces the loop.
        is_gone = connection.send(&frame(PING, 0, 0, b"pingping")).is_err()
            || await_pong(&mut connection).is_none();
        std::thread::yield_now();
    }

    assert!(is_gone, "{}", stage.logs());
    let log = stage.pair.edges[0].log().unwrap();
    assert!(log.contains("\"reason\":\"stalled\""), "{log}");
}

/// Reads up to the answer to a ping; `None` at the end of the connection.
fn await_pong(connection: &mut Connection) -> Option<()> {
    loop {
        let head = connection.receive(9).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        connection.receive(usize::try_from(length).ok()?).ok()?;
        match head[3] {
            PING => return Some(()),
            GOAWAY => return None,
            _ => {}
        }
    }
}

/// A connection with its preface and settings sent.
fn open(scene: &Scene) -> Connection {
    preface(&scene.stage)
}

fn preface(stage: &Stage) -> Connection {
    let mut connection = stage.dialer_of(1, &["h2"]).dial().unwrap();
    connection
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    connection.send(&frame(SETTINGS, 0, 0, &[])).unwrap();
    connection
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A whole request, `END_STREAM` and `END_HEADERS`; every field a literal without indexing (RFC 7541 section 6.2.2).
fn headers(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    frame(HEADERS, 0x5, stream, &block)
}

/// Without Huffman coding; the length with a prefix of 7 bits (RFC 7541 section 5.1).
fn string(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend(text.as_bytes());
}

fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

fn end_of(connection: &mut Connection, stream: u32) -> End {
    loop {
        let Ok(head) = connection.receive(9) else {
            return End::Gone(None);
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Ok(payload) = connection.receive(usize::try_from(length).unwrap()) else {
            return End::Gone(None);
        };
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            HEADERS if of == stream => return End::Answer(status(&payload)),
            RST_STREAM if of == stream => return End::Reset(code(0)),
            GOAWAY => return End::Gone(Some(code(4))),
            _ => {}
        }
    }
}

/// The status is the first field of an answer (RFC 7541 appendix A).
fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// The stream is at fault (RFC 9113 section 8.1.1).
const PROTOCOL_ERROR: End = End::Reset(1);
/// The header block is, and with it what HPACK knows of the connection (section 4.3).
const UNREADABLE: End = End::Gone(Some(1));
/// Far more than the timeout that the test sets.
const PATIENCE: Duration = Duration::from_secs(20);
const RESETS: u32 = 2_000;
const BYSTANDER_BYTES: usize = 20_000_000;
