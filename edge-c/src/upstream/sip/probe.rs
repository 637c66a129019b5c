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
mod tests;
