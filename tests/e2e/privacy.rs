//! What logs never say, not even at DEBUG: secrets and people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stage::{PHOTOS, Stage, UCM, verb_url};

#[test]
fn logs_hold_no_secret_and_no_person() {
    let mut stage = Stage::start();
    let alice = stage.sign_in("alice");
    let bob = stage.sign_in("bob");
    let carol = stage.try_sign_in("carol@example.com", "cjones-secret-1");
    assert_eq!(carol.status, 200);
    stage.try_sign_in("alice", "guess-of-alice");
    stage.try_sign_in("mallory", "mallory-secret-1");
    let sso = stage.client();
    sso.get(&verb_url(1, "get_edge_sso?email=alice@example.com"))
        .unwrap();
    alice.get(UCM, "/cucm-uds/user/alice/devices");
    bob.get("https/cucm2a.example.com/8443", "/cucm-uds/user/bob");
    alice.get(UCM, "/cucm-uds/clusterUser?email=alice@example.com");
    alice.get(PHOTOS, "/private/?name=alice&token=mysterious");
    stage.nginx.stop().unwrap();
    alice.get(PHOTOS, "/photos/alice.jpg?size=alice");

    let secrets = [
        "alice-secret-1",
        "bob-secret-1",
        "cjones-secret-1",
        "guess-of-alice",
        "mallory-secret-1",
        "mysterious",
        &alice.cookie,
        &bob.cookie,
        &STANDARD.encode("alice:alice-secret-1"),
        &STANDARD.encode("bob:bob-secret-1"),
    ];
    let people = [
        "alice",
        "bob",
        "carol",
        "cjones",
        "mallory",
        "203.0.113.100",
    ];
    for member in [&stage.pair.edges[0], &stage.pair.cores[0]] {
        let log = member.log().unwrap();
        assert!(log.lines().count() > 10, "{log}");
        for line in log.lines() {
            for secret in secrets {
                assert!(!line.contains(secret), "{secret}: {line}");
            }
            for person in people {
                assert!(!line.contains(person), "{person}: {line}");
            }
        }
    }
}
