//! What a proxy core asks its shell to send and tells it about. Values only.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::body::{CallEnd, CallKey};
use super::config::{NodeId, Transport};
use super::{ConnectionId, FlowId};
use crate::net::Host;
use crate::sip::identity::Aor;
use crate::sip::message::Method;

/// Names one [`Transmit`], to say that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransmitId(pub u64);

/// One message to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// The whole message.
    pub bytes: Bytes,
    /// For a response, the method of its request.
    pub answers: Option<Method>,
    /// For [`super::Proxy::handle_transmit_failed`].
    pub id: TransmitId,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a client, over the flow it opened. Never dialled.
    Flow(FlowId),
    /// To a registrar or another element inside.
    Node {
        /// How.
        transport: Transport,
        /// Where to: dialled if there is no connection.
        address: SocketAddr,
        /// The name that the certificate must have; `None` without TLS.
        tls_name: Option<Host>,
        /// The connection that a response goes back on, while it is open (RFC 3261 section 18.2.2).
        connection: Option<ConnectionId>,
        /// The node, unless the element is not one of a registrar.
        node: Option<NodeId>,
    },
}

/// What the shell, the log or the metrics should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The flow now speaks for the AoR, or goes on to do so.
    Bound {
        /// The flow.
        flow: FlowId,
        /// The address of record.
        aor: Aor,
        /// For how long.
        expires: Duration,
        /// What proved the identity.
        proof: Proof,
        /// Which registrar.
        registrar: Arc<str>,
    },
    /// The flow speaks for the AoR no more.
    Unbound {
        /// The flow.
        flow: FlowId,
        /// The address of record.
        aor: Aor,
        /// Why.
        reason: UnboundReason,
    },
    /// The flow may send everything: it has its first binding.
    GateOpen(FlowId),
    /// The flow may send only REGISTER and OPTIONS: it lost its last binding.
    GateClosed(FlowId),
    /// The flow must end.
    CloseFlow {
        /// The flow.
        flow: FlowId,
        /// Why.
        reason: CloseReason,
    },
    /// A 2xx to an initial INVITE passed.
    DialogStarted {
        /// The leg.
        call: CallKey,
        /// The client's flow.
        flow: FlowId,
    },
    /// A leg ended, whether or not it was ever answered.
    DialogEnded {
        /// The leg.
        call: CallKey,
        /// The client's flow.
        flow: FlowId,
        /// How.
        how: CallEnd,
        /// From the 2xx on; `None` if there was none.
        talked: Option<Duration>,
    },
    /// Wrong credentials, for the jail: a challenge was answered and the answer was refused.
    AuthenticationFailed {
        /// The flow.
        flow: FlowId,
        /// The AoR that was tried; `None` for a forged token, which is nobody's.
        aor: Option<Aor>,
    },
    /// A message was refused or dropped.
    Refused {
        /// Whose message.
        from: Side,
        /// The answer, if there was one.
        code: Option<u16>,
        /// Why.
        reason: RefusalReason,
    },
    /// A node did not do its work and others take its place for a while.
    NodeFailed {
        /// The node.
        node: NodeId,
        /// What it did.
        reason: NodeFailure,
        /// For how long no new request goes there.
        pause: Duration,
    },
    /// A node that had failed answered again.
    NodeRecovered(NodeId),
}

/// Whose message it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client's.
    Flow(FlowId),
    /// One from inside.
    Node(SocketAddr),
}

/// What proved that a flow may speak for an AoR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The registrar challenged on this flow and accepted the answer.
    Challenge,
    /// edge-c verified the digest itself.
    EdgeDigest,
    /// A live HTTPS session of the user from the same address.
    Session,
    /// edge-c verified the user's token itself.
    Token,
}

/// Why a binding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnboundReason {
    /// The client unregistered.
    Unregistered,
    /// It was not refreshed.
    Expired,
    /// The flow closed.
    FlowClosed,
    /// The same client registered over another flow.
    Replaced,
    /// The registrar refused the refresh.
    Refused,
    /// Its registrar left the configuration.
    RegistrarGone,
}

/// Why a flow must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// What came cannot be SIP of a client.
    Malformed,
    /// The same client registered over another flow, and nothing else used this one.
    Replaced,
    /// More flows than the core can keep.
    Overload,
}

/// What a node did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFailure {
    /// It could not be reached.
    Unreachable,
    /// It did not answer in time.
    NoAnswer,
    /// It answered 503.
    Overloaded,
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    /// The body cannot be anchored.
    Body,
    /// More bindings on one flow than allowed.
    BindingsFull,
    /// A response that no transaction waits for.
    StrayResponse,
    /// The flow that the token names is gone.
    FlowGone,
    /// A flow token that this pair did not make.
    ForgedToken,
    /// A Route to something else than this pair.
    ForeignRoute,
    /// From, P-Preferred-Identity or Referred-By is not an AoR of the flow.
    ForeignIdentity,
    /// The token is genuine, and its time is over.
    ExpiredToken,
    /// CANCEL without its INVITE.
    NoTransaction,
    /// No session of the user.
    NoSession,
    /// No node of the registrar can be used.
    NoNode,
    /// Something other than REGISTER or OPTIONS before a registration.
    NotRegistered,
    /// Max-Breadth is used up (RFC 5393).
    MaxBreadth,
    /// Max-Forwards is used up.
    MaxForwards,
    /// Not a message that can be read.
    Malformed,
    /// The tables are full.
    Overload,
    /// Proxy-Require names an extension that the pair does not have.
    ProxyRequire,
    /// A REGISTER for somebody else.
    ThirdParty,
    /// More than two contacts, or `*` with a lifetime.
    TooManyContacts,
    /// Nobody can say whether the token is good.
    TokenUnverified,
    /// The registrar accepted a REGISTER that nobody proved.
    Unproved,
    /// The registrar challenges although edge-c authenticates for it.
    Untrusted,
    /// The AoR belongs to no registrar, or a request from inside names no flow.
    UnknownDestination,
    /// Wrong digest or none, in the edge's own realm.
    WrongDigest,
    /// A token that is not good here, or not the user's.
    WrongToken,
}

impl RefusalReason {
    /// What the operator may do about it, as half a sentence; empty if nothing.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NoSession => {
                "the user must sign in over HTTPS first, or set sip.session_gate = \"off\""
            }
            Self::NoNode => "check that the nodes of the registrar answer OPTIONS",
            Self::NotRegistered => "the client must register first",
            Self::Overload => "more clients than one edge-c serves: add another",
            Self::Unproved => {
                "the registrar trusts edge-c and asked for no password: switch its digest authentication on, \
                 or set authentication = \"edge\" for it"
            }
            Self::Untrusted => {
                "let the registrar trust edge-c's address, or set authentication = \"registrar\" for it"
            }
            Self::UnknownDestination => {
                "name the host in `hosts` of a registrar if it is one of yours"
            }
            Self::ExpiredToken => "none: the client refreshes its token",
            Self::TokenUnverified => "look whether the [[issuer]] runs and edge-c reaches it",
            Self::WrongDigest => "check user name and password of the client",
            Self::WrongToken => {
                "compare iss and aud of the token with [[issuer]], and its user with the address; the metric \
                 edge_token_verdicts says more"
            }
            Self::BindingsFull
            | Self::Body
            | Self::FlowGone
            | Self::ForeignIdentity
            | Self::ForeignRoute
            | Self::ForgedToken
            | Self::Malformed
            | Self::MaxBreadth
            | Self::MaxForwards
            | Self::NoTransaction
            | Self::ProxyRequire
            | Self::StrayResponse
            | Self::ThirdParty
            | Self::TooManyContacts => "",
        }
    }

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BindingsFull => "bindings_full",
            Self::Body => "body",
            Self::ExpiredToken => "expired_token",
            Self::FlowGone => "flow_gone",
            Self::ForeignIdentity => "foreign_identity",
            Self::ForeignRoute => "foreign_route",
            Self::ForgedToken => "forged_token",
            Self::Malformed => "malformed",
            Self::MaxBreadth => "max_breadth",
            Self::MaxForwards => "max_forwards",
            Self::NoNode => "no_node",
            Self::NoSession => "no_session",
            Self::NoTransaction => "no_transaction",
            Self::NotRegistered => "not_registered",
            Self::Overload => "overload",
            Self::ProxyRequire => "proxy_require",
            Self::StrayResponse => "stray_response",
            Self::ThirdParty => "third_party",
            Self::TokenUnverified => "token_unverified",
            Self::TooManyContacts => "too_many_contacts",
            Self::UnknownDestination => "unknown_destination",
            Self::Unproved => "unproved",
            Self::Untrusted => "untrusted",
            Self::WrongDigest => "wrong_digest",
            Self::WrongToken => "wrong_token",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BindingsFull => "more registrations on one connection than allowed",
            Self::Body => "the body cannot be anchored",
            Self::ExpiredToken => "the token has expired",
            Self::FlowGone => "the connection of the client is gone",
            Self::ForeignIdentity => "speaks for an identity that it did not register",
            Self::ForeignRoute => "asks for a route that is not ours",
            Self::ForgedToken => "a flow token that this pair did not make",
            Self::Malformed => "cannot be read",
            Self::MaxBreadth => "Max-Breadth is used up",
            Self::MaxForwards => "Max-Forwards is used up",
            Self::NoNode => "no node of the registrar can be used",
            Self::NoSession => "no live session of this user",
            Self::NoTransaction => "CANCEL without its INVITE",
            Self::NotRegistered => "not registered yet",
            Self::Overload => "too much at once",
            Self::ProxyRequire => "requires an extension that the pair does not have",
            Self::StrayResponse => "a response that nobody waits for",
            Self::ThirdParty => "registers somebody else",
            Self::TokenUnverified => "the token can't be verified now",
            Self::TooManyContacts => "too many contacts",
            Self::UnknownDestination => "no registrar and no flow for it",
            Self::Unproved => "the registrar accepted a REGISTER that nobody proved",
            Self::Untrusted => "the registrar asks for a password although edge-c verified it",
            Self::WrongDigest => "wrong digest",
            Self::WrongToken => "the token is not good here, or another user's",
        })
    }
}
