//! What edge-c counts of SIP.

use common::link::flow::FlowClose;
use common::sip::message::Method;
use common::sip::proxy::{Event, Node, NodeFailure, NodeState, RefusalReason};
use common::telemetry::{self, ByLabel, ByLabels, Named};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::upstream::sip::probe::{Change, Probes};

common::label! {
    /// The class of a SIP response.
    pub enum ResponseClass as "class" {
        /// 1xx but 100.
        Provisional = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirect = "3xx",
        /// 401 and 407: the usual question for credentials.
        Challenge = "401",
        /// Other 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
        /// 6xx.
        GlobalFailure = "6xx",
    }
}

impl ResponseClass {
    const fn of(code: u16) -> Self {
        match code {
            0..200 => Self::Provisional,
            200..300 => Self::Success,
            300..400 => Self::Redirect,
            401 | 407 => Self::Challenge,
            402..500 | 400 => Self::ClientError,
            500..600 => Self::ServerError,
            600.. => Self::GlobalFailure,
        }
    }
}

common::label! {
    /// The method of a SIP request; those that one looks at alone.
    pub enum SipMethod as "method" {
        /// INVITE.
        Invite = "invite",
        /// Any other.
        Other = "other",
        /// REGISTER.
        Register = "register",
        /// SUBSCRIBE and NOTIFY.
        Subscribe = "subscribe",
    }
}

impl SipMethod {
    fn of(method: &Method) -> Self {
        match method {
            Method::Invite => Self::Invite,
            Method::Register => Self::Register,
            Method::Subscribe | Method::Notify => Self::Subscribe,
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Info
            | Method::Message
            | Method::Options
            | Method::Prack
            | Method::Publish
            | Method::Refer
            | Method::Service
            | Method::Update
            | Method::Other => Self::Other,
        }
    }
}

common::label! {
    /// Why edge-c closed a client's connection.
    pub enum Closed as "reason" {
        /// edge-c stops.
        Draining = "draining",
        /// Another reason.
        Other = "other",
        /// More is open than edge-c keeps.
        Overloaded = "overloaded",
        /// The client broke the protocol.
        PeerMisbehaved = "peer_misbehaved",
        /// The session ended.
        Revoked = "revoked",
        /// The client does not read.
        Slow = "slow",
        /// The client did not sign on.
        Unbound = "unbound",
    }
}

impl From<FlowClose> for Closed {
    fn from(reason: FlowClose) -> Self {
        match reason {
            FlowClose::Draining => Self::Draining,
            FlowClose::Ended | FlowClose::Other | FlowClose::UpstreamLost => Self::Other,
            FlowClose::Overloaded => Self::Overloaded,
            FlowClose::PeerMisbehaved => Self::PeerMisbehaved,
            FlowClose::Revoked => Self::Revoked,
            FlowClose::Slow => Self::Slow,
            FlowClose::Unbound => Self::Unbound,
        }
    }
}

common::label! {
    /// What a registrar node did wrong.
    pub enum NodeFault as "reason" {
        /// It did not answer in time.
        NoAnswer = "no_answer",
        /// It answered 503.
        Overloaded = "overloaded",
        /// It could not be reached.
        Unreachable = "unreachable",
    }
}

/// Everything that is counted of SIP. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct SipMetrics {
    /// Client connections.
    pub flows: Gauge,
    /// Client connections that edge-c closed.
    pub flows_closed: ByLabel<Closed, Counter>,
    /// AoRs that connections speak for.
    pub registrations: Gauge,
    /// Calls and other dialogs that stand.
    pub dialogs: Gauge,
    /// Messages of clients.
    pub from_clients: Counter,
    /// Messages from inside, answers to probes included.
    pub from_inside: Counter,
    /// Messages to the inside.
    pub to_inside: Counter,
    /// Messages to clients.
    pub to_clients: Counter,
    /// Responses to clients.
    pub responses: ByLabels<ResponseClass, SipMethod, Counter>,
    /// Messages refused or dropped, by reason.
    pub refusals: Named<Counter>,
    /// Wrong credentials.
    pub authentication_failures: Counter,
    /// Registrar nodes: 1 if up, by registrar, transport and address.
    pub node_up: Named<Gauge>,
    /// What registrar nodes did wrong.
    pub node_failures: ByLabel<NodeFault, Counter>,
}

impl SipMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let counter = telemetry::counter;
        let gauge = telemetry::gauge;
        Self {
            flows: gauge(registry, "sip_flows", "Client connections for SIP"),
            flows_closed: ByLabel::register(
                registry,
                "sip_flows_closed",
                "Client connections that edge-c closed",
            ),
            registrations: gauge(registry, "sip_registrations", "Registrations that stand"),
            dialogs: gauge(
                registry,
                "sip_dialogs",
                "Calls and other dialogs that stand",
            ),
            from_clients: counter(
                registry,
                "sip_messages_from_clients",
                "SIP messages of clients",
            ),
            from_inside: counter(
                registry,
                "sip_messages_from_inside",
                "SIP messages from inside",
            ),
            to_inside: counter(
                registry,
                "sip_messages_to_inside",
                "SIP messages to the inside",
            ),
            to_clients: counter(
                registry,
                "sip_messages_to_clients",
                "SIP messages to clients",
            ),
            responses: ByLabels::register(
                registry,
                "sip_responses",
                "SIP responses to clients by class and method",
            ),
            refusals: Named::register(
                registry,
                "sip_refusals",
                "SIP messages refused or dropped",
                "reason",
            ),
            authentication_failures: counter(
                registry,
                "sip_authentication_failures",
                "Wrong SIP credentials",
            ),
            node_up: Named::register(
                registry,
                "sip_node_up",
                "Whether a registrar node answers",
                "node",
            ),
            node_failures: ByLabel::register(
                registry,
                "sip_node_failures",
                "Failures of registrar nodes",
            ),
        }
    }

    /// Counts a message to a client; `answers` is the method of the request that it answers.
    pub fn note_to_client(&self, message: &[u8], answers: Option<Method>) {
        self.to_clients.inc();
        if let (Some(method), Some(code)) = (answers, status(message))
            && code != 100
        {
            let method = SipMethod::of(&method);
            self.responses.of(ResponseClass::of(code), method).inc();
        }
    }

    /// Counts what the core says.
    pub fn note_event(&self, event: &Event) {
        match event {
            Event::Refused { reason, .. } => {
                self.refusals.of(refusal(*reason)).inc();
            }
            Event::AuthenticationFailed { .. } => {
                self.authentication_failures.inc();
            }
            Event::NodeFailed { reason, .. } => {
                let fault = match reason {
                    NodeFailure::NoAnswer => NodeFault::NoAnswer,
                    NodeFailure::Overloaded => NodeFault::Overloaded,
                    NodeFailure::Unreachable => NodeFault::Unreachable,
                };
                self.node_failures.of(fault).inc();
            }
            Event::Bound { .. }
            | Event::Unbound { .. }
            | Event::GateOpen(_)
            | Event::GateClosed(_)
            | Event::CloseFlow { .. }
            | Event::DialogStarted { .. }
            | Event::DialogEnded { .. }
            | Event::NodeRecovered(_) => {}
        }
    }

    /// Forgets nodes that left the configuration.
    pub fn note_nodes(&self, probes: &Probes) {
        self.node_up.clear();
        for (_, node, state) in probes.states() {
            if let Some(state) = state {
                self.node_up
                    .of(&place(node))
                    .set(i64::from(state == NodeState::Up));
            }
        }
    }

    /// Notes whether a node answers.
    pub fn note_node(&self, change: &Change) {
        let is_up = change.state == NodeState::Up;
        self.node_up.of(&place(&change.node)).set(i64::from(is_up));
    }
}

/// The status code of a response that was made or passed here.
fn status(response: &[u8]) -> Option<u16> {
    let digits = response.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn place(node: &Node) -> String {
    format!("{}:{}", node.transport.uri_name(), node.address)
}

/// The reasons are a closed set, so the label grows with nothing.
const fn refusal(reason: RefusalReason) -> &'static str {
    reason.as_str()
}
