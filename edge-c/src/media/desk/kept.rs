//! The public ports that an edge-e keeps for this edge-c, and what becomes of them when edge-e loses its memory: those of
//! calls are asked for again, so that the calls go on.

use std::net::IpAddr;
use std::time::Instant;

use common::id::{AllocId, EdgeIndex};
use common::limits;
use common::link::control::message::{MediaCommand, MediaReport};
use common::media::class::MediaClass;
use common::media::plan::{IceCredentials, OuterLeg};
use common::media::supply::{OuterPort, Wanted};
use common::sip::proxy::CallKey;
use smallvec::SmallVec;

use super::Desk;

/// One pair of public ports.
#[derive(Debug)]
pub(super) struct Kept {
    class: MediaClass,
    /// The even one.
    rtp: u16,
    /// Of the client's SIP flow, from the call on.
    flow_address: Option<IpAddr>,
    ice: Option<IceCredentials>,
    /// Whose, once media may flow.
    call: Option<CallKey>,
}

impl Kept {
    /// The ports are those of a stream.
    pub(super) fn note(&mut self, call: Option<CallKey>, outer: &OuterLeg, class: MediaClass) {
        self.class = class;
        self.flow_address = outer.flow_address;
        self.ice.clone_from(&outer.ice);
        self.call = call.or(self.call);
    }

    /// What an edge-e without memory has to be told.
    fn commands(&self, alloc: AllocId) -> impl Iterator<Item = MediaCommand> {
        let allocate = MediaCommand::Allocate {
            alloc,
            class: self.class,
            flow_address: self.flow_address,
            port: Some(self.rtp),
        };
        let ice = self.ice.as_ref().map(|ice| MediaCommand::Ice {
            alloc,
            ufrag: ice.ufrag.clone(),
            password: ice.password.clone(),
        });
        std::iter::once(allocate).chain(ice)
    }
}

impl Desk {
    /// edge-e has lost its memory, or this side has: spare ports are asked for anew, those of calls again, and whatever no
    /// call uses goes.
    pub(in crate::media) fn reset(&mut self, edge: EdgeIndex) -> MediaCommand {
        self.asked.retain(|_, asked| asked.edge != edge);
        self.anchor.supply().remove_edge(edge);
        self.release(common::runtime::clock::now());
        self.anchor.supply().add_edge(edge);
        let living = self.living.get(&edge).into_iter().flatten();
        let again: Vec<MediaCommand> = living
            .flat_map(|(alloc, kept)| kept.commands(*alloc))
            .collect();
        for command in again {
            self.say(edge, command);
        }
        self.keep(edge)
    }

    /// What lives at this edge-e.
    pub(in crate::media) fn keep(&self, edge: EdgeIndex) -> MediaCommand {
        let living = self.living.get(&edge).into_iter().flatten();
        let asked = self.asked.iter().filter(|(_, asked)| asked.edge == edge);
        MediaCommand::Keep {
            allocs: living
                .map(|(alloc, _)| alloc)
                .chain(asked.map(|(alloc, _)| alloc))
                .copied()
                .collect(),
        }
    }

    pub(super) fn report(&mut self, edge: EdgeIndex, report: MediaReport, now: Instant) {
        match report {
            MediaReport::Allocated {
                alloc,
                rtp,
                rtcp,
                addresses,
            } => {
                let port = OuterPort {
                    alloc,
                    addresses: SmallVec::from_vec(addresses),
                    rtp,
                    rtcp,
                };
                self.note_allocated(edge, port, now);
            }
            MediaReport::Refused { alloc, reason } => {
                if self.is_living(edge, alloc) {
                    self.note_lost(edge, alloc);
                } else if let Some(asked) = self.asked.remove(&alloc) {
                    tracing::warn!(side = "link", %edge, reason = ?reason, remedy = "look at [media] of edge-e", "no public media ports");
                    let again = now.checked_add(limits::MEDIA_PORTS_RETRY_AFTER);
                    let wanted = Wanted::Outer(asked.edge, asked.class);
                    self.refused.push_back((again.unwrap_or(now), wanted));
                }
            }
            // The link's own business.
            MediaReport::Nonce { .. } => {}
        }
    }

    fn is_living(&self, edge: EdgeIndex, alloc: AllocId) -> bool {
        let living = self.living.get(&edge);
        living.is_some_and(|living| living.contains_key(&alloc))
    }

    fn note_allocated(&mut self, edge: EdgeIndex, port: OuterPort, now: Instant) {
        let alloc = port.alloc;
        let known = self.living.get(&edge).and_then(|of| of.get(&alloc));
        if let Some(known) = known {
            if known.rtp != port.rtp {
                self.note_lost(edge, alloc);
            }
            return;
        }
        let asked = self.asked.remove(&alloc).filter(|asked| asked.edge == edge);
        let Some(asked) = asked else {
            self.say(edge, MediaCommand::Release { alloc });
            return;
        };
        let kept = Kept {
            class: asked.class,
            rtp: port.rtp,
            flow_address: None,
            ice: None,
            call: None,
        };
        self.living.entry(edge).or_default().insert(alloc, kept);
        self.anchor.supply().offer_outer(edge, asked.class, port);
        self.release(now);
    }

    /// The ports of a call are gone for good: it can't go on.
    fn note_lost(&self, edge: EdgeIndex, alloc: AllocId) {
        let kept = self.living.get(&edge).and_then(|of| of.get(&alloc));
        let Some(call) = kept.and_then(|kept| kept.call) else {
            return; // it is being set up; its silence will end it
        };
        let call_id = self.calls.get(&call).map(|call| &call.call_id);
        tracing::warn!(side = "link", %edge, call = ?call_id, reason = "edge-e can't give its media ports again",
            remedy = "none: its users call again", "a call is ended");
        // If too many are told at once, silence will end it.
        let _told = self.dead.try_send(call).is_ok();
    }
}
