//! The door through which message bodies leave the proxy core to be rewritten. Knows no SDP.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::config::MediaPolicy;
use super::{FlowId, FlowPeer};

/// One leg of a call between a client and the inside; unique for the life of a [`super::Proxy`].
///
/// A call between two clients of the pair has two legs, one for each, with the same Call-ID and tags.
/// All forks of an INVITE share one leg until a 2xx chooses among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

/// Rewrites bodies so that media passes through the pair.
///
/// Called for every INVITE, ACK to a 2xx, PRACK and UPDATE and for every response to them from 101 on, also without a
/// body, in the order in which they pass. A 2xx to an INVITE, and the ACK to it, may pass more than once
/// (retransmissions): the same message must get the same verdict and change nothing.
///
/// An initial INVITE that was challenged (401, 407) or told to lengthen its session timer (422) comes again for the same
/// leg, with a higher CSeq: its offer takes the place of the one before. [`Self::ended`] is called once for each leg, after
/// everything else; a failed re-INVITE ends nothing.
pub trait BodyAnchor {
    /// A request is about to be forwarded.
    fn request(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict;

    /// A response is about to be forwarded.
    fn response(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict;

    /// No message of this leg will come any more.
    fn ended(&mut self, call: CallKey, how: CallEnd);
}

/// The message that a body belongs to.
#[derive(Clone, Copy, Debug)]
pub struct BodyContext<'a> {
    /// The leg.
    pub call: CallKey,
    /// The flow of the client.
    pub flow: FlowId,
    /// Who is at the other end of the flow: which edge-e, which address.
    pub peer: &'a FlowPeer,
    /// Which way the message goes.
    pub direction: BodyDirection,
    /// What protects the inner leg.
    pub policy: MediaPolicy,
    /// The request, or the request that is answered.
    pub method: BodyMethod,
    /// CSeq number of that request: with `method` and the sender it names the transaction.
    pub cseq: u32,
    /// Whether the request has no To tag, so that an INVITE begins a dialog.
    pub is_initial: bool,
    /// Status code, for a response.
    pub code: Option<u16>,
    /// The tag of the called party, which tells forks apart; `None` in an initial INVITE.
    pub fork: Option<&'a [u8]>,
    /// The address of the element inside that the message goes to or comes from.
    pub inner: IpAddr,
    /// Whether a provisional response is a reliable one (RFC 3262), so that its SDP is an answer or an offer.
    pub is_reliable: bool,
    /// `Content-Type` as it stands in the message.
    pub content_type: Option<&'a [u8]>,
    /// Call-ID, for logs in redacted form.
    pub call_id: &'a [u8],
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyDirection {
    /// From the client to the inside.
    FromClient,
    /// From the inside to the client.
    ToClient,
}

/// The methods whose bodies are part of an offer/answer exchange (RFC 3264, RFC 6337).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMethod {
    /// INVITE.
    Invite,
    /// ACK to a 2xx.
    Ack,
    /// PRACK (RFC 3262).
    Prack,
    /// UPDATE (RFC 3311).
    Update,
}

/// What becomes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyVerdict {
    /// It passes as it is.
    Pass,
    /// It is replaced; the content type stays.
    Replace(Bytes),
    /// It is taken off the message.
    Strip,
    /// The request is answered with this code. An ACK or a response passes without its body instead, so that the
    /// other side ends the call.
    Refuse {
        /// 4xx or 5xx.
        code: u16,
        /// For the log: never sent to a peer.
        reason: &'static str,
        /// For `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// By BYE.
    Bye,
    /// By CANCEL before it was answered.
    Cancelled,
    /// The INVITE was answered with this final error.
    Failed(u16),
    /// The session timer (RFC 4028) or the longest time without any message ran out.
    Expired,
    /// The client's flow closed before a dialog began.
    FlowClosed,
    /// Its media fell silent; both ends were told.
    NoMedia,
}

/// Lets every body pass: signalling without media.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassBodies;

impl BodyAnchor for PassBodies {
    fn request(&mut self, _: &BodyContext<'_>, _: &Bytes) -> BodyVerdict {
        BodyVerdict::Pass
    }

    fn response(&mut self, _: &BodyContext<'_>, _: &Bytes) -> BodyVerdict {
        BodyVerdict::Pass
    }

    fn ended(&mut self, _: CallKey, _: CallEnd) {}
}
