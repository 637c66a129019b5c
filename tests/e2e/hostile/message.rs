//! HTTP/1.1 that two readers could read differently, is too large, or is not HTTP at all.

use support::tls_client::{Connection, Response};

use super::{PHOTOS, Scene};
use crate::stage::proxied_path;

/// What happens to the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// This answer, and the end of the connection.
    Answer(u16),
    /// This answer, and the connection goes on.
    AnswerAndOn(u16),
    /// The end without a word.
    Closed,
    /// An answer to something that was never asked.
    SecondAnswer,
}
use Fate::{Answer, AnswerAndOn, Closed, SecondAnswer};

/// Name, request, what happens, and which targets reach the photo server.
type Case = (&'static str, Vec<u8>, Fate, Vec<&'static str>);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn ambiguous_framing_does_not_cross() {
    let scene = Scene::new();
    let inner = scene.get("/photos/smuggled.jpg", "");
    let put = |fields: &str, body: &str| scene.put("/upload/hostile", fields, body);
    let smuggling = format!("3\r\nabc\r\n0\r\n\r\n{inner}");
    let te = "Transfer-Encoding: chunked\r\n";
    let cl = format!("Content-Length: {}\r\n", smuggling.len());
    let cases: Vec<Case> = vec![
        (
            "CL and TE",
            put(&format!("{cl}{te}"), &smuggling),
            Answer(201),
            vec!["/upload/hostile"],
        ),
        (
            "TE and CL",
            put(&format!("{te}{cl}"), &smuggling),
            Answer(201),
            vec!["/upload/hostile"],
        ),
        (
            "CL 4 and TE",
            put(&format!("Content-Length: 4\r\n{te}"), &smuggling),
            Answer(201),
            vec!["/upload/hostile"],
        ),
        (
            "two CL that differ",
            put("Content-Length: 3\r\nContent-Length: 5\r\n", "abcde"),
            Answer(400),
            vec![],
        ),
        (
            "two CL that agree",
            put("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
            AnswerAndOn(201),
            vec!["/upload/hostile"],
        ),
        (
            "CL with a list",
            put("Content-Length: 3, 3\r\n", "abc"),
            Answer(400),
            vec![],
        ),
        (
            "CL with a plus",
            put("Content-Length: +3\r\n", "abc"),
            Answer(400),
            vec![],
        ),
        (
            "CL with a minus",
            put("Content-Length: -1\r\n", "abc"),
            Answer(400),
            vec![],
        ),
        (
            "CL with a space inside",
            put("Content-Length: 3 3\r\n", "abc"),
            Answer(400),
            vec![],
        ),
        (
            "CL in hexadecimal",
            put("Content-Length: 0x3\r\n", "abc"),
            Answer(400),
            vec![],
        ),
        (
            "CL over 64 bits",
            put("Content-Length: 99999999999999999999\r\n", "abc"),
            Answer(400),
            vec![],
        ),
        (
            "TE xchunked",
            put("Transfer-Encoding: xchunked\r\n", &smuggling),
            Answer(400),
            vec![],
        ),
        (
            "TE chunked, identity",
            put("Transfer-Encoding: chunked, identity\r\n", &smuggling),
            Answer(400),
            vec![],
        ),
        (
            "TE identity",
            put("Transfer-Encoding: identity\r\n", &smuggling),
            Answer(400),
            vec![],
        ),
        (
            "TE on HTTP/1.0",
            scene.raw(
                &format!("PUT {} HTTP/1.0\r\n", scene.path("/upload/hostile")),
                te,
                &smuggling,
            ),
            Answer(400),
            vec![],
        ),
    ];
    scene.run(cases);
}

#[test]
fn broken_chunks_end_the_request_and_the_connection() {
    let mut scene = Scene::new();
    let inner = scene.get("/photos/smuggled.jpg", "");
    for (name, body) in [
        ("size over 64 bits", "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"),
        (
            "size that wraps to 3",
            "10000000000000003\r\nabc\r\n0\r\n\r\n",
        ),
        ("size of garbage", "zz\r\nabc\r\n0\r\n\r\n"),
        ("size with a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("data longer than its size", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
        ("bare CR after the size", "3\rabc\r\n0\r\n\r\n"),
    ] {
        let fields = "Transfer-Encoding: chunked\r\n";
        let request = scene.put("/upload/hostile", fields, &format!("{body}{inner}"));
        let mut connection = scene.stage.dialer().dial().unwrap();
        connection.send(&request).unwrap();

        // What is broken is found out after the request has been let through: any answer must be a refusal.
        let answer = connection.response().unwrap();
        let status = answer.map(|answer| answer.status);
        assert!(
            status.is_none_or(|status| (400..600).contains(&status)),
            "{name}: {status:?}"
        );
        assert!(connection.is_closed().unwrap(), "{name}");
        assert!(!scene.stage.nginx.uploaded("hostile").exists(), "{name}");
        let crossed = scene.crossed();
        let smuggled = crossed
            .iter()
            .filter(|line| line.target.contains("smuggled"));
        assert_eq!(smuggled.count(), 0, "{name}: {crossed:#?}");
        assert!(
            crossed.iter().all(|line| !line.status.starts_with('2')),
            "{name}: {crossed:#?}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn malformed_heads_are_refused() {
    let scene = Scene::new();
    let photo = "/photos/alice.jpg";
    let path = scene.path(photo);
    let with = |fields: &str| scene.get(photo, fields).into_bytes();
    let line = |line: &str| scene.raw(line, "", "");
    let host = "Host: edge1.example.com:8443\r\n";
    let cookie = format!("Cookie: X-Auth={}\r\n", scene.client.cookie);
    let lf = scene.get(photo, "").replace("\r\n", "\n").into_bytes();
    let cases: Vec<Case> = vec![
        (
            "obsolete folding",
            with("X-Folded: one\r\n two\r\n"),
            Answer(400),
            vec![],
        ),
        (
            "folding first",
            with(" X-Folded: one\r\n"),
            Answer(400),
            vec![],
        ),
        (
            "bare LF, sent on with CRLF",
            lf,
            AnswerAndOn(200),
            vec![photo],
        ),
        (
            "space before the colon",
            with("X-Spaced : one\r\n"),
            Answer(400),
            vec![],
        ),
        (
            "NUL in a value",
            with("X-Nul: a\0b\r\n"),
            Answer(400),
            vec![],
        ),
        ("CR in a value", with("X-Cr: a\rb\r\n"), Answer(400), vec![]),
        (
            "DEL in a value",
            with("X-Del: a\x7fb\r\n"),
            Answer(400),
            vec![],
        ),
        (
            "a name that is no token",
            with("X(Name): a\r\n"),
            Answer(400),
            vec![],
        ),
        ("no colon", with("X-Nothing\r\n"), Answer(400), vec![]),
        ("empty name", with(": a\r\n"), Answer(400), vec![]),
        (
            "absolute form",
            line(&format!(
                "GET https://edge1.example.com:8443{path} HTTP/1.1\r\n"
            )),
            Answer(400),
            vec![],
        ),
        (
            "absolute form of an inner server",
            line("GET https://photos.example.com/photos/alice.jpg HTTP/1.1\r\n"),
            Answer(400),
            vec![],
        ),
        (
            "authority form",
            line("CONNECT photos.example.com:443 HTTP/1.1\r\n"),
            Answer(501),
            vec![],
        ),
        (
            "asterisk form",
            line("OPTIONS * HTTP/1.1\r\n"),
            AnswerAndOn(404),
            vec![],
        ),
        (
            "TRACE",
            line(&format!("TRACE {path} HTTP/1.1\r\n")),
            Answer(501),
            vec![],
        ),
        (
            "Upgrade to h2c",
            with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            Answer(400),
            vec![],
        ),
        (
            "Upgrade to WebSocket",
            with(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n",
            ),
            Answer(400),
            vec![],
        ),
        (
            "two Hosts",
            with("Host: photos.example.com\r\n"),
            Answer(400),
            vec![],
        ),
        (
            "no Host",
            format!("GET {path} HTTP/1.1\r\n{cookie}\r\n").into_bytes(),
            Answer(400),
            vec![],
        ),
        (
            "an empty Host",
            format!("GET {path} HTTP/1.1\r\nHost:\r\n{cookie}\r\n").into_bytes(),
            Answer(400),
            vec![],
        ),
        (
            "HTTP/0.9",
            format!("GET {path}\r\n").into_bytes(),
            Answer(400),
            vec![],
        ),
        (
            "HTTP/1.2",
            line(&format!("GET {path} HTTP/1.2\r\n")),
            Answer(400),
            vec![],
        ),
        (
            "HTTP/2 without ALPN",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            Closed,
            vec![],
        ),
        (
            "two spaces",
            line(&format!("GET  {path} HTTP/1.1\r\n")),
            Answer(400),
            vec![],
        ),
        (
            "a method that is no token",
            line(&format!("GE(T {path} HTTP/1.1\r\n")),
            Answer(400),
            vec![],
        ),
        (
            "no HTTP",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            Answer(400),
            vec![],
        ),
        (
            "101 fields",
            with(&"X-Many: 1\r\n".repeat(99)),
            Answer(431),
            vec![],
        ),
        (
            "a head of more than 64 KiB",
            with(&format!("X-Large: {}\r\n", "a".repeat(66_000))),
            Answer(431),
            vec![],
        ),
        (
            "a target of more than 8 KiB",
            scene
                .get(&format!("{photo}?{}", "a".repeat(9_000)), "")
                .into_bytes(),
            Answer(400),
            vec![],
        ),
        (
            "Connection takes the cookie",
            with("Connection: cookie, host\r\n"),
            AnswerAndOn(200),
            vec![photo],
        ),
        (
            "a second request after close",
            [
                with("Connection: close\r\n"),
                scene.get("/photos/smuggled.jpg", "").into_bytes(),
            ]
            .concat(),
            Answer(200),
            vec![photo],
        ),
        (
            "a body on GET is one",
            [with("Content-Length: 3\r\n"), b"abc".to_vec()].concat(),
            AnswerAndOn(200),
            vec![photo],
        ),
        (
            "a request as body of GET",
            {
                let inner = scene.get("/photos/smuggled.jpg", "");
                [
                    with(&format!("Content-Length: {}\r\n", inner.len())),
                    inner.into_bytes(),
                ]
                .concat()
            },
            AnswerAndOn(200),
            vec![photo],
        ),
        (
            "no session, a fine request",
            format!("GET {path} HTTP/1.1\r\n{host}\r\n").into_bytes(),
            AnswerAndOn(401),
            vec![],
        ),
    ];
    scene.run(cases);
}

#[test]
fn fields_of_the_link_can_not_be_forged() {
    let mut scene = Scene::new();
    let forged = "X-Tracking-Id: 00000000000000000000000000000000\r\nEdge-Client: 10.9.1.20:1\r\n\
                  X-Forwarded-For: 10.9.1.20\r\nForwarded: for=10.9.1.20\r\nVia: 1.1 edge-c\r\n\
                  Proxy-Authorization: Basic eA==\r\nTE: trailers\r\nKeep-Alive: 5\r\n";
    let request = scene.get("/photos/alice.jpg", forged);

    let (response, _) = scene.send(request.as_bytes());

    let response = response.unwrap();
    assert_eq!(response.status, 200, "{}", scene.stage.logs());
    let crossed = scene.crossed();
    let [line] = &crossed[..] else {
        panic!("{crossed:#?}")
    };
    assert_eq!(line.forwarded_for, "203.0.113.100");
    assert_ne!(line.tracking_id, "0".repeat(32));
    assert_eq!(line.tracking_id.len(), 32);
    assert_eq!(line.host, "photos.example.com");
    assert!(!line.cookie.contains("X-Auth"), "{line:?}");
    assert!(
        response
            .headers
            .iter()
            .all(|(name, _)| name != "edge-client")
    );
}

impl Scene {
    fn path(&self, target: &str) -> String {
        proxied_path(PHOTOS, target)
    }

    fn get(&self, target: &str, fields: &str) -> String {
        self.client.get_text(&self.path(target), fields)
    }

    fn put(&self, target: &str, fields: &str, body: &str) -> Vec<u8> {
        let line = format!("PUT {} HTTP/1.1\r\n", self.path(target));
        self.raw(&line, fields, body)
    }

    /// A request line as it is, the fields of an honest request, more fields, a body.
    fn raw(&self, line: &str, fields: &str, body: &str) -> Vec<u8> {
        let cookie = &self.client.cookie;
        format!(
            "{line}Host: edge1.example.com:8443\r\nCookie: X-Auth={cookie}\r\n{fields}\r\n{body}"
        )
        .into_bytes()
    }

    fn send(&self, request: &[u8]) -> (Option<Response>, Connection) {
        let mut connection = self.stage.dialer().dial().unwrap();
        // The edge may have refused before all of it was sent.
        drop(connection.send(request));
        (connection.response().unwrap(), connection)
    }

    /// Sends an honest request after the answer, to see whether the connection goes on.
    fn fate(&self, request: &[u8]) -> Fate {
        let (response, mut connection) = self.send(request);
        let Some(response) = response else {
            return Closed;
        };
        let again = self.get("/photos/vera.jpg", "");
        let is_sent = connection.send(again.as_bytes()).is_ok();
        match connection.response() {
            Ok(Some(second)) if is_sent && second.status == 200 => AnswerAndOn(response.status),
            Ok(None) | Err(_) => Answer(response.status),
            // Something else has been answered than what was asked: no case expects it.
            Ok(Some(_)) => SecondAnswer,
        }
    }

    fn run(mut self, cases: Vec<Case>) {
        let mut wrong = Vec::new();
        for (name, request, wanted, crosses) in cases {
            let fate = self.fate(&request);
            let mut crosses = crosses;
            if matches!(wanted, AnswerAndOn(_)) {
                crosses.push("/photos/vera.jpg");
            }
            if fate != wanted {
                wrong.push(format!("{name}: {fate:?} instead of {wanted:?}"));
                drop(self.crossed());
                continue;
            }
            self.assert_crossed(name, &crosses);
            let uploaded = self.stage.nginx.uploaded("hostile");
            if uploaded.exists() {
                // One reading has won, and the inner server gets that one alone: chunked before any length.
                assert!(crosses.contains(&"/upload/hostile"), "{name}");
                assert_eq!(std::fs::read(&uploaded).unwrap(), b"abc", "{name}");
                std::fs::remove_file(&uploaded).unwrap();
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.stage.zones.assert_nothing_refused().unwrap();
    }
}
