//! nginx as the HTTPS server inside.

use std::fs;
use std::net::SocketAddr;

use support::curl::Curl;
use support::netns;
use support::nginx::{LARGE_BYTES, Nginx};

use super::Scene;

fn nginx(scene: &Scene) -> Nginx {
    let identities = (
        scene.identity("inside/photos"),
        scene.identity("inside/ucm"),
    );
    Nginx::start(
        &scene.zones.inside(),
        scene.path(),
        &scene.world,
        identities,
    )
    .unwrap()
}

fn curl(scene: &Scene) -> Curl {
    let [photos, _] = netns::inside(80);
    let [_, ucm] = netns::inside(31);
    Curl::new(&scene.zones.inside())
        .trust(&scene.path().join("inside/ca.pem"))
        .resolve("photos.example.com", SocketAddr::new(photos, 443))
        .resolve("cucm1a.example.com", SocketAddr::new(ucm, 6970))
        .resolve("cucm1a.example.com", SocketAddr::new(ucm, 6972))
}

#[test]
fn it_serves_photos_and_configuration_files() {
    let scene = Scene::new();
    let nginx = nginx(&scene);
    let curl = curl(&scene);

    let photo = curl
        .get("https://photos.example.com/photos/alice.jpg")
        .unwrap();
    assert_eq!(photo.header("content-type"), Some("image/jpeg"));
    assert!(photo.body.starts_with(b"\xff\xd8\xff\xfe"));
    for url in [
        "http://cucm1a.example.com:6970/SPDefault.cnf.xml",
        "https://cucm1a.example.com:6972/CSFALICE.cnf.xml",
        "https://cucm1a.example.com:6972/jabber-config.xml",
    ] {
        let file = curl.get(url).unwrap();
        assert_eq!(file.status, 200, "{url}");
        assert_eq!(file.header("content-type"), Some("text/xml"), "{url}");
    }
    let lines = nginx.requests().unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].target, "/photos/alice.jpg");
    assert_eq!(
        (lines[0].server.as_str(), lines[1].server.as_str()),
        ("photos", "files")
    );
}

#[test]
fn it_has_a_large_file_and_keeps_uploads() {
    let scene = Scene::new();
    let nginx = nginx(&scene);
    let file = scene.path().join("report");
    fs::write(&file, vec![b'r'; 300_000]).unwrap();

    let head = curl(&scene)
        .method("HEAD")
        .get("https://photos.example.com/large.bin")
        .unwrap();
    assert_eq!(
        head.header("content-length"),
        Some(LARGE_BYTES.to_string().as_str())
    );
    let stored = curl(&scene)
        .upload(&file)
        .get("https://photos.example.com/upload/report")
        .unwrap();
    assert_eq!(stored.status, 201);
    assert_eq!(
        fs::metadata(nginx.uploaded("report")).unwrap().len(),
        300_000
    );
}

#[test]
fn its_certificate_can_be_changed_while_it_runs() {
    let scene = Scene::new();
    let mut nginx = nginx(&scene);
    let curl = curl(&scene);
    let is_refused = || {
        let outcome = curl.send("https://photos.example.com/photos/alice.jpg")?;
        // A worker that is just being replaced may end a handshake with 35.
        Ok(outcome.is_err_and(|failure| failure.exit == CERTIFICATE_REFUSED))
    };
    assert!(!is_refused().unwrap());

    let expired = scene.identity("inside/faulty/photos-expired");
    nginx.present(expired, is_refused).unwrap();
}

/// curl's exit code.
const CERTIFICATE_REFUSED: i32 = 60;
