//! Who may connect and sign in, how often, and who may not for a while.

use super::*;
use common::config::section;
use common::policy::jail::JailPolicy;
use common::runtime::clock;

const LIMITS: Limits = Limits {
    connections_max: 3,
    connections_per_address_max: 2,
    connections_per_second_per_address: 100,
    sign_in_per_address: section::Rate {
        count: 2,
        window: Duration::from_secs(60),
    },
    jail: JailPolicy {
        failures_max: limits::JAIL_FAILURES_MAX,
        address_failures_max: limits::JAIL_ADDRESS_FAILURES_MAX,
        window: limits::JAIL_WINDOW,
        block: limits::JAIL_BLOCK,
        exempt: Vec::new(),
    },
};

const BLOCKED: Blocked = Blocked {
    whom: Whom::Address,
    time: limits::JAIL_BLOCK,
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn connections_count_for_their_address_and_for_all() {
    let admission = Admission::new(LIMITS);
    let now = clock::now();
    let first = admission.admit(address("192.0.2.1"), now).unwrap();
    let _second = admission.admit(address("192.0.2.1"), now).unwrap();

    assert_eq!(
        admission.admit(address("192.0.2.1"), now).map(drop),
        Err(NotAdmitted::AddressFull)
    );
    let _third = admission.admit(address("192.0.2.2"), now).unwrap();
    assert_eq!(
        admission.admit(address("192.0.2.3"), now).map(drop),
        Err(NotAdmitted::Full)
    );

    drop(first);
    assert!(admission.admit(address("192.0.2.1"), now).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_client_is_its_whole_network() {
    let admission = Admission::new(LIMITS);
    let now = clock::now();
    let _first = admission.admit(address("2001:db8::1"), now).unwrap();
    let _second = admission.admit(address("2001:db8::2"), now).unwrap();

    assert_eq!(
        admission.admit(address("2001:db8::3"), now).map(drop),
        Err(NotAdmitted::AddressFull)
    );
    assert!(admission.admit(address("2001:db8:0:1::1"), now).is_ok());
}

#[tokio::test(start_paused = true)]
async fn new_connections_are_limited_by_the_second() {
    let admission = Admission::new(Limits {
        connections_per_second_per_address: 2,
        ..LIMITS
    });
    let now = clock::now();
    for _ in 0..2 {
        admission.admit(address("192.0.2.1"), now).unwrap();
    }

    assert_eq!(
        admission.admit(address("192.0.2.1"), now).map(drop),
        Err(NotAdmitted::TooOften)
    );
    assert!(
        admission
            .admit(address("192.0.2.1"), now + Duration::from_secs(1))
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn sign_ins_are_limited_apart() {
    let admission = Admission::new(LIMITS);
    let now = clock::now();
    admission
        .admit_sign_in(address("192.0.2.1"), None, now)
        .unwrap();
    admission
        .admit_sign_in(address("192.0.2.1"), None, now)
        .unwrap();

    assert!(
        admission
            .admit_sign_in(address("192.0.2.1"), None, now)
            .is_err()
    );
    assert!(
        admission
            .admit_sign_in(address("192.0.2.2"), None, now)
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_is_blocked_for_a_while_after_too_many_failures() {
    let admission = Admission::new(LIMITS);
    let (now, guesser) = (clock::now(), address("192.0.2.1"));
    for _ in 0..5 {
        assert_eq!(admission.fail(guesser, Offence::Forgery, now), None);
    }
    assert!(admission.admit(guesser, now).is_ok());

    assert_eq!(
        admission.fail(guesser, Offence::Forgery, now),
        Some(BLOCKED)
    );

    assert_eq!(
        admission.fail(guesser, Offence::Forgery, now),
        None,
        "told once"
    );
    let refused = admission.admit(guesser, now).map(drop);
    assert_eq!(refused, Err(NotAdmitted::Jailed));
    assert!(admission.admit_sign_in(guesser, None, now).is_err());
    assert!(admission.admit(address("192.0.2.2"), now).is_ok());
    assert_eq!(admission.jailed_addresses(now).len(), 1);
    assert!(admission.admit(guesser, now + limits::JAIL_BLOCK).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_one_edge_blocks_is_told_once_and_blocked_by_another() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (here, there) = (Admission::new(LIMITS), Admission::new(LIMITS));
    let heard = Arc::clone(&told);
    here.on_block(move |network, user, time| heard.lock().unwrap().push((network, user, time)));
    let (now, guesser) = (clock::now(), address("192.0.2.1"));
    let (alice, bob) = (UserTag::of("alice"), UserTag::of("bob"));
    let office = address("192.0.2.3");
    for _ in 0..9 {
        here.fail(guesser, Offence::Forgery, now);
        here.fail(office, Offence::WrongPassword(Some(alice)), now);
    }
    let told = told.lock().unwrap().clone();
    let time = limits::JAIL_BLOCK;
    assert_eq!(told, [(guesser, None, time), (office, Some(alice), time)]);

    let bans: Vec<Ban> = told
        .into_iter()
        .map(|(network, user, time)| Ban {
            network,
            user,
            until: UnixTime(1_000).plus(time),
        })
        .collect();
    there.block(&bans, now, UnixTime(1_000));

    let refused = there.admit(guesser, now).map(drop);
    assert_eq!(refused, Err(NotAdmitted::Jailed));
    assert!(there.admit(address("192.0.2.2"), now).is_ok());
    assert!(there.admit(office, now).is_ok());
    assert!(there.is_blocked(office, Some(alice), now));
    assert!(!there.is_blocked(office, Some(bob), now));
}

#[tokio::test(start_paused = true)]
async fn a_reload_lets_nobody_out_unless_it_is_about_that() {
    let admission = Admission::new(LIMITS);
    let (now, guesser) = (clock::now(), address("192.0.2.1"));
    for _ in 0..6 {
        admission.fail(guesser, Offence::Forgery, now);
    }

    admission.set_limits(Limits {
        connections_max: 7,
        ..LIMITS
    });
    assert_eq!(admission.jailed(now), 1);

    let mut limits = LIMITS;
    limits.jail.exempt.push("192.0.2.1/32".parse().unwrap());
    admission.set_limits(limits);
    assert_eq!(admission.jailed(now), 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_blocked_where_the_wrong_passwords_came_from_and_nowhere_else() {
    let admission = Admission::new(Limits {
        sign_in_per_address: section::Rate {
            count: 100,
            window: Duration::from_secs(60),
        },
        ..LIMITS
    });
    let (now, office) = (clock::now(), address("192.0.2.1"));
    let (alice, bob) = (UserTag::of("alice"), UserTag::of("bob"));
    let wrong = Offence::WrongPassword(Some(alice));
    for _ in 0..5 {
        assert_eq!(admission.fail(office, wrong, now), None);
    }

    let blocked = Blocked {
        whom: Whom::User,
        time: limits::JAIL_BLOCK,
    };
    assert_eq!(admission.fail(office, wrong, now), Some(blocked));

    assert_eq!(admission.fail(office, wrong, now), None, "told once");
    let sign_in = |at, user| admission.admit_sign_in(at, Some(user), now);
    let left = limits::JAIL_BLOCK;
    assert_eq!(sign_in(office, alice), Err(NoSignIn::UserBlocked { left }));
    assert_eq!(sign_in(office, bob), Ok(()));
    assert_eq!(sign_in(address("192.0.2.2"), alice), Ok(()));
    assert!(admission.admit(office, now).is_ok());
    assert_eq!((admission.jailed(now), admission.jailed_users(now)), (0, 1));
}
