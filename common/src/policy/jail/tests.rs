//! Who is refused, for how long, and who is not.

use std::net::Ipv6Addr;

use super::*;
use crate::testing::epoch;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_sixth_failure_blocks_for_ten_minutes() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());
    for _ in 0..5 {
        assert_eq!(jail.fail(v4(1), Offence::Forgery, now), Sentence::Counted);
    }
    assert_eq!(jail.blocked_until(v4(1), now), None);

    let until = now + MINUTE * 10;
    assert_eq!(
        jail.fail(v4(1), Offence::Forgery, now),
        Sentence::Blocked {
            whom: Whom::Address,
            until
        }
    );

    assert_eq!(jail.blocked_until(v4(1), now), Some(until));
    assert_eq!(jail.blocked_until(v4(2), now), None);
    assert_eq!(jail.blocked_until(v4(1), until), None);
    assert_eq!(jail.blocked(now), 1);
    assert_eq!(jail.refused(now, 9), [(v4(1), until)]);
    assert_eq!(jail.refused(until, 9), []);
    assert_eq!(jail.blocked(until), 0);
}

#[test]
fn failures_while_blocked_do_not_prolong_it() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());
    for _ in 0..6 {
        jail.fail(v4(1), Offence::Forgery, now);
    }
    let until = now + MINUTE * 10;

    assert_eq!(
        jail.fail(v4(1), Offence::Forgery, now + MINUTE * 9),
        Sentence::Blocked {
            whom: Whom::Address,
            until
        }
    );
    assert_eq!(jail.fail(v4(1), Offence::Forgery, until), Sentence::Counted);
}

#[test]
fn old_failures_do_not_count() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());

    for minute in 0..60 {
        let sentence = jail.fail(v4(1), Offence::Forgery, now + MINUTE * 2 * minute);
        assert_eq!(sentence, Sentence::Counted, "{minute}");
    }
}

#[test]
fn exempt_networks_are_never_blocked() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy {
        exempt: vec!["192.0.2.0/24".parse().unwrap()],
        ..JailPolicy::default()
    });

    for _ in 0..100 {
        assert_eq!(jail.fail(v4(1), Offence::Forgery, now), Sentence::Exempt);
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(jail.fail(mapped, Offence::Forgery, now), Sentence::Exempt);
    }
}

#[test]
fn changing_the_address_within_a_network_does_not_help() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());

    for host in 0..6_u16 {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
        jail.fail(IpAddr::V6(address), Offence::Forgery, now);
    }

    assert!(
        jail.blocked_until("2001:db8::9".parse().unwrap(), now)
            .is_some()
    );
    assert!(
        jail.blocked_until("2001:db8:0:1::9".parse().unwrap(), now)
            .is_none()
    );
}

#[test]
fn a_release_is_a_clean_slate() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());
    for _ in 0..6 {
        jail.fail(v4(1), Offence::Forgery, now);
    }

    assert!(jail.release(v4(1)));

    assert!(!jail.release(v4(1)));
    assert_eq!(jail.blocked_until(v4(1), now), None);
    assert_eq!(jail.fail(v4(1), Offence::Forgery, now), Sentence::Counted);
}

#[test]
fn an_address_that_another_edge_refuses_is_refused_here_too_but_not_longer() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy {
        exempt: vec!["192.0.2.9/32".parse().unwrap()],
        ..JailPolicy::default()
    });

    assert!(jail.block(v4(1), MINUTE * 3, now));
    assert!(!jail.block(v4(1), MINUTE * 2, now), "shorter");
    assert!(!jail.block(v4(1), MINUTE * 600, now), "known already");
    assert!(!jail.block(v4(9), MINUTE, now), "exempt");
    assert!(!jail.block(v4(2), Duration::ZERO, now), "over");

    assert_eq!(jail.blocked_until(v4(1), now), Some(now + MINUTE * 10));
    assert_eq!(jail.blocked(now), 1);
}

#[test]
fn a_user_whom_another_edge_refuses_is_refused_here_too_and_nobody_else() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy {
        exempt: vec!["192.0.2.9/32".parse().unwrap()],
        ..JailPolicy::default()
    });
    let (alice, bob) = (UserTag::of("alice"), UserTag::of("bob"));

    assert!(jail.block_user(v4(1), alice, MINUTE * 3, now));
    assert!(!jail.block_user(v4(1), alice, MINUTE * 2, now), "shorter");
    assert!(!jail.block_user(v4(1), alice, MINUTE * 600, now), "known");
    assert!(!jail.block_user(v4(9), alice, MINUTE, now), "exempt");
    assert!(!jail.block_user(v4(1), bob, Duration::ZERO, now), "over");

    let until = Some(now + MINUTE * 10);
    assert_eq!(jail.user_blocked_until(v4(1), alice, now), until);
    assert_eq!(jail.user_blocked_until(v4(1), bob, now), None);
    assert_eq!((jail.blocked(now), jail.blocked_users(now)), (0, 1));
}

#[test]
fn a_ban_is_read_as_it_was_written_with_a_user_and_without_one() {
    for user in [None, Some(UserTag::of("alice"))] {
        let ban = Ban {
            network: v4(1),
            user,
            until: UnixTime(600),
        };

        let text = serde_json::to_string(&ban).unwrap();

        assert_eq!(text.contains("user"), user.is_some(), "{text}");
        assert_eq!(serde_json::from_str::<Ban>(&text).unwrap(), ban);
    }
    let wrong = r#"{"network":"192.0.2.1","user":"YWxpY2U","until":600}"#;
    assert!(serde_json::from_str::<Ban>(wrong).is_err());
}

#[test]
fn a_user_is_refused_at_an_address_and_others_there_are_not() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());
    let (alice, bob) = (UserTag::of("alice"), UserTag::of("bob"));
    let wrong = Offence::WrongPassword(Some(alice));
    for _ in 0..5 {
        assert_eq!(jail.fail(v4(1), wrong, now), Sentence::Counted);
    }

    let until = now + MINUTE * 10;
    let blocked = Sentence::Blocked {
        whom: Whom::User,
        until,
    };
    assert_eq!(jail.fail(v4(1), wrong, now), blocked);

    assert_eq!(jail.fail(v4(1), wrong, now + MINUTE), blocked);
    assert_eq!(jail.user_blocked_until(v4(1), alice, now), Some(until));
    assert_eq!(jail.user_blocked_until(v4(1), bob, now), None);
    assert_eq!(jail.user_blocked_until(v4(2), alice, now), None);
    assert_eq!(jail.blocked_until(v4(1), now), None);
    assert_eq!((jail.blocked(now), jail.blocked_users(now)), (0, 1));
    assert_eq!(jail.blocked_users(until), 0);
    assert_eq!(jail.fail(v4(1), wrong, until), Sentence::Counted);
}

#[test]
fn who_tries_many_users_is_refused_as_an_address() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy {
        address_failures_max: NonZeroU32::new(20).unwrap(),
        ..JailPolicy::default()
    });
    for number in 0..20 {
        let user = UserTag::of(&number.to_string());
        let offence = Offence::WrongPassword(Some(user));
        assert_eq!(jail.fail(v4(1), offence, now), Sentence::Counted);
    }

    let one_more = Offence::WrongPassword(Some(UserTag::of("one more")));
    let sentence = jail.fail(v4(1), one_more, now);

    let until = now + MINUTE * 10;
    let whom = Whom::Address;
    assert_eq!(sentence, Sentence::Blocked { whom, until });
    assert_eq!(jail.blocked_until(v4(1), now), Some(until));
}

#[test]
fn wrong_passwords_of_nobody_known_count_like_forgeries() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());
    let nameless = Offence::WrongPassword(None);
    for _ in 0..5 {
        assert_eq!(jail.fail(v4(1), nameless, now), Sentence::Counted);
    }

    jail.fail(v4(1), nameless, now);

    assert!(jail.blocked_until(v4(1), now).is_some());
}

#[test]
fn wrong_passwords_and_forgeries_are_counted_apart() {
    let now = epoch();
    let mut jail = Jail::new(JailPolicy::default());
    let wrong = Offence::WrongPassword(Some(UserTag::of("alice")));

    for _ in 0..5 {
        assert_eq!(jail.fail(v4(1), Offence::Forgery, now), Sentence::Counted);
        assert_eq!(jail.fail(v4(1), wrong, now), Sentence::Counted);
    }
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}
