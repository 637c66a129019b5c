use std::sync::Arc;

use insta::assert_snapshot;

use super::*;
use crate::config::tests::{errors_with as errors, parse_with as parse};

const SIP: &str = r#"
[sip]
listen = ["udp:10.0.0.5:5060", "tcp:[2001:db8::5]:5060"]
[[registrar]]
name = "cucm"
hosts = ["example.com"]
nodes = ["udp:10.0.0.10:5060", "tcp:cucm1.example.com:5060"]
"#;

#[test]
fn without_the_section_there_is_no_sip() {
    assert_eq!(parse("").unwrap().config.sip, None);
}

#[test]
fn the_smallest_section_gets_defaults() {
    let loaded = parse(SIP).unwrap();

    let sip = loaded.config.sip.unwrap();
    assert_eq!(sip.session_gate, SessionGate::Off);
    assert_eq!(sip.flow_timer, limits::SIP_FLOW_TIMER_DEFAULT);
    assert!(sip.is_certificate_required && sip.identity.is_none() && !sip.may_register_others);
    let registrar = &sip.registrars[0];
    assert_eq!(registrar.mode, RegistrarMode::Path);
    assert_eq!(registrar.media, MediaPolicy::Rtp);
    assert_eq!(registrar.authentication, Authentication::Registrar);
    assert!(matches!(&registrar.nodes, Nodes::Named(nodes) if nodes.len() == 2));
    let warned = loaded.warnings.iter().map(|warning| warning.why.as_str());
    assert_eq!(
        warned.collect::<Vec<_>>(),
        ["is without [media]: calls are set up, and no media passes"]
    );
}

#[test]
fn phones_are_asked_for_the_hashes_that_are_set_in_that_order() {
    let edge = |more: &str| {
        let text = format!("{SIP}authentication = \"edge\"\n{more}");
        let mut sip = parse(&text).unwrap().config.sip.unwrap();
        sip.registrars.remove(0).authentication
    };
    let asked = |algorithms: &[Algorithm]| Authentication::Edge {
        realm: "example.com".into(),
        algorithms: algorithms.into(),
    };

    assert_eq!(edge(""), asked(&[Algorithm::Sha256, Algorithm::Md5]));
    assert_eq!(edge("algorithms = [\"MD5\"]"), asked(&[Algorithm::Md5]));
    let both = edge("algorithms = [\"MD5\", \"SHA-512-256\"]");
    assert_eq!(both, asked(&[Algorithm::Md5, Algorithm::Sha512256]));
    for wrong in ["[]", "[\"SHA-1\"]", "[\"MD5\", \"MD5\"]"] {
        let text = errors(&format!(
            "{SIP}authentication = \"edge\"\nalgorithms = {wrong}"
        ));
        assert!(text.contains("`registrar.algorithms"), "{text}");
        assert!(text.contains("\"SHA-512-256\""), "{text}");
    }
}

#[test]
fn tokens_pass_unless_they_are_to_be_verified_and_then_there_must_be_keys() {
    let with = |line: &str| SIP.replace("[[registrar]]", &format!("{line}\n[[registrar]]"));
    let policy = |text: &str| parse(text).unwrap().config.sip.unwrap().tokens;
    let issuer = |kind: &str| {
        format!(
            "[[issuer]]\nname = \"corp\"\nissuer = \"https://idp.example.com\"\naudiences = [\"urn:uc\"]\n{kind}\n"
        )
    };
    let verify = with("tokens = \"verify\"");

    assert_eq!(policy(SIP), TokenPolicy::Pass);
    let keys = issuer("kind = \"jwks\"");
    assert_eq!(policy(&format!("{verify}{keys}")), TokenPolicy::Verify);
    let asked = issuer("kind = \"uds\"");
    assert_snapshot!(errors(&format!("{verify}{asked}")), @r#"
    error: /etc/edge/edge-c.toml:20: `sip.tokens` needs keys to verify tokens with
        found: "verify"
        allowed: an [[issuer]] of kind "jwks" or "static", or tokens = "pass"
    1 error in the configuration
    "#);
    assert_snapshot!(errors(&with("tokens = \"check\"")), @r#"
    error: /etc/edge/edge-c.toml:20: `sip.tokens` is not one of the words allowed
        found: "check"
        allowed: "pass", "verify"
    1 error in the configuration
    "#);
}

#[test]
fn the_realm_of_phones_is_the_first_host_unless_it_is_set() {
    let edge = |more: &str| {
        let text = format!("{SIP}authentication = \"edge\"\n{more}");
        parse(&text).unwrap().config.sip.unwrap().realms()
    };

    assert_eq!(edge(""), [Arc::<str>::from("example.com")]);
    assert_eq!(edge("realm = \"phones\""), [Arc::<str>::from("phones")]);
}

#[test]
fn what_is_missing_is_said_at_once() {
    assert_snapshot!(errors("[sip]"), @r#"
    error: /etc/edge/edge-c.toml: `registrar` is missing
        write: [[registrar]] with name, hosts and nodes
    error: /etc/edge/edge-c.toml:17: `sip.listen` is missing
        write: a list such as ["udp:10.0.0.5:5060", "tls:10.0.0.5:5061"]
    2 errors in the configuration
    "#);
    assert_snapshot!(errors("[[registrar]]\nname = \"cucm\"\nhosts = [\"example.com\"]\nnodes = [\"udp:10.0.0.10:5060\"]"), @r#"
    error: /etc/edge/edge-c.toml:18: `registrar.name` has no effect without [sip]
        found: "cucm"
        allowed: [sip] with listen, where registrars reach edge-c
    1 error in the configuration
    "#);
}

#[test]
fn wrong_values_are_named_with_what_is_allowed() {
    let text = SIP
        .replace("udp:10.0.0.5:5060", "udp:0.0.0.0:5060")
        .replace("tcp:[2001:db8::5]:5060", "10.0.0.5:5060")
        .replace("udp:10.0.0.10:5060", "ws:10.0.0.10:80");

    assert_snapshot!(errors(&text), @r#"
    error: /etc/edge/edge-c.toml:19: `sip.listen` is no address that registrars could be told
        found: "udp:0.0.0.0:5060"
        allowed: "udp:10.0.0.5:5060", "tcp:[2001:db8::5]:5060" or "tls:10.0.0.5:5061"
    error: /etc/edge/edge-c.toml:19: `sip.listen` does not begin with udp:, tcp: or tls:
        found: "10.0.0.5:5060"
        allowed: "udp:10.0.0.5:5060", "tcp:[2001:db8::5]:5060" or "tls:10.0.0.5:5061"
    error: /etc/edge/edge-c.toml:23: `registrar.nodes` wants tcp, and [sip] listen has no tcp address to answer to
        found: ["ws:10.0.0.10:80", "tcp:cucm1.example.com:5060"]
        allowed: an entry "tcp:.." in [sip] listen
    error: /etc/edge/edge-c.toml:23: `registrar.nodes` does not begin with udp:, tcp: or tls:
        found: "ws:10.0.0.10:80"
        allowed: a list such as ["tls:cucm1.example.com:5061", "udp:10.0.0.10:5060"]
    4 errors in the configuration
    "#);
    assert_snapshot!(errors(&SIP.replace("name = \"cucm\"", "name = \"cucm\"\nmode = \"via\"\nmedia = \"zrtp\"")), @r#"
    error: /etc/edge/edge-c.toml:22: `registrar.mode` is not one of the words allowed
        found: "via"
        allowed: "path", "path-always", "contact"
    error: /etc/edge/edge-c.toml:23: `registrar.media` is not one of the words allowed
        found: "zrtp"
        allowed: "rtp", "srtp", "as-offered"
    2 errors in the configuration
    "#);
}

#[test]
fn a_node_needs_a_socket_of_its_transport_and_tls_a_certificate() {
    assert_snapshot!(errors(&SIP.replace(", \"tcp:[2001:db8::5]:5060\"", "")), @r#"
    error: /etc/edge/edge-c.toml:23: `registrar.nodes` wants tcp, and [sip] listen has no tcp address to answer to
        found: ["udp:10.0.0.10:5060", "tcp:cucm1.example.com:5060"]
        allowed: an entry "tcp:.." in [sip] listen
    1 error in the configuration
    "#);
    assert_snapshot!(errors(&SIP.replace("tcp:[2001", "tls:[2001")), @r#"
    error: /etc/edge/edge-c.toml:18: `sip.certificate` is missing
        write: the file of a certificate chain in PEM form
    error: /etc/edge/edge-c.toml:18: `sip.key` is missing
        write: the file of its private key in PEM form
    2 errors in the configuration
    "#);
}

#[test]
fn registrars_have_names_and_hosts_of_their_own_and_one_way_to_their_nodes() {
    let twice = format!(
        "{SIP}{}",
        SIP.split_once("[[registrar]]")
            .map(|(_, rest)| format!("[[registrar]]{rest}"))
            .unwrap()
    );

    assert_snapshot!(errors(&twice), @r#"
    error: /etc/edge/edge-c.toml:25: `registrar.name` is the name of an earlier [[registrar]]
        found: "cucm"
        allowed: a name of its own
    error: /etc/edge/edge-c.toml:26: `registrar.hosts` has example.com, which an earlier [[registrar]] has
        found: ["example.com"]
        allowed: each host at one registrar
    2 errors in the configuration
    "#);
    assert_snapshot!(errors(&format!("{SIP}srv = \"_sip._tcp.example.com\"")), @r#"
    error: /etc/edge/edge-c.toml:23: `registrar.nodes` stands beside srv
        found: ["udp:10.0.0.10:5060", "tcp:cucm1.example.com:5060"]
        allowed: one of the two
    1 error in the configuration
    "#);
    assert_snapshot!(errors(&SIP.replace("nodes = [\"udp:10.0.0.10:5060\", \"tcp:cucm1.example.com:5060\"]", "srv = \"_xmpp._tcp.example.com\"")), @r#"
    error: /etc/edge/edge-c.toml:23: `registrar.srv` is no SRV name of SIP
        found: "_xmpp._tcp.example.com"
        allowed: "_sips._tcp.example.com", "_sip._tcp.example.com" or "_sip._udp.example.com"
    1 error in the configuration
    "#);
}

#[test]
fn what_has_no_effect_is_warned_about() {
    let loaded = parse(&format!("{SIP}realm = \"phones\"\ndeployment = \"other\"")).unwrap();

    let warned: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| warning.place.key.as_str())
        .collect();
    assert_eq!(
        warned,
        ["registrar.realm", "sip.listen", "registrar.deployment"]
    );
}
