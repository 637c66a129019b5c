//! What a login asks of its owner, and how it ends.

use bytes::Bytes;

use super::super::error::Condition;
use super::super::features::{FeaturePolicy, Offer};
use super::super::sasl::Attempt;
use crate::net::Domain;

/// What the owner does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer with [`super::Login::permit`] or [`super::Login::deny`].
    Ask(Attempt),
    /// Close both connections after what is to be sent is sent.
    Close(Ending),
    /// Find a node of this domain, connect to it with TLS, then call [`super::Login::handle_connected`].
    Connect(Domain),
    /// The node has refused this attempt, as it does those who guess. What the client is told of it comes behind this.
    Failed(Attempt),
    /// The node can't serve the stream, as it says: find another one, as for [`Self::Connect`].
    NextNode(String),
    /// What the node offers to clients, before anything was hidden. Answer with [`super::Login::stay`] or [`super::Login::leave`].
    Offered(Offer),
    /// Connect to this node instead, as it is written: `host` or `host:port`. Only one that the owner knows may be used.
    Redirect(String),
    /// The client is in: copy bytes from here on, these first. No output follows.
    Splice {
        /// How the client authenticated, and who it is if the mechanism said it.
        attempt: Attempt,
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
