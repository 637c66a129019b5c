//! edge-c's relay between a client and its node until the node says `<success/>`: it finds the domain, follows the node's
//! redirections, hides what can't work, sees who wants in and asks whether they may. Afterwards it is gone.
//!
//! Inputs are [`Login::handle_client`], [`Login::handle_node`], [`Login::handle_connected`]; commands of the owner
//! [`Login::permit`], [`Login::deny`], [`Login::close`]; outputs are drained with [`Login::poll_output`] after each. Time
//! is the owner's: one deadline for the whole.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::{Condition, header, sasl_failure, stream_error};
use super::features::{self, ChannelBinding, FeaturePolicy, Offer, is_features};
use super::framing::{Element, Framer, FramingError, Item};
use super::opening::condition;
use super::sasl::Attempt;
use super::{NS_SASL, NS_SASL2, NS_STREAM_ERRORS, NS_STREAMS};
use crate::limits;
use crate::net::Domain;

/// What the owner does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer with [`Login::permit`] or [`Login::deny`].
    Ask(Attempt),
    /// Close both connections after what is to be sent is sent.
    Close(Ending),
    /// Find a node of this domain, connect to it with TLS, then call [`Login::handle_connected`].
    Connect(Domain),
    /// What the node offers to clients, before anything was hidden.
    Offered(Offer),
    /// Connect to this node instead, as it is written: `host` or `host:port`. Only one that the owner knows may be used.
    Redirect(String),
    /// The client is in: copy bytes from here on, these first. No output follows.
    Splice {
        /// Who, if the mechanism said it.
        user: Option<String>,
        /// Bytes of the client for the node.
        to_node: Bytes,
        /// Bytes of the node for the client.
        to_client: Bytes,
    },
    /// For the client.
    ToClient(Bytes),
    /// For the node.
    ToNode(Bytes),
}

/// Why a login ended without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed its stream.
    ClientClosed,
    /// The client was told this.
    Refused(Condition),
    /// The node closed its stream, with this condition if it gave one.
    NodeClosed(String),
    /// The node does not speak XMPP as it should.
    NodeMisbehaved(String),
}

/// How logins are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is hidden from clients.
    pub features: FeaturePolicy,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The client has not said which domain it wants.
    AwaitHeader,
    /// The owner connects.
    Connecting,
    /// The node has not said what it offers.
    AwaitFeatures,
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
    failures: u32,
    has_scram_failed: bool,
    redirections: u32,
    client_bytes: usize,
    outputs: VecDeque<Output>,
}

impl Login {
    /// A login that nobody has begun yet.
    #[must_use]
    pub fn new(policy: Policy, id: String) -> Self {
        Self {
            policy,
            id,
            client: Framer::new(limits::XMPP_ELEMENT_BYTES_MAX),
            node: Framer::new(limits::XMPP_FEATURES_BYTES_MAX),
            state: State::AwaitHeader,
            header: Bytes::new(),
            node_header: Bytes::new(),
            is_header_sent: false,
            domain: None,
            attempt: None,
            failures: 0,
            has_scram_failed: false,
            redirections: 0,
            client_bytes: 0,
            outputs: VecDeque::new(),
        }
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
            match (&self.state, self.node.next_item()) {
                // What a node says after it has pointed at another one is of no interest.
                (State::Over | State::Connecting, _) | (_, Ok(None)) => return,
                (_, Ok(Some(item))) => self.take_node_item(item),
                (_, Err(error)) => return self.node_misbehaved(&error),
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

    /// The attempt goes on to the node.
    pub fn permit(&mut self) {
        if let State::Asked(raw) = std::mem::replace(&mut self.state, State::Negotiating) {
            self.send(Output::ToNode(raw));
            self.read_client(&|_| false);
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
                State::Over | State::Asked(_) | State::Connecting | State::AwaitFeatures => return,
                State::AwaitHeader | State::Negotiating => {}
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
            Item::Element { element, raw } => self.take_client_element(&element, raw),
        }
    }

    fn take_client_element(&mut self, element: &Element, raw: Bytes) {
        let Ok(attempt) = Attempt::read(element) else {
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
            self.send(Output::ToNode(raw));
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
            return self.take_features(element, raw);
        }
        let is_sasl = element.namespace == NS_SASL || element.namespace == NS_SASL2;
        if !is_sasl {
            let unexpected = format!("<{}/> before authentication", element.name);
            return self.end_node(unexpected);
        }
        match element.name.as_str() {
            "success" => self.splice(raw),
            "failure" => {
                self.send_to_client(raw);
                self.note_failure();
            }
            _ => self.send_to_client(raw),
        }
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
        if other.is_some() {
            // The name of a node inside is of no use to a client, and none of its business.
            self.close(Condition::RemoteConnectionFailed);
            return;
        }
        self.send_to_client(raw);
        self.send(Output::ToClient(Bytes::from_static(b"</stream:stream>")));
        self.end(Ending::NodeClosed(name));
    }

    fn take_features(&mut self, element: &Element, raw: &Bytes) {
        let offer = features::offer(element);
        let policy = self.policy.features;
        if policy.channel_binding == ChannelBinding::Refuse && offer.binds_channel {
            self.send(Output::Offered(offer));
            return self.close(Condition::RemoteConnectionFailed);
        }
        self.send(Output::Offered(offer));
        let shown = features::rewrite(element, raw, policy);
        self.send_to_client(&shown);
        self.state = State::Negotiating;
        self.read_client(&|_| false);
    }

    fn splice(&mut self, success: &Bytes) {
        if self.state != State::Negotiating || self.attempt.is_none() {
            return self.end_node("<success/> without an attempt".to_owned());
        }
        self.send_to_client(success);
        let empty = || Framer::new(limits::XMPP_ELEMENT_BYTES_MAX);
        let to_node = std::mem::replace(&mut self.client, empty()).into_rest();
        let to_client = std::mem::replace(&mut self.node, empty()).into_rest();
        let user = self.attempt.take().and_then(|attempt| attempt.user);
        self.state = State::Over;
        self.send(Output::Splice {
            user,
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

    fn node_misbehaved(&mut self, error: &FramingError) {
        self.end_node(error.to_string());
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

#[cfg(test)]
mod tests;
