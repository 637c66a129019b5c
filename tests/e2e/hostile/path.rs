//! Paths that mean something else than they seem to: behind the first segment, and inside it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{PHOTOS, Scene};
use crate::stage::proxied_path;

#[test]
fn dots_and_escapes_lead_nowhere_else() {
    let mut scene = Scene::new();
    for (target, status, crosses) in [
        ("/photos/../private/salaries.xls", 403, None),
        ("/photos/%2e%2e/private/salaries.xls", 403, None),
        ("/photos/.%2E/private/salaries.xls", 403, None),
        ("/photos/%252e%252e/private/salaries.xls", 403, None),
        ("/photos/..%2fprivate/salaries.xls", 403, None),
        ("/photos/%2e%2e%2fprivate/salaries.xls", 403, None),
        ("/photos/..%5cprivate/salaries.xls", 403, None),
        ("/photos/..;/private/salaries.xls", 403, None),
        ("/photos/.../private/salaries.xls", 403, None),
        ("/photos/%c0%ae%c0%ae/private/salaries.xls", 403, None),
        ("/photos/alice.jpg%00.txt", 403, None),
        ("/photos/alice.jpg%0d%0aX-Injected:%20a", 403, None),
        ("/../../../../etc/passwd", 403, None),
        ("/PHOTOS/alice.jpg", 403, None),
        ("//photos/alice.jpg", 200, Some("/photos/alice.jpg")),
        ("/photos/./alice.jpg", 200, Some("/photos/alice.jpg")),
        (
            "/private/../photos/alice.jpg",
            200,
            Some("/photos/alice.jpg"),
        ),
        ("/%70hotos/alice%2ejpg", 200, Some("/photos/alice.jpg")),
        (
            "/photos/alice.jpg?../../private",
            200,
            Some("/photos/alice.jpg?../../private"),
        ),
    ] {
        let answer = scene.client.get(PHOTOS, target);

        assert_eq!(answer.status, status, "{target}\n{}", scene.stage.logs());
        let crosses: Vec<&str> = crosses.into_iter().collect();
        scene.assert_crossed(target, &crosses);
    }
    // curl would not send it.
    let path = proxied_path(PHOTOS, "/photos/..\\private\\salaries.xls");
    let mut connection = scene.stage.dialer().dial().unwrap();
    connection
        .send(scene.client.get_text(&path, "").as_bytes())
        .unwrap();
    let answer = connection.response().unwrap();
    let status = answer.map(|answer| answer.status);
    assert!(matches!(status, Some(400 | 403)), "{status:?}");
    scene.assert_crossed("backslash", &[]);
    scene.stage.zones.assert_nothing_refused().unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn first_segments_that_are_not_written_plainly_are_not_found() {
    let mut scene = Scene::new();
    let photo = "example.com/https/photos.example.com/443";
    let plain = STANDARD_NO_PAD.encode(photo);
    let (start, rest) = plain.split_at(8);
    let fields = |text: &str| STANDARD_NO_PAD.encode(text);
    for (name, segment) in [
        ("too much padding", format!("{}===", STANDARD.encode(photo))),
        ("padding in the middle", format!("{}=={}", start, rest)),
        ("an escaped newline", format!("{}%0A{}", start, rest)),
        ("an escaped letter", plain.replacen('Z', "%5A", 1)),
        (
            "three fields",
            fields("example.com/https/photos.example.com"),
        ),
        (
            "five fields",
            fields("example.com/https/photos.example.com/443/x"),
        ),
        ("two fields", fields("example.com/https")),
        ("an empty field", fields("example.com/https//443")),
        (
            "a newline inside",
            fields("example.com/https/photos.example.com\n/443"),
        ),
        (
            "a NUL inside",
            fields("example.com/https/photos.example.com\0/443"),
        ),
        ("port 0", fields("example.com/https/photos.example.com/0")),
        (
            "port 65536",
            fields("example.com/https/photos.example.com/65536"),
        ),
        (
            "port with a sign",
            fields("example.com/https/photos.example.com/+443"),
        ),
        ("no port", fields("example.com/https/photos.example.com/")),
        (
            "userinfo",
            fields("example.com/https/x@photos.example.com/443"),
        ),
        (
            "a port in the host",
            fields("example.com/https/photos.example.com:443/443"),
        ),
        (
            "a fragment in the host",
            fields("example.com/https/photos.example.com#x/443"),
        ),
        (
            "a percent sign in the host",
            fields("example.com/https/photos%2eexample.com/443"),
        ),
        (
            "an IP address of two parts",
            fields("example.com/https/127.1/443"),
        ),
        (
            "a decimal IP address",
            fields("example.com/https/2130706433/443"),
        ),
        (
            "a hexadecimal IP address",
            fields("example.com/https/0x7f000001/443"),
        ),
        (
            "an octal IP address",
            fields("example.com/https/0177.0.0.1/443"),
        ),
        (
            "an IPv6 zone",
            fields("example.com/https/[fe80::1%eth0]/443"),
        ),
        ("a scheme of files", fields("example.com/file/etc/443")),
        (
            "a scheme of gophers",
            fields("example.com/gopher/photos.example.com/443"),
        ),
        (
            "bytes outside ASCII",
            STANDARD_NO_PAD.encode(b"example.com/https/\xff\xfe/443"),
        ),
    ] {
        let answer = scene.ask(&format!("/{segment}/photos/alice.jpg"));

        assert_eq!(answer, 404, "{name}\n{}", scene.stage.logs());
        scene.assert_crossed(name, &[]);
    }
}

#[test]
fn no_origin_beyond_the_allow_list_is_reached() {
    let mut scene = Scene::new();
    for origin in [
        "http/169.254.169.254/80",
        "http/localhost/9101",
        "http/127.0.0.1/9101",
        "http/[::1]/9101",
        "http/[::ffff:127.0.0.1]/9101",
        "http/0.0.0.0/9101",
        "http/10.9.1.80/80",
        "https/photos.example.com/8443",
        "http/photos.example.com/443",
        "https/photos.example.com.evil.test/443",
        "https/evil-photos.example.com/443",
    ] {
        let answer = scene.ask(&proxied_path(origin, "/photos/alice.jpg"));

        assert_eq!(answer, 403, "{origin}\n{}", scene.stage.logs());
        scene.assert_crossed(origin, &[]);
    }
    // A final dot and letter case change nothing of the name.
    for origin in [
        "https/PHOTOS.example.COM/443",
        "https/photos.example.com./443",
    ] {
        let answer = scene.ask(&proxied_path(origin, "/photos/alice.jpg"));

        assert!(matches!(answer, 200 | 404), "{origin}: {answer}");
        let crossed = scene.crossed();
        assert!(
            crossed.iter().all(|line| line.host == "photos.example.com"),
            "{crossed:?}"
        );
    }
}

impl Scene {
    fn ask(&self, path: &str) -> u16 {
        let mut connection = self.stage.dialer().dial().unwrap();
        connection
            .send(self.client.get_text(path, "").as_bytes())
            .unwrap();
        connection.response().unwrap().unwrap().status
    }
}
