//! What the edges tell each other about media: edge-c allocates, latches and releases; edge-e reports ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::message::secret_text;
use crate::id::AllocId;
use crate::media::class::{Component, Generation, MediaClass, Slot};
use crate::redact::Secret;

/// From edge-c to edge-e. Each is idempotent; what names an allocation that is gone does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "media", rename_all = "kebab-case")]
pub enum MediaCommand {
    /// Wants a pair of public ports. Answered by [`MediaReport::Allocated`], again if it was allocated before, or
    /// [`MediaReport::Refused`].
    Allocate {
        /// Its name from now on, random.
        alloc: AllocId,
        /// How its packets are marked.
        class: MediaClass,
        /// The address of the client's SIP flow, which has a place among the candidates of its own. Unknown for ports
        /// that are kept ready.
        #[serde(default)]
        flow_address: Option<IpAddr>,
        /// The even one of exactly these ports, which a call has used before edge-e lost its memory; refused if
        /// somebody else has them. An older edge-e takes others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// The address of the client's SIP flow, and what its m-line carries: for ports that were allocated before the call.
    FlowAddress {
        /// Whose.
        alloc: AllocId,
        /// The address; replaces an earlier one.
        address: IpAddr,
        /// How its packets are marked from now on.
        class: MediaClass,
    },
    /// The client's password for connectivity checks (ICE, RFC 8445): edge-e answers Binding requests that know it,
    /// and nothing else, to wherever they come from.
    Ice {
        /// Whose.
        alloc: AllocId,
        /// The username fragment that the client was told.
        ufrag: String,
        /// The password that it was told.
        #[serde(with = "secret_text")]
        password: Secret<String>,
    },
    /// These allocations live, and whatever else edge-e holds for this edge-c is released. Sent first after one side has
    /// lost its memory.
    Keep {
        /// All of them.
        allocs: Vec<AllocId>,
    },
    /// A packet from this source was authenticated: packets go there from now on, and nowhere else.
    Latch {
        /// Whose.
        alloc: AllocId,
        /// Which port.
        component: Component,
        /// Which candidate, as in the frame of its packet.
        slot: Slot,
        /// Which source held the slot, as in the frame of its packet.
        generation: Generation,
    },
    /// A packet from this candidate was not authentic: its slot is free for another one.
    Reject {
        /// Whose.
        alloc: AllocId,
        /// Which port.
        component: Component,
        /// Which candidate.
        slot: Slot,
        /// Which source held the slot.
        generation: Generation,
    },
    /// The call is over: the ports are closed, and not used again for a while.
    Release {
        /// Whose.
        alloc: AllocId,
    },
}

/// From edge-e to edge-c.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "media", rename_all = "kebab-case")]
pub enum MediaReport {
    /// The ports stand.
    Allocated {
        /// Whose.
        alloc: AllocId,
        /// Even.
        rtp: u16,
        /// Odd, the next one.
        rtcp: u16,
        /// The public addresses that have these ports, as clients see them; never empty. At most one of each family.
        addresses: Vec<IpAddr>,
    },
    /// Proof that a media trunk belongs to this control stream: the trunk's greeting must contain it. Replaces an
    /// earlier one.
    Nonce {
        /// Random, in base64.
        #[serde(with = "secret_text")]
        nonce: Secret<String>,
    },
    /// There are no ports.
    Refused {
        /// Whose.
        alloc: AllocId,
        /// Why.
        reason: MediaRefusal,
    },
}

/// Why there are no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaRefusal {
    /// As many allocations as may be; or no free pair was found.
    Exhausted,
    /// The system gives no more sockets.
    NoSockets,
    /// This edge-e is not configured for media; and whatever a newer edge-e may add.
    #[serde(other)]
    NotConfigured,
}
