//! What edge-c accepts, and what it says about the rest.

use std::path::Path;

use common::limits;
use insta::assert_snapshot;

use super::*;

pub(super) const SMALLEST: &str = r#"
name = "edge-c1.link.internal"
core_id = 1
[[edge]]
name = "edge1.example.com"
address = "203.0.113.5:7001"
[link]
certificate = "link-c.pem"
key = "link-c.key"
trust_anchors = ["link-ca.pem"]
[[domain]]
name = "example.com"
[dns]
servers = ["10.0.0.53:53"]
[inside]
trust_anchors = ["inside-ca.pem"]
"#;

fn parse(text: &str) -> Result<Loaded<Config>, ConfigErrors> {
    Config::parse(Path::new("/etc/edge/edge-c.toml"), text)
}

fn errors(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The smallest file and more: what the tests of its sections read.
pub(super) fn parse_with(more: &str) -> Result<Loaded<Config>, ConfigErrors> {
    parse(&format!("{SMALLEST}{more}"))
}

/// What is wrong with it.
pub(super) fn errors_with(more: &str) -> String {
    errors(&format!("{SMALLEST}{more}"))
}

#[test]
fn the_smallest_file_gets_the_vendors_defaults() {
    let loaded = parse(SMALLEST).unwrap();

    let config = loaded.config;
    assert_eq!(config.sign_in.realm, "Cisco-Edge");
    assert_eq!(
        (
            config.sign_in.login_limit.count,
            config.sign_in.login_limit.window.as_secs()
        ),
        (3, 300)
    );
    assert_eq!(config.sign_in.credential_cache.as_secs(), 480 * 60);
    assert_eq!(config.session.lifetime.as_secs(), 28_800);
    assert_eq!(config.session.cookie_domain.as_str(), "example.com");
    assert_eq!(
        config.session.key_file,
        Path::new("/var/lib/edge-c/session.key")
    );
    assert_eq!(config.edges[0].certificate_name, config.edges[0].name);
    assert_eq!(config.edges[0].https_port.get(), limits::PUBLIC_HTTPS_PORT);
    assert_eq!(config.domains[0].deployment, Deployment::standard());
    assert_eq!(config.domains[0].sso, Sso::Off);
    assert_eq!(config.link.connections.get(), 4);
    assert!(config.dns.is_pinpoint_zone_asked);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn an_empty_file_says_everything_that_must_be_written() {
    assert_snapshot!(errors(""), @r#"
    error: /etc/edge/edge-c.toml: `name` is missing
        write: the name in its link certificate, such as name = "edge-c1.link.internal"
    error: /etc/edge/edge-c.toml: `core_id` is missing
        write: a number from 1 to 255 that no other edge-c of this pair has, such as core_id = 1
    error: /etc/edge/edge-c.toml: `edge` is missing
        write: [[edge]] with name and address, one for each edge-e
    error: /etc/edge/edge-c.toml: `link.certificate` is missing
        write: the file of a certificate chain in PEM form
    error: /etc/edge/edge-c.toml: `link.key` is missing
        write: the file of its private key in PEM form
    error: /etc/edge/edge-c.toml: `link.trust_anchors` is missing
        write: a list of files with the link's own authority, such as ["link-ca.pem"]
    error: /etc/edge/edge-c.toml: `domain` is missing
        write: [[domain]] with name, one for each domain of users
    error: /etc/edge/edge-c.toml: `inside.trust_anchors` is missing
        write: a list of files with the authorities of the inner servers, such as ["inside-ca.pem"]
    8 errors in the configuration
    "#);
}

#[test]
fn core_ids_start_at_one() {
    assert_snapshot!(errors(&SMALLEST.replace("core_id = 1", "core_id = 0")), @r#"
    error: /etc/edge/edge-c.toml:3: `core_id` is out of range
        found: 0
        allowed: 1 to 255
    1 error in the configuration
    "#);
    assert!(errors(&SMALLEST.replace("core_id = 1", "core_id = 256")).contains("1 to 255"));
    assert_eq!(
        parse(&SMALLEST.replace("core_id = 1", "core_id = 255"))
            .unwrap()
            .config
            .core_id,
        CoreId(255)
    );
}

#[test]
fn without_name_servers_every_domain_needs_a_node() {
    let text = SMALLEST.replace("servers = [\"10.0.0.53:53\"]", "");
    let other = "[[node]]\nkind = 'ucm'\nhost = 'cucm1.example.com'\ndeployment = 'other'\n";
    let own = "[[node]]\nkind = 'ucm'\nhost = 'cucm1.example.com'\n";

    assert_snapshot!(errors(&text), @r#"
    error: /etc/edge/edge-c.toml:13: `dns.servers` is needed: example.com has no [[node]] of kind "ucm" in deployment "default"
        allowed: inside name servers, such as ["10.0.0.53:53"], or a [[node]]
    1 error in the configuration
    "#);
    assert!(errors(&format!("{text}{other}")).contains("no [[node]] of kind \"ucm\""));
    assert_eq!(
        parse(&format!("{text}{own}")).unwrap().config.nodes.len(),
        1
    );
}

#[test]
fn names_that_are_there_twice_are_refused() {
    let text = format!(
        "{SMALLEST}[[domain]]\nname = 'Example.com.'\n[[edge]]\nname = 'edge1.example.com'\naddress = '203.0.113.5:7001'\n"
    );

    assert_snapshot!(errors(&text), @r#"
    error: /etc/edge/edge-c.toml:18: `domain.name` is the name of an earlier [[domain]]
        found: 'Example.com.'
        allowed: each domain once
    error: /etc/edge/edge-c.toml:20: `edge.name` is the name of an earlier [[edge]]
        found: 'edge1.example.com'
        allowed: a name of its own
    error: /etc/edge/edge-c.toml:21: `edge.address` is the address of an earlier [[edge]]
        found: '203.0.113.5:7001'
        allowed: an address of its own
    3 errors in the configuration
    "#);
}

#[test]
fn a_node_that_nobody_reaches_is_a_warning_and_a_double_one_an_error() {
    let node = "[[node]]\nkind = 'unity'\nhost = 'unity1.example.com'\ndeployment = 'lab'\n";

    assert_snapshot!(parse(&format!("{SMALLEST}{node}")).unwrap().warnings[0], @r#"
    /etc/edge/edge-c.toml:20: `node.deployment` is "lab", which no [[domain]] has: nobody reaches this node
        correct the name, or give it to a [[domain]]
    "#);
    assert!(errors(&format!("{SMALLEST}{node}{node}")).contains("each node once"));
}

#[test]
fn the_cookie_domain_is_above_every_edge() {
    let second = "[[edge]]\nname = 'edge2.example.net'\naddress = '203.0.113.6:7001'\n";
    let set = |domain: &str| format!("{SMALLEST}[session]\ncookie_domain = '{domain}'\n");

    assert_snapshot!(errors(&format!("{SMALLEST}{second}")), @r#"
    error: /etc/edge/edge-c.toml: `session.cookie_domain` is needed: the edges have no parent domain in common
        allowed: a domain with a dot in it that the name of every edge is below
    1 error in the configuration
    "#);
    assert_snapshot!(errors(&set("example.net")), @r#"
    error: /etc/edge/edge-c.toml:18: `session.cookie_domain` is no parent of edge1.example.com: clients would not send the cookie there
        found: 'example.net'
        allowed: a domain with a dot in it that the name of every edge is below
    1 error in the configuration
    "#);
    assert!(errors(&set("edge1.example.com")).contains("is no parent"));
    assert!(errors(&set("com")).contains("single label"));
    assert!(errors(&set("xample.com")).contains("is no parent"));
    assert!(errors(&SMALLEST.replace("edge1.example.com", "edge1.test")).contains("top-level"));

    let deep = SMALLEST.replace("edge1.example.com", "edge1.eu.example.com");
    let wide = parse(&format!("{deep}[session]\ncookie_domain = 'example.com'\n")).unwrap();
    assert_eq!(wide.config.session.cookie_domain.as_str(), "example.com");
}

#[test]
fn what_goes_into_headers_can_not_break_them() {
    let realm = |text: &str| errors(&format!("{SMALLEST}[sign_in]\nrealm = {text}\n"));
    let route =
        |text: &str| errors(&SMALLEST.replace("[link]", &format!("sip_route = {text}\n[link]")));

    assert_snapshot!(realm("'a\"b'"), @r#"
    error: /etc/edge/edge-c.toml:18: `sign_in.realm` can't be a realm
        found: 'a"b'
        allowed: printable ASCII without quotation marks and backslashes
    1 error in the configuration
    "#);
    assert!(realm("\"a\\r\\nX: 1\"").contains("can't be a realm"));
    assert!(route("\"<sip:a>\\r\\n<sip:b>\"").contains("not a SIP route"));
    assert!(route("'sip:192.0.2.1'").contains("not a SIP route"));
}

#[test]
fn single_sign_on_is_a_word_and_its_template_needs_it() {
    let with = |lines: &str| SMALLEST.replace("[dns]", &format!("{lines}\n[dns]"));

    let on = parse(&with("sso = 'config'\nsso_template = '<SSOResult/>'")).unwrap();
    assert_eq!(
        on.config.domains[0].sso,
        Sso::Config {
            template: Some("<SSOResult/>".to_owned())
        }
    );
    let off = parse(&with("sso_template = '<SSOResult/>'")).unwrap();
    assert_eq!(off.config.domains[0].sso, Sso::Off);
    assert_eq!(off.warnings.len(), 1);
    assert_snapshot!(errors(&with("sso = 'on'")), @r#"
    error: /etc/edge/edge-c.toml:13: `domain.sso` is not one of the words allowed
        found: 'on'
        allowed: "off", "config", "ask"
    1 error in the configuration
    "#);
}

#[test]
fn zero_seconds_of_credential_cache_mean_that_every_sign_in_is_proved() {
    let text = format!(
        "{SMALLEST}[sign_in]\ncredential_cache = '0s'\nlogin_limit = {{ count = 5, window = '1m' }}\n"
    );

    let config = parse(&text).unwrap().config;

    assert!(config.sign_in.credential_cache.is_zero());
    assert_eq!(
        (
            config.sign_in.login_limit.count,
            config.sign_in.login_limit.window.as_secs()
        ),
        (5, 60)
    );
}

const EXAMPLE: &str = include_str!("../../../deploy/edge-c.example.toml");

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
    let mut expected = smallest;
    expected.edges[0].advertised_addresses = whole.edges[0].advertised_addresses.clone();
    expected.edges[0].sip_route = whole.edges[0].sip_route.clone();
    expected.link.bind_address = whole.link.bind_address;
    expected.domains[0].voice_services_domain = whole.domains[0].voice_services_domain.clone();
    expected.nodes = whole.nodes.clone();
    expected.pinpoint = whole.pinpoint.clone();
    expected.inside.bind_address = whole.inside.bind_address;
    expected.sip = whole.sip.clone();
    expected.media = whole.media.clone();
    expected.xmpp = whole.xmpp.clone();
    expected.issuers = whole.issuers.clone();
    expected.sso_relay = whole.sso_relay.clone();
    expected.allow_list_file = whole.allow_list_file.clone();
    expected.admin.names = whole.admin.names.clone();
    expected.worker_threads = whole.worker_threads;
    assert_eq!(whole, expected);
}

/// The template of single sign-on, which is off, and the shared store, which is not used.
const WARNINGS_OF_ALL: usize = 2;

#[test]
fn media_wants_addresses_and_networks_and_a_range_of_ports() {
    let media =
        "[media]\nlisten = [\"10.0.0.5\"]\nports = \"20000-20999\"\nnetworks = [\"10.0.0.0/8\"]\n";
    let whole = every_setting();
    let (before, rest) = whole.split_once("\n[media]\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let with = |media: &str| parse(&format!("{before}\n{media}\n{after}"));

    let read = with(media).unwrap().config.media.unwrap();
    assert_eq!(read.ports, 20_000..=20_999);

    for (good, bad, key) in [
        ("\"10.0.0.5\"", "\"0.0.0.0\"", "media.listen"),
        ("\"10.0.0.5\"", "\"10.0.0.5\", \"10.0.0.6\"", "media.listen"),
        ("20000-20999", "20999-20000", "media.ports"),
        ("20000-20999", "0-5", "media.ports"),
        ("\"10.0.0.0/8\"", "", "media.networks"),
    ] {
        let errors = with(&media.replace(good, bad)).unwrap_err().to_string();
        assert!(errors.contains(key), "{bad}: {errors}");
    }
}
