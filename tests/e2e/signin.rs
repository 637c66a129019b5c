//! The main journey: a client outside knows only `user@example.com`.

use support::pair::public_sockets;

use crate::stage::{Stage, verb_url};

const UCM: &str = "https/cucm1a.example.com/8443";

#[test]
fn a_client_signs_in_and_reads_what_is_its_own() {
    let stage = Stage::start();

    let sso = stage
        .client()
        .get(&verb_url(1, "get_edge_sso?email=alice@example.com"))
        .unwrap();
    assert_eq!(sso.status, 200, "{}", stage.logs());
    assert!(
        sso.text().contains("<Status enabled=\"false\"/>"),
        "{}",
        sso.text()
    );

    let client = stage.sign_in("alice");
    for target in [
        "/cucm-uds/user/alice",
        "/cucm-uds/user/alice/devices",
        "/cucm-uds/clusterUser?username=alice",
        "/cucm-uds/servers",
    ] {
        let answer = client.get(UCM, target);
        assert_eq!(answer.status, 200, "{target}\n{}", stage.logs());
    }
    let device = client.get("http/cucm1a.example.com/6970", "/CSFALICE.cnf.xml");
    assert_eq!(device.status, 200, "{}", stage.logs());
    let photo = client.get("https/photos.example.com/443", "/photos/alice.jpg");
    assert_eq!(photo.status, 200, "{}", stage.logs());
    assert!(photo.body.starts_with(b"\xff\xd8\xff"));

    let refused = client.get("https/photos.example.com/443", "/private/salaries.xls");
    assert_eq!(refused.status, 403);
    let log = stage.pair.cores[0].log().unwrap();
    assert!(
        log.contains("https://photos.example.com/private/salaries.xls"),
        "{log}"
    );
    stage.zones.assert_nothing_refused().unwrap();
    assert_eq!(public_sockets(1)[0].port(), 8443);
}
