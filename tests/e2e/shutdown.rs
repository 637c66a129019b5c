//! How an edge goes: in order, in time, and saying which it was; and how it does not even come.

use std::net::SocketAddr;

use support::netns;
use support::pair::Size;
use support::wait;

use crate::stage::{Stage, proxied_path, verb_url};

const PHOTOS: &str = "https/photos.example.com/443";

#[test]
fn a_download_is_finished_before_the_edge_goes() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.edges[0].set("drain", "grace", "15s");
    stage.pair.start().unwrap();
    let client = stage.sign_in("alice");
    let mut download = stage.dialer().dial().unwrap();
    let range = format!("Range: bytes=0-{}\r\n", DOWNLOAD_BYTES - 1);
    let path = proxied_path(PHOTOS, "/large.bin");
    download
        .send(client.get_text(&path, &range).as_bytes())
        .unwrap();
    // The body can't all have come before it is read.
    let head = download.head().unwrap().unwrap();
    assert_eq!(head.status, 206, "{}", stage.logs());

    stage.pair.edges[0].signal_to_stop().unwrap();

    stage.pair.edges[0]
        .wait_log(|line| line.contains("draining"))
        .unwrap();
    assert_refused(&stage);
    let (status, _) = stage.pair.edges[0].ask_admin("/ready").unwrap();
    assert_eq!(status, 503);
    let body = download.receive(DOWNLOAD_BYTES).unwrap();
    assert!(body.iter().all(|byte| *byte == 0));
    let status = stage.pair.edges[0].wait_exit().unwrap();
    assert_eq!(status.code(), Some(0), "{}", stage.logs());
    let log = stage.pair.edges[0].log().unwrap();
    assert!(log.contains("all finished after"), "{log}");
}

#[test]
fn a_download_that_does_not_end_is_cut_off_after_the_grace() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.edges[0].set("drain", "grace", "1s");
    stage.pair.start().unwrap();
    let client = stage.sign_in("alice");
    let mut download = stage.dialer().dial().unwrap();
    let path = proxied_path(PHOTOS, "/large.bin");
    download
        .send(client.get_text(&path, "").as_bytes())
        .unwrap();
    assert_eq!(download.head().unwrap().unwrap().status, 200);

    let status = stage.pair.edges[0].stop().unwrap().unwrap();

    assert_eq!(status.code(), Some(0), "{}", stage.logs());
    let log = stage.pair.edges[0].log().unwrap();
    assert!(log.contains("grace over, 1 cut off"), "{log}");
    let cut = download.receive(usize::MAX).unwrap_err();
    assert!(support::tls_client::is_gone(&cut), "{cut}");
}

#[test]
fn an_idle_client_does_not_hold_the_edge_up() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.edges[0].set("drain", "grace", "15s");
    stage.pair.start().unwrap();
    let client = stage.sign_in("alice");
    let mut kept = stage.dialer().dial().unwrap();
    kept.send(
        client
            .get_text(&proxied_path(PHOTOS, "/photos/alice.jpg"), "")
            .as_bytes(),
    )
    .unwrap();
    assert_eq!(kept.response().unwrap().unwrap().status, 200);
    let mut silent = stage.dialer().dial().unwrap();

    let status = stage.pair.edges[0].stop().unwrap().unwrap();

    assert_eq!(status.code(), Some(0));
    let log = stage.pair.edges[0].log().unwrap();
    assert!(log.contains("all finished after"), "{log}");
    assert!(kept.is_closed().unwrap() && silent.is_closed().unwrap());
}

#[test]
fn a_taken_port_ends_the_start_with_69_and_says_which() {
    let mut stage = Stage::prepare(Size::ONE);
    let [link, _] = netns::link(11).map(|address| SocketAddr::new(address, 7001));
    for (place, address, key) in [
        (stage.zones.dmz(), link, "link.listen"),
        (
            stage.zones.dmz(),
            "127.0.0.1:9001".parse().unwrap(),
            "admin.listen",
        ),
    ] {
        let _taken = place.listen(address).unwrap();
        let edge = &mut stage.pair.edges[0];
        edge.spawn().unwrap();

        let status = edge.wait_exit().unwrap();

        assert_eq!(status.code(), Some(69), "{key}");
        let log = edge.log().unwrap();
        assert!(
            log.contains(key) && log.contains("another process has this port"),
            "{log}"
        );
    }
    let _taken = stage
        .zones
        .inside()
        .listen("127.0.0.1:9101".parse().unwrap())
        .unwrap();
    let core = &mut stage.pair.cores[0];
    core.spawn().unwrap();
    assert_eq!(core.wait_exit().unwrap().code(), Some(69));
}

/// Nobody new gets in.
fn assert_refused(stage: &Stage) {
    wait::until_true("a closed port", wait::START_LIMIT, || {
        let answer = stage.client().send(&verb_url(1, "get_edge_sso"))?;
        Ok(answer.is_err_and(|failure| failure.exit == CURL_NOT_CONNECTED))
    })
    .unwrap();
}

const CURL_NOT_CONNECTED: i32 = 7;
/// Much more than all buffers on the way hold.
const DOWNLOAD_BYTES: usize = 30_000_000;
