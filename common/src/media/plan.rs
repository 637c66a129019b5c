//! What the offer/answer machine tells the media engine: which ports belong together, under which keys, until when.
//! Values only; nothing here acts.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::id::{AllocId, EdgeIndex};
use crate::redact::Secret;

pub use super::class::MediaClass;
pub use crate::sdp::crypto::{Mki, SrtpKeys, SrtpSuite};

/// One anchored m-line of one call leg. Never used twice by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A pair of inside ports on edge-c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InnerPortId(pub u32);

/// Most keys that a receiving side tries at once: one for each fork of a call until one has won.
pub const RECEIVE_KEYS: usize = 4;

/// The keys that packets of a peer may be under, the newest fork last. Empty: nothing can be authenticated yet.
pub type ReceiveKeys = SmallVec<[SrtpKeys; RECEIVE_KEYS]>;

/// All that the engine must know of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// Towards the client.
    pub outer: OuterLeg,
    /// Towards the inside.
    pub inner: InnerLeg,
    /// What the stream is for.
    pub class: MediaClass,
    /// RTP, or packets that are relayed unread.
    pub kind: StreamKind,
    /// Which way media may flow; RTCP flows both ways always.
    pub direction: Direction,
}

/// The client's side of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterLeg {
    /// The edge-e whose ports these are.
    pub edge: EdgeIndex,
    /// The ports.
    pub alloc: AllocId,
    /// Where the client's signalling came from: one candidate slot is kept for it.
    pub flow_address: Option<IpAddr>,
    /// RTP and RTCP share the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// What the client encrypts with. Never empty for RTP; empty for opaque streams.
    pub receive: ReceiveKeys,
    /// What the engine encrypts with towards the client.
    pub send: Option<SrtpKeys>,
    /// Connectivity checks with the client, if it asked for ICE.
    pub ice: Option<IceCredentials>,
}

/// The inside's side of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerLeg {
    /// The ports on edge-c.
    pub port: InnerPortId,
    /// RTP and RTCP share the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Where media goes; `None` while it is unknown or on hold by `c=0.0.0.0`.
    pub remote: Option<SocketAddr>,
    /// Where RTCP goes.
    pub remote_rtcp: Option<SocketAddr>,
    /// SRTP inside too, or `None` for plain RTP.
    pub protection: Option<Protection>,
}

/// SRTP on the inner leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// What the inner peer encrypts with; one per fork until one has won.
    pub receive: ReceiveKeys,
    /// What the engine encrypts with.
    pub send: Option<SrtpKeys>,
}

/// RTP or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Relayed unread and without SRTP: BFCP, iX, T.38, others.
    Opaque,
    /// RTP and RTCP.
    Rtp {
        /// Clock rate in Hz by payload type, as far as either side named it (`a=rtpmap`, else RFC 3551).
        clock_rates: ClockRates,
    },
}

/// Clock rates by payload type, in ascending order of payload types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockRates(SmallVec<[(u8, u32); 8]>);

impl ClockRates {
    /// Sets the clock rate of a payload type (0 to 127); the first one named stays.
    pub fn insert(&mut self, payload_type: u8, hertz: u32) {
        if payload_type > 127 || hertz == 0 {
            return;
        }
        if let Err(place) = self.0.binary_search_by_key(&payload_type, |&(pt, _)| pt) {
            self.0.insert(place, (payload_type, hertz));
        }
    }

    /// The clock rate in Hz of a payload type, if it was named.
    #[must_use]
    pub fn of(&self, payload_type: u8) -> Option<u32> {
        let place = self.0.binary_search_by_key(&payload_type, |&(pt, _)| pt);
        place.ok().and_then(|at| self.0.get(at)).map(|&(_, hz)| hz)
    }

    /// Payload types with their clock rates.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.0.iter().copied()
    }
}

/// Which way media may flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// From the client to the inside only.
    Inward,
    /// From the inside to the client only.
    Outward,
    /// Not at all: on hold.
    Neither,
}

impl Direction {
    /// The direction in which each of the two ways is open or not.
    #[must_use]
    pub const fn of(is_inward: bool, is_outward: bool) -> Self {
        match (is_inward, is_outward) {
            (true, true) => Self::Both,
            (true, false) => Self::Inward,
            (false, true) => Self::Outward,
            (false, false) => Self::Neither,
        }
    }

    /// May media flow from the client to the inside?
    #[must_use]
    pub const fn is_inward(self) -> bool {
        matches!(self, Self::Both | Self::Inward)
    }

    /// May media flow from the inside to the client?
    #[must_use]
    pub const fn is_outward(self) -> bool {
        matches!(self, Self::Both | Self::Outward)
    }
}

/// ICE on the client's side, with edge-e as an ICE-lite agent (RFC 8445 section 2.5): it answers checks, and makes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    /// Our fragment: checks of the client have the user name `ufrag:remote_ufrag`.
    pub ufrag: String,
    /// Our password: keys MESSAGE-INTEGRITY of the client's checks and of the answers.
    pub password: Secret<String>,
    /// The client's fragment; `None` until its description came.
    pub remote_ufrag: Option<String>,
}

/// A change of what the engine does. Changes of one stream come in order, `Start` first, `Stop` last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanChange {
    /// A new stream: an answer has come.
    Start(StreamId, Box<StreamPlan>),
    /// The whole plan anew; ports never change under a stream id.
    Change(StreamId, Box<StreamPlan>),
    /// The stream is over; its ports go back by [`super::supply::Supply::poll_released`].
    Stop(StreamId, StopReason),
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StopReason {
    /// The call was hung up.
    Bye,
    /// The call was cancelled before an answer.
    Cancel,
    /// The call was refused, or failed.
    Failure,
    /// The session expired without a refresh (RFC 4028), or was never answered.
    Expired,
    /// The engine found no authenticated media for too long.
    NoMedia,
    /// The call goes on without this m-line.
    Rejected,
}

impl StopReason {
    /// The name in logs and labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Cancel => "cancel",
            Self::Failure => "failure",
            Self::Expired => "expired",
            Self::NoMedia => "no_media",
            Self::Rejected => "rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clock_rate_named_for_a_payload_type_stays() {
        let mut rates = ClockRates::default();

        rates.insert(96, 90_000);
        rates.insert(0, 8_000);
        rates.insert(96, 8_000);
        rates.insert(200, 8_000);

        assert_eq!(rates.iter().collect::<Vec<_>>(), [(0, 8_000), (96, 90_000)]);
        assert_eq!(rates.of(96), Some(90_000));
        assert_eq!(rates.of(1), None);
    }

    #[test]
    fn a_direction_is_made_of_its_two_ways() {
        for (inward, outward) in [(true, true), (true, false), (false, true), (false, false)] {
            let direction = Direction::of(inward, outward);

            assert_eq!(direction.is_inward(), inward);
            assert_eq!(direction.is_outward(), outward);
        }
    }
}
