//! Large bodies: they pass, and neither edge keeps them.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use support::nginx::LARGE_BYTES;
use support::pair::{Pair, public_sockets};
use support::process::Process;
use support::wait;

use crate::stage::{PHOTOS, Stage, edge_name, proxied_url};

#[test]
fn two_gigabytes_down_leave_no_trace_in_memory() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");

    let down = alice.ask(
        |curl| curl.limit(PATIENCE).output("/dev/null".as_ref()),
        PHOTOS,
        "/large.bin",
    );

    assert_eq!((down.status, down.downloaded), (200, LARGE_BYTES));
    assert_small(&mut stage.pair, "after the download");
}

#[test]
fn two_gigabytes_up_leave_no_trace_in_memory() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    let file = stage.path().join("nginx/www/photos/large.bin");

    let up = alice.ask(
        |curl| curl.limit(PATIENCE).upload(&file),
        PHOTOS,
        "/upload/large.bin",
    );

    assert_eq!((up.status, up.uploaded), (201, LARGE_BYTES));
    let kept = fs::metadata(stage.nginx.uploaded("large.bin")).unwrap();
    assert_eq!(kept.len(), LARGE_BYTES);
    assert_small(&mut stage.pair, "after the upload");
}

#[test]
fn readers_that_stopped_cost_nobody_else_anything() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    let [socket, _] = public_sockets(1);
    let resolve = format!("{}:8443:{}", edge_name(1), socket.ip());
    let stopped: Vec<Process> = (0..40)
        .map(|number| {
            let head = stage.path().join(format!("head-{number}"));
            let version = if number % 2 == 0 {
                "--http1.1"
            } else {
                "--http2"
            };
            let mut curl = stage.zones.client().command("curl");
            curl.args(["--disable", "--silent", version, "--resolve", &resolve])
                .args(["--header", &format!("Cookie: X-Auth={}", alice.cookie)])
                .args(["--limit-rate", "1k", "--output", "/dev/null", "--cacert"])
                .arg(stage.path().join("public/ca.pem"))
                .arg("--dump-header")
                .arg(&head)
                .arg(proxied_url(1, PHOTOS, "/large.bin"));
            let log = stage.path().join("stopped.log");
            let curl = Process::spawn("curl", curl, &log).unwrap();
            wait::until_true("the head of an answer", wait::START_LIMIT, || {
                Ok(fs::metadata(&head).is_ok_and(|head| head.len() > 0))
            })
            .unwrap();
            curl.signal(Signal::STOP).unwrap();
            curl
        })
        .collect();

    let down = alice.ask(
        |curl| {
            curl.limit(Duration::from_secs(60))
                .with(["--range", "0-199999999"])
                .output("/dev/null".as_ref())
        },
        PHOTOS,
        "/large.bin",
    );

    assert_eq!((down.status, down.downloaded), (206, 200_000_000));
    assert_small(&mut stage.pair, "with 40 stopped readers");
    drop(stopped);
    let photo = alice.get(PHOTOS, "/photos/alice.jpg");
    assert_eq!(photo.status, 200);
}

/// The high-water marks: nothing between two samples can hide from them.
fn assert_small(pair: &mut Pair, when: &str) {
    for member in pair.edges.iter_mut().chain(&mut pair.cores) {
        let highest = member.memory().unwrap().highest;
        let name = member.name();
        assert!(highest < MEMORY_MAX, "{name} {when}: {highest} bytes");
    }
}

/// A debug build on a busy machine of two cores makes 20 MB/s and less.
const PATIENCE: Duration = Duration::from_secs(280);
const MEMORY_MAX: u64 = 100_000_000;
