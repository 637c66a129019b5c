//! One stream between a client outside and a peer inside, packet by packet: SRTP outside, RTP or SRTP inside.
//!
//! A packet goes in with its buffer and a [`OuterVerdict`] or [`ToOuter`] comes out: send it on, at its new length, or drop it. The payload
//! never leaves the caller's buffer, and nothing is allocated. Payload types, sequence numbers, timestamps and SSRCs stay as they are, so
//! telephone events, comfort noise and redundancy pass untouched. What the client sends reaches the inside only if it is
//! authentic and new, and only such packets decide where packets to the client go ([`super::latch`]).
//! Not here: sockets, the trunk, and who made the plan.

#![warn(clippy::arithmetic_side_effects)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::class::{Component, MediaClass, Slot};
use super::demux::{PacketKind, packet_kind};
use super::latch::{Candidate, Latch, LatchDecision};
use super::plan::{ClockRates, StreamKind, StreamPlan};
use super::rtcp::{self, Report};
use super::rtp::RtpHeader;
use super::srtp::{KeyRefused, Receiver, Sender, SrtpError};
use super::stats::{Leg, Quality};
use crate::limits;

mod drop;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;

pub use drop::{DropReason, Drops};

/// Where edge-e got a packet from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which of the two public ports.
    pub component: Component,
    /// Which source.
    pub source: Candidate,
}

/// What to do with a packet from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToInner {
    /// Nothing.
    Drop(DropReason),
    /// Send the first `len` octets of the buffer to `to`, from the inner port of `component`.
    Forward {
        /// Which of the two inner ports.
        component: Component,
        /// To whom.
        to: SocketAddr,
        /// How much of the buffer.
        len: usize,
    },
}

/// What to do with a packet from the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToOuter {
    /// Nothing.
    Drop(DropReason),
    /// Send the first `len` octets of the buffer to the client, from the public port of `component`.
    Forward {
        /// Which of the two public ports.
        component: Component,
        /// How much of the buffer.
        len: usize,
    },
}

/// What a packet from the client brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterVerdict {
    /// What becomes of the packet.
    pub packet: ToInner,
    /// What to tell edge-e about its source.
    pub source: Option<LatchDecision>,
}

/// What was measured of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The client's leg.
    pub outer: Quality,
    /// The inside's leg.
    pub inner: Quality,
    /// Packets that were dropped, by reason.
    pub drops: Drops,
    /// How often a source was latched.
    pub latches: u32,
    /// How often a source was rejected.
    pub rejects: u32,
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    plan: StreamPlan,
    receive: Receiver,
    send: Option<Sender>,
    inner: Option<Inner>,
    rtp_latch: Latch,
    rtcp_latch: Latch,
    outer_leg: Leg,
    inner_leg: Leg,
    drops: Drops,
    latches: u32,
    rejects: u32,
    /// The last authentic packet of the client; at first, the start.
    heard: Instant,
}

/// SRTP inside.
#[derive(Debug)]
struct Inner {
    receive: Receiver,
    send: Option<Sender>,
}

impl Session {
    /// A stream that follows `plan`.
    ///
    /// # Errors
    /// [`KeyRefused`] if the crypto library can't use a key.
    pub fn new(plan: StreamPlan, now: Instant) -> Result<Self, KeyRefused> {
        let mut session = Self {
            receive: Receiver::default(),
            send: None,
            inner: None,
            rtp_latch: Latch::default(),
            rtcp_latch: Latch::default(),
            outer_leg: Leg::new(now),
            inner_leg: Leg::new(now),
            drops: Drops::default(),
            latches: 0,
            rejects: 0,
            heard: now,
            plan: plan.clone(),
        };
        session.change(plan)?;
        Ok(session)
    }

    /// Follows another plan from now on. What is known under keys that stay is kept.
    ///
    /// # Errors
    /// [`KeyRefused`] if the crypto library can't use a key; the earlier plan goes on then.
    pub fn change(&mut self, plan: StreamPlan) -> Result<(), KeyRefused> {
        let send = renewed(&mut self.send, plan.outer.send.as_ref())?;
        let inner = match &plan.inner.protection {
            None => None,
            Some(protection) => {
                let mut inner = self.inner.take().unwrap_or_else(Inner::empty);
                inner.receive.set_keys(&protection.receive)?;
                inner.send = renewed(&mut inner.send, protection.send.as_ref())?;
                Some(inner)
            }
        };
        self.receive.set_keys(&plan.outer.receive)?;
        self.send = send;
        self.inner = inner;
        self.plan = plan;
        Ok(())
    }

    /// What it follows.
    #[must_use]
    pub const fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    /// Whether some source has proved to be the client on this public port.
    #[must_use]
    pub const fn is_latched(&self, component: Component) -> bool {
        match component {
            Component::Rtp => self.rtp_latch.is_latched(),
            Component::Rtcp => self.rtcp_latch.is_latched(),
        }
    }

    /// Whether the client has been silent for so long that the stream is over: for `silence_max`, or for longer if it is
    /// on hold.
    #[must_use]
    pub fn is_over(&self, silence_max: Duration, now: Instant) -> bool {
        let longest = if self.plan.direction.is_inward() {
            silence_max
        } else {
            limits::MEDIA_HELD_MAX
        };
        now.saturating_duration_since(self.heard) >= longest
    }

    /// What was measured until now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let is_speech = self.plan.class == MediaClass::Audio;
        Summary {
            outer: self.outer_leg.quality(is_speech),
            inner: self.inner_leg.quality(is_speech),
            drops: self.drops,
            latches: self.latches,
            rejects: self.rejects,
        }
    }

    /// A packet of the client in the first `len` octets of `buffer`, which has room for what protection adds.
    pub fn handle_outer(
        &mut self,
        origin: Origin,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
    ) -> OuterVerdict {
        let result = self.open_outer(origin, buffer, len, now);
        let latch = match origin.component {
            Component::Rtp => &mut self.rtp_latch,
            Component::Rtcp => &mut self.rtcp_latch,
        };
        let source = match result {
            Ok(_) => {
                self.heard = now;
                latch.handle_authentic(origin.source, now)
            }
            Err(reason) if reason.is_suspicious() => latch.handle_failure(origin.source),
            Err(_) => None,
        };
        match source {
            Some(LatchDecision::Latch(_)) => self.latches = self.latches.saturating_add(1),
            Some(LatchDecision::Reject(_)) => self.rejects = self.rejects.saturating_add(1),
            None => {}
        }
        let relayed = result.and_then(|opened| self.pass_inward(buffer, opened, now));
        let packet = relayed.unwrap_or_else(|reason| {
            self.drops.count(reason);
            ToInner::Drop(reason)
        });
        OuterVerdict { packet, source }
    }

    /// A packet from the inside in the first `len` octets of `buffer`, which has room for what protection adds. It came to
    /// the inner port of `component`, from `source`.
    pub fn handle_inner(
        &mut self,
        component: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
    ) -> ToOuter {
        let opened = self.open_inner(component, source, buffer, len, now);
        let relayed = opened.and_then(|opened| self.pass_outward(buffer, opened, now));
        relayed.unwrap_or_else(|reason| {
            self.drops.count(reason);
            ToOuter::Drop(reason)
        })
    }

    fn open_outer(
        &mut self,
        origin: Origin,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
    ) -> Result<Opened, DropReason> {
        let packet = buffer.get_mut(..len).ok_or(DropReason::TooLong)?;
        let StreamKind::Rtp { clock_rates } = &self.plan.kind else {
            // Nothing proves who sent this; the address of the signalling is the best there is.
            let is_flow = [Slot::LATCHED, Slot::FLOW].contains(&origin.source.slot);
            let is_known = is_flow && self.plan.outer.flow_address.is_some();
            let opened = Opened::Opaque(origin.component, len);
            return is_known.then_some(opened).ok_or(DropReason::Source);
        };
        match packet_kind(packet) {
            PacketKind::Rtp if origin.component == Component::Rtp => {
                let header = RtpHeader::decode(packet).map_err(|_| DropReason::Malformed)?;
                let opened = self.receive.open_rtp(packet, &header)?;
                measure(&mut self.outer_leg, &header, opened, clock_rates, now);
                Ok(Opened::Rtp(header, opened))
            }
            PacketKind::Rtcp => Ok(Opened::Rtcp(self.receive.open_rtcp(packet)?)),
            other @ (PacketKind::Dtls
            | PacketKind::Rtp
            | PacketKind::Stun
            | PacketKind::TurnChannel
            | PacketKind::Unknown) => Err(out_of_place(other)),
        }
    }

    fn pass_inward(
        &mut self,
        buffer: &mut [u8],
        opened: Opened,
        now: Instant,
    ) -> Result<ToInner, DropReason> {
        let leg = &self.plan.inner;
        let (component, to) = match opened {
            Opened::Rtcp(_) if !leg.rtcp_mux => (Component::Rtcp, leg.remote_rtcp),
            Opened::Rtcp(_) | Opened::Rtp(..) => (Component::Rtp, leg.remote),
            Opened::Opaque(Component::Rtp, _) => (Component::Rtp, leg.remote),
            Opened::Opaque(Component::Rtcp, _) => (Component::Rtcp, leg.remote_rtcp),
        };
        if !opened.is_rtcp() && !self.plan.direction.is_inward() {
            return Err(DropReason::Direction);
        }
        let to = to.ok_or(DropReason::NoRemote)?;
        if let Opened::Rtcp(len) = opened {
            let packet = buffer.get(..len).unwrap_or_default();
            pass_reports(packet, &mut self.outer_leg, &mut self.inner_leg, now);
        }
        let len = match &mut self.inner {
            None => opened.len(),
            Some(inner) => opened.seal(inner.send.as_mut(), buffer)?,
        };
        if !opened.is_rtcp() {
            self.inner_leg.handle_sent(len);
        }
        Ok(ToInner::Forward { component, to, len })
    }

    fn open_inner(
        &mut self,
        component: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
    ) -> Result<Opened, DropReason> {
        let packet = buffer.get_mut(..len).ok_or(DropReason::TooLong)?;
        if self.inner.is_none() && !self.is_inner_peer(source.ip()) {
            return Err(DropReason::Source);
        }
        let StreamKind::Rtp { clock_rates } = &self.plan.kind else {
            return Ok(Opened::Opaque(component, len));
        };
        match packet_kind(packet) {
            PacketKind::Rtp if component == Component::Rtp => {
                let header = RtpHeader::decode(packet).map_err(|_| DropReason::Malformed)?;
                let opened = match &mut self.inner {
                    None => len,
                    Some(inner) => inner.receive.open_rtp(packet, &header)?,
                };
                measure(&mut self.inner_leg, &header, opened, clock_rates, now);
                Ok(Opened::Rtp(header, opened))
            }
            PacketKind::Rtcp => {
                rtcp::sender(packet).map_err(|_| DropReason::Malformed)?;
                Ok(Opened::Rtcp(match &mut self.inner {
                    None => len,
                    Some(inner) => inner.receive.open_rtcp(packet)?,
                }))
            }
            other @ (PacketKind::Dtls
            | PacketKind::Rtp
            | PacketKind::Stun
            | PacketKind::TurnChannel
            | PacketKind::Unknown) => Err(out_of_place(other)),
        }
    }

    fn pass_outward(
        &mut self,
        buffer: &mut [u8],
        opened: Opened,
        now: Instant,
    ) -> Result<ToOuter, DropReason> {
        let component = match opened {
            Opened::Rtcp(_) if !self.plan.outer.rtcp_mux => Component::Rtcp,
            Opened::Rtcp(_) | Opened::Rtp(..) => Component::Rtp,
            Opened::Opaque(component, _) => component,
        };
        if !opened.is_rtcp() && !self.plan.direction.is_outward() {
            return Err(DropReason::Direction);
        }
        // edge-e would drop it; but once protected it would count, and the client could not follow the rollover counter
        // of packets that it never saw.
        if !self.is_latched(component) {
            return Err(DropReason::NotLatched);
        }
        if let Opened::Rtcp(len) = opened {
            let packet = buffer.get(..len).unwrap_or_default();
            pass_reports(packet, &mut self.inner_leg, &mut self.outer_leg, now);
        }
        let len = match &self.plan.kind {
            StreamKind::Opaque => opened.len(),
            StreamKind::Rtp { .. } => opened.seal(self.send.as_mut(), buffer)?,
        };
        if !opened.is_rtcp() {
            self.outer_leg.handle_sent(len);
        }
        Ok(ToOuter::Forward { component, len })
    }

    /// Inner peers may send from another port than they receive on, but not from another machine.
    fn is_inner_peer(&self, source: IpAddr) -> bool {
        let leg = &self.plan.inner;
        let mut peers = [leg.remote, leg.remote_rtcp].into_iter().flatten();
        peers.any(|peer| peer.ip().to_canonical() == source.to_canonical())
    }
}

/// A packet in plain text, at the front of its buffer.
#[derive(Clone, Copy, Debug)]
enum Opened {
    Opaque(Component, usize),
    Rtcp(usize),
    Rtp(RtpHeader, usize),
}

impl Opened {
    const fn len(&self) -> usize {
        match self {
            Self::Opaque(_, len) | Self::Rtcp(len) | Self::Rtp(_, len) => *len,
        }
    }

    const fn is_rtcp(&self) -> bool {
        matches!(self, Self::Rtcp(_))
    }

    /// Protects it, and returns its new length.
    fn seal(&self, sender: Option<&mut Sender>, buffer: &mut [u8]) -> Result<usize, DropReason> {
        let sender = sender.ok_or(DropReason::NoKey)?;
        match self {
            Self::Opaque(_, len) => Ok(*len),
            Self::Rtcp(len) => Ok(sender.seal_rtcp(buffer, *len)?),
            Self::Rtp(header, len) => Ok(sender.seal_rtp(buffer, *len, header)?),
        }
    }
}

impl Inner {
    fn empty() -> Self {
        Self {
            receive: Receiver::default(),
            send: None,
        }
    }
}

/// The sender for `keys`: the same one if it has these keys.
fn renewed(
    sender: &mut Option<Sender>,
    keys: Option<&super::plan::SrtpKeys>,
) -> Result<Option<Sender>, KeyRefused> {
    match keys {
        None => Ok(None),
        Some(keys) => match sender.take().filter(|sender| sender.keys() == keys) {
            Some(sender) => Ok(Some(sender)),
            None => Sender::new(keys).map(Some),
        },
    }
}

/// What is to be said of a packet that is neither RTP nor RTCP, or stands on the wrong port.
const fn out_of_place(kind: PacketKind) -> DropReason {
    match kind {
        PacketKind::Unknown => DropReason::Malformed,
        PacketKind::Dtls
        | PacketKind::Rtcp
        | PacketKind::Rtp
        | PacketKind::Stun
        | PacketKind::TurnChannel => DropReason::Unexpected,
    }
}

fn measure(leg: &mut Leg, header: &RtpHeader, len: usize, rates: &ClockRates, now: Instant) {
    leg.handle_rtp(header, len, rates, now);
}

/// Reports that pass from the peer of `from` to that of `to` tell how both hear.
fn pass_reports(packet: &[u8], from: &mut Leg, to: &mut Leg, now: Instant) {
    rtcp::read(packet, |report| match report {
        Report::Reception(reception) => from.handle_reception(&reception, now),
        Report::Sent { ntp_middle, .. } => to.handle_report_sent(ntp_middle, now),
    });
}

impl From<SrtpError> for DropReason {
    fn from(error: SrtpError) -> Self {
        match error {
            SrtpError::Authentication => Self::Authentication,
            SrtpError::Exhausted => Self::Exhausted,
            SrtpError::Malformed => Self::Malformed,
            SrtpError::NoKey => Self::NoKey,
            SrtpError::Replayed => Self::Replayed,
            SrtpError::Sources => Self::Sources,
            SrtpError::TooLong => Self::TooLong,
            SrtpError::Unencrypted => Self::Unencrypted,
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test itself"
)]
mod tests;
