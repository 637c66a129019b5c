//! Two edge-e and two edge-c with one store: what one knows all know, whoever dies, and while the store is away.

mod agreement;
mod outage;
mod sharing;

use std::net::SocketAddr;

use common::mra::cookie::CookieValue;
use serde_json::Value;
use support::curl::Answer;
use support::netns;
use support::pair::{Member, Size};
use support::redis::Redis;
use support::wait;

use crate::stage::{PHOTOS, SignedIn, Stage, UCM, verb_url};

/// Two of each, and the store between them.
struct Scene {
    stage: Stage,
    redis: Redis,
    /// How many edges each core is linked to.
    links: usize,
}

impl Scene {
    /// Every edge-c is linked to every edge-e.
    fn start() -> Self {
        Self::prepare().run()
    }

    /// Each edge-e knows one edge-c alone: what comes through the other edge is the other edge-c's, and nobody else's.
    fn start_apart() -> Self {
        Self::prepare().apart().run()
    }

    /// Nothing runs yet but the servers inside and the store.
    fn prepare() -> Self {
        let mut stage = Stage::prepare(Size::TWO);
        let [address, _] = netns::inside(60);
        let address = SocketAddr::new(address, 6379);
        let inside = stage.zones.inside();
        let redis = Redis::start(&inside, stage.path(), address, &stage.pki.inside).unwrap();
        for core in &mut stage.pair.cores {
            redis.share(core).unwrap();
        }
        Self {
            stage,
            redis,
            links: 2,
        }
    }

    fn apart(mut self) -> Self {
        for (number, edge) in (1..).zip(&mut self.stage.pair.edges) {
            let core = format!("edge-c{number}.link.internal");
            edge.set("link", "allowed_cores", vec![core]);
        }
        self.links = 1;
        self
    }

    fn run(mut self) -> Self {
        self.stage.pair.start().unwrap();
        self.wait_whole();
        self
    }

    /// Every core linked to its edges and to the store, and each knows of the other.
    fn wait_whole(&self) {
        for core in &self.stage.pair.cores {
            wait::until_true("links and nodes", wait::START_LIMIT, || {
                let status: Value = serde_json::from_str(&core.ask_admin("/status")?.1)?;
                let links = status["links"].as_array().cloned().unwrap_or_default();
                let up = links.iter().filter(|link| link["is_up"] == true).count();
                Ok(up == self.links && metric(core, "edge_store_nodes") == Some(2.0))
            })
            .unwrap();
        }
    }

    fn try_sign_in(&self, user: &str, password: &str, edge: u8) -> Answer {
        let client = self.stage.client_of(edge).basic(user, password);
        client
            .get(&verb_url(edge, "get_edge_config?service_name=_cisco-uds"))
            .unwrap()
    }

    fn sign_in(&self, user: &str, edge: u8) -> SignedIn {
        let answer = self.try_sign_in(user, &format!("{user}-secret-1"), edge);
        assert_eq!(answer.status, 200, "{}", self.stage.logs());
        SignedIn::read(&self.stage.client_of(edge), edge, &answer)
    }

    /// The same session through edge number `edge`.
    fn through(&self, client: &SignedIn, edge: u8) -> SignedIn {
        client.through(&self.stage.client_of(edge), edge)
    }
}

/// The index of the core that issued a session.
fn issuer(client: &SignedIn) -> usize {
    let cookie = CookieValue::parse(&client.cookie).unwrap();
    usize::from(cookie.key_id().core.0) - 1
}

fn photo(client: &SignedIn) -> u16 {
    client.get(PHOTOS, "/photos/alice.jpg").status
}

/// A question that needs the user's credential.
fn own_record(client: &SignedIn, user: &str) -> u16 {
    client.get(UCM, &format!("/cucm-uds/user/{user}")).status
}

/// The sum of a metric over its labels; `None` if it isn't there.
fn metric(core: &Member, name: &str) -> Option<f64> {
    let page = core.ask_admin("/metrics").unwrap().1;
    let lines = page.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with([' ', '{']));
    let values: Vec<f64> = values
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Runs `edge-c sessions` beside a core: exit code, standard output and standard error.
fn sessions(core: &Member, arguments: &[&str]) -> (Option<i32>, String, String) {
    let config = core.config_file().to_string_lossy().into_owned();
    let output = core
        .run(&[&["sessions", "--config", &config][..], arguments].concat())
        .unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}
