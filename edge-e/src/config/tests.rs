//! What edge-e accepts, and what it says about the rest.

use std::path::Path;

use common::config::name_server::ZoneSource;
use common::dns::rate::RatePolicy;
use common::dns::service::ServiceZone;
use insta::assert_snapshot;

use super::*;

const SMALLEST: &str = r#"
name = "edge1.example.com"
[public]
listen = ["[::]:8443"]
certificates = [{ chain = "edge.pem", key = "edge.key" }]
[link]
listen = ["10.9.0.1:7001"]
certificate = "link-e.pem"
key = "link-e.key"
trust_anchors = ["link-ca.pem"]
allowed_cores = ["edge-c1.link.internal"]
"#;

fn parse(text: &str) -> Result<Loaded<Config>, ConfigErrors> {
    Config::parse(Path::new("/etc/edge/edge-e.toml"), text)
}

fn errors(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_smallest_file_gets_every_default() {
    let loaded = parse(SMALLEST).unwrap();

    let config = loaded.config;
    assert_eq!(
        config.public.certificates[0].chain,
        Path::new("/etc/edge/edge.pem")
    );
    assert_eq!(config.admin.listen, "127.0.0.1:9001".parse().unwrap());
    assert_eq!(
        config.limits.connections_max,
        limits::PUBLIC_CONNECTIONS_DEFAULT
    );
    assert_eq!(config.drain_grace, limits::DRAIN_GRACE_DEFAULT);
    assert_eq!(config.worker_threads, None);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn an_empty_file_says_everything_that_must_be_written() {
    assert_snapshot!(errors(""), @r#"
    error: /etc/edge/edge-e.toml: `name` is missing
        write: the name that clients use, such as name = "edge1.example.com"
    error: /etc/edge/edge-e.toml: `public.listen` is missing
        write: a list such as ["[::]:8443"]
    error: /etc/edge/edge-e.toml: `public.certificates` is missing
        write: certificates = [{ chain = "edge.pem", key = "edge.key" }]
    error: /etc/edge/edge-e.toml: `link.listen` is missing
        write: a list such as ["10.9.0.1:7001"], the address that faces edge-c
    error: /etc/edge/edge-e.toml: `link.certificate` is missing
        write: the file of a certificate chain in PEM form
    error: /etc/edge/edge-e.toml: `link.key` is missing
        write: the file of its private key in PEM form
    error: /etc/edge/edge-e.toml: `link.trust_anchors` is missing
        write: a list of files with the link's own authority, such as ["link-ca.pem"]
    error: /etc/edge/edge-e.toml: `link.allowed_cores` is missing
        write: the names in the link certificates of edge-c, such as ["edge-c1.link.internal"]
    8 errors in the configuration
    "#);
}

#[test]
fn lists_that_must_have_an_entry_refuse_to_be_empty() {
    let text = SMALLEST
        .replace("[\"edge-c1.link.internal\"]", "[]")
        .replace("[{ chain = \"edge.pem\", key = \"edge.key\" }]", "[]");

    assert_snapshot!(errors(&text), @r#"
    error: /etc/edge/edge-e.toml:5: `public.certificates` is empty
        found: []
        allowed: certificates = [{ chain = "edge.pem", key = "edge.key" }]
    error: /etc/edge/edge-e.toml:11: `link.allowed_cores` is empty
        found: []
        allowed: the names in the link certificates of edge-c, such as ["edge-c1.link.internal"]
    2 errors in the configuration
    "#);
}

#[test]
fn one_socket_can_not_serve_two_listeners() {
    let text = SMALLEST.replace("10.9.0.1:7001", "[::]:8443");

    assert_snapshot!(errors(&text), @r#"
    error: /etc/edge/edge-e.toml:6: `link` uses [::]:8443, which [public] has already
        found: [link]
        allowed: another address or port for each listener
    1 error in the configuration
    "#);
}

#[test]
fn an_admin_listener_that_others_reach_is_a_warning() {
    let loaded = parse(&format!("{SMALLEST}[admin]\nlisten = '0.0.0.0:9001'\n")).unwrap();

    assert_snapshot!(loaded.warnings[0], @r#"
    /etc/edge/edge-e.toml:13: `admin.listen` is 0.0.0.0:9001, which other machines may reach: the admin listener asks nobody who they are
        use a loopback address, or let a packet filter decide who may connect
    "#);
}

#[test]
fn networks_that_are_never_blocked_are_networks_or_addresses() {
    let jail = "[limits]\njail = { exempt = ['192.0.2.0/24', '2001:db8::7'] }\n";
    let config = parse(&format!("{SMALLEST}{jail}")).unwrap().config;
    assert_eq!(config.limits.jail.exempt.len(), 2);

    let jail = "[limits]\njail = { exempt = ['office'] }\n";
    assert_snapshot!(errors(&format!("{SMALLEST}{jail}")), @r#"
    error: /etc/edge/edge-e.toml:13: `limits.jail.exempt` is neither a network nor an address
        found: 'office'
        allowed: a network such as "192.0.2.0/24" or "2001:db8::/48", or an address
    1 error in the configuration
    "#);
}

#[test]
fn without_a_sip_listener_there_is_no_sip() {
    let sip = parse(SMALLEST).unwrap().config.sip;

    assert!(sip.listen.is_empty() && sip.websocket_origins.is_empty());
    assert_eq!(sip.messages_burst, limits::SIP_MESSAGES_BURST_DEFAULT);
}

#[test]
fn wrong_sip_settings_say_what_is_allowed() {
    let sip = "[sip]\nlisten = ['[::]:8443']\nwebsocket_origins = ['https://a.example/phone']\nmessages_burst = 0\n";

    assert_snapshot!(errors(&format!("{SMALLEST}{sip}")), @r#"
    error: /etc/edge/edge-e.toml:12: `sip` uses [::]:8443, which [public] has already
        found: [sip]
        allowed: another address or port for each listener
    error: /etc/edge/edge-e.toml:14: `sip.websocket_origins` is not an origin
        found: 'https://a.example/phone'
        allowed: an origin such as "https://phone.example.com", or "*" for any
    error: /etc/edge/edge-e.toml:15: `sip.messages_burst` is out of range
        found: 0
        allowed: 1 to 10000
    3 errors in the configuration
    "#);
}

#[test]
fn without_an_xmpp_listener_there_is_no_xmpp() {
    let xmpp = parse(SMALLEST).unwrap().config.xmpp;

    assert!(xmpp.listen.is_empty() && xmpp.websocket_origins.is_empty());
    assert_eq!(xmpp.login_timeout, limits::XMPP_LOGIN_TIMEOUT_DEFAULT);
}

#[test]
fn wrong_xmpp_settings_say_what_is_allowed() {
    let xmpp = "[xmpp]\nlisten = ['[::]:8443']\nlogin_timeout = '1s'\nunauthenticated_max = 0\n";

    assert_snapshot!(errors(&format!("{SMALLEST}{xmpp}")), @"
    error: /etc/edge/edge-e.toml:12: `xmpp` uses [::]:8443, which [public] has already
        found: [xmpp]
        allowed: another address or port for each listener
    error: /etc/edge/edge-e.toml:14: `xmpp.login_timeout` is out of range
        found: '1s'
        allowed: 2s to 5m
    error: /etc/edge/edge-e.toml:15: `xmpp.unauthenticated_max` is out of range
        found: 0
        allowed: 1 to 100000
    3 errors in the configuration
    ");
}

#[test]
fn a_share_of_one_address_that_is_everything_is_a_warning() {
    let loaded = parse(&format!(
        "{SMALLEST}[xmpp]\nunauthenticated_max = 50\nunauthenticated_per_address_max = 50\n"
    ))
    .unwrap();

    assert_snapshot!(loaded.warnings[0], @r"
    /etc/edge/edge-e.toml:14: `xmpp.unauthenticated_per_address_max` is not below unauthenticated_max: a single address can keep everybody else out
        set it to a small share of unauthenticated_max
    ");
}

#[test]
fn a_burst_below_the_rate_is_a_warning() {
    let loaded = parse(&format!(
        "{SMALLEST}[sip]\nmessages_per_second = 50\nmessages_burst = 10\n"
    ))
    .unwrap();

    assert_snapshot!(loaded.warnings[0], @r"
    /etc/edge/edge-e.toml:14: `sip.messages_burst` is below messages_per_second: a client that sends as often as it may is slowed down
        set it to twice messages_per_second or more
    ");
}

#[test]
fn origins_are_compared_as_browsers_write_them() {
    let origin: Origin = "https://Phone.example.com".parse().unwrap();

    assert!(origin.admits(Some("https://phone.EXAMPLE.com")));
    assert!(!origin.admits(Some("http://phone.example.com")));
    assert!(!origin.admits(None));
    assert!(Origin::Any.admits(None));
    for text in [
        "phone.example.com",
        "https://",
        "https://a/",
        "ftp://a",
        "null",
    ] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
}

#[test]
fn a_misspelt_log_level_is_refused() {
    assert_snapshot!(errors(&format!("{SMALLEST}[log]\nfilter = 'infoo'\n")), @r#"
    error: /etc/edge/edge-e.toml:13: `log.filter` has the unknown level "infoo"
        found: 'infoo'
        allowed: a level (off, error, warn, info, debug, trace), then module=level after commas: "info,common::link=debug"
    1 error in the configuration
    "#);
}

#[test]
fn media_needs_an_address_that_clients_see() {
    let media = "[media]\nlisten = ['203.0.113.10', '2001:db8::10']\n";
    let config = parse(&format!("{SMALLEST}{media}")).unwrap().config;
    let media = config.media.unwrap();
    assert_eq!(media.ports, limits::MEDIA_PORTS_DEFAULT);
    let advertised = ["192.0.2.100".parse().unwrap()];
    let seen = media.as_advertised(&advertised);
    assert_eq!(
        seen,
        [advertised[0], "2001:db8::10".parse::<IpAddr>().unwrap()]
    );

    let media = "[media]\nlisten = ['0.0.0.0', '203.0.113.10']\nports = '40000-'\n";
    assert_snapshot!(errors(&format!("{SMALLEST}{media}")), @r#"
    error: /etc/edge/edge-e.toml:13: `media.listen` has two addresses of one family
        found: ['0.0.0.0', '203.0.113.10']
        allowed: one IPv4 and one IPv6 address at most
    error: /etc/edge/edge-e.toml:13: `media.listen` does not say which address clients see
        found: ['0.0.0.0', '203.0.113.10']
        allowed: the public address itself, or every address with advertised_addresses set
    error: /etc/edge/edge-e.toml:14: `media.ports` is no range of ports
        found: '40000-'
        allowed: first and last port, such as "16384-32766"
    3 errors in the configuration
    "#);
}

const EXAMPLE: &str = include_str!("../../../deploy/edge-e.example.toml");

/// The example with every setting that stands there as a comment.
fn every_setting() -> String {
    let is_setting = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if is_setting(setting) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_valid_as_it_is_and_with_every_setting() {
    let as_it_is = parse(EXAMPLE).unwrap();
    let whole = parse(&every_setting()).unwrap();

    assert_eq!(
        (as_it_is.warnings, whole.warnings.len()),
        (Vec::new(), WARNINGS_OF_ALL)
    );
}

#[test]
fn the_example_explains_every_key_and_no_other() {
    let loaded = parse(&every_setting()).unwrap();

    assert_eq!(loaded.keys_present, loaded.keys_allowed);
}

#[test]
fn defaults_in_the_example_are_the_real_ones() {
    let smallest = parse(EXAMPLE).unwrap().config;
    let whole = parse(&every_setting()).unwrap().config;

    // Settings that are examples, not defaults, are taken over; whatever else differs is a wrong comment.
    let expected = Config {
        advertised_addresses: whole.advertised_addresses.clone(),
        admin: Admin {
            names: whole.admin.names.clone(),
            ..smallest.admin.clone()
        },
        limits: Limits {
            jail: JailPolicy {
                exempt: whole.limits.jail.exempt.clone(),
                ..smallest.limits.jail.clone()
            },
            ..smallest.limits.clone()
        },
        sip: Sip {
            listen: whole.sip.listen.clone(),
            websocket_origins: whole.sip.websocket_origins.clone(),
            ..smallest.sip.clone()
        },
        xmpp: Xmpp {
            listen: whole.xmpp.listen.clone(),
            websocket_origins: whole.xmpp.websocket_origins.clone(),
            ..smallest.xmpp.clone()
        },
        worker_threads: whole.worker_threads,
        media: whole.media.clone(),
        dns: whole.dns.clone(),
        ..smallest
    };
    assert_eq!(whole, expected);
}

#[test]
fn defaults_of_names_in_the_example_are_the_real_ones() {
    let whole = parse(&every_setting()).unwrap().config.dns.unwrap();
    let text = format!(
        "{SMALLEST}{}",
        "[dns]\nlisten = ['203.0.113.10:53']\n[[dns.edge]]\nname = 'edge1.example.com'\naddresses = ['203.0.113.10', '2001:db8::10']\n[[dns.zone]]\nname = '_collab-edge._tls.example.com'\n"
    );
    let bare = parse(&text).unwrap().config.dns.unwrap();
    let (ZoneSource::Written(whole_zone), ZoneSource::Written(bare_zone)) =
        (&whole.zones[0].source, &bare.zones[0].source)
    else {
        panic!("both are written");
    };

    let rate = RatePolicy {
        exempt: Vec::new(),
        ..whole.rate
    };
    assert_eq!(rate, bare.rate);
    let examples = ServiceZone {
        name_servers: whole_zone.name_servers.clone(),
        contact: whole_zone.contact.clone(),
        ..bare_zone.clone()
    };
    assert_eq!(*whole_zone, examples);
}

const WARNINGS_OF_ALL: usize = 0;
