//! Sessions and their ends, wherever they come from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::CoreId;
use common::limits;
use common::mra::cookie::CookieValue;
use common::time::UnixTime;
use edge_c::sessions::{Config, Sessions, State, SystemRandom};
use support::dns::{RecordValue, Zone};
use support::tls_client::Connection;
use support::wait;

use super::{Scene, issuer, metric, own_record, photo, sessions};
use crate::stage::{PHOTOS, SignedIn, proxied_path};

#[test]
fn a_session_made_through_one_works_through_the_other() {
    let scene = Scene::start_apart();
    for (user, here, there) in [("alice", 1, 2), ("vera", 2, 1)] {
        let client = scene.sign_in(user, here);
        assert_eq!(issuer(&client), usize::from(here) - 1);

        let elsewhere = scene.through(&client, there);

        // Also what needs the credential, which the store can't open.
        assert_eq!(own_record(&elsewhere, user), 200, "{}", scene.stage.logs());
        assert_eq!(photo(&elsewhere), 200, "{}", scene.stage.logs());
        assert_eq!(own_record(&client, user), 200, "{}", scene.stage.logs());
    }
    scene.stage.zones.assert_nothing_refused().unwrap();
}

#[test]
fn a_session_comes_with_nodes_that_only_a_sign_in_named() {
    let mut scene = Scene::prepare().apart();
    // The second cluster is known to the first one, and to no name server.
    let mut zone = Zone::inside(&scene.stage.world);
    zone.records.retain(|record| match &record.value {
        RecordValue::Srv { target, .. } => !target.starts_with("cucm2"),
        RecordValue::Address(_) => true,
    });
    scene.stage.reload_zones(&[zone], |records| {
        !records.is_empty() && !records.iter().any(|record| record.contains("cucm2"))
    });
    let scene = scene.run();

    let bob = scene.sign_in("bob", 1);

    let elsewhere = scene.through(&bob, 2);
    let own = |client: &SignedIn| {
        let origin = "https/cucm2b.example.com/8443";
        client.get(origin, "/cucm-uds/user/bob").status
    };
    assert_eq!(own(&elsewhere), 200, "{}", scene.stage.logs());
    assert_eq!(own(&bob), 200, "{}", scene.stage.logs());
}

#[test]
fn a_session_outlives_the_core_that_began_it_and_nobody_waits() {
    let mut scene = Scene::start();
    let alice = scene.stage.sign_in("alice");
    let elsewhere = scene.through(&alice, 2);
    let home = issuer(&alice);
    assert_eq!(photo(&elsewhere), 200, "{}", scene.stage.logs());

    scene.stage.pair.cores[home].kill().unwrap();

    // The other one stands in as soon as the loss is noticed, with the credential.
    for client in [&alice, &elsewhere] {
        wait::until_true("the other core", wait::START_LIMIT, || {
            let status = photo(client);
            let is_expected = matches!(status, 200 | 502 | 503);
            assert!(is_expected, "{status}\n{}", scene.stage.logs());
            Ok(status == 200)
        })
        .unwrap();
        assert_eq!(own_record(client, "alice"), 200, "{}", scene.stage.logs());
    }
    // An edge that begins anew knows the keys of the core that is not there.
    scene.stage.pair.edges[0].restart().unwrap();
    wait::until_true(
        "the session",
        wait::START_LIMIT,
        || Ok(photo(&alice) == 200),
    )
    .unwrap();

    scene.stage.pair.cores[home].start().unwrap();
    scene.wait_whole();
    assert_eq!(photo(&alice), 200, "{}", scene.stage.logs());
    scene.stage.zones.assert_nothing_refused().unwrap();
}

/// A client that keeps its connection.
struct Kept<'a> {
    scene: &'a Scene,
    client: SignedIn,
    edge: u8,
    connection: Option<Connection>,
}

impl Kept<'_> {
    fn status(&mut self) -> u16 {
        for _ in 0..2 {
            let dialer = self.scene.stage.dialer_of(self.edge, &["http/1.1"]);
            let connection = self
                .connection
                .get_or_insert_with(|| dialer.dial().unwrap());
            let path = proxied_path(PHOTOS, "/photos/alice.jpg");
            let sent = connection.send(self.client.get_text(&path, "").as_bytes());
            if sent.is_ok()
                && let Ok(Some(answer)) = connection.response()
            {
                return answer.status;
            }
            // Closed after the last answer.
            self.connection = None;
        }
        0
    }
}

#[test]
fn a_revocation_on_one_ends_the_session_on_the_other_within_a_second() {
    let scene = Scene::start_apart();
    let (alice, bob) = (scene.sign_in("alice", 1), scene.sign_in("bob", 1));
    let kept = |edge| Kept {
        scene: &scene,
        client: scene.through(&alice, edge),
        edge,
        connection: None,
    };
    let mut clients = [kept(1), kept(2)];
    for client in &mut clients {
        assert_eq!(client.status(), 200, "{}", scene.stage.logs());
    }
    let second = &scene.stage.pair.cores[1];

    let (code, told, why) = sessions(second, &["revoke", "--user", "alice"]);
    let revoked = Instant::now();

    assert_eq!(
        (code, told.as_str()),
        (Some(0), "1 sessions revoked\n"),
        "{why}"
    );
    for client in &mut clients {
        while client.status() != 401 {
            let waited = revoked.elapsed();
            assert!(waited < Duration::from_secs(1), "{}", scene.stage.logs());
        }
    }
    // No edge asks inside about it any more.
    for edge in &scene.stage.pair.edges {
        let page = edge.ask_admin("/metrics").unwrap().1;
        let refused = page.lines().find(|line| {
            line.starts_with("edge_refusals_total") && line.contains("revoked_session")
        });
        let count = refused.and_then(|line| line.rsplit(' ').next());
        assert_ne!(count.unwrap_or("0"), "0", "{page}");
    }
    assert_eq!(
        photo(&scene.through(&bob, 2)),
        200,
        "{}",
        scene.stage.logs()
    );
    drop(clients);
    // A core that begins anew has not forgotten it.
    let mut scene = scene;
    scene.stage.pair.cores[0].restart().unwrap();
    scene.wait_whole();
    assert_eq!(photo(&alice), 401, "{}", scene.stage.logs());
    assert_eq!(photo(&bob), 200, "{}", scene.stage.logs());
}

/// Makes the state of a core whose filter key is to be rolled `left` from now.
fn grow_old(dir: PathBuf, key_file: PathBuf, core: u8, left: Duration) {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = UnixTime(since_1970.unwrap().as_secs());
    let age = limits::FILTER_KEY_INTERVAL.checked_sub(left).unwrap();
    let then = UnixTime(now.0 - age.as_secs());
    let config = Config {
        core: CoreId(core),
        lifetime: limits::SESSION_LIFETIME_DEFAULT,
        cookie_domain: None,
        state: State::Directory {
            path: dir,
            key_file: Some(key_file),
        },
        shared: None,
    };
    drop(Sessions::open(config, Arc::new(SystemRandom), then).unwrap());
}

#[test]
fn filter_keys_change_at_all_edges_and_nobody_is_signed_out() {
    let scene = Scene::prepare().apart();
    for (number, core) in (1..).zip(&scene.stage.pair.cores) {
        let dir = scene.stage.path().join(core.name());
        grow_old(
            dir,
            scene.redis.key_file(core),
            number,
            Duration::from_secs(15),
        );
    }
    let mut scene = scene.run();
    let clients = [scene.sign_in("alice", 1), scene.sign_in("bob", 2)];
    let generation = |client: &SignedIn| {
        let cookie = CookieValue::parse(&client.cookie).unwrap();
        cookie.key_id().generation
    };
    let before = generation(&clients[0]);
    assert_eq!(generation(&clients[1]), before, "one key for all");

    for core in &scene.stage.pair.cores {
        let next = before.wrapping_add(1);
        core.wait_log(|line| has_rolled_to(line, next)).unwrap();
    }

    let everybody_is_in = |scene: &Scene| {
        for client in &clients {
            for edge in [1, 2] {
                let status = photo(&scene.through(client, edge));
                assert_eq!(status, 200, "{}", scene.stage.logs());
            }
        }
    };
    everybody_is_in(&scene);
    let carol = scene.sign_in("vera", 1);
    assert_eq!(
        generation(&carol),
        before,
        "the new key is told first, and used later"
    );
    assert_eq!(
        photo(&scene.through(&carol, 2)),
        200,
        "{}",
        scene.stage.logs()
    );
    for number in [0, 1] {
        let log = scene.stage.pair.cores[number].log().unwrap();
        let after = before.wrapping_add(2);
        let is_twice = log.lines().any(|line| has_rolled_to(line, after));
        assert!(!is_twice, "rolled once for all");
        // Whoever begins anew has the old key too.
        scene.stage.pair.edges[number].restart().unwrap();
        scene.stage.pair.cores[number].restart().unwrap();
    }
    scene.wait_whole();
    everybody_is_in(&scene);
    wait::until_true("all sessions", wait::START_LIMIT, || {
        Ok(metric(&scene.stage.pair.cores[0], "edge_sessions") == Some(3.0))
    })
    .unwrap();
}

fn has_rolled_to(line: &str, generation: u8) -> bool {
    let named = line.split("\"generation\":").nth(1).unwrap_or_default();
    let digits = named.split(|c: char| !c.is_ascii_digit()).next();
    line.contains("filter keys rolled") && digits == Some(&generation.to_string())
}
