//! Which registrar nodes answer: an OPTIONS to each now and then, and what its answer or its silence means. Sends nothing
//! itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::limits;
use common::net::HostPort;
use common::sip::proxy::{InnerNames, Node, NodeId, NodeState, Registrar, Transport};
use memchr::memmem;
use rsip::headers::UntypedHeader as _;

/// The nodes that are probed.
#[derive(Debug)]
pub struct Probes {
    names: InnerNames,
    /// Drawn at start: tells answers to probes from everything else.
    marker: String,
    nodes: BTreeMap<NodeId, Probed>,
}

#[derive(Debug)]
struct Probed {
    node: Node,
    registrar: Arc<str>,
    /// `None` until the first probe has ended.
    state: Option<NodeState>,
    failures: u32,
    sequence: u32,
    pending: Option<Pending>,
    /// When the next probe starts.
    next: Instant,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    /// How often it was sent.
    sent: u32,
    bytes: Bytes,
}

/// A probe to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// To which node.
    pub node: Node,
    /// The whole message.
    pub bytes: Bytes,
}

/// A node that began or ceased to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which node.
    pub node: Node,
    /// Of which registrar.
    pub registrar: Arc<str>,
    /// What it is now.
    pub state: NodeState,
    /// Why, if it is down.
    pub reason: String,
    /// Whether nothing was known of it before.
    pub is_first: bool,
}

/// An answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    node: NodeId,
    sequence: u32,
    code: u16,
}

impl Answer {
    /// The status code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.code
    }
}

impl Probes {
    /// None yet. `marker` is drawn at random.
    #[must_use]
    pub fn new(names: InnerNames, marker: u64) -> Self {
        Self {
            names,
            marker: format!("{BRANCH}{marker:016x}-"),
            nodes: BTreeMap::new(),
        }
    }

    /// Probes exactly the nodes of `registrars` from now on; what is known of those that stay is kept.
    pub fn watch(&mut self, registrars: &[Registrar], now: Instant) {
        let named = registrars.iter().flat_map(|registrar| {
            let nodes = registrar.nodes.iter();
            nodes.map(|node| (node.id, (node, &registrar.name)))
        });
        let named: BTreeMap<_, _> = named.take(limits::NODES_MAX).collect();
        let is_same = |probed: &Probed, node: &Node| probed.node == *node;
        self.nodes
            .retain(|id, probed| named.get(id).is_some_and(|(node, _)| is_same(probed, node)));
        for (id, (node, registrar)) in named {
            self.nodes.entry(id).or_insert_with(|| Probed {
                node: node.clone(),
                registrar: Arc::clone(registrar),
                state: None,
                failures: 0,
                sequence: 0,
                pending: None,
                next: now,
            });
        }
    }

    /// What is to be sent now, and what has become of probes that nobody answered.
    pub fn handle_timeout(&mut self, now: Instant) -> (Vec<Probe>, Vec<Change>) {
        let mut probes = Vec::new();
        let mut changes = Vec::new();
        for (id, probed) in &mut self.nodes {
            let timed_out = |pending: &Pending| now >= pending.since + limits::NODE_PROBE_TIMEOUT;
            if probed.pending.as_ref().is_some_and(timed_out) {
                changes.extend(probed.failed("it does not answer OPTIONS".to_owned(), now));
            }
            if probed.pending.is_none() && now >= probed.next {
                probed.sequence = probed.sequence.wrapping_add(1);
                let branch = format!("{}{:x}-{:x}", self.marker, id.0, probed.sequence);
                let Some(bytes) = options(&self.names, &probed.node, &branch, probed.sequence)
                else {
                    probed.next = now + limits::NODE_PROBE_INTERVAL;
                    continue;
                };
                probed.pending = Some(Pending {
                    since: now,
                    sent: 0,
                    bytes,
                });
            }
            if let Some(pending) = &mut probed.pending
                && now >= pending.next_send(probed.node.transport)
            {
                pending.sent = pending.sent.saturating_add(1);
                probes.push(Probe {
                    node: probed.node.clone(),
                    bytes: pending.bytes.clone(),
                });
            }
        }
        (probes, changes)
    }

    /// Whether a message from inside answers a probe.
    #[must_use]
    pub fn answer(&self, message: &[u8]) -> Option<Answer> {
        let rest = message.strip_prefix(b"SIP/2.0 ")?;
        let code = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
        // Our Via is the only one, and near the top.
        let head = message
            .get(..limits::SIP_PROBE_HEAD_BYTES)
            .unwrap_or(message);
        let at = memmem::find(head, self.marker.as_bytes())?.checked_add(self.marker.len())?;
        let rest = head.get(at..)?;
        let end = rest
            .iter()
            .position(|b| !b.is_ascii_hexdigit() && *b != b'-')
            .unwrap_or(rest.len());
        let (node, sequence) = std::str::from_utf8(rest.get(..end)?)
            .ok()?
            .split_once('-')?;
        Some(Answer {
            node: NodeId(u32::from_str_radix(node, 16).ok()?),
            sequence: u32::from_str_radix(sequence, 16).ok()?,
            code,
        })
    }

    /// An answer came.
    pub fn handle_answer(&mut self, answer: Answer, now: Instant) -> Option<Change> {
        let probed = self.nodes.get_mut(&answer.node)?;
        if answer.sequence != probed.sequence || answer.code < 200 {
            return None;
        }
        probed.pending.as_ref()?;
        if answer.code == OVERLOADED {
            return probed.failed("it answers OPTIONS with 503".to_owned(), now);
        }
        probed.succeeded(now)
    }

    /// A probe could not be sent, or its connection broke.
    pub fn handle_failed(&mut self, node: NodeId, reason: String, now: Instant) -> Option<Change> {
        let probed = self.nodes.get_mut(&node)?;
        probed.pending.as_ref()?;
        probed.failed(reason, now)
    }

    /// When [`Self::handle_timeout`] should be called.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let due = |probed: &Probed| match &probed.pending {
            None => probed.next,
            Some(pending) => {
                let over = pending.since + limits::NODE_PROBE_TIMEOUT;
                over.min(pending.next_send(probed.node.transport))
            }
        };
        self.nodes.values().map(due).min()
    }

    /// Every node, and whether it answers; `None` if nothing is known yet.
    pub fn states(&self) -> impl Iterator<Item = (&Arc<str>, &Node, Option<NodeState>)> {
        let states = self.nodes.values();
        states.map(|probed| (&probed.registrar, &probed.node, probed.state))
    }
}

impl Probed {
    fn succeeded(&mut self, now: Instant) -> Option<Change> {
        self.pending = None;
        self.failures = 0;
        self.next = now + limits::NODE_PROBE_INTERVAL;
        self.turn(NodeState::Up, String::new())
    }

    fn failed(&mut self, reason: String, now: Instant) -> Option<Change> {
        self.pending = None;
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let wait = limits::NODE_PROBE_BACKOFF_MIN.saturating_mul(1 << doublings);
        self.next = now + wait.min(limits::NODE_PROBE_BACKOFF_MAX);
        self.turn(NodeState::Down, reason)
    }

    fn turn(&mut self, state: NodeState, reason: String) -> Option<Change> {
        let before = self.state.replace(state);
        (before != Some(state)).then(|| Change {
            node: self.node.clone(),
            registrar: Arc::clone(&self.registrar),
            state,
            reason,
            is_first: before.is_none(),
        })
    }
}

impl Pending {
    /// RFC 3261 section 17.1.2.2, timer E: over UDP again after T1, 2 T1, and so on; else once.
    fn next_send(&self, transport: Transport) -> Instant {
        match (self.sent, transport) {
            (0, _) => self.since,
            (sent, Transport::Udp) => {
                let waited = (1_u32 << sent.min(16)).saturating_sub(1);
                self.since + T1.saturating_mul(waited)
            }
            (_, Transport::Tcp | Transport::Tls | Transport::Wss) => {
                self.since + limits::NODE_PROBE_TIMEOUT
            }
        }
    }
}

/// The OPTIONS, made by `rsip`; `None` if there is no own name for the transport.
fn options(names: &InnerNames, node: &Node, branch: &str, sequence: u32) -> Option<Bytes> {
    let own = sent_by(names, node.transport)?;
    let via = node.transport.via_name();
    let place = HostPort {
        host: node.host.clone(),
        port: node.address.port(),
    };
    let target = format!("sip:{place};transport={}", node.transport.uri_name());
    // The host and parameters as text: rsip would write an IPv6 address without its brackets.
    let uri = rsip::Uri {
        scheme: Some(rsip::Scheme::Sip),
        auth: None,
        host_with_port: rsip::Domain::from(target.trim_start_matches("sip:").to_owned()).into(),
        params: Vec::new(),
        headers: Vec::new(),
    };
    let mut headers = rsip::Headers::default();
    headers
        .push(rsip::headers::Via::new(format!("SIP/2.0/{via} {own};branch={branch};rport")).into());
    headers.push(rsip::headers::MaxForwards::new("70").into());
    headers.push(rsip::headers::From::new(format!("<sip:{own}>;tag=p{sequence:x}")).into());
    headers.push(rsip::headers::To::new(format!("<{target}>")).into());
    headers.push(rsip::headers::CallId::new(format!("{branch}@{}", own.host)).into());
    headers.push(rsip::headers::CSeq::new(format!("{sequence} OPTIONS")).into());
    headers.push(rsip::headers::Accept::new("application/sdp").into());
    headers.push(rsip::headers::ContentLength::new("0").into());
    let request = rsip::Request {
        method: rsip::Method::Options,
        uri,
        version: rsip::Version::V2,
        headers,
        body: Vec::new(),
    };
    Some(Bytes::from(request.to_string()))
}

const fn sent_by(names: &InnerNames, transport: Transport) -> Option<&HostPort> {
    match transport {
        Transport::Udp => names.udp.as_ref(),
        Transport::Tcp => names.tcp.as_ref(),
        Transport::Tls => names.tls.as_ref(),
        Transport::Wss => None,
    }
}

const BRANCH: &str = "z9hG4bK-probe-";
const OVERLOADED: u16 = 503;
const T1: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
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
}
