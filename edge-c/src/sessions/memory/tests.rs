//! The sets agree, and nothing grows over its bounds.

use super::*;
use common::net::{ClientAddr, Deployment, Domain, Host};
use common::session::{HomeCluster, Method};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn session(id: u8, user: &str, expires: u64) -> Arc<Session> {
    let host = Host::parse("cucm.example.com").unwrap();
    Arc::new(Session {
        id: SessionId([id; 32]),
        user: UserName::parse(user).unwrap(),
        domain: Domain::parse("example.com").unwrap(),
        deployment: Deployment::standard(),
        home: HomeCluster {
            host,
            nodes: Vec::new(),
        },
        method: Method::Token,
        device: None,
        client: ClientAddr("192.0.2.1:1".parse().unwrap()),
        created: UnixTime(0),
        expires: UnixTime(expires),
        nodes: Vec::new(),
        credential: None,
    })
}

fn store(sessions_max: usize, per_user_max: usize) -> MemoryStore {
    let bounds = Bounds {
        sessions_max,
        per_user_max,
        pending_max: 10,
    };
    MemoryStore::new(bounds, None, Loaded::default(), Announce::default())
}

fn insert(store: &MemoryStore, session: Arc<Session>) {
    store.add(session);
}

fn kept(store: &MemoryStore) -> Vec<u8> {
    let mut ids: Vec<u8> = store.page(None, 1_000).iter().map(|s| s.id.0[0]).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_full_store_drops_the_soonest_to_expire() {
    let store = store(3, 10);
    for (id, user, expires) in [(1, "a", 30), (2, "b", 10), (3, "c", 20), (4, "d", 40)] {
        insert(&store, session(id, user, expires));
    }

    assert_eq!(kept(&store), [1, 3, 4]);
    assert!(store.look_up(&SessionId([2; 32])).is_none());
    assert_eq!(store.stats().evicted_total, 1);
}

#[test]
fn a_user_with_too_many_sessions_loses_the_oldest_and_nobody_else_does() {
    let store = store(10, 2);
    insert(&store, session(9, "bob", 1));
    for id in 1..=4 {
        insert(
            &store,
            session(id, if id % 2 == 0 { "alice" } else { "ALICE" }, 50),
        );
    }

    assert_eq!(kept(&store), [3, 4, 9]);
}

#[test]
fn pages_go_on_where_they_ended_although_sessions_come_and_go() {
    let store = store(10, 10);
    for id in 1..=5 {
        insert(&store, session(id, "alice", 10 * u64::from(id)));
    }
    let page = store.page(None, 2);
    let after = index::mark_of(page.last().unwrap());
    store.expire(UnixTime(20));
    insert(&store, session(6, "alice", 5));

    let rest: Vec<_> = store
        .page(Some(after), 10)
        .iter()
        .map(|s| s.id.0[0])
        .collect();

    assert_eq!(rest, [3, 4, 5]);
}

#[derive(Clone, Debug)]
enum Step {
    Expire(u64),
    Insert(u8, u8, u64),
    Revoke(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..100).prop_map(Step::Expire),
        (any::<u8>(), 0_u8..4, 1_u64..100).prop_map(|(id, user, at)| Step::Insert(id, user, at)),
        (0_u8..4).prop_map(Step::Revoke),
    ]
}

proptest! {
    #[test]
    fn the_sets_agree_and_never_grow_over_their_bounds(steps in proptest::collection::vec(step(), 0..80)) {
        let store = store(8, 3);
        let mut used = BTreeSet::new();
        for step in steps {
            match step {
                Step::Expire(now) => {
                    store.expire(UnixTime(now));
                    prop_assert!(store.page(None, 100).iter().all(|s| !s.has_expired(UnixTime(now))));
                }
                Step::Insert(id, user, at) => {
                    // Ids are random in life: one is never used twice.
                    if used.insert(id) {
                        insert(&store, session(id, &format!("u{user}"), at));
                        prop_assert!(store.look_up(&SessionId([id; 32])).is_some());
                    }
                }
                Step::Revoke(user) => {
                    let user = UserName::parse(&format!("u{user}")).unwrap();
                    store.revoke_now(&Selection::User(user.clone()));
                    prop_assert!(store.page(None, 100).iter().all(|s| s.user != user));
                }
            }
            let index = store.index();
            let in_shards: usize = store.shards.iter().map(|s| s.read().unwrap().len()).sum();
            let by_user: usize = index.users().sum();
            prop_assert!(in_shards <= 8);
            prop_assert_eq!(in_shards, index.len());
            prop_assert_eq!(in_shards, by_user);
            prop_assert!(index.users().all(|count| (1..=3).contains(&count)));
        }
    }
}
