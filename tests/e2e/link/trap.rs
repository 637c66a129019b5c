//! What one client does to its own download, others don't feel: over both transports of HTTPS.

use common::limits;
use serde_json::Value;
use support::pair::{Member, Size};
use support::tls_client::Connection;
use support::wait;

use crate::stage::{SignedIn, Stage, proxied_path, verb_url};

const PHOTOS: &str = "https/photos.example.com/443";

#[test]
fn a_burst_of_aborts_disturbs_nobody_over_a_pool() {
    burst_of_aborts("pool");
}

#[test]
fn a_burst_of_aborts_disturbs_nobody_over_http2() {
    burst_of_aborts("h2");
}

#[test]
fn stopped_downloads_hold_nothing_up_over_a_pool() {
    stopped_downloads("pool");
}

#[test]
fn stopped_downloads_hold_nothing_up_over_http2() {
    stopped_downloads("h2");
}

#[test]
fn a_download_may_pause_for_longer_than_a_link_may_be_silent() {
    let stages = ["pool", "h2"].map(start);
    let mut paused = stages.each_ref().map(|stage| {
        let client = stage.sign_in("alice");
        let range = format!("Range: bytes=0-{}\r\n", BYSTANDER_BYTES - 1);
        let path = proxied_path(PHOTOS, "/large.bin");
        let mut download = stage.dialer().dial().unwrap();
        download
            .send(client.get_text(&path, &range).as_bytes())
            .unwrap();
        assert_eq!(download.head().unwrap().unwrap().status, 206);
        download
    });

    // Time itself is what is tested.
    std::thread::sleep(limits::LINK_DEAD_AFTER + limits::LINK_KEEPALIVE_INTERVAL);

    for (download, stage) in paused.iter_mut().zip(&stages) {
        let body = download.receive(BYSTANDER_BYTES);
        assert!(body.is_ok(), "{body:?}\n{}", stage.logs());
    }
}

fn burst_of_aborts(transport: &str) {
    let stage = start(transport);
    let client = stage.sign_in("alice");
    // It can't be done before it is read: what is under way when the others go is under way for sure.
    let mut bystander = stage.dialer().dial().unwrap();
    let range = format!("Range: bytes=0-{}\r\n", BYSTANDER_BYTES - 1);
    let path = proxied_path(PHOTOS, "/large.bin");
    bystander
        .send(client.get_text(&path, &range).as_bytes())
        .unwrap();
    let head = bystander.head().unwrap().unwrap();
    assert_eq!(head.status, 206, "{}", stage.logs());

    let aborted: Vec<Connection> = (0..ABORTED).map(|_| download(&stage, &client)).collect();
    drop(aborted);

    let rest = bystander.receive(BYSTANDER_BYTES).unwrap();
    assert!(rest.iter().all(|byte| *byte == 0));
    for user in ["alice", "bob", "cjones", "vera"].repeat(5) {
        let photo = client.get(PHOTOS, &format!("/photos/{user}.jpg"));
        assert_eq!(photo.status, 200, "{}", stage.logs());
        assert!(contains(&photo.body, user.as_bytes()), "not {user}'s photo");
    }
    for log in stage.pair.cores.iter().map(|core| core.log().unwrap()) {
        assert!(!log.contains("link lost"), "{log}");
        let is_shared = transport == "h2";
        assert!(
            !is_shared || !log.contains("HTTPS connection ended"),
            "{log}"
        );
    }
    wait_for_load(&stage.pair.cores[0], "nothing under way", |_, requests| {
        requests == 0
    });
    stage.zones.assert_nothing_refused().unwrap();
}

fn stopped_downloads(transport: &str) {
    let mut stage = start(transport);
    let client = stage.sign_in("alice");

    let stopped: Vec<Connection> = (0..STOPPED).map(|_| download(&stage, &client)).collect();
    wait_for_load(
        &stage.pair.cores[0],
        "all under way",
        |connections, requests| {
            requests >= STOPPED && (transport == "h2" || connections >= STOPPED)
        },
    );

    let photo = client.get(PHOTOS, "/photos/alice.jpg");
    assert_eq!(photo.status, 200, "{}", stage.logs());
    let core = &mut stage.pair.cores[0];
    core.set("sign_in", "realm", "Other-Edge");
    core.reload().unwrap();
    let url = verb_url(1, "get_edge_config?service_name=_cisco-uds");
    wait::until_true("a command behind the downloads", wait::START_LIMIT, || {
        let refused = stage.client().basic("alice", "wrong").get(&url)?;
        let challenge = refused.header("www-authenticate").unwrap_or_default();
        Ok(challenge.contains("Other-Edge"))
    })
    .unwrap();

    drop(stopped);
    // Spare connections for such a load stay for a minute; those of the downloads are gone with them.
    let is_smaller = |connections, requests| requests == 0 && connections < STOPPED / 2;
    wait_for_load(&stage.pair.cores[0], "a smaller pool", is_smaller);
    let photo = client.get(PHOTOS, "/photos/bob.jpg");
    assert_eq!(photo.status, 200, "{}", stage.logs());
}

fn start(transport: &str) -> Stage {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.cores[0].set("link", "https_transport", transport);
    stage.pair.edges[0].set("limits", "connections_per_second_per_address", 10_000);
    stage.pair.start().unwrap();
    stage
}

/// A download of 2 GiB of which only the beginning has been read.
fn download(stage: &Stage, client: &SignedIn) -> Connection {
    let mut connection = stage.dialer().dial().unwrap();
    let path = proxied_path(PHOTOS, "/large.bin");
    connection
        .send(client.get_text(&path, "").as_bytes())
        .unwrap();
    let head = connection.head().unwrap().unwrap();
    assert_eq!(head.status, 200, "{}", stage.logs());
    connection
}

/// Waits until the core's status shows such numbers of HTTPS connections and requests under way.
fn wait_for_load(core: &Member, what: &str, is_it: impl Fn(u64, u64) -> bool) {
    wait::until_true(what, wait::START_LIMIT, || {
        let (_, text) = core.ask_admin("/status")?;
        let status: Value = serde_json::from_str(&text)?;
        let number = |name: &str| status["links"][0][name].as_u64().unwrap_or_default();
        let (connections, requests) = (number("https_connections"), number("requests_under_way"));
        anyhow::ensure!(is_it(connections, requests), "{connections}, {requests}");
        Ok(true)
    })
    .unwrap();
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

const ABORTED: usize = 100;
const STOPPED: u64 = 200;
const BYSTANDER_BYTES: usize = 30_000_000;
