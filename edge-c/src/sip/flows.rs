//! The clients' connections, as far as edge-c has them: what waits for each, who registered over it, how many calls it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::id::TrackingId;
use common::limits;
use common::link::flow::{FlowClose, Frame};
use common::sip::identity::Aor;
use common::sip::proxy::FlowId;

use super::metrics::SipMetrics;
use super::shell::octets;
use crate::sessions::random::{Random as _, SystemRandom};
use crate::upstream::sip::outbox::{Outbox, Room};

/// All of them.
#[derive(Debug)]
pub struct Flows {
    open: BTreeMap<FlowId, Flow>,
    metrics: SipMetrics,
}

/// One client connection.
#[derive(Debug)]
pub struct Flow {
    outbox: Arc<Outbox<()>>,
    tracking: TrackingId,
    aors: BTreeSet<Aor>,
    dialogs: usize,
    is_closing: bool,
}

/// The flow is gone, or its client does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

impl Flow {
    /// Whom it registered.
    pub fn aors(&self) -> impl Iterator<Item = &Aor> {
        self.aors.iter()
    }

    /// Whether it has calls.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.dialogs > 0
    }
}

impl Flows {
    pub(super) const fn new(metrics: SipMetrics) -> Self {
        Self {
            open: BTreeMap::new(),
            metrics,
        }
    }

    pub(super) fn open(&mut self, tracking: TrackingId) -> Option<(FlowId, Arc<Outbox<()>>)> {
        if self.open.len() >= limits::SIP_FLOWS_MAX {
            return None;
        }
        let flow = self.draw()?;
        let outbox = Arc::new(Outbox::new(ROOM));
        let one = Flow {
            outbox: Arc::clone(&outbox),
            tracking,
            aors: BTreeSet::new(),
            dialogs: 0,
            is_closing: false,
        };
        self.open.insert(flow, one);
        self.metrics.flows.inc();
        Some((flow, outbox))
    }

    /// Sixty-four random bits: they stand in flow tokens, and none comes twice.
    fn draw(&self) -> Option<FlowId> {
        let mut octets = [0; 8];
        SystemRandom.fill(&mut octets).ok()?;
        let flow = FlowId(u64::from_ne_bytes(octets));
        (!self.open.contains_key(&flow)).then_some(flow)
    }

    /// What the connection is called in logs.
    pub(super) fn tracking(&self, flow: FlowId) -> Option<TrackingId> {
        self.open.get(&flow).map(|one| one.tracking)
    }

    pub(super) fn remove(&mut self, flow: FlowId) {
        if let Some(gone) = self.open.remove(&flow) {
            self.metrics.flows.dec();
            self.metrics.registrations.dec_by(signed(gone.aors.len()));
            self.metrics.dialogs.dec_by(signed(gone.dialogs));
        }
    }

    /// Puts a frame on its way. A client that doesn't read is given up.
    pub(super) fn send(&mut self, flow: FlowId, frame: &Frame) -> Result<(), Unreachable> {
        let one = self.open.get_mut(&flow).filter(|one| !one.is_closing);
        let (Some(one), Some(octets)) = (one, octets(frame)) else {
            return Err(Unreachable);
        };
        if one.outbox.push(octets, ()).is_err() {
            one.is_closing = true;
            // What waits can't be written before the close, so there is no close: the stream is reset.
            drop(one.outbox.abandon());
            self.metrics.flows_closed.of(FlowClose::Slow.into()).inc();
            tracing::info!(
                side = "downstream",
                tracking_id = %one.tracking,
                reason = "the client does not read",
                remedy = "look at the client or its network",
                "SIP connection closed"
            );
            return Err(Unreachable);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, flow: FlowId, reason: FlowClose) {
        if let Some(one) = self.open.get_mut(&flow) {
            one.close(reason);
            self.metrics.flows_closed.of(reason.into()).inc();
        }
    }

    pub(super) fn close_chosen(
        &mut self,
        reason: FlowClose,
        max: usize,
        mut is_chosen: impl FnMut(&Flow) -> bool,
    ) -> usize {
        let open = self.open.values_mut().filter(|flow| !flow.is_closing);
        let mut closed = 0;
        for flow in open.filter(|flow| is_chosen(flow)).take(max) {
            flow.close(reason);
            self.metrics.flows_closed.of(reason.into()).inc();
            closed += 1;
        }
        closed
    }

    pub(super) fn bound(&mut self, flow: FlowId, aor: Aor) {
        if let Some(one) = self.open.get_mut(&flow)
            && one.aors.insert(aor)
        {
            self.metrics.registrations.inc();
        }
    }

    pub(super) fn unbound(&mut self, flow: FlowId, aor: &Aor) {
        if let Some(one) = self.open.get_mut(&flow)
            && one.aors.remove(aor)
        {
            self.metrics.registrations.dec();
        }
    }

    pub(super) fn dialog_started(&mut self, flow: FlowId) {
        if let Some(one) = self.open.get_mut(&flow) {
            one.dialogs = one.dialogs.saturating_add(1);
            self.metrics.dialogs.inc();
        }
    }

    pub(super) fn dialog_ended(&mut self, flow: FlowId) {
        if let Some(one) = self.open.get_mut(&flow)
            && one.dialogs > 0
        {
            one.dialogs -= 1;
            self.metrics.dialogs.dec();
        }
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn bindings(&self) -> usize {
        self.open.values().map(|flow| flow.aors.len()).sum()
    }

    pub(super) fn dialogs(&self) -> usize {
        self.open.values().map(|flow| flow.dialogs).sum()
    }
}

impl Flow {
    fn close(&mut self, reason: FlowClose) {
        self.is_closing = true;
        let close = octets(&Frame::Close(reason));
        if close.is_none_or(|close| self.outbox.push(close, ()).is_err()) {
            tracing::trace!("no room for the close: the stream is reset instead");
        }
        self.outbox.close();
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const ROOM: Room = Room {
    messages: limits::SIP_FLOW_QUEUE_MESSAGES,
    bytes: limits::SIP_FLOW_QUEUE_BYTES,
};
