//! What every store of sessions promises: each behaviour runs with sessions in this process alone and with a real Redis.

use common::mra::cookie::{CookieValue, Refused};
use tempfile::TempDir;

use super::super::super::RevokeError;
use super::super::super::tests::PASSWORD;
use super::*;

/// Sessions, and what they stand on.
struct Subject {
    sessions: Sessions,
    _rest: Rest,
}

enum Rest {
    Memory { _dir: TempDir },
    Redis { _node: Node, _redis: TestRedis },
}

impl Subject {
    fn in_memory() -> Self {
        let dir = with_key([7; 32]);
        let config = Config {
            core: CoreId(1),
            lifetime: limits::SESSION_LIFETIME_DEFAULT,
            cookie_domain: None,
            state: State::Directory {
                path: dir.path().to_owned(),
                key_file: None,
            },
            shared: None,
        };
        let sessions = Sessions::open(config, Arc::new(SystemRandom), now()).unwrap();
        Self {
            sessions,
            _rest: Rest::Memory { _dir: dir },
        }
    }

    async fn in_redis() -> Self {
        let redis = TestRedis::start().await;
        let node = Node::start(&redis, 1).await;
        Self {
            sessions: node.sessions.clone(),
            _rest: Rest::Redis {
                _node: node,
                _redis: redis,
            },
        }
    }
}

macro_rules! behaviours {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Subject::in_memory().sessions).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Subject::in_redis().await.sessions).await;
            })*
        }
    };
}

behaviours! {
    what_was_issued_is_found_with_its_credential
    nothing_else_is_found
    a_session_is_over_when_its_time_is
    revocations_count_hold_and_are_told
    a_user_has_so_many_sessions_and_the_soonest_to_expire_goes
    a_listing_comes_in_pages_in_the_order_of_expiry
    cookies_of_the_key_before_are_good_after_a_roll
    refused_addresses_are_told_to_edges_that_join_until_they_end
    users_who_are_refused_at_an_address_are_told_and_nobody_else_there_is_refused
    a_token_is_refreshed_once_at_a_time
    a_refresh_that_was_sent_and_not_answered_is_nobody_elses
}

async fn what_was_issued_is_found_with_its_credential(sessions: &Sessions) {
    let issued = sessions.issue(new("alice"), now()).await.unwrap();
    let text = issued.cookie.text();

    assert_eq!(
        sessions.look_up(&text, now()).as_ref(),
        Some(&issued.session)
    );
    let found = sessions.find(&text, now()).await.unwrap().unwrap();
    assert_eq!(found, issued.session);
    let credential = sessions.credential(&text, &found).unwrap().unwrap();
    assert_eq!(credential.reveal(), PASSWORD);
    let user = UserName::parse("ALICE").unwrap();
    assert!(sessions.is_signed_in(&user, None, now()));
    let here = issued.session.client.0.ip();
    assert!(sessions.is_signed_in(&user, Some(here), now()));
    let elsewhere = IpAddr::from([192, 0, 2, 200]);
    assert!(!sessions.is_signed_in(&user, Some(elsewhere), now()));
    assert_eq!(sessions.stats().sessions, 1);
}

async fn nothing_else_is_found(sessions: &Sessions) {
    let issued = sessions.issue(new("alice"), now()).await.unwrap();
    let text = issued.cookie.text();
    // Whoever holds the filter key, as every edge does, makes cookies that no session stands behind.
    let (_, key) = sessions.filter_keys().latest;
    let minted = CookieValue::issue(
        &key,
        issued.cookie.key_id(),
        issued.cookie.expiry(),
        [9; 18],
    );
    let shortened = text.clone().split_off(1);
    for other in ["", "junk", &shortened, &minted.text()] {
        assert_eq!(sessions.look_up(other, now()), None, "{other}");
        assert_eq!(sessions.find(other, now()).await, Ok(None), "{other}");
    }
}

async fn a_session_is_over_when_its_time_is(sessions: &Sessions) {
    let mut short = new("alice");
    short.until = Some(now().plus(Duration::from_secs(600)));
    let issued = sessions.issue(short, now()).await.unwrap();
    let text = issued.cookie.text();
    let end = issued.session.expires;
    assert_eq!(Some(end), short_end(&issued.session, 600));
    let before = UnixTime(end.0 - 1);

    assert!(sessions.find(&text, before).await.unwrap().is_some());
    assert_eq!(sessions.find(&text, end).await, Ok(None));
    assert_eq!(sessions.look_up(&text, end), None);
    let user = UserName::parse("alice").unwrap();
    assert!(!sessions.is_signed_in(&user, None, end));

    sessions.maintain(before).await.unwrap();
    assert_eq!(sessions.stats().sessions, 1);
    sessions.maintain(end).await.unwrap();
    let stats = sessions.stats();
    assert_eq!((stats.sessions, stats.expired_total), (0, 1));
}

fn short_end(session: &Session, seconds: u64) -> Option<UnixTime> {
    // The second may have changed between the two questions for the time.
    let wanted = session.created.plus(Duration::from_secs(seconds));
    (session.expires.0.abs_diff(wanted.0) <= 1).then_some(session.expires)
}

async fn revocations_count_hold_and_are_told(sessions: &Sessions) {
    let mut feed = sessions.filter_feed();
    let mut phone = new("alice");
    phone.device = Some(DeviceName::parse("TCTALICE").unwrap());
    let phone = sessions.issue(phone, now()).await.unwrap();
    let desktop = sessions.issue(new("alice"), now()).await.unwrap();
    let bob = sessions.issue(new("bob"), now()).await.unwrap();
    let carol = sessions.issue(new("carol"), now()).await.unwrap();
    let device = Selection::Device(DeviceName::parse("tctalice").unwrap());
    let user = Selection::User(UserName::parse("Alice").unwrap());
    let one = Selection::Session(bob.session.id);

    for (which, ended) in [
        (device, Some(&phone)),
        (user.clone(), Some(&desktop)),
        (one, Some(&bob)),
        (user, None),
    ] {
        let count: Result<usize, RevokeError> = sessions.revoke(which.clone()).await;
        assert_eq!(count, Ok(usize::from(ended.is_some())), "{which:?}");
        let Some(ended) = ended else {
            continue;
        };
        let told = tokio::time::timeout(PATIENCE, feed.tombstones.recv()).await;
        let tombstone = told.unwrap().unwrap();
        assert_eq!(tombstone.id, ended.session.id);
        assert_eq!(tombstone.until, ended.session.expires);
        let text = ended.cookie.text();
        assert_eq!(sessions.find(&text, now()).await, Ok(None));
        assert_eq!(sessions.look_up(&text, now()), None);
        // An edge that joins now learns of it.
        let state = sessions.filter_state();
        let mut filter = Filter::default();
        filter.set_keys(state.keys);
        for tombstone in state.tombstones {
            filter.revoke(tombstone);
        }
        assert_eq!(filter.check(&text, now()), Err(Refused::Revoked));
        assert!(filter.check(&carol.cookie.text(), now()).is_ok());
    }
    assert_eq!(sessions.stats().revoked_total, 3);
    assert_eq!(sessions.revoke(Selection::All).await, Ok(1));
    assert_eq!(sessions.stats().sessions, 0);
}

async fn a_user_has_so_many_sessions_and_the_soonest_to_expire_goes(sessions: &Sessions) {
    let mut cookies = Vec::new();
    for number in 0..=limits::SESSIONS_PER_USER_MAX {
        let mut one = new("alice");
        let seconds = u64::try_from(number).unwrap() + 600;
        one.until = Some(now().plus(Duration::from_secs(seconds)));
        cookies.push(sessions.issue(one, now()).await.unwrap().cookie.text());
    }

    let (first, others) = cookies.split_first().unwrap();
    assert_eq!(sessions.find(first, now()).await, Ok(None));
    for text in others {
        assert!(sessions.find(text, now()).await.unwrap().is_some());
    }
    let stats = sessions.stats();
    assert_eq!(stats.sessions, limits::SESSIONS_PER_USER_MAX);
    assert_eq!(stats.evicted_total, 1);
}

async fn a_listing_comes_in_pages_in_the_order_of_expiry(sessions: &Sessions) {
    let count = limits::SESSION_PAGE_MAX * 2 + 50;
    for number in 0..count {
        let mut one = new(&format!("user{number}"));
        let seconds = 600 + (u64::try_from(number).unwrap() * 7) % 300;
        one.until = Some(now().plus(Duration::from_secs(seconds)));
        sessions.issue(one, now()).await.unwrap();
    }

    let mut listed = Vec::new();
    let mut after = None;
    for _ in 0..4 {
        let page = sessions.list(after);
        assert!(page.sessions.len() <= limits::SESSION_PAGE_MAX);
        listed.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }

    assert_eq!((listed.len(), after), (count, None));
    assert!(listed.is_sorted_by_key(|session| (session.expires, session.id)));
}

async fn cookies_of_the_key_before_are_good_after_a_roll(sessions: &Sessions) {
    let before = sessions.filter_keys();
    let issued = sessions.issue(new("alice"), now()).await.unwrap();
    let later = now().plus(limits::FILTER_KEY_INTERVAL + limits::FILTER_KEY_LEAD);

    sessions.maintain(later).await.unwrap();

    until("the new key", || {
        sessions.filter_keys().earlier.as_ref() == Some(&before.latest)
    })
    .await;
    let mut filter = Filter::default();
    filter.set_keys(sessions.filter_keys());
    assert!(filter.check(&issued.cookie.text(), now()).is_ok());
    // Under the new one only when every edge has it.
    let soon = sessions.issue(new("bob"), later).await.unwrap();
    assert_eq!(soon.cookie.key_id(), issued.cookie.key_id());
    let used = later.plus(limits::FILTER_KEY_LEAD);
    let fresh = sessions.issue(new("carol"), used).await.unwrap();
    assert_ne!(fresh.cookie.key_id(), issued.cookie.key_id());
    assert!(filter.check(&fresh.cookie.text(), used).is_ok());
}

async fn refused_addresses_are_told_to_edges_that_join_until_they_end(sessions: &Sessions) {
    let mut feed = sessions.filter_feed();
    let ban = |last: u8, seconds: u64| Ban {
        network: IpAddr::from([192, 0, 2, last]),
        user: None,
        until: now().plus(Duration::from_secs(seconds)),
    };
    let (one, over) = (ban(66, 600), ban(67, 0));

    sessions.ban(one, now()).await;
    sessions.ban(over, now()).await;

    let told = tokio::time::timeout(PATIENCE, feed.bans.recv()).await;
    assert_eq!(told.unwrap(), Ok(one));
    assert_eq!(sessions.filter_state().bans, [one]);
    let far = ban(68, limits::BAN_SHARED_MAX.as_secs() * 10);
    sessions.ban(far, now()).await;
    let bans = sessions.filter_state().bans;
    let kept = bans.iter().find(|ban| ban.network == far.network).unwrap();
    assert!(
        kept.until <= now().plus(limits::BAN_SHARED_MAX),
        "an edge bans nobody for ever"
    );
}

async fn users_who_are_refused_at_an_address_are_told_and_nobody_else_there_is_refused(
    sessions: &Sessions,
) {
    let mut feed = sessions.filter_feed();
    let (alice, bob) = (UserTag::of("alice"), UserTag::of("bob"));
    let ban = Ban {
        network: "2001:db8::".parse().unwrap(),
        user: Some(alice),
        until: now().plus(limits::BAN_SHARED_MAX * 10),
    };

    sessions.ban(ban, now()).await;

    let told = tokio::time::timeout(PATIENCE, feed.bans.recv()).await;
    let told = told.unwrap().unwrap();
    assert_eq!((told.network, told.user), (ban.network, ban.user));
    let last = now().plus(limits::BAN_SHARED_MAX);
    assert!(told.until <= last, "an edge bans nobody for ever");
    assert_eq!(sessions.filter_state().bans, [told]);
    let host = "2001:db8::7".parse().unwrap();
    assert!(sessions.is_banned(host, alice, now()));
    assert!(!sessions.is_banned(host, bob, now()));
    assert!(!sessions.is_banned(host, alice, told.until));
    let everybody = Ban { user: None, ..ban };
    sessions.ban(everybody, now()).await;
    assert!(sessions.is_banned(host, bob, now()));
}

async fn a_token_is_refreshed_once_at_a_time(sessions: &Sessions) {
    let token = Secret::new("refresh-me".to_owned());
    let Ok(Turn::Yours(flight)) = sessions.refresh_turn(&token).await else {
        panic!("nobody has asked before");
    };
    flight.depart().await.unwrap();
    let waiting = tokio::spawn({
        let (sessions, token) = (sessions.clone(), token.clone());
        async move { sessions.refresh_turn(&token).await }
    });
    let answer = Secret::new("the answer".to_owned());
    flight.land(&answer).await.unwrap();

    let Ok(Turn::Landed(landed)) = waiting.await.unwrap() else {
        panic!("the token would be used twice");
    };

    assert_eq!(landed.reveal(), answer.reveal());
    let other = Secret::new("another".to_owned());
    let Ok(Turn::Yours(flight)) = sessions.refresh_turn(&other).await else {
        panic!("nobody has asked before");
    };
    assert_eq!(flight.fence(), 2);
    flight.release().await.unwrap();
    let again = sessions.refresh_turn(&other).await;
    assert!(matches!(again, Ok(Turn::Yours(_))));
}

async fn a_refresh_that_was_sent_and_not_answered_is_nobody_elses(sessions: &Sessions) {
    let token = Secret::new("refresh-me".to_owned());
    let Ok(Turn::Yours(flight)) = sessions.refresh_turn(&token).await else {
        panic!("nobody has asked before");
    };
    flight.depart().await.unwrap();
    drop(flight);

    let moment = limits::REFRESH_POLL_INTERVAL * 6;
    let second = tokio::time::timeout(moment, sessions.refresh_turn(&token)).await;

    assert!(second.is_err(), "it would be used twice");
}
