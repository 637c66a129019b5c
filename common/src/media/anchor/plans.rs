//! What the engine shall do, made of what is agreed: compared with what it was told last, stream by stream.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::leg::{Agreed, Leg, Stream};
use super::{LegTerms, Side, Tools};
use crate::media::plan::{
    ClockRates, Direction, InnerLeg, OuterLeg, PlanChange, Protection, RECEIVE_KEYS, ReceiveKeys,
    SrtpKeys, StopReason, StreamKind, StreamPlan,
};

impl Leg {
    /// Stops the streams that nobody needs, gives their ports back, and tells what has changed about the others.
    pub(super) fn settle(
        &mut self,
        tools: &mut Tools<'_>,
        changes: &mut VecDeque<PlanChange>,
        reason: StopReason,
    ) {
        let (kept, gone): (Vec<Stream>, Vec<Stream>) = std::mem::take(&mut self.streams)
            .into_iter()
            .partition(|stream| self.needs(stream.id));
        self.streams = kept;
        for stream in gone {
            stop(&stream, tools, changes, reason);
        }
        for at in 0..self.streams.len() {
            let Some(plan) = self.streams.get(at).and_then(|stream| self.plan(stream)) else {
                continue;
            };
            let Some(stream) = self.streams.get_mut(at) else {
                continue;
            };
            if stream.told.as_deref() == Some(&plan) {
                continue;
            }
            let plan = Box::new(plan);
            changes.push_back(match stream.told {
                None => PlanChange::Start(stream.id, plan.clone()),
                Some(_) => PlanChange::Change(stream.id, plan.clone()),
            });
            stream.told = Some(plan);
        }
    }

    /// Stops every stream.
    pub(super) fn end(
        self,
        tools: &mut Tools<'_>,
        changes: &mut VecDeque<PlanChange>,
        reason: StopReason,
    ) {
        for stream in &self.streams {
            stop(stream, tools, changes, reason);
        }
    }

    /// The plan of a stream, or `None` while no answer has come.
    fn plan(&self, stream: &Stream) -> Option<StreamPlan> {
        let dialogs = self.dialogs.iter();
        let agreed: SmallVec<[&Agreed; 4]> = dialogs
            .filter_map(|dialog| dialog.agreed.get(stream.index)?.as_ref())
            .filter(|agreed| agreed.stream == stream.id)
            .collect();
        let latest = *agreed.last()?;
        let kind = if stream.is_rtp {
            StreamKind::Rtp {
                clock_rates: clock_rates(latest),
            }
        } else {
            StreamKind::Opaque
        };
        let (outer, inner) = (latest.outer.flow, latest.inner.flow);
        Some(StreamPlan {
            outer: outer_leg(stream, latest, &agreed, &self.terms),
            inner: inner_leg(stream, latest, &agreed),
            class: stream.class,
            kind,
            direction: Direction::of(outer.sends && inner.receives, inner.sends && outer.receives),
        })
    }
}

fn stop(
    stream: &Stream,
    tools: &mut Tools<'_>,
    changes: &mut VecDeque<PlanChange>,
    reason: StopReason,
) {
    if stream.told.is_some() {
        changes.push_back(PlanChange::Stop(stream.id, reason));
    }
    tools.supply.release_outer(stream.outer.alloc);
    tools.supply.release_inner(stream.inner.id);
}

fn outer_leg(stream: &Stream, latest: &Agreed, agreed: &[&Agreed], terms: &LegTerms) -> OuterLeg {
    OuterLeg {
        edge: terms.edge,
        alloc: stream.outer.alloc,
        flow_address: Some(terms.flow_address),
        rtcp_mux: latest.outer.has_rtcp_mux,
        receive: receive(agreed, Side::Outer),
        send: send(stream, latest, Side::Outer),
        ice: latest.ice.clone(),
    }
}

fn inner_leg(stream: &Stream, latest: &Agreed, agreed: &[&Agreed]) -> InnerLeg {
    let is_protected = latest.inner.crypto.is_some();
    InnerLeg {
        port: stream.inner.id,
        rtcp_mux: latest.inner.has_rtcp_mux,
        remote: latest.inner.remote,
        remote_rtcp: if latest.inner.has_rtcp_mux {
            latest.inner.remote
        } else {
            latest.inner.remote_rtcp
        },
        protection: is_protected.then(|| Protection {
            receive: receive(agreed, Side::Inner),
            send: send(stream, latest, Side::Inner),
        }),
    }
}

/// The keys that any called party may send with, those of the latest answer last.
fn receive(agreed: &[&Agreed], side: Side) -> ReceiveKeys {
    let mut keys = ReceiveKeys::new();
    for line in agreed {
        let crypto = line.party(side).crypto.as_ref();
        for key in crypto.iter().flat_map(|crypto| &crypto.keys) {
            keys.retain(|known| known != key);
            keys.push(key.clone());
        }
    }
    while keys.len() > RECEIVE_KEYS {
        keys.remove(0);
    }
    keys
}

fn send(stream: &Stream, latest: &Agreed, side: Side) -> Option<SrtpKeys> {
    let suite = latest.party(side).crypto.as_ref()?.suite()?;
    stream.keys.get(&(side, suite)).cloned()
}

fn clock_rates(agreed: &Agreed) -> ClockRates {
    let mut rates = agreed.outer.clock_rates.clone();
    for (payload_type, hertz) in agreed.inner.clock_rates.iter() {
        rates.insert(payload_type, hertz);
    }
    rates
}
