use common::net::{Deployment, Host};
use common::sip::message::Message;
use common::sip::proxy::{Authentication, MediaPolicy, RegistrarMode};
use common::testing::epoch;

use super::*;

fn node(id: u32, transport: Transport, host: &str) -> Node {
    Node {
        id: NodeId(id),
        transport,
        address: "192.0.2.10:5060".parse().unwrap(),
        host: Host::parse(host).unwrap(),
    }
}

fn registrar(nodes: Vec<Node>) -> Registrar {
    Registrar {
        name: "inner".into(),
        hosts: Vec::new(),
        nodes,
        mode: RegistrarMode::Path,
        media: MediaPolicy::Rtp,
        authentication: Authentication::Registrar,
        deployment: Deployment::standard(),
    }
}

fn probes(transport: Transport, host: &str, now: Instant) -> Probes {
    let own: HostPort = "[2001:db8::2]:5060".parse().unwrap();
    let names = InnerNames {
        udp: Some(own.clone()),
        tcp: Some(own.clone()),
        tls: Some(own),
        aliases: Vec::new(),
    };
    let mut probes = Probes::new(names, 7);
    probes.watch(&[registrar(vec![node(1, transport, host)])], now);
    probes
}

fn answer_to(probe: &Probe, status: &str) -> Vec<u8> {
    let text = std::str::from_utf8(&probe.bytes).unwrap();
    let (_, rest) = text.split_once("\r\n").unwrap();
    format!("SIP/2.0 {status}\r\n{rest}").into_bytes()
}

fn only(mut probes: Vec<Probe>) -> Probe {
    assert_eq!(probes.len(), 1);
    probes.remove(0)
}

#[test]
fn a_probe_is_a_message_that_our_own_reader_accepts() {
    let now = epoch();
    for host in ["cucm1.example.com", "2001:db8::1"] {
        let mut probes = probes(Transport::Tcp, host, now);

        let probe = only(probes.handle_timeout(now).0);

        let message = Message::parse(probe.bytes.clone()).unwrap();
        let via = message.top_via().unwrap();
        assert!(via.branch().unwrap().starts_with(BRANCH.as_bytes()));
        assert!(message.uri().is_some(), "{:?}", probe.bytes);
    }
}

#[test]
fn an_answer_makes_a_node_known_and_is_told_once() {
    let now = epoch();
    let mut probes = probes(Transport::Tcp, "cucm1", now);
    let probe = only(probes.handle_timeout(now).0);
    assert_eq!(probes.handle_timeout(now), (vec![], vec![]), "sent once");

    let answer = probes.answer(&answer_to(&probe, "200 OK")).unwrap();
    let change = probes.handle_answer(answer, now).unwrap();

    assert_eq!((change.state, change.is_first), (NodeState::Up, true));
    assert_eq!(probes.handle_answer(answer, now), None);
    assert_eq!(probes.next(), Some(now + limits::NODE_PROBE_INTERVAL));
    let later = now + limits::NODE_PROBE_INTERVAL;
    let probe = only(probes.handle_timeout(later).0);
    let answer = probes.answer(&answer_to(&probe, "404 Not Found")).unwrap();
    assert_eq!(probes.handle_answer(answer, later), None, "still up");
}

#[test]
fn silence_503_and_a_broken_connection_make_a_node_down() {
    let now = epoch();
    let late = now + limits::NODE_PROBE_TIMEOUT;

    let mut silent = probes(Transport::Tcp, "cucm1", now);
    drop(silent.handle_timeout(now));
    let changes = silent.handle_timeout(late).1;
    assert_eq!(changes[0].state, NodeState::Down);

    let mut busy = probes(Transport::Tcp, "cucm1", now);
    let probe = only(busy.handle_timeout(now).0);
    let answer = busy.answer(&answer_to(&probe, "503 No")).unwrap();
    assert_eq!(
        busy.handle_answer(answer, now).unwrap().state,
        NodeState::Down
    );

    let mut refused = probes(Transport::Tcp, "cucm1", now);
    drop(refused.handle_timeout(now));
    let change = refused
        .handle_failed(NodeId(1), "refused".into(), now)
        .unwrap();
    assert_eq!(
        (change.state, change.reason.as_str()),
        (NodeState::Down, "refused")
    );
    assert_eq!(refused.next(), Some(now + limits::NODE_PROBE_BACKOFF_MIN));
}

#[test]
fn over_udp_a_probe_is_sent_again_until_it_is_given_up() {
    let start = epoch();
    let mut probes = probes(Transport::Udp, "192.0.2.10", start);
    let mut sent = Vec::new();
    let mut changes = Vec::new();

    while changes.is_empty() {
        let now = probes.next().unwrap();
        let (probe, changed) = probes.handle_timeout(now);
        sent.extend(probe.iter().map(|_| (now - start).as_millis()));
        changes = changed;
    }

    assert_eq!(sent, [0, 500, 1500]);
    assert_eq!(changes[0].reason, "it does not answer OPTIONS");
}

#[test]
fn what_is_no_answer_to_our_probes_is_left_alone() {
    let now = epoch();
    let mut ours = probes(Transport::Tcp, "cucm1", now);
    let mut foreign = Probes::new(ours.names.clone(), 8);
    let probe = only(ours.handle_timeout(now).0);

    assert_eq!(foreign.answer(&answer_to(&probe, "200 OK")), None);
    assert_eq!(ours.answer(&probe.bytes), None, "a request");
    assert_eq!(ours.answer(b"SIP/2.0 200 OK\r\n\r\n"), None);
    let provisional = ours.answer(&answer_to(&probe, "100 Trying")).unwrap();
    assert_eq!(ours.handle_answer(provisional, now), None);
    foreign.watch(&[], now);
    assert_eq!(foreign.next(), None);
}

#[test]
fn a_node_that_stays_keeps_its_state_and_one_that_moved_is_new() {
    let now = epoch();
    let mut probes = probes(Transport::Tcp, "cucm1", now);
    let probe = only(probes.handle_timeout(now).0);
    let answer = probes.answer(&answer_to(&probe, "200 OK")).unwrap();
    probes.handle_answer(answer, now).unwrap();

    probes.watch(&[registrar(vec![node(1, Transport::Tcp, "cucm1")])], now);
    assert!(
        probes
            .states()
            .all(|(_, _, state)| state == Some(NodeState::Up))
    );

    let mut moved = node(1, Transport::Tcp, "cucm1");
    moved.address = "192.0.2.11:5060".parse().unwrap();
    probes.watch(&[registrar(vec![moved])], now);
    assert!(probes.states().all(|(_, _, state)| state.is_none()));
}
