//! What a media description (m-line) carries, and the small words that name a place on its way.

use serde::{Deserialize, Serialize};

/// What an m-line carries; decides how its packets are marked (DSCP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaClass {
    /// Speech.
    Audio,
    /// Control of the presentation's floor (RFC 8855).
    Bfcp,
    /// Control of a conference, end to end.
    Ix,
    /// Anything else that is relayed.
    Other,
    /// The second video: slides, a shared screen.
    Presentation,
    /// Fax (T.38 over UDPTL).
    T38,
    /// The main video.
    Video,
}

impl MediaClass {
    /// Every class, in order.
    pub const ALL: [Self; 7] = [
        Self::Audio,
        Self::Bfcp,
        Self::Ix,
        Self::Other,
        Self::Presentation,
        Self::T38,
        Self::Video,
    ];

    /// How its packets are marked.
    #[must_use]
    pub const fn dscp(self) -> Dscp {
        match self {
            // T.38 stands in for speech and suffers from loss as much.
            Self::Audio | Self::T38 => Dscp::EF,
            Self::Presentation | Self::Video => Dscp::AF41,
            Self::Bfcp | Self::Ix => Dscp::CS3,
            Self::Other => Dscp::BEST_EFFORT,
        }
    }
}

/// A differentiated services code point (RFC 2474), 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dscp(u8);

impl Dscp {
    /// Interactive video (RFC 4594 section 4.3).
    pub const AF41: Self = Self(34);
    /// Not marked.
    pub const BEST_EFFORT: Self = Self(0);
    /// Signalling.
    pub const CS3: Self = Self(24);
    /// Telephony (RFC 3246).
    pub const EF: Self = Self(46);

    /// The octet of the IP header: the code point in its upper six bits, no congestion notification.
    #[must_use]
    pub const fn octet(self) -> u8 {
        self.0 << 2
    }
}

/// One of the two ports of an m-line (RFC 3550 section 11). With RTP and RTCP on one port (RFC 5761) it is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The even port.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// Where edge-e keeps a source of packets: 0 is the one that was latched, 1 to 4 are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u8);

impl Slot {
    /// The source that packets are sent to.
    pub const LATCHED: Self = Self(0);
    /// The candidate place that is kept for the address of the client's SIP flow; nobody else gets it.
    pub const FLOW: Self = Self(1);
}

/// Which source it was that held a slot: each new one of a component gets the next number. A latched source keeps its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u8);
