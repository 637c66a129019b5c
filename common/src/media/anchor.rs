//! Offer and answer of call legs (RFC 3264, RFC 6337): every session description that passes is rewritten so that media
//! runs over ports of the pair, with SRTP under own keys towards the client.
//!
//! One **leg** is one call between a client outside and whoever is inside; a call between two clients passes the pair
//! twice and is two legs, which know nothing of each other. No I/O, no clock, no randomness of its own: bodies go in with
//! [`Anchor::handle_body`], what the engine shall do comes out of [`Anchor::poll_change`], ports come from and go back to
//! [`Anchor::supply`].

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;

use super::plan::{PlanChange, StopReason, StreamId};
use super::supply::{Family, Supply};
use crate::id::EdgeIndex;
use crate::limits;

/// A source of random octets for keys and passwords: fills the whole slice.
pub type Randomness = Box<dyn FnMut(&mut [u8]) + Send>;

/// Which side of the pair a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The client, through edge-e.
    Outer,
    /// The registrar or whoever sends through it.
    Inner,
}

/// How the inner leg is protected, by configuration of the registrar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaPolicy {
    /// As the client has it: SRTP with the profile that it offered.
    AsOffered,
    /// Plain RTP.
    #[default]
    Rtp,
    /// SRTP, and nothing else.
    Srtp,
}

/// One call leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

/// What a leg is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegTerms {
    /// The edge-e that the client is connected to.
    pub edge: EdgeIndex,
    /// Where the client's signalling comes from.
    pub flow_address: IpAddr,
    /// The address family of the registrar's node.
    pub inner_family: Family,
    /// How the inner leg is protected.
    pub media: MediaPolicy,
}

/// The methods whose bodies take part in offer and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferMethod {
    /// ACK to a 2xx.
    Ack,
    /// INVITE, the first or a later one.
    Invite,
    /// PRACK (RFC 3262).
    Prack,
    /// UPDATE (RFC 3311).
    Update,
}

/// A request, or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request.
    Request,
    /// A response.
    Response {
        /// Status code, 101 to 699.
        code: u16,
        /// A 2xx, or a provisional one with `RSeq` (RFC 3262).
        is_reliable: bool,
    },
}

/// One message on its way through a leg.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Who sent it.
    pub from: Side,
    /// What method it, or the request that it answers, has.
    pub method: OfferMethod,
    /// Request or response.
    pub step: Step,
    /// The number in `CSeq`.
    pub cseq: u32,
    /// The tag of the called party, by which forks are told apart; `None` in the first INVITE.
    pub fork: Option<&'a [u8]>,
    /// Content-Type as it stands in the message; `None` or an empty body means that there is no description.
    pub content_type: Option<&'a [u8]>,
    /// The body; may be empty.
    pub body: &'a Bytes,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Pass,
    /// It passes with this body; the content type stays.
    Replace(Bytes),
    /// It passes without a body: there is no use for it.
    Strip,
    /// The request is answered with [`Refusal::status`]. Never the verdict on a response or an ACK.
    Refuse(Refusal),
}

/// Why a description is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The client offers DTLS-SRTP (RFC 5763) and no keys in the description.
    #[error("the client offers SRTP by DTLS only; let it offer SDES keys (a=crypto)")]
    DtlsOnly,
    /// Another offer waits for its answer.
    #[error("another offer of this call waits for its answer")]
    Glare,
    /// The inner peer names an address where media may not go.
    #[error("the inner peer wants media at an address outside [media] networks")]
    InnerAddress,
    /// Not a session description.
    #[error("the body is not a session description")]
    Malformed,
    /// No m-line can be relayed.
    #[error("no media line can be relayed")]
    NoMedia,
    /// Ports or calls are used up.
    #[error("no media ports are ready")]
    NoPorts,
    /// The client offers media without SRTP.
    #[error("the client offers media without SRTP; let it offer SDES keys (a=crypto)")]
    PlainRtp,
    /// The inner peer offers media without SRTP, and its registrar demands it.
    #[error("the inner peer offers media without SRTP, but the registrar's media is \"srtp\"")]
    PlainRtpInside,
    /// Over one of the limits.
    #[error("the session description is too long or has too many media lines")]
    TooLong,
}

impl Refusal {
    /// The status code that answers the request (RFC 3261 section 21).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLong => 413,
            Self::DtlsOnly
            | Self::InnerAddress
            | Self::NoMedia
            | Self::PlainRtp
            | Self::PlainRtpInside => 488,
            Self::Glare => 491,
            Self::NoPorts => 503,
        }
    }

    /// `Retry-After` of the answer, if it has one.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::NoPorts => Some(limits::MEDIA_PORTS_RETRY_AFTER),
            Self::DtlsOnly
            | Self::Glare
            | Self::InnerAddress
            | Self::Malformed
            | Self::NoMedia
            | Self::PlainRtp
            | Self::PlainRtpInside
            | Self::TooLong => None,
        }
    }

    /// The name in logs and labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DtlsOnly => "dtls_only",
            Self::Glare => "glare",
            Self::InnerAddress => "inner_address",
            Self::Malformed => "malformed",
            Self::NoMedia => "no_media",
            Self::NoPorts => "no_ports",
            Self::PlainRtp => "plain_rtp",
            Self::PlainRtpInside => "plain_rtp_inside",
            Self::TooLong => "too_long",
        }
    }
}

/// What is the same for all legs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorSettings {
    /// Where inner legs may go; own inner ports may always be reached.
    pub networks: Vec<IpNet>,
}

/// One call leg under way.
#[derive(Debug)]
struct Leg {
    streams: Vec<StreamId>,
    deadline: Option<Instant>,
}

/// The offer/answer machine of all call legs.
pub struct Anchor {
    settings: AnchorSettings,
    supply: Supply,
    legs: BTreeMap<LegId, Leg>,
    changes: VecDeque<PlanChange>,
    next: u64,
}

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anchor")
            .field("settings", &self.settings)
            .field("legs", &self.legs.len())
            .finish_non_exhaustive()
    }
}

impl Anchor {
    /// A machine without calls. `randomness` makes every key and password.
    #[must_use]
    pub fn new(settings: AnchorSettings, _randomness: Randomness) -> Self {
        Self {
            settings,
            supply: Supply::new(),
            legs: BTreeMap::new(),
            changes: VecDeque::new(),
            next: 0,
        }
    }

    /// The ports, for the owner that fills them up and closes those that come back.
    pub const fn supply(&mut self) -> &mut Supply {
        &mut self.supply
    }

    /// Replaces what is the same for all legs; calls under way go on as they are.
    pub fn set_settings(&mut self, settings: AnchorSettings) {
        self.settings = settings;
    }

    /// Opens a leg for a first INVITE; it takes no port until an offer comes.
    ///
    /// # Errors
    /// [`Refusal::NoPorts`] if there are too many calls.
    pub fn open(&mut self, _terms: LegTerms) -> Result<LegId, Refusal> {
        if self.legs.len() >= limits::ANCHORED_LEGS_MAX {
            return Err(Refusal::NoPorts);
        }
        self.next += 1;
        let leg = LegId(self.next);
        self.legs.insert(
            leg,
            Leg {
                streams: Vec::new(),
                deadline: None,
            },
        );
        Ok(leg)
    }

    /// Handles one message of a leg, body or not: responses without one end offers that fail. The same message handled
    /// again (a retransmission) gets the same verdict.
    pub fn handle_body(&mut self, _leg: LegId, _exchange: &Exchange<'_>, _now: Instant) -> Verdict {
        Verdict::Pass
    }

    /// The client of a leg has moved to another connection.
    pub fn handle_flow_moved(&mut self, _leg: LegId, _flow_address: IpAddr) {}

    /// Ends a leg: its streams stop and its ports go back. A leg that is not there is ignored.
    pub fn close(&mut self, leg: LegId, reason: StopReason) {
        let streams = self.legs.remove(&leg).map(|leg| leg.streams);
        for stream in streams.into_iter().flatten() {
            self.changes.push_back(PlanChange::Stop(stream, reason));
        }
    }

    /// Sets when a leg ends by itself unless it is set anew, or that it does not.
    pub fn set_deadline(&mut self, leg: LegId, deadline: Option<Instant>) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.deadline = deadline;
        }
    }

    /// Ends the legs whose deadline has passed, and returns them.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<LegId> {
        let is_over = |leg: &Leg| leg.deadline.is_some_and(|deadline| deadline <= now);
        let over = self.legs.iter().filter(|(_, leg)| is_over(leg));
        let over: Vec<LegId> = over.map(|(id, _)| *id).collect();
        for leg in &over {
            self.close(*leg, StopReason::Expired);
        }
        over
    }

    /// What the engine shall do next; drained after every call.
    pub fn poll_change(&mut self) -> Option<PlanChange> {
        self.changes.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let soonest = self.legs.values().filter_map(|leg| leg.deadline).min();
        soonest.map(|at| (at, "call expires"))
    }
}
