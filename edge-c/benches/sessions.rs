//! What a session costs: the look-up on the way of every request, opening its credential, and beginning one.
#![expect(clippy::unwrap_used, reason = "a benchmark of known values")]

use std::sync::Arc;

use common::id::CoreId;
use common::limits;
use common::net::{ClientAddr, Deployment, Domain, Host};
use common::redact::Secret;
use common::session::{DeviceName, HomeCluster, Method, UserName};
use common::time::UnixTime;
use divan::{Bencher, black_box};
use edge_c::sessions::{Config, NewSession, Sessions, State, SystemRandom};

fn main() {
    divan::main();
}

const NOW: UnixTime = UnixTime(1_800_000_000);

fn new(user: usize) -> NewSession {
    let host = Host::parse("cucm1.example.com").unwrap();
    NewSession {
        user: UserName::parse(&format!("user{user}")).unwrap(),
        domain: Domain::parse("example.com").unwrap(),
        deployment: Deployment::standard(),
        home: HomeCluster {
            host: host.clone(),
            nodes: vec![host.clone()],
        },
        method: Method::Basic,
        device: Some(DeviceName::parse("CSFALICE").unwrap()),
        client: ClientAddr("192.0.2.9:50000".parse().unwrap()),
        nodes: vec![host],
        credential: Some(Secret::new("Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==".to_owned())),
        edge_name: Domain::parse("edge1.example.com").unwrap(),
        until: None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Sessions of `count` users, and the cookie of one of them.
fn sessions(count: usize) -> (Sessions, String) {
    let config = Config {
        core: CoreId(1),
        lifetime: limits::SESSION_LIFETIME_DEFAULT,
        cookie_domain: None,
        state: State::Memory,
        shared: None,
    };
    let sessions = Sessions::open(config, Arc::new(SystemRandom), NOW).unwrap();
    let runtime = runtime();
    let mut text = String::new();
    for user in 0..count {
        let issued = runtime.block_on(sessions.issue(new(user), NOW)).unwrap();
        text = issued.cookie.text();
    }
    (sessions, text)
}

#[divan::bench(args = [1, 100_000])]
fn look_up(bencher: Bencher<'_, '_>, count: usize) {
    let (sessions, text) = sessions(count);
    bencher.bench(|| sessions.look_up(black_box(&text), NOW));
}

#[divan::bench]
fn look_up_nobody(bencher: Bencher<'_, '_>) {
    let (sessions, _) = sessions(1_000);
    let (_, stranger) = self::sessions(1);
    bencher.bench(|| sessions.look_up(black_box(&stranger), NOW));
}

#[divan::bench]
fn open_credential(bencher: Bencher<'_, '_>) {
    let (sessions, text) = sessions(1);
    let session = sessions.look_up(&text, NOW).unwrap();
    bencher.bench(|| sessions.credential(black_box(&text), &session).is_ok());
}

#[divan::bench]
fn issue(bencher: Bencher<'_, '_>) {
    let (sessions, _) = sessions(100_000);
    let runtime = runtime();
    bencher
        .with_inputs(|| new(7))
        .bench_values(|new| runtime.block_on(sessions.issue(new, NOW)).is_ok());
}
