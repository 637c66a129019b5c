//! The state of one leg: streams with their ports and keys, and for each called party what is offered and agreed.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use aws_lc_rs::digest;
use smallvec::SmallVec;

use super::party::Party;
use super::{Exchange, LegTerms, OfferMethod, Side, Step, Verdict};
use crate::limits;
use crate::media::class::MediaClass;
use crate::media::plan::{IceCredentials, SrtpKeys, StreamId, StreamPlan};
use crate::media::supply::{InnerPort, OuterPort};
use crate::sdp::crypto::SrtpSuite;
use crate::sdp::profile::RtpProfile;

/// One call leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) terms: LegTerms,
    pub(super) streams: Vec<Stream>,
    /// The offer of the first INVITE while nobody has won; every called party that answers gets a copy.
    pub(super) initial: Option<Offer>,
    /// The called parties, the one that answered last at the end.
    pub(super) dialogs: SmallVec<[Dialog; 1]>,
    /// A 2xx has chosen the only dialog that is left.
    pub(super) is_confirmed: bool,
    /// The address that each side was told last, for descriptions without any line in use.
    pub(super) addresses: [Option<IpAddr>; 2],
    memory: VecDeque<(MessageKey, Verdict)>,
}

/// The state with one called party.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) tag: SmallVec<[u8; 32]>,
    /// The offer in, or answered by, the last INVITE.
    pub(super) invite: Option<Offer>,
    /// The offer in the last PRACK or UPDATE.
    pub(super) other: Option<Offer>,
    /// What both sides agreed on last, by m-line.
    pub(super) agreed: Vec<Option<Agreed>>,
}

/// One offer.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// Who made it.
    pub(super) from: Side,
    /// Who sent the request of the transaction: the other one if a response carried the offer.
    pub(super) requester: Side,
    pub(super) method: OfferMethod,
    pub(super) cseq: u32,
    pub(super) since: Instant,
    pub(super) lines: Vec<OfferLine>,
    pub(super) progress: Progress,
    /// What was agreed before, to go back to when the request fails.
    pub(super) previous: Option<Vec<Option<Agreed>>>,
}

/// How far an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not answered.
    Open,
    /// Answered by a provisional response that may be followed by another answer.
    Previewed,
    /// Answered for good.
    Answered,
}

/// One m-line of an offer.
#[derive(Clone, Debug)]
pub(super) struct OfferLine {
    /// The protocol field, for the m-line of the answer.
    pub(super) protocol: String,
    /// `None`: not in use, or can't be relayed.
    pub(super) relayed: Option<Relayed>,
}

/// An offered m-line that is relayed.
#[derive(Clone, Debug)]
pub(super) struct Relayed {
    pub(super) stream: StreamId,
    pub(super) offerer: Party,
    /// What the other side was offered; `None` for lines that are relayed unread.
    pub(super) target: Option<Target>,
    pub(super) ice: Option<IceCredentials>,
}

/// RTP as the other side was offered it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) profile: RtpProfile,
    /// By their tags, from 1; empty without SRTP.
    pub(super) suites: SmallVec<[SrtpSuite; 4]>,
    pub(super) rtcp_mux: bool,
}

/// One m-line as agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) stream: StreamId,
    pub(super) outer: Party,
    pub(super) inner: Party,
    pub(super) ice: Option<IceCredentials>,
}

impl Agreed {
    pub(super) const fn party(&self, side: Side) -> &Party {
        match side {
            Side::Outer => &self.outer,
            Side::Inner => &self.inner,
        }
    }
}

/// Ports and keys of one m-line. Both stay as long as the line is in use.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) index: usize,
    pub(super) class: MediaClass,
    pub(super) is_rtp: bool,
    pub(super) outer: OuterPort,
    pub(super) inner: InnerPort,
    pub(super) keys: BTreeMap<(Side, SrtpSuite), SrtpKeys>,
    /// What the engine was told last.
    pub(super) told: Option<Box<StreamPlan>>,
}

/// What makes a message the same as an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageKey {
    from: Side,
    method: OfferMethod,
    step: Option<bool>,
    cseq: u32,
    fork: [u8; 32],
    body: [u8; 32],
}

impl MessageKey {
    pub(super) fn of(exchange: &Exchange<'_>) -> Self {
        Self {
            from: exchange.from,
            method: exchange.method,
            step: match exchange.step {
                Step::Request => None,
                Step::Response { is_reliable, .. } => Some(is_reliable),
            },
            cseq: exchange.cseq,
            fork: hash(exchange.fork.unwrap_or_default()),
            body: hash(exchange.body),
        }
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

impl Leg {
    pub(super) fn new(terms: LegTerms) -> Self {
        Self {
            terms,
            streams: Vec::new(),
            initial: None,
            dialogs: SmallVec::new(),
            is_confirmed: false,
            addresses: [None; 2],
            memory: VecDeque::new(),
        }
    }

    /// The verdict that the same message got before.
    pub(super) fn recall(&self, key: &MessageKey) -> Option<Verdict> {
        let known = self.memory.iter().find(|(known, _)| known == key);
        known.map(|(_, verdict)| verdict.clone())
    }

    pub(super) fn remember(&mut self, key: MessageKey, verdict: &Verdict) {
        if self.memory.len() >= limits::ANCHORED_MESSAGES_KEPT {
            self.memory.pop_front();
        }
        self.memory.push_back((key, verdict.clone()));
    }

    pub(super) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.id == id)
    }

    pub(super) fn stream_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// The dialog of a called party; `None` for one that has lost, or has not answered yet.
    pub(super) fn dialog(&self, exchange: &Exchange<'_>) -> Option<usize> {
        let tag = exchange.fork?;
        self.dialogs.iter().position(|dialog| *dialog.tag == *tag)
    }

    /// Nothing was ever offered.
    pub(super) fn forget(&mut self) {
        self.initial = None;
        self.forget_but_offer();
    }

    /// Nobody has answered the first offer, which will come again.
    pub(super) fn forget_but_offer(&mut self) {
        self.dialogs.clear();
        self.memory.clear();
    }

    /// What is agreed on an m-line in a dialog.
    pub(super) fn agreed(&self, dialog: Option<usize>, index: usize) -> Option<&Agreed> {
        self.dialogs.get(dialog?)?.agreed.get(index)?.as_ref()
    }

    /// Every stream that an offer or an agreement still needs.
    pub(super) fn needs(&self, id: StreamId) -> bool {
        let in_offer = |offer: &Offer| {
            let is_open = offer.progress != Progress::Answered;
            let lines = offer.lines.iter().filter(|_| is_open);
            let mut relayed = lines.filter_map(|line| line.relayed.as_ref());
            relayed.any(|line| line.stream == id)
                || offer
                    .previous
                    .as_deref()
                    .is_some_and(|lines| has(lines, id))
        };
        self.initial.iter().any(in_offer)
            || self.dialogs.iter().any(|dialog| {
                dialog.invite.iter().any(in_offer)
                    || dialog.other.iter().any(in_offer)
                    || has(&dialog.agreed, id)
            })
    }
}

fn has(lines: &[Option<Agreed>], id: StreamId) -> bool {
    lines.iter().flatten().any(|line| line.stream == id)
}

impl Offer {
    /// A response carried it, so that ACK or PRACK brings the answer.
    pub(super) fn is_in_response(&self) -> bool {
        self.from != self.requester
    }

    /// Whether a response belongs to the transaction of the offer.
    pub(super) fn is_of(&self, response: &Exchange<'_>) -> bool {
        self.requester != response.from
            && self.method == response.method
            && self.cseq == response.cseq
    }
}

impl Dialog {
    /// A new called party; `initial` is what it was offered.
    pub(super) fn new(tag: &[u8], initial: Option<Offer>) -> Self {
        Self {
            tag: SmallVec::from_slice(tag),
            invite: initial,
            other: None,
            agreed: Vec::new(),
        }
    }

    /// Whether an offer of `side` waits for its answer.
    pub(super) fn is_open(&self, side: Side) -> bool {
        let offers = [&self.invite, &self.other];
        offers
            .into_iter()
            .flatten()
            .any(|offer| offer.from == side && offer.progress == Progress::Open)
    }
}
