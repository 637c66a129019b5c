//! Who gets a request, and what the cores say of each other.

use super::*;
use common::link::control::message::{DomainPolicy, Policy};
use common::mra::cookie::{CookieValue, FilterKey, KeyId};

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn policy(names: &[&str]) -> Command {
    let domains = names.iter().map(|name| DomainPolicy {
        name: domain(name),
        sso_document: format!("<sso>{name}</sso>"),
        is_sso_asked: false,
        is_sso_relayed: false,
    });
    Command::Policy(Policy {
        realm: "Cisco-Edge".into(),
        domains: domains.collect(),
        xmpp_domains: Vec::new(),
        serves_sessions_of: Vec::new(),
    })
}

fn join(cores: &Cores, id: u8, domains: &[&str]) -> Arc<Core> {
    let core = cores
        .join(CoreId(id), &domain(&format!("c{id}.link")))
        .unwrap();
    core.set_connected(true, clock::now());
    cores.apply(&core, policy(domains));
    core
}

#[test]
fn before_any_core_said_what_it_serves_nothing_is_called_unknown() {
    let cores = Cores::default();

    assert_eq!(
        cores.check_domain(&domain("a.test")),
        Err(NoRoute::LinkDown)
    );

    join(&cores, 1, &["b.test"]);
    assert_eq!(
        cores.check_domain(&domain("a.test")),
        Err(NoRoute::DomainUnknown)
    );
    assert_eq!(cores.check_domain(&domain("b.test")), Ok(()));
}

#[test]
fn a_domain_goes_to_the_cores_that_serve_it() {
    let cores = Cores::default();
    join(&cores, 1, &["a.test"]);
    join(&cores, 2, &["b.test"]);

    assert_eq!(
        cores
            .route(&domain("b.test"), None, clock::now())
            .unwrap()
            .id(),
        CoreId(2)
    );
    assert_eq!(
        cores
            .route(&domain("b.test"), Some(CoreId(1)), clock::now())
            .map(|_| ()),
        Err(NoRoute::LinkDown)
    );
}

#[test]
fn an_xmpp_domain_is_known_if_a_core_serves_it_as_one() {
    let cores = Cores::default();
    let (chat, mail) = (domain("chat.test"), domain("a.test"));
    assert_eq!(cores.check_xmpp_domain(&chat), Err(NoRoute::LinkDown));

    let core = join(&cores, 1, &["a.test"]);
    let policy = Policy {
        realm: "Cisco-Edge".into(),
        domains: vec![DomainPolicy {
            name: mail.clone(),
            sso_document: String::new(),
            is_sso_asked: false,
            is_sso_relayed: false,
        }],
        xmpp_domains: vec![chat.clone()],
        serves_sessions_of: Vec::new(),
    };
    cores.apply(&core, Command::Policy(policy));

    assert_eq!(cores.check_xmpp_domain(&chat), Ok(()));
    assert_eq!(cores.check_xmpp_domain(&mail), Err(NoRoute::DomainUnknown));
    let route = cores.xmpp_streams(&chat).map(|_| ());
    assert_eq!(route, Err(NoRoute::LinkDown), "no connection for streams");
}

#[test]
fn a_core_that_drains_or_is_away_gets_no_new_sign_in_but_its_sessions() {
    let cores = Cores::default();
    let core = join(&cores, 1, &["a.test"]);
    cores.apply(&core, Command::Drain);

    assert_eq!(
        cores
            .route(&domain("a.test"), None, clock::now())
            .map(|_| ()),
        Err(NoRoute::LinkDown)
    );
    assert!(
        cores
            .route(&domain("a.test"), Some(CoreId(1)), clock::now())
            .is_ok()
    );
}

#[test]
fn sessions_of_a_core_that_stays_away_are_given_up_if_another_can_take_them() {
    let cores = Cores::default();
    let (a, first) = (domain("a.test"), Some(CoreId(1)));
    let core = join(&cores, 1, &["a.test"]);
    let start = clock::now();
    core.set_connected(false, start);
    let soon = start + limits::CORE_GONE_AFTER / 2;
    let late = start + limits::CORE_GONE_AFTER;

    assert!(cores.route(&a, first, late).is_ok(), "nobody else is there");

    join(&cores, 2, &["a.test"]);
    assert!(cores.route(&a, first, soon).is_ok(), "it may be restarting");
    assert_eq!(
        cores.route(&a, first, late).map(|_| ()),
        Err(NoRoute::SessionLost)
    );

    core.set_connected(true, late);
    assert!(cores.route(&a, first, late).is_ok());
}

#[test]
fn a_core_that_shares_sessions_stands_in_at_once_for_one_that_is_away_or_drains() {
    let cores = Cores::default();
    let (a, first) = (domain("a.test"), Some(CoreId(1)));
    let core = join(&cores, 1, &["a.test"]);
    join(&cores, 3, &["a.test"]);
    let other = join(&cores, 2, &["a.test"]);
    let Command::Policy(mut shared) = policy(&["a.test"]) else {
        panic!("not a policy");
    };
    shared.serves_sessions_of = vec![CoreId(1)];
    cores.apply(&other, Command::Policy(shared));
    let serving = || cores.route(&a, first, clock::now()).map(|core| core.id());

    assert_eq!(serving(), Ok(CoreId(1)));
    cores.apply(&core, Command::Drain);
    assert_eq!(serving(), Ok(CoreId(2)));
    cores.apply(&core, policy(&["a.test"]));
    assert_eq!(serving(), Ok(CoreId(1)));
    core.set_connected(false, clock::now());
    assert_eq!(serving(), Ok(CoreId(2)));
    other.set_connected(false, clock::now());
    assert_eq!(serving(), Ok(CoreId(1)), "nobody knows the session now");
}

#[test]
fn keys_of_a_core_that_is_away_are_taken_from_who_shares_them_and_no_others() {
    let cores = Cores::default();
    let first = join(&cores, 1, &["a.test"]);
    let second = join(&cores, 2, &["a.test"]);
    let keys = |octet: u8| FilterKeys {
        core: CoreId(0),
        latest: (7, FilterKey::new([octet; 32])),
        earlier: None,
    };
    let cookie = |octet: u8| {
        let key_id = KeyId {
            core: CoreId(1),
            generation: 7,
        };
        let key = FilterKey::new([octet; 32]);
        let cookie = CookieValue::issue(&key, key_id, UnixTime(9), [0; 18]);
        let field = format!("X-Auth={}", cookie.text());
        HeaderMap::from_iter([(http::header::COOKIE, field.parse().unwrap())])
    };
    let passes = |octet| cores.check_session(&cookie(octet), UnixTime(1)).is_ok();

    cores.apply(&first, Command::filter_keys(&keys(1), Vec::new()));
    cores.apply(&second, Command::filter_keys(&keys(2), vec![CoreId(1)]));
    assert!(passes(1) && !passes(2), "it speaks for itself");

    first.set_connected(false, clock::now());
    cores.apply(&second, Command::filter_keys(&keys(2), vec![CoreId(1)]));
    assert!(passes(2) && !passes(1));
}

#[test]
fn two_connected_cores_can_not_share_a_number() {
    let cores = Cores::default();
    let first = join(&cores, 1, &["a.test"]);

    assert!(cores.join(CoreId(1), &domain("other.link")).is_err());

    first.set_connected(false, clock::now());
    assert!(cores.join(CoreId(1), &domain("other.link")).is_ok());
}
