//! The admin listener through real HTTP on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::runtime::{listen, telemetry};
use crate::telemetry::{LogFilter, LogFormat};

struct Running {
    address: SocketAddr,
    admin: Admin,
}

fn running() -> Running {
    let drain = Drain::new();
    let mut registry = Registry::default();
    let hits = Counter::<u64>::default();
    hits.inc();
    registry.register("hits", "Things that happened", hits);
    let (subscriber, log) = telemetry::subscriber(LogFormat::Text, LogFilter::default(), io::sink);
    // The control only works as long as its subscriber lives.
    let keep = Mutex::new(Some(subscriber));
    let admin = Admin {
        product: "edge-x",
        names: vec!["admin.example.com".parse().unwrap()],
        registry: Arc::new(registry),
        readiness: Readiness::default(),
        status: Arc::new(move || {
            let _alive = keep.lock().unwrap().is_some();
            json!({ "links": [{ "peer": "<script>" }], "up": true })
        }),
        log,
        drain: drain.clone(),
        more: None,
    };
    let listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let supervisor = Supervisor::new(drain);
    drop(supervisor.spawn_vital("admin", serve(listener, admin.clone(), supervisor.clone())));
    Running { address, admin }
}

impl Running {
    async fn send(&self, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        self.raw(&format!(
            "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
        .await
    }

    async fn raw(&self, request: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        self.send(&head, "").await
    }
}

fn body(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn live_metrics_and_status_answer() {
    let running = running();

    assert_eq!(running.ask("GET", "/live").await.0, 200);
    assert_eq!(running.ask("HEAD", "/live").await.0, 200);
    let (status, text) = running.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("application/openmetrics-text"));
    assert!(text.contains("hits_total 1\n") && text.ends_with("# EOF\n"));
    let (status, text) = running.ask("GET", "/status").await;
    assert_eq!((status, &body(&text)["up"]), (200, &json!(true)));
}

#[tokio::test]
async fn readiness_says_which_condition_is_not_met_and_what_to_do() {
    let running = running();
    let link = running.admin.readiness.condition("link", "start edge-c");
    running.admin.readiness.condition("certificates", "-").met();

    let (status, text) = running.ask("GET", "/ready").await;
    assert_eq!(status, 503);
    assert_eq!(
        body(&text)["conditions"],
        json!([
            { "name": "certificates", "ready": true },
            { "name": "link", "ready": false, "reason": "not reached yet", "remedy": "start edge-c" },
        ])
    );

    link.met();
    assert_eq!(running.ask("GET", "/ready").await.0, 200);
    link.unmet("no edge-c is connected", "start it");
    assert_eq!(running.ask("GET", "/ready").await.0, 503);
}

#[tokio::test]
async fn a_drain_that_was_asked_for_starts_and_ends_readiness() {
    let running = running();
    let guard = running.admin.drain.signal().in_flight();

    let (status, text) = running.ask("POST", "/drain").await;
    assert_eq!(status, 202);
    assert_eq!(body(&text), json!({ "started_now": true, "in_flight": 1 }));
    assert!(running.admin.drain.signal().is_draining());
    assert_eq!(running.ask("GET", "/ready").await.0, 503);
    assert_eq!(running.ask("GET", "/live").await.0, 200);
    drop(guard);

    running.admin.drain.finish(Duration::ZERO).await;
    let refused = async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_log_filter_is_shown_changed_and_checked() {
    let running = running();
    let put = format!("PUT /log-filter HTTP/1.1\r\nHost: {}\r\n", running.address);

    assert!(
        running
            .ask("GET", "/log-filter")
            .await
            .1
            .ends_with("\r\n\r\ninfo\n")
    );
    assert_eq!(running.send(&put, "warn,common::link=debug\n").await.0, 200);
    assert_eq!(
        running.admin.log.filter().to_string(),
        "warn,common::link=debug"
    );
    let (status, text) = running.send(&put, "loud").await;
    assert_eq!(status, 400);
    assert!(
        text.contains("unknown level \"loud\"; allowed: a level"),
        "{text}"
    );
    assert_eq!(running.send(&put, &"x".repeat(5000)).await.0, 413);
    assert_eq!(
        running.admin.log.filter().to_string(),
        "warn,common::link=debug"
    );
}

#[tokio::test]
async fn the_page_shows_the_status_escaped_and_may_run_no_script() {
    let running = running();

    let (status, text) = running.ask("GET", "/").await;

    assert_eq!(status, 200);
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script"));
    assert!(text.contains("content-security-policy: default-src 'none'"));
    assert!(text.contains(">ready</b>"));
}

#[tokio::test]
async fn pages_of_other_sites_reach_nothing() {
    let running = running();
    let with = |line: &str| format!("{line} HTTP/1.1\r\n");

    let rebound = with("GET /status") + "Host: evil.example:9001\r\n";
    assert_eq!(running.send(&rebound, "").await.0, 403);
    let foreign = with("POST /drain")
        + &format!(
            "Host: {}\r\nOrigin: https://evil.example\r\n",
            running.address
        );
    assert_eq!(running.send(&foreign, "").await.0, 403);
    let opaque = with("POST /drain") + &format!("Host: {}\r\nOrigin: null\r\n", running.address);
    assert_eq!(running.send(&opaque, "").await.0, 403);
    assert!(!running.admin.drain.signal().is_draining());

    for host in [
        "localhost:9001",
        "[::1]:9001",
        "Admin.example.com",
        "127.0.0.1",
    ] {
        let own = with("GET /live") + &format!("Host: {host}\r\n");
        assert_eq!(running.send(&own, "").await.0, 200, "{host}");
    }
    let (_, text) = running.ask("GET", "/status").await;
    assert!(!text.to_ascii_lowercase().contains("access-control"));
}

#[tokio::test]
async fn what_is_not_there_says_what_is() {
    let running = running();

    let (status, text) = running.ask("GET", "/nowhere").await;
    assert_eq!(status, 404);
    assert!(text.contains("/log-filter"));
    for (method, path, allow) in [
        ("GET", "/drain", "allow: POST"),
        ("POST", "/ready", "allow: GET, HEAD"),
        ("DELETE", "/log-filter", "allow: GET, HEAD"),
    ] {
        let (status, text) = running.ask(method, path).await;
        assert_eq!(status, 405, "{method} {path}");
        assert!(text.contains(allow), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_sends_its_request_is_closed() {
    let running = running();
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket
        .write_all(b"GET /live HTTP/1.1\r\nHost:")
        .await
        .unwrap();

    let mut answer = Vec::new();
    let closed = socket.read_to_end(&mut answer);
    let limit = limits::ADMIN_HEAD_TIMEOUT * 2;
    let read = tokio::time::timeout(limit, closed)
        .await
        .expect("closed in time");

    assert!(read.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));
}

#[tokio::test]
async fn it_says_what_stands_in_the_log_for_a_name() {
    let running = running();
    let head = "POST /log-name HTTP/1.1\r\nHost: localhost\r\n";

    let (status, said) = running.send(head, "alice\n").await;

    assert_eq!(status, 200);
    let expected = crate::redact::Redacted::new("alice").to_string();
    let (_, said) = said.split_once("\r\n\r\n").unwrap();
    assert_eq!(said.trim(), expected);
    let (status, _) = running
        .send("GET /log-name HTTP/1.1\r\nHost: localhost\r\n", "")
        .await;
    assert_eq!(status, 405);
}
