//! `get_edge_config`: what a client is told of the inside and of the edges.

use common::mra::edge_config::{EdgeConfig, ServiceAnswer};
use support::curl::Answer;
use support::pair::Size;
use support::wait;

use crate::stage::{Stage, verb_url};

#[test]
fn the_document_says_what_dns_and_the_home_cluster_say() {
    let stage = Stage::start();
    let services = "service_name=_cisco-phone-tftp&service_name=_cuplogin\
                    &service_name=_cisco-uds&service_name=_ldap";

    let answer = stage
        .client()
        .basic("alice", "alice-secret-1")
        .get(&verb_url(1, &format!("get_edge_config/?{services}")))
        .unwrap();

    assert_eq!(answer.status, 200, "{}", stage.logs());
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/xml"), "{kind}");
    assert_eq!(answer.text().replace('\n', ""), DOCUMENT.replace('\n', ""));
}

#[test]
fn the_cookie_has_what_stock_clients_insist_on() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.cores[0].set("session", "lifetime", "1h");
    stage.pair.start().unwrap();

    for client in [stage.client().http1(), stage.client().http2()] {
        let client = client.basic("alice", "alice-secret-1");
        let answer = client.get(&verb_url(1, "get_edge_config")).unwrap();

        let cookies: Vec<_> = answer.header_all("set-cookie").collect();
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        let parts: Vec<_> = cookies[0].split("; ").collect();
        let value = parts[0].strip_prefix("X-Auth=").unwrap();
        assert_eq!(value.len(), 64);
        let is_url_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(value.chars().all(is_url_safe), "{value}");
        let expires = parts[1].strip_prefix("Expires=").unwrap();
        assert_eq!(expires.len(), "Fri, 09 May 2026 20:21:31 GMT".len());
        let date = answer.header("date").unwrap();
        assert_eq!(seconds_between(date, expires), 3600, "{date} {expires}");
        let rest = ["Domain=.example.com", "Path=/", "Secure", "HttpOnly"];
        assert_eq!(parts[2..], rest);
    }
}

#[test]
fn good_credentials_are_proved_once_and_a_changed_password_again() {
    let stage = Stage::start();
    let proofs = || {
        let seen = stage.uds.take_seen();
        let own = seen.iter().filter(|seen| seen.target.contains("/user/"));
        own.filter(|seen| seen.target.ends_with("/devices")).count()
    };
    stage.sign_in("alice");
    assert_eq!(proofs(), 1);

    for _ in 0..5 {
        stage.sign_in("alice");
    }
    assert_eq!(proofs(), 0, "the cache answers");

    assert_eq!(stage.try_sign_in("alice", "alice-secret-2").status, 401);
    stage.uds.set_password("alice", "alice-secret-2");
    assert_eq!(stage.try_sign_in("alice", "alice-secret-2").status, 200);
    assert!(proofs() >= 2);
}

#[test]
fn without_the_cache_each_sign_in_is_proved() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.cores[0].set("sign_in", "credential_cache", "0s");
    stage.pair.start().unwrap();
    stage.sign_in("alice");
    stage.sign_in("alice");

    stage.uds.set_password("alice", "alice-secret-2");

    assert_eq!(stage.try_sign_in("alice", "alice-secret-1").status, 401);
}

#[test]
fn an_edge_that_dies_leaves_the_document_and_comes_back() {
    let mut stage = Stage::prepare(Size { edges: 2, cores: 1 });
    stage.pair.start().unwrap();
    let both = ["edge1.example.com", "edge2.example.com"];
    wait_for(&stage, "both edges", |config| {
        names(&config.http_edges) == both
            && names(&config.sip_edges) == both
            && names(&config.xmpp_edges) == both
    });

    stage.pair.edges[1].kill().unwrap();
    wait_for(&stage, "only the first edge", |config| {
        names(&config.http_edges) == both[..1]
            && names(&config.sip_edges) == both[..1]
            && names(&config.xmpp_edges) == both[..1]
    });

    stage.pair.edges[1].start().unwrap();
    wait_for(&stage, "both edges", |config| {
        names(&config.http_edges) == both
    });
}

#[test]
fn a_session_of_one_edge_is_honoured_by_the_other() {
    let mut stage = Stage::prepare(Size { edges: 2, cores: 1 });
    stage.pair.start().unwrap();
    let alice = stage.sign_in("alice");

    let cookie = format!("X-Auth={}", alice.cookie);
    let url = crate::stage::proxied_url(2, crate::stage::UCM, "/cucm-uds/user/alice");
    let other = stage.client_of(2).header("Cookie", &cookie);

    let answer = other.get(&url).unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
}

#[test]
fn a_node_that_dies_leaves_the_document_and_comes_back() {
    let stage = Stage::start();
    let uds = |config: &EdgeConfig| -> Vec<String> {
        let ServiceAnswer::Servers(servers) = &config.services[0].answer else {
            return Vec::new();
        };
        let hosts = servers.iter().map(|server| server.address.to_string());
        hosts.collect()
    };
    let all = ["cucm1a", "cucm1b", "cucm2a", "cucm2b"].map(|name| format!("{name}.example.com"));
    wait_for(&stage, "all nodes", |config| uds(config) == all);

    stage.uds.stop_node("cucm1b.example.com").unwrap();
    wait_for(&stage, "a document without cucm1b", |config| {
        let left: Vec<_> = all
            .iter()
            .filter(|name| **name != all[1])
            .cloned()
            .collect();
        uds(config) == left && names(&config.user_uds) == all[..1]
    });

    stage.uds.start_node("cucm1b.example.com").unwrap();
    wait_for(&stage, "all nodes again", |config| {
        uds(config) == all && names(&config.user_uds) == all[..2]
    });
}

fn names(servers: &[common::mra::edge_config::TlsServer]) -> Vec<String> {
    let names = servers.iter().map(|server| server.address.to_string());
    names.collect()
}

fn document(answer: &Answer) -> EdgeConfig {
    EdgeConfig::parse(&answer.body).unwrap()
}

fn wait_for(stage: &Stage, what: &str, is_so: impl Fn(&EdgeConfig) -> bool) {
    let mut last = None;
    let seen = wait::until_true(what, wait::START_LIMIT, || {
        let config = document(&stage.try_sign_in("alice", "alice-secret-1"));
        let is_so = is_so(&config);
        last = Some(config);
        Ok(is_so)
    });
    assert!(seen.is_ok(), "{seen:?}\n{last:#?}\n{}", stage.logs());
}

/// Seconds from one HTTP date to another on the same day or the next.
fn seconds_between(from: &str, to: &str) -> u32 {
    let of_day = |date: &str| {
        let time = date.split(' ').nth(4).unwrap();
        time.split(':')
            .fold(0, |sum, part| sum * 60 + part.parse::<u32>().unwrap())
    };
    (of_day(to) + 86_400 - of_day(from)) % 86_400
}

const DOCUMENT: &str = "<?xml version='1.0' encoding='UTF-8'?>
<getEdgeConfigResponse version=\"1.0\">
<serviceConfig>
<service><name>_cisco-phone-tftp</name><error>NameError</error></service>
<service><name>_cuplogin</name>
<server><priority>1</priority><weight>5</weight><port>8443</port><address>imp1.example.com</address></server>
<server><priority>1</priority><weight>20</weight><port>8443</port><address>imp2.example.com</address></server>
</service>
<service><name>_cisco-uds</name>
<server><priority>1</priority><weight>5</weight><port>8443</port><address>cucm1a.example.com</address></server>
<server><priority>1</priority><weight>20</weight><port>8443</port><address>cucm1b.example.com</address></server>
<server><priority>2</priority><weight>20</weight><port>8443</port><address>cucm2a.example.com</address></server>
<server><priority>6</priority><weight>30</weight><port>8443</port><address>cucm2b.example.com</address></server>
</service>
<service><name>_ldap</name><error>NameError</error></service>
<service><name>tftpServer</name><address></address><address></address></service>
</serviceConfig>
<edgeConfig>
<sipEdgeServer><server><address>edge1.example.com</address><tlsPort>5061</tlsPort></server></sipEdgeServer>
<sipRequest><route>&lt;sip:203.0.113.11:5061;transport=tls;lr&gt;</route></sipRequest>
<xmppEdgeServer><server><address>edge1.example.com</address><tlsPort>5222</tlsPort></server></xmppEdgeServer>
<httpEdgeServer><server><address>edge1.example.com</address><tlsPort>8443</tlsPort></server></httpEdgeServer>
<turnEdgeServer/>
<userUdsServer>
<server><address>cucm1a.example.com</address><tlsPort>8443</tlsPort></server>
<server><address>cucm1b.example.com</address><tlsPort>8443</tlsPort></server>
</userUdsServer>
</edgeConfig>
</getEdgeConfigResponse>";
