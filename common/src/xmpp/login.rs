//! edge-c's relay between a client and its node until the node says `<success/>`: it finds the domain, follows the node's
//! redirections, hides what can't work, sees who wants in and asks whether they may. Afterwards it is gone.
//!
//! Inputs are [`Login::handle_client`], [`Login::handle_node`], [`Login::handle_connected`]; commands of the owner
//! [`Login::treat`], [`Login::stay`], [`Login::leave`], [`Login::permit`], [`Login::deny`], [`Login::close`]; outputs are
//! drained with [`Login::poll_output`] after each. Time is the owner's: one deadline for the whole.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::{Condition, header, sasl_failure, stream_error};
use super::features::{self, ChannelBinding, is_features};
use super::framing::{Element, Framer, Item};
use super::opening::condition;
use super::sasl::{Attempt, is_wrong_guess};
use super::{NS_SASL, NS_SASL2, NS_STREAM_ERRORS, NS_STREAMS};
use crate::limits;
use crate::net::Domain;

mod output;

pub use output::{Ending, Output, Policy};

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The client has not said which domain it wants.
    AwaitHeader,
    /// The owner connects.
    Connecting,
    /// The node has not said what it offers.
    AwaitFeatures,
    /// The owner thinks about what the node offers.
    Offered(Box<(Element, Bytes)>),
    /// SASL runs, or waits to.
    Negotiating,
    /// The owner thinks about an attempt; its bytes wait here.
    Asked(Bytes),
    Over,
}

/// The relay of one login.
#[derive(Debug)]
pub struct Login {
    policy: Policy,
    /// Id of a stream header of our own, should one be needed: fresh and random.
    id: String,
    client: Framer,
    node: Framer,
    state: State,
    /// Header of the client, said again to every node.
    header: Bytes,
    /// Header of the node, held back until the node has shown that it stays.
    node_header: Bytes,
    is_header_sent: bool,
    domain: Option<Domain>,
    attempt: Option<Attempt>,
    /// The node owes an answer to what the client said last.
    is_node_asked: bool,
    /// An attempt that came too early: the answer to the one before it must be of that one alone.
    early: Option<(Element, Bytes)>,
    /// The attempt that waits for the node it moves to.
    moving: Option<Bytes>,
    failures: u32,
    has_scram_failed: bool,
    redirections: u32,
    client_bytes: usize,
    outputs: VecDeque<Output>,
}

impl Login {
    /// A login that nobody has begun yet, with the policy of no domain in particular.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self {
            policy: Policy::default(),
            id,
            client: Framer::new(limits::XMPP_ELEMENT_BYTES_MAX),
            node: Framer::new(limits::XMPP_FEATURES_BYTES_MAX),
            state: State::AwaitHeader,
            header: Bytes::new(),
            node_header: Bytes::new(),
            is_header_sent: false,
            domain: None,
            attempt: None,
            is_node_asked: false,
            early: None,
            moving: None,
            failures: 0,
            has_scram_failed: false,
            redirections: 0,
            client_bytes: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The domain's policy, once the domain is known.
    pub const fn treat(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Bytes of the client; any chunking. `is_served` knows the domains.
    pub fn handle_client(&mut self, bytes: &[u8], is_served: impl Fn(&Domain) -> bool) {
        self.client_bytes = self.client_bytes.saturating_add(bytes.len());
        if self.client_bytes > limits::XMPP_LOGIN_BYTES_MAX {
            return self.close(Condition::PolicyViolation);
        }
        self.client.push(bytes);
        self.read_client(&is_served);
    }

    /// Bytes of the node; any chunking.
    pub fn handle_node(&mut self, bytes: &[u8]) {
        self.node.push(bytes);
        loop {
            match self.state {
                // What a node says after it has pointed at another one is of no interest; else it waits for the owner.
                State::Over | State::Connecting | State::Offered(_) => return,
                State::AwaitHeader
                | State::AwaitFeatures
                | State::Asked(_)
                | State::Negotiating => {}
            }
            match self.node.next_item() {
                Ok(None) => return,
                Ok(Some(item)) => self.take_node_item(item),
                Err(error) => return self.end_node(error.to_string()),
            }
        }
    }

    /// The connection to a node stands, TLS included.
    pub fn handle_connected(&mut self) {
        if self.state == State::Connecting {
            self.node = Framer::new(limits::XMPP_FEATURES_BYTES_MAX);
            self.node_header = Bytes::new();
            self.state = State::AwaitFeatures;
            let header = self.header.clone();
            self.send(Output::ToNode(header));
        }
    }

    /// The connection to the node is gone. `true` if another one may be tried: connect and say so again.
    pub fn handle_node_lost(&mut self) -> bool {
        match self.state {
            State::AwaitFeatures => {
                self.state = State::Connecting;
                true
            }
            State::Connecting => true,
            State::AwaitHeader
            | State::Asked(_)
            | State::Negotiating
            | State::Offered(_)
            | State::Over => {
                self.close(Condition::RemoteConnectionFailed);
                false
            }
        }
    }

    /// The node's offer is shown to the client.
    pub fn stay(&mut self) {
        match std::mem::replace(&mut self.state, State::Negotiating) {
            State::Offered(offer) => {
                let (element, raw) = *offer;
                self.show(&element, &raw);
                self.read_client(&|_| false);
            }
            other @ (State::AwaitHeader
            | State::Connecting
            | State::AwaitFeatures
            | State::Negotiating
            | State::Asked(_)
            | State::Over) => self.state = other,
        }
    }

    /// The user is at home on another node: connect to it, then call [`Self::handle_connected`]. Nothing that the client
    /// has seen changes. `false` if there were too many moves, or it is too late: then go on as before.
    pub fn leave(&mut self) -> bool {
        let has_started = self.failures > 0 || self.redirections >= limits::XMPP_REDIRECTIONS_MAX;
        match std::mem::replace(&mut self.state, State::Connecting) {
            State::Offered(_) if !has_started => {}
            State::Asked(raw) if !has_started => self.moving = Some(raw),
            other @ (State::AwaitHeader
            | State::Connecting
            | State::AwaitFeatures
            | State::Offered(_)
            | State::Negotiating
            | State::Asked(_)
            | State::Over) => {
                self.state = other;
                return false;
            }
        }
        self.redirections = self.redirections.saturating_add(1);
        true
    }

    /// The attempt goes on to the node.
    pub fn permit(&mut self) {
        match std::mem::replace(&mut self.state, State::Negotiating) {
            State::Asked(raw) => {
                self.ask_node(raw);
                self.read_client(&|_| false);
            }
            other @ (State::AwaitHeader
            | State::Connecting
            | State::AwaitFeatures
            | State::Offered(_)
            | State::Negotiating
            | State::Over) => self.state = other,
        }
    }

    /// The attempt fails here and never reaches the node. It is for the owner to take its time.
    pub fn deny(&mut self) {
        if matches!(self.state, State::Asked(_)) {
            self.state = State::Negotiating;
            self.fail_attempt("not-authorized");
            self.read_client(&|_| false);
        }
    }

    /// The client is told why it is closed.
    pub fn close(&mut self, condition: Condition) {
        if self.state == State::Over {
            return;
        }
        let mut text = String::new();
        if !self.is_header_sent {
            let from = self.domain.as_ref().map(Domain::as_str);
            text.push_str(&header(from, &self.id));
        }
        text.push_str(&stream_error(condition));
        self.send(Output::ToClient(text.into()));
        self.end(Ending::Refused(condition));
    }

    /// The domain that the client wants, once it has said so.
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    fn read_client(&mut self, is_served: &dyn Fn(&Domain) -> bool) {
        loop {
            // What a client says too early waits, within the limit of the whole.
            match self.state {
                State::Over
                | State::Asked(_)
                | State::Connecting
                | State::AwaitFeatures
                | State::Offered(_) => return,
                State::AwaitHeader | State::Negotiating => {}
            }
            if self.early.is_some() && self.is_node_asked {
                return;
            }
            if let Some((element, raw)) = self.early.take() {
                self.take_client_element(element, raw);
                continue;
            }
            match self.client.next_item() {
                Ok(None) => return,
                Ok(Some(item)) => self.take_client_item(item, is_served),
                Err(error) => return self.close(condition(&error)),
            }
        }
    }

    fn take_client_item(&mut self, item: Item, is_served: &dyn Fn(&Domain) -> bool) {
        match item {
            Item::Open { header, raw } => {
                let domain = header.to.as_deref().and_then(|to| Domain::parse(to).ok());
                match domain.filter(is_served) {
                    Some(domain) if self.state == State::AwaitHeader => {
                        self.header = raw;
                        self.domain = Some(domain.clone());
                        self.state = State::Connecting;
                        self.send(Output::Connect(domain));
                    }
                    Some(_) | None => self.close(Condition::HostUnknown),
                }
            }
            Item::Close { raw } => {
                self.send(Output::ToNode(raw));
                self.end(Ending::ClientClosed);
            }
            Item::Element { element, raw } => self.take_client_element(element, raw),
        }
    }

    fn take_client_element(&mut self, element: Element, raw: Bytes) {
        let is_attempt = element.is(NS_SASL, "auth") || element.is(NS_SASL2, "authenticate");
        if is_attempt && self.is_node_asked {
            self.early = Some((element, raw));
            return;
        }
        let Ok(attempt) = Attempt::read(&element) else {
            return self.fail_attempt("malformed-request");
        };
        if let Some(attempt) = attempt {
            // Whoever stands between could have broken SCRAM only to see the password. And the certificate that the node
            // would look at for EXTERNAL is the edge's.
            if attempt.is_plain() && self.has_scram_failed || attempt.is_external() {
                self.attempt = Some(attempt);
                return self.fail_attempt("invalid-mechanism");
            }
            self.attempt = Some(attempt.clone());
            self.state = State::Asked(raw);
            return self.send(Output::Ask(attempt));
        }
        let is_sasl = element.namespace == NS_SASL || element.namespace == NS_SASL2;
        if is_sasl && matches!(element.name.as_str(), "abort" | "next" | "response") {
            self.ask_node(raw);
        } else {
            // RFC 6120 section 4.9.3.12
            self.close(Condition::NotAuthorized);
        }
    }

    fn take_node_item(&mut self, item: Item) {
        match item {
            Item::Open { raw, .. } => self.node_header = raw,
            Item::Close { raw } => {
                self.send_to_client(&raw);
                self.end(Ending::NodeClosed("no reason given".to_owned()));
            }
            Item::Element { element, raw } => self.take_node_element(&element, &raw),
        }
    }

    fn take_node_element(&mut self, element: &Element, raw: &Bytes) {
        if element.is(NS_STREAMS, "error") {
            return self.take_node_error(element, raw);
        }
        if is_features(element) {
            return self.take_features(element.clone(), raw.clone());
        }
        let is_sasl = element.namespace == NS_SASL || element.namespace == NS_SASL2;
        if !is_sasl {
            let unexpected = format!("<{}/> before authentication", element.name);
            return self.end_node(unexpected);
        }
        self.is_node_asked = false;
        match element.name.as_str() {
            "success" => self.splice(raw),
            "failure" => self.take_failure(element, raw),
            _ => {
                self.send_to_client(raw);
                self.read_client(&|_| false);
            }
        }
    }

    fn take_failure(&mut self, failure: &Element, raw: &Bytes) {
        if self.state == State::Negotiating
            && is_wrong_guess(failure)
            && let Some(attempt) = self.attempt.clone()
        {
            self.send(Output::Failed(attempt));
        }
        self.send_to_client(raw);
        self.note_failure();
        self.read_client(&|_| false);
    }

    fn take_node_error(&mut self, element: &Element, raw: &Bytes) {
        let other = element.child(NS_STREAM_ERRORS, "see-other-host");
        if let (State::AwaitFeatures, Some(other)) = (&self.state, other)
            && self.redirections < limits::XMPP_REDIRECTIONS_MAX
        {
            self.redirections = self.redirections.saturating_add(1);
            self.state = State::Connecting;
            return self.send(Output::Redirect(other.text.trim().to_owned()));
        }
        let name = condition_name(element);
        if self.state == State::AwaitFeatures && IS_ELSEWHERE_BETTER.contains(&name.as_str()) {
            self.state = State::Connecting;
            return self.send(Output::NextNode(name));
        }
        if other.is_some() {
            // The name of a node inside is of no use to a client, and none of its business.
            self.close(Condition::RemoteConnectionFailed);
            return;
        }
        self.send_to_client(raw);
        self.send(Output::ToClient(Bytes::from_static(b"</stream:stream>")));
        self.end(Ending::NodeClosed(name));
    }

    fn take_features(&mut self, element: Element, raw: Bytes) {
        if self.state != State::AwaitFeatures {
            return self.end_node("features twice".to_owned());
        }
        let offer = features::offer(&element);
        self.state = State::Offered(Box::new((element, raw)));
        self.send(Output::Offered(offer));
    }

    fn show(&mut self, element: &Element, raw: &Bytes) {
        let policy = self.policy.features;
        if policy.channel_binding == ChannelBinding::Refuse
            && features::offer(element).binds_channel
        {
            return self.close(Condition::RemoteConnectionFailed);
        }
        match self.moving.take() {
            // The client has seen a feature list, and has answered it.
            Some(attempt) => self.ask_node(attempt),
            None => self.send_to_client(&features::rewrite(element, raw, policy)),
        }
    }

    fn splice(&mut self, success: &Bytes) {
        let Some(attempt) = self
            .attempt
            .take()
            .filter(|_| self.state == State::Negotiating)
        else {
            return self.end_node("<success/> without an attempt".to_owned());
        };
        self.send_to_client(success);
        let empty = || Framer::new(limits::XMPP_ELEMENT_BYTES_MAX);
        let rest = std::mem::replace(&mut self.client, empty()).into_rest();
        let to_node = match self.early.take() {
            Some((_, raw)) => [&raw[..], &rest[..]].concat().into(),
            None => rest,
        };
        let to_client = std::mem::replace(&mut self.node, empty()).into_rest();
        self.state = State::Over;
        self.send(Output::Splice {
            attempt,
            to_node,
            to_client,
        });
    }

    fn fail_attempt(&mut self, condition: &str) {
        let profile = self.attempt.as_ref().map_or(NS_SASL, |one| one.profile);
        let failure = sasl_failure(profile, condition);
        self.send(Output::ToClient(failure.into()));
        self.note_failure();
    }

    fn note_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.has_scram_failed |= self.attempt.take().is_some_and(|one| one.is_scram());
        if self.failures >= limits::SASL_FAILURES_MAX {
            self.close(Condition::PolicyViolation);
        }
    }

    fn end_node(&mut self, why: String) {
        self.close(Condition::RemoteConnectionFailed);
        self.outputs.pop_back();
        self.state = State::Over;
        self.send(Output::Close(Ending::NodeMisbehaved(why)));
    }

    fn send_to_client(&mut self, raw: &Bytes) {
        let bytes = if std::mem::replace(&mut self.is_header_sent, true) {
            raw.clone()
        } else {
            let mut both = std::mem::take(&mut self.node_header).to_vec();
            both.extend_from_slice(raw);
            both.into()
        };
        self.send(Output::ToClient(bytes));
    }

    fn end(&mut self, ending: Ending) {
        self.state = State::Over;
        self.send(Output::Close(ending));
    }

    fn ask_node(&mut self, raw: Bytes) {
        self.is_node_asked = true;
        self.send(Output::ToNode(raw));
    }

    /// Bounded: each input makes a handful, and the owner drains them before the next.
    fn send(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

/// The name of a stream error's condition.
#[must_use]
pub fn condition_name(error: &Element) -> String {
    let mut conditions = error.children.iter();
    let found =
        conditions.find(|child| child.namespace == NS_STREAM_ERRORS && child.name != "text");
    found.map_or_else(
        || "undefined-condition".to_owned(),
        |child| child.name.clone(),
    )
}

/// Conditions of a node that another node need not have.
const IS_ELSEWHERE_BETTER: [&str; 4] = [
    "internal-server-error",
    "remote-connection-failed",
    "resource-constraint",
    "system-shutdown",
];

#[cfg(test)]
mod tests;
