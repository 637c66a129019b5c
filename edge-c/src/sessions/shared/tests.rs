//! Several nodes and one real store: what one does the others know, and nothing that was acknowledged is lost.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use common::id::CoreId;
use common::mra::cookie::Filter;
use common::policy::jail::{Ban, UserTag};
use common::redact::Secret;
use common::session::DeviceName;
use tokio::task::JoinSet;

use super::super::agreement::StoreState;
use super::super::tests::new;
use super::super::{Config, NamedNode, NodeSink, Sessions, State, SystemRandom, Turn};
use super::*;
use crate::testing::redis::TestRedis;

mod away;
mod conformance;
mod named;

const PATIENCE: Duration = Duration::from_secs(20);

/// One edge-c's sessions, and the task that follows the store.
struct Node {
    sessions: Sessions,
    dir: tempfile::TempDir,
    tasks: JoinSet<()>,
    /// The nodes inside that it heard of.
    heard: Arc<Mutex<Vec<NamedNode>>>,
}

impl Node {
    /// A node with the state key that all nodes of these tests have.
    async fn start(redis: &TestRedis, number: u8) -> Self {
        let node = Self::open(redis, number, with_key([7; 32]));
        node.until_up().await;
        node
    }

    fn open(redis: &TestRedis, number: u8, dir: tempfile::TempDir) -> Self {
        let name = format!("edge-c{number}.link.internal");
        Self::open_as(redis, number, &name, dir)
    }

    fn open_as(redis: &TestRedis, number: u8, name: &str, dir: tempfile::TempDir) -> Self {
        let heard = Arc::<Mutex<Vec<NamedNode>>>::default();
        let hears = Arc::clone(&heard);
        let config = Config {
            core: CoreId(number),
            lifetime: limits::SESSION_LIFETIME_DEFAULT,
            cookie_domain: None,
            state: State::Directory {
                path: dir.path().to_owned(),
                key_file: None,
            },
            shared: Some(SharedConfig {
                name: Domain::parse(name).unwrap(),
                dialer: redis.dialer(),
                metrics: StoreMetrics::default(),
                sink: NodeSink::new(move |named| hears.lock().unwrap().extend(named)),
            }),
        };
        let sessions = Sessions::open(config, Arc::new(SystemRandom), now()).unwrap();
        let (following, running) = (sessions.clone(), sessions.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            tokio::select! {
                never = following.follow_store() => match never {},
                () = running.run(now, std::future::pending()) => {}
            }
        });
        Self {
            sessions,
            dir,
            tasks,
            heard,
        }
    }

    fn has_heard(&self, named: &NamedNode) -> bool {
        self.heard.lock().unwrap().contains(named)
    }

    async fn until_up(&self) {
        let up = self.sessions.until_store_is_up();
        tokio::time::timeout(PATIENCE, up).await.unwrap();
    }

    /// Ends without a word, as a kill does; what is on disk stays.
    async fn die(self) -> tempfile::TempDir {
        let Self {
            sessions,
            dir,
            mut tasks,
            heard: _,
        } = self;
        tasks.shutdown().await;
        drop(sessions);
        // A write that is under way on another thread holds the file a moment longer; a process that is killed does not.
        let file = fs::File::open(dir.path().join("sessions.redb")).unwrap();
        until("a free database", || file.try_lock().is_ok()).await;
        dir
    }
}

fn now() -> UnixTime {
    clock::unix_now()
}

/// A state directory with this key in it.
fn with_key(octets: [u8; 32]) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.key");
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn a_session_made_on_one_node_is_found_on_another_with_its_credential() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);

    let issued = one.sessions.issue(new("alice"), now()).await.unwrap();
    let text = issued.cookie.text();
    let found = two.sessions.find(&text, now()).await.unwrap().unwrap();

    assert_eq!(found, issued.session);
    let credential = two.sessions.credential(&text, &found).unwrap().unwrap();
    assert!(credential.reveal().starts_with("Basic "));
    let user = UserName::parse("alice").unwrap();
    until("the copy in memory", || {
        two.sessions.is_signed_in(&user, None, now())
    })
    .await;
    let mut filter = Filter::default();
    filter.set_keys(two.sessions.filter_keys());
    let keys = two.sessions.nodes().borrow().cores.clone();
    assert!(
        keys.contains(&CoreId(1)) && keys.contains(&CoreId(2)),
        "{keys:?}"
    );
}

#[tokio::test]
async fn a_revocation_on_one_node_is_told_on_the_other() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    let alice = one.sessions.issue(new("alice"), now()).await.unwrap();
    let mut phone = new("bob");
    phone.device = Some(DeviceName::parse("TCTBOB").unwrap());
    let bob = one.sessions.issue(phone, now()).await.unwrap();
    let mut feed = one.sessions.filter_feed();

    // Asked right after the session began elsewhere: the other node has to know all of them first.
    let user = UserName::parse("alice").unwrap();
    assert_eq!(two.sessions.revoke(Selection::User(user)).await, Ok(1));
    let told = tokio::time::timeout(PATIENCE, feed.tombstones.recv()).await;
    assert_eq!(told.unwrap().unwrap().id, alice.session.id);
    let device = DeviceName::parse("tctbob").unwrap();
    assert_eq!(two.sessions.revoke(Selection::Device(device)).await, Ok(1));

    for issued in [alice, bob] {
        let text = issued.cookie.text();
        assert_eq!(two.sessions.find(&text, now()).await, Ok(None));
        until("the end on the first node", || {
            one.sessions.look_up(&text, now()).is_none()
        })
        .await;
        assert_eq!(one.sessions.find(&text, now()).await, Ok(None));
    }
}

#[tokio::test]
async fn while_the_store_is_away_known_sessions_go_on_and_nothing_begins() {
    let mut redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    let issued = one.sessions.issue(new("alice"), now()).await.unwrap();
    let text = issued.cookie.text();
    until("the copy", || two.sessions.look_up(&text, now()).is_some()).await;

    redis.kill();
    until("the loss", || {
        two.sessions.store_state() == StoreState::ReadOnly
    })
    .await;

    assert!(two.sessions.find(&text, now()).await.unwrap().is_some());
    assert!(two.sessions.store_trouble().is_some());
    let refused = two.sessions.issue(new("bob"), now()).await;
    assert!(refused.is_err());
    let revoked = two
        .sessions
        .revoke(Selection::Session(issued.session.id))
        .await;
    let error = revoked.unwrap_err();
    assert_eq!(error.count, 1, "it holds here");
    assert!(matches!(error.why, StoreError::NotShared(_)), "{error}");
    assert_eq!(two.sessions.look_up(&text, now()), None);

    // The store comes back empty: it is given the sessions, and the revocation that it has not heard of.
    let carol_text = {
        redis.resume().await;
        until("the store", || one.sessions.store_state() == StoreState::Up).await;
        until("the revocation", || {
            one.sessions.look_up(&text, now()).is_none()
        })
        .await;
        let carol = one.sessions.issue(new("carol"), now()).await.unwrap();
        carol.cookie.text()
    };
    until("the other node", || {
        two.sessions.look_up(&carol_text, now()).is_some()
    })
    .await;
}

#[tokio::test]
async fn a_store_that_lost_everything_signs_nobody_out_and_forgets_no_revocation() {
    let mut redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    let alice = one.sessions.issue(new("alice"), now()).await.unwrap();
    let bob = one.sessions.issue(new("bob"), now()).await.unwrap();
    let id = bob.session.id;
    assert_eq!(one.sessions.revoke(Selection::Session(id)).await, Ok(1));
    let keys = one.sessions.filter_keys();

    redis.kill();
    until("the loss", || {
        [&one, &two]
            .iter()
            .all(|node| node.sessions.store_state() != StoreState::Up)
    })
    .await;
    redis.resume().await;
    one.until_up().await;
    drop(two);

    // A third node knows nothing but what the store was given back.
    let three = Node::start(&redis, 3).await;
    let text = alice.cookie.text();
    assert!(three.sessions.find(&text, now()).await.unwrap().is_some());
    let state = three.sessions.filter_state();
    assert!(state.tombstones.iter().any(|tombstone| tombstone.id == id));
    until("the keys", || {
        three.sessions.filter_keys().latest == keys.latest
    })
    .await;
}

#[tokio::test]
async fn a_node_that_dies_loses_nothing_that_was_acknowledged() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    let mut cookies = Vec::new();
    for number in 0..50 {
        let issued = one
            .sessions
            .issue(new(&format!("user{number}")), now())
            .await;
        cookies.push(issued.unwrap().cookie.text());
    }
    let gone = one.sessions.issue(new("gone"), now()).await.unwrap();
    let id = gone.session.id;
    assert_eq!(one.sessions.revoke(Selection::Session(id)).await, Ok(1));

    let dir = one.die().await;

    for text in &cookies {
        assert!(two.sessions.find(text, now()).await.unwrap().is_some());
    }
    assert_eq!(
        two.sessions.find(&gone.cookie.text(), now()).await,
        Ok(None)
    );
    // What happens while it is away, it hears when it comes back.
    let first = two.sessions.look_up(&cookies[0], now());
    let first = first.unwrap().id;
    assert_eq!(two.sessions.revoke(Selection::Session(first)).await, Ok(1));
    let back = Node::open(&redis, 1, dir);
    back.until_up().await;
    assert_eq!(back.sessions.find(&cookies[0], now()).await, Ok(None));
    assert!(back.sessions.look_up(&cookies[1], now()).is_some());
}

#[tokio::test]
async fn one_node_rolls_the_keys_and_nobody_is_signed_out() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    until("one ring", || {
        one.sessions.filter_keys().latest == two.sessions.filter_keys().latest
    })
    .await;
    let issued = one.sessions.issue(new("alice"), now()).await.unwrap();
    let before = one.sessions.filter_keys();
    let later = now().plus(limits::FILTER_KEY_INTERVAL + limits::FILTER_KEY_LEAD);

    // Both find that it is time.
    let (first, second) = tokio::join!(one.sessions.maintain(later), two.sessions.maintain(later));
    first.unwrap();
    second.unwrap();

    until("the new key everywhere", || {
        let (first, second) = (one.sessions.filter_keys(), two.sessions.filter_keys());
        first.latest == second.latest && first.latest != before.latest
    })
    .await;
    for node in [&one, &two] {
        let keys = node.sessions.filter_keys();
        assert_eq!(keys.earlier, Some(before.latest.clone()), "rolled once");
        let mut filter = Filter::default();
        filter.set_keys(common::mra::cookie::FilterKeys {
            core: CoreId(1),
            ..keys
        });
        assert!(filter.check(&issued.cookie.text(), now()).is_ok());
    }
}

#[tokio::test]
async fn refused_addresses_are_known_on_every_node_and_to_those_that_come_later() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    let mut feed = two.sessions.filter_feed();
    let ban = Ban {
        network: IpAddr::from([192, 0, 2, 66]),
        user: None,
        until: now().plus(Duration::from_secs(600)),
    };
    let alice = UserTag::of("alice");
    let of_alice = Ban {
        network: IpAddr::from([192, 0, 2, 67]),
        user: Some(alice),
        ..ban
    };

    for ban in [ban, of_alice] {
        one.sessions.ban(ban, now()).await;
        let told = tokio::time::timeout(PATIENCE, feed.bans.recv()).await;
        assert_eq!(told.unwrap(), Ok(ban));
    }

    assert!(two.sessions.is_banned(of_alice.network, alice, now()));
    let three = Node::start(&redis, 3).await;
    assert_eq!(three.sessions.filter_state().bans, [ban, of_alice]);
}

#[tokio::test]
async fn one_token_is_refreshed_once_whichever_nodes_are_asked() {
    let redis = TestRedis::start().await;
    let (one, two) = (Node::start(&redis, 1).await, Node::start(&redis, 2).await);
    let token = Secret::new("refresh-me".to_owned());
    let Turn::Yours(flight) = one.sessions.refresh_turn(&token).await.unwrap() else {
        panic!("nobody has asked before");
    };
    flight.depart().await.unwrap();
    let waiting = tokio::spawn({
        let (sessions, token) = (two.sessions.clone(), token.clone());
        async move { sessions.refresh_turn(&token).await }
    });

    flight
        .land(&Secret::new("the answer".to_owned()))
        .await
        .unwrap();

    let Turn::Landed(answer) = waiting.await.unwrap().unwrap() else {
        panic!("the token would be used twice");
    };
    assert_eq!(answer.reveal(), "the answer");
    let other = Secret::new("another".to_owned());
    let Turn::Yours(flight) = two.sessions.refresh_turn(&other).await.unwrap() else {
        panic!("nobody has asked before");
    };
    assert_eq!(flight.fence(), 2);
    flight.release().await.unwrap();
    assert!(matches!(
        one.sessions.refresh_turn(&other).await,
        Ok(Turn::Yours(_))
    ));
}

#[tokio::test]
async fn a_node_with_another_state_key_or_the_same_number_is_kept_out() {
    let redis = TestRedis::start().await;
    let one = Node::start(&redis, 1).await;
    let foreign = Node::open(&redis, 2, with_key([8; 32]));
    let says = |node: &Node, text: &str| {
        let trouble = node.sessions.store_trouble();
        trouble.is_some_and(|trouble| trouble.contains(text))
    };

    until("the wrong key", || says(&foreign, "key_file")).await;

    let twin = Node::open_as(&redis, 1, "twin.link.internal", with_key([7; 32]));
    until("the number", || says(&twin, "core_id 1 is used by")).await;
    assert_eq!(one.sessions.store_state(), StoreState::Up);
}
