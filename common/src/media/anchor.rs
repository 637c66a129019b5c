//! Offer and answer of call legs (RFC 3264, RFC 6337): every session description that passes is rewritten so that media
//! runs over ports of the pair, with SRTP under own keys towards the client.
//!
//! One **leg** is one call between a client outside and whoever is inside; a call between two clients passes the pair
//! twice and is two legs, which know nothing of each other. No I/O, no clock, no randomness of its own: bodies go in with
//! [`Anchor::handle_body`], what the engine shall do comes out of [`Anchor::poll_change`], ports come from and go back to
//! [`Anchor::supply`].

mod answer;
mod exchange;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;
mod leg;
mod offer;
mod party;
mod plans;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use ipnet::IpNet;

pub use refusal::Refusal;

use self::leg::Leg;
use super::plan::{PlanChange, StopReason};
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

impl Side {
    /// The side across.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Inner => Self::Outer,
            Self::Outer => Self::Inner,
        }
    }
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
    /// The tag of the called party, by which forks are told apart, whoever sends; `None` in the first INVITE.
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
    /// It passes without a body: nobody waits for that description.
    Strip,
    /// The request is answered with [`Refusal::status`]. A response or an ACK passes without its body, so that the other
    /// side ends the call.
    Refuse(Refusal),
}

/// A line in use that could not be relayed, in a description that went on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRefused {
    /// Whose call.
    pub leg: LegId,
    /// Who described the line so.
    pub from: Side,
    /// The place of the line, from 0.
    pub index: usize,
    /// Why.
    pub reason: Refusal,
}

/// What is the same for all legs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorSettings {
    /// Where inner legs may go.
    pub networks: Vec<IpNet>,
    /// Addresses of own inner ports: a call between two clients has the pair on both ends of an inner leg.
    pub own: Vec<IpAddr>,
}

impl AnchorSettings {
    fn may_reach(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || self.networks.iter().any(|net| net.contains(&address))
    }
}

/// What a leg needs while it handles a message.
struct Tools<'a> {
    settings: &'a AnchorSettings,
    supply: &'a mut Supply,
    randomness: &'a mut Randomness,
    next: &'a mut u64,
    /// Lines of this message that are not relayed.
    refused: Vec<(usize, Refusal)>,
}

impl Tools<'_> {
    /// A number that was not given before.
    const fn number(&mut self) -> u64 {
        *self.next = self.next.wrapping_add(1);
        *self.next
    }
}

/// The offer/answer machine of all call legs.
pub struct Anchor {
    settings: AnchorSettings,
    supply: Supply,
    randomness: Randomness,
    legs: BTreeMap<LegId, Leg>,
    changes: VecDeque<PlanChange>,
    refused: VecDeque<LineRefused>,
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
    pub fn new(settings: AnchorSettings, randomness: Randomness) -> Self {
        Self {
            settings,
            supply: Supply::new(),
            randomness,
            legs: BTreeMap::new(),
            changes: VecDeque::new(),
            refused: VecDeque::new(),
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
    pub fn open(&mut self, terms: LegTerms) -> Result<LegId, Refusal> {
        if self.legs.len() >= limits::ANCHORED_LEGS_MAX {
            return Err(Refusal::NoPorts);
        }
        self.next = self.next.wrapping_add(1);
        let id = LegId(self.next);
        self.legs.insert(id, Leg::new(terms));
        Ok(id)
    }

    /// Handles one message of a leg, with or without a body: a response without one may end an offer. The same message
    /// handled again (a retransmission) gets the same verdict.
    pub fn handle_body(&mut self, id: LegId, exchange: &Exchange<'_>, now: Instant) -> Verdict {
        let Some(leg) = self.legs.get_mut(&id) else {
            return Verdict::Pass;
        };
        let mut tools = Tools {
            settings: &self.settings,
            supply: &mut self.supply,
            randomness: &mut self.randomness,
            next: &mut self.next,
            refused: Vec::new(),
        };
        let verdict = leg.handle(&mut tools, exchange, now);
        leg.settle(&mut tools, &mut self.changes, StopReason::Rejected);
        if matches!(verdict, Verdict::Replace(_)) {
            let from = exchange.from;
            let refused = tools.refused.into_iter();
            self.refused
                .extend(refused.map(|(index, reason)| LineRefused {
                    leg: id,
                    from,
                    index,
                    reason,
                }));
            while self.refused.len() > limits::ANCHOR_REFUSALS_KEPT {
                self.refused.pop_front();
            }
        }
        verdict
    }

    /// The client of a leg has moved to another connection.
    pub fn handle_flow_moved(&mut self, id: LegId, flow_address: IpAddr) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        leg.terms.flow_address = flow_address;
        let mut tools = Tools {
            settings: &self.settings,
            supply: &mut self.supply,
            randomness: &mut self.randomness,
            next: &mut self.next,
            refused: Vec::new(),
        };
        leg.settle(&mut tools, &mut self.changes, StopReason::Rejected);
    }

    /// Ends a leg: its streams stop and its ports go back. A leg that is not there is ignored.
    pub fn close(&mut self, id: LegId, reason: StopReason) {
        let Some(leg) = self.legs.remove(&id) else {
            return;
        };
        let mut tools = Tools {
            settings: &self.settings,
            supply: &mut self.supply,
            randomness: &mut self.randomness,
            next: &mut self.next,
            refused: Vec::new(),
        };
        leg.end(&mut tools, &mut self.changes, reason);
    }

    /// What the engine shall do next; drained after every call.
    pub fn poll_change(&mut self) -> Option<PlanChange> {
        self.changes.pop_front()
    }

    /// The next line that could not be relayed; drained after every call.
    pub fn poll_refused(&mut self) -> Option<LineRefused> {
        self.refused.pop_front()
    }
}
