//! One request on its way through: its server transaction, its client transaction and what is to be done with the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::body::{BodyDirection, CallKey};
use super::config::{NodeId, Registrar, Transport};
use super::output::Destination;
use super::register::Register;
use super::{FlowId, NodePeer, OWN_ADDRESS};
use crate::sip::message::{Message, Method};
use crate::sip::transaction::{
    InviteClient, InviteServer, NonInviteClient, NonInviteServer, Step, Timer, invite_client,
    invite_server, non_invite_client, non_invite_server,
};

/// Where a message came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Flow(FlowId, SocketAddr),
    Node(NodePeer),
    /// This proxy, in the name of whoever sends in that direction.
    Own(BodyDirection),
}

impl Source {
    pub(super) const fn is_reliable(&self) -> bool {
        match self {
            Self::Flow(..) | Self::Own(_) => true,
            Self::Node(peer) => peer.transport.is_reliable(),
        }
    }

    /// The address that goes into `received` and `rport`.
    pub(super) const fn address(&self) -> SocketAddr {
        match self {
            Self::Flow(_, client) => *client,
            Self::Node(peer) => peer.remote,
            Self::Own(_) => OWN_ADDRESS,
        }
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self, Self::Flow(..) | Self::Own(BodyDirection::FromClient))
    }
}

/// A request that was read and belongs to no transaction yet.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) message: Message,
    pub(super) method: Method,
    pub(super) source: Source,
    pub(super) server_key: u64,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// An element inside that is no node of a registrar.
    Address(Transport, SocketAddr),
    /// A client.
    Flow(FlowId),
    /// A node of a registrar.
    Node(NodeId),
    /// This very proxy: a call between two of its clients that nobody in between recorded a route for.
    Own,
}

/// What becomes of the body.
#[derive(Clone, Debug, Default)]
pub(super) enum BodyChange {
    #[default]
    Keep,
    Replace(Bytes),
    Strip,
}

/// How a request has to be written for each hop that it is tried on.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Hops that were not tried yet, the next one last.
    pub(super) hops: SmallVec<[Hop; 4]>,
    /// The Route to impose: values parted by commas; empty for none.
    pub(super) routes: Vec<u8>,
    /// Another Request-URI.
    pub(super) uri: Option<Bytes>,
    pub(super) body: BodyChange,
    /// Whether the last Route became the Request-URI.
    pub(super) drops_last_route: bool,
    /// Whether the pair stays in the route of the dialog that may begin.
    pub(super) record_route: bool,
}

/// The client transaction of one attempt.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) client: Client,
    pub(super) hop: Hop,
    pub(super) to: Destination,
    pub(super) is_reliable: bool,
    /// As it was sent.
    pub(super) bytes: Bytes,
    /// The ACK to a final error, for the next copy of that error.
    pub(super) acknowledgement: Option<Bytes>,
    /// The CANCEL and its transaction.
    pub(super) cancel: Option<(NonInviteClient, Bytes)>,
    /// Whether anything at all came back.
    pub(super) is_heard: bool,
    /// Whether it rang since Timer C was looked at last.
    pub(super) is_ringing: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Client {
    Invite(InviteClient),
    Other(NonInviteClient),
}

impl Client {
    pub(super) const fn new(method: Method, is_reliable: bool) -> (Self, Step) {
        if matches!(method, Method::Invite) {
            let (client, step) = InviteClient::new(is_reliable);
            (Self::Invite(client), step)
        } else {
            let (client, step) = NonInviteClient::new(is_reliable);
            (Self::Other(client), step)
        }
    }

    pub(super) const fn handle_response(&mut self, code: u16) -> Step {
        match self {
            Self::Invite(client) => client.handle_response(code),
            Self::Other(client) => client.handle_response(code),
        }
    }

    pub(super) fn handle_timer(&mut self, timer: Timer) -> Step {
        match self {
            Self::Invite(client) => client.handle_timer(timer),
            Self::Other(client) => client.handle_timer(timer),
        }
    }

    /// Whether a final response may still come up.
    pub(super) const fn is_pending(&self) -> bool {
        match self {
            Self::Invite(client) => matches!(
                client.state(),
                invite_client::State::Calling | invite_client::State::Proceeding
            ),
            Self::Other(client) => matches!(
                client.state(),
                non_invite_client::State::Trying | non_invite_client::State::Proceeding
            ),
        }
    }

    /// Whether it is an INVITE to which nothing came.
    const fn is_calling(&self) -> bool {
        match self {
            Self::Invite(client) => matches!(client.state(), invite_client::State::Calling),
            Self::Other(_) => false,
        }
    }

    /// Whether a provisional response came and no final one.
    pub(super) const fn is_proceeding(&self) -> bool {
        match self {
            Self::Invite(client) => matches!(client.state(), invite_client::State::Proceeding),
            Self::Other(client) => matches!(client.state(), non_invite_client::State::Proceeding),
        }
    }

    const fn is_over(&self) -> bool {
        match self {
            Self::Invite(client) => matches!(client.state(), invite_client::State::Terminated),
            Self::Other(client) => matches!(client.state(), non_invite_client::State::Terminated),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Server {
    Invite(InviteServer),
    Other(NonInviteServer),
}

impl Server {
    pub(super) const fn new(method: Method, is_reliable: bool) -> (Self, Step) {
        if matches!(method, Method::Invite) {
            let (server, step) = InviteServer::new(is_reliable);
            (Self::Invite(server), step)
        } else {
            let (server, step) = NonInviteServer::new(is_reliable);
            (Self::Other(server), step)
        }
    }

    pub(super) const fn handle_request(&mut self) -> Step {
        match self {
            Self::Invite(server) => server.handle_request(),
            Self::Other(server) => server.handle_request(),
        }
    }

    pub(super) const fn handle_answer(&mut self, code: u16) -> Step {
        match self {
            Self::Invite(server) => server.handle_answer(code),
            Self::Other(server) => server.handle_answer(code),
        }
    }

    pub(super) fn handle_timer(&mut self, timer: Timer) -> Step {
        match self {
            Self::Invite(server) => server.handle_timer(timer),
            Self::Other(server) => server.handle_timer(timer),
        }
    }

    /// Whether no final response was sent.
    pub(super) const fn is_pending(&self) -> bool {
        match self {
            Self::Invite(server) => matches!(server.state(), invite_server::State::Proceeding),
            Self::Other(server) => matches!(
                server.state(),
                non_invite_server::State::Trying | non_invite_server::State::Proceeding
            ),
        }
    }

    /// Whether nothing was answered yet, not even 100.
    const fn is_unanswered(&self) -> bool {
        match self {
            Self::Invite(server) => server.is_unanswered(),
            Self::Other(server) => matches!(server.state(), non_invite_server::State::Trying),
        }
    }

    const fn is_over(&self) -> bool {
        match self {
            Self::Invite(server) => matches!(server.state(), invite_server::State::Terminated),
            Self::Other(server) => matches!(server.state(), non_invite_server::State::Terminated),
        }
    }
}

/// A request on its way, and its answers on theirs.
#[derive(Debug)]
pub(super) struct Context {
    /// As it came.
    pub(super) request: Message,
    pub(super) method: Method,
    pub(super) source: Source,
    pub(super) server_key: u64,
    pub(super) server: Server,
    /// The client's flow, whichever way the request goes.
    pub(super) flow: FlowId,
    pub(super) registrar: Option<Arc<Registrar>>,
    pub(super) call: Option<CallKey>,
    pub(super) register: Option<Box<Register>>,
    pub(super) plan: Plan,
    pub(super) branch: Option<Branch>,
    /// Counts branches; the first one is 1.
    pub(super) attempt: u8,
    /// The last answer, where it may have to be sent again.
    pub(super) last: Option<Bytes>,
    pub(super) is_cancelled: bool,
    /// Reason headers of the CANCEL, as lines.
    pub(super) cancel_reason: Vec<u8>,
    /// Nobody will answer any more.
    pub(super) is_abandoned: bool,
    /// A transport failed or a node answered 503, and there was nothing better.
    pub(super) failure: Option<u16>,
    /// A final error went to whoever sent the INVITE: a 2xx that comes later has to be ended here.
    pub(super) has_failed: bool,
    /// The tags of the forks that were ended so.
    pub(super) declined: SmallVec<[Bytes; 1]>,
}

impl Context {
    /// A request that nothing was tried for yet.
    pub(super) fn new(
        request: Message,
        source: Source,
        server_key: u64,
        flow: FlowId,
        plan: Plan,
    ) -> Self {
        let method = request.method();
        let (server, _) = Server::new(method, source.is_reliable());
        Self {
            request,
            method,
            source,
            server_key,
            server,
            flow,
            registrar: None,
            call: None,
            register: None,
            plan,
            branch: None,
            attempt: 0,
            last: None,
            is_cancelled: false,
            cancel_reason: Vec::new(),
            is_abandoned: false,
            failure: None,
            has_failed: false,
            declined: SmallVec::new(),
        }
    }

    /// Whether neither transaction has anything left to do.
    pub(super) fn is_over(&self) -> bool {
        let is_client_over = self
            .branch
            .as_ref()
            .is_none_or(|branch| branch.client.is_over() && branch.cancel.is_none());
        (self.server.is_over() || self.is_abandoned) && is_client_over
    }

    /// Whether a timer of these transactions may still do anything: most calls are answered long before theirs fire.
    pub(super) fn minds(&self, timer: Timer) -> bool {
        let client = self.branch.as_ref().map(|branch| &branch.client);
        match timer {
            Timer::Trying => self.server.is_unanswered(),
            Timer::A | Timer::B => client.is_some_and(Client::is_calling),
            Timer::C => client.is_some_and(Client::is_pending),
            Timer::D
            | Timer::E
            | Timer::F
            | Timer::G
            | Timer::H
            | Timer::I
            | Timer::J
            | Timer::K
            | Timer::L
            | Timer::M
            | Timer::Cancelled
            | Timer::Node => true,
        }
    }

    /// Lets go of what only further attempts would need: a call that is answered is remembered for half a minute.
    pub(super) fn settle(&mut self) {
        if let Some(branch) = &mut self.branch {
            branch.bytes = Bytes::new();
        }
        self.plan.body = BodyChange::Keep;
        self.plan.routes = Vec::new();
    }

    /// Whether the request belongs to no dialog yet.
    pub(super) fn is_initial(&self) -> bool {
        self.request.to_tag().is_none()
    }
}
