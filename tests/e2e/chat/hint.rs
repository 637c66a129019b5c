//! What IM and Presence nodes of the field do beside XMPP: tokens that are good once, names of nodes, other hosts.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use support::netns;
use support::xmpp::chatter::Mode;
use support::xmpp::imp::{Accounts, Imp, Plan, soap};
use support::xmpp::wire::Wire;

use super::scene::{Scene, Setup, first, node_identity, password};
use crate::stage::{DOMAIN, SignedIn};

#[test]
fn a_one_time_password_from_the_soap_service_signs_in_once() {
    let (mut scene, nodes) = scene(Vec::new());
    let client = scene.stage().sign_in("alice");
    let login = format!(
        "<login><username>alice</username><password>{}</password></login>",
        password("alice")
    );
    let key = soap::text(&ask(&client, &login), "session-key").unwrap();
    let key = format!("<session-key>{key}</session-key>");
    let config = ask(&client, &format!("<get-all-config>{key}</get-all-config>"));
    let domain = soap::text(&config, "Presence.Domain").unwrap();
    assert_eq!(domain, DOMAIN);
    let order = format!("<get-onetime-password>{key}</get-onetime-password>");
    let token = soap::text(&ask(&client, &order), "onetime-password").unwrap();
    let spend = || {
        let mut wire = Wire::starttls(&scene.dialer(5222, DOMAIN), DOMAIN).unwrap();
        let features = wire.features(DOMAIN).unwrap();
        assert!(features.contains("CISCO-VTG-TOKEN"), "{features}");
        let response = BASE64.encode(format!("userid=alice@{DOMAIN}\0token={token}"));
        wire.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='CISCO-VTG-TOKEN'>{response}</auth>"
        ))
        .unwrap();
        wire.read_until_any(&["<success", "<failure"]).unwrap()
    };

    assert!(spend().ends_with("<success"), "{}", scene.logs());
    assert!(spend().ends_with("<failure"), "{}", scene.logs());

    let attempts = nodes[0].attempts();
    assert_eq!(attempts.len(), 2, "{attempts:#?}");
    assert_eq!(attempts[0].mechanism, "CISCO-VTG-TOKEN");
}

#[test]
fn clients_chat_over_a_node_that_knows_nothing_but_plain() {
    let (scene, _nodes) = scene(Vec::new());
    let mut alice = scene.online("alice", Mode::StartTls);
    let mut bob = scene.online("bob", Mode::Direct);

    super::scenario::talk(&mut alice, &mut bob);
}

#[test]
fn names_of_nodes_reach_clients_unless_they_are_hidden() {
    for is_hidden in [false, true] {
        let (scene, _nodes) = scene(vec![("hide_nodes", is_hidden.into())]);
        let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();

        let features = wire.features(DOMAIN).unwrap();

        assert!(features.contains("CISCO-VTG-TOKEN"), "{features}");
        let has_names = features.contains("imp1.example.com") || features.contains("hostname");
        assert_eq!(has_names, !is_hidden, "{features}");
    }
}

#[test]
fn another_host_is_followed_inside() {
    let (scene, nodes) = scene(Vec::new());
    nodes[0].send_elsewhere(Some("imp2.example.com"));

    let mut alice = scene.online("alice", Mode::StartTls);

    alice.ping().unwrap();
    assert!(nodes[0].attempts().is_empty());
    assert!(nodes[1].attempts()[0].is_success);
    let log = alice.log().unwrap();
    assert!(!log.contains("see-other-host"), "{log}");
}

#[test]
fn hosts_that_send_each_other_their_clients_are_not_followed_for_ever() {
    let (scene, nodes) = scene(Vec::new());
    nodes[0].send_elsewhere(Some("imp2.example.com"));
    nodes[1].send_elsewhere(Some("imp1.example.com"));
    let mut wire = Wire::direct(&scene.dialer(5223, DOMAIN)).unwrap();
    wire.send(&support::xmpp::wire::header(DOMAIN)).unwrap();

    let end = wire.read_end(std::time::Duration::from_secs(10)).unwrap();

    assert!(end.text.contains("<stream:error>"), "{end:?}");
    assert!(!end.text.contains("imp"), "{end:?}");
}

/// The pair before two nodes of this kind.
fn scene(domain: Vec<(&'static str, toml::Value)>) -> (Scene, [Imp; 2]) {
    let mut scene = Scene::pair_with(&Setup {
        has_nodes: false,
        domain,
        ..Setup::USUAL
    });
    let stage = scene.stage();
    // Their place is kept by listeners that say nothing.
    stage.presence.clear();
    let users = ["alice", "bob", "cjones", "vera"];
    let accounts = users.map(|user| (user.to_owned(), password(user)));
    let start = |number| {
        let plan = Plan {
            address: first(netns::inside(40 + number)),
            domain: DOMAIN.to_owned(),
            accounts: Accounts::Listed(BTreeMap::from(accounts.clone())),
            home_and_backup: Some(["imp1", "imp2"].map(|name| format!("{name}.{DOMAIN}"))),
            identity: node_identity(&stage.pki, number, DOMAIN),
        };
        Imp::start(&stage.zones.inside(), plan).unwrap()
    };
    let nodes = [1, 2].map(start);
    (scene, nodes)
}

/// One order to the SOAP service, the way it goes through the edge.
fn ask(client: &SignedIn, order: &str) -> String {
    let body = format!(
        "<soap:Envelope xmlns:soap='http://schemas.xmlsoap.org/soap/envelope/'>\
         <soap:Body>{order}</soap:Body></soap:Envelope>"
    );
    let change = |curl: support::curl::Curl| {
        curl.method("POST")
            .header("Content-Type", "text/xml")
            .body(&body)
    };
    let answer = client.ask(change, "https/imp1.example.com/8443", soap::PATH);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}
