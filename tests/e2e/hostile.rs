//! What no decent client sends: each gets the answer that is written here, and nothing of it reaches the inside.

mod http2;
mod limit;
mod message;
mod path;

use std::collections::BTreeSet;

use support::nginx::Logged;
use support::wait;

use crate::stage::{SignedIn, Stage};

const PHOTOS: &str = "https/photos.example.com/443";

/// A pair, a client that is signed in, and what inner servers have seen of it.
struct Scene {
    stage: Stage,
    client: SignedIn,
    /// Lines of the photo server's log that are accounted for.
    accounted: usize,
    markers: u32,
}

impl Scene {
    fn new() -> Self {
        let stage = Stage::start();
        let client = stage.sign_in("alice");
        drop(stage.uds.take_seen());
        Self {
            stage,
            client,
            accounted: 0,
            markers: 0,
        }
    }

    /// What has reached the photo server since the last look. An honest request is sent after the hostile one, so that
    /// what is on its way comes in before.
    fn crossed(&mut self) -> Vec<Logged> {
        self.markers += 1;
        let marker = format!("/photos/bob.jpg?marker={}", self.markers);
        assert_eq!(
            self.client.get(PHOTOS, &marker).status,
            200,
            "{}",
            self.stage.logs()
        );
        let logged = wait::until("the marker", wait::START_LIMIT, || {
            let logged = self.stage.nginx.requests()?;
            let is_there = logged.iter().any(|line| line.target == marker);
            Ok(is_there.then_some(logged))
        });
        let logged = logged.unwrap();
        let new = logged.iter().skip(self.accounted);
        let new = new.filter(|line| line.server == "photos" && line.target != marker);
        let new = new.cloned().collect();
        self.accounted = logged.len();
        new
    }

    /// Fails unless exactly these targets have reached the photo server, and no UCM node was asked by a client.
    fn assert_crossed(&mut self, case: &str, wanted: &[&str]) {
        let crossed = self.crossed();
        let targets: Vec<&str> = crossed.iter().map(|line| line.target.as_str()).collect();
        assert_eq!(targets, wanted, "{case}: {crossed:#?}");
        // Without `Via` it is a question of edge-c's own.
        let seen = self.stage.uds.take_seen().into_iter();
        let seen: BTreeSet<String> = seen
            .filter(|seen| seen.header("via").is_some())
            .map(|seen| seen.target)
            .collect();
        assert_eq!(seen, BTreeSet::new(), "{case}");
    }
}
