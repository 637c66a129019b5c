//! Where calls become plans: offer and answer of every call leg, the ports they use, and what is said about them to the
//! engine and to each edge-e.
//!
//! One lock, held for a message or a pair of ports. Bodies come from the SIP thread; ports, reports and the end of streams
//! from the media task. What a message changes in media is passed on by the next tick, with what other messages have
//! changed meanwhile: nobody hears a difference, and a call does not wake three threads for each message. Not here: packets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::id::{AllocId, EdgeIndex, TrackingId};
use common::limits;
use common::link::control::message::{MediaCommand, MediaReport};
use common::media::anchor::{
    Anchor, AnchorSettings, Exchange, LegId, LegTerms, Refusal, Side, Verdict,
};
use common::media::class::MediaClass;
use common::media::plan::{OuterLeg, PlanChange, StopReason, StreamId};
use common::media::session::Summary;
use common::media::supply::{Family, Released, Wanted};
use common::redact::Redacted;
use common::runtime::clock;
use common::sip::proxy::CallKey;
use tokio::sync::{Notify, mpsc};

use super::control::Outbox;
use super::engine::{EngineHandle, Happened, Order};
use super::metrics::MediaMetrics;
use super::ports::Ports;
use super::quality::{self, StreamLabel};
use super::{Config, random};
use kept::Kept;

mod kept;

/// A desk that several threads use. Clones are the same one.
#[derive(Clone)]
pub(super) struct SharedDesk {
    desk: Arc<Mutex<Desk>>,
    /// Ports have been taken or come back, or edge-e has said something.
    changed: Arc<Notify>,
    /// Ports are to be made.
    wanting: Arc<Notify>,
}

impl std::fmt::Debug for SharedDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedDesk").finish_non_exhaustive()
    }
}

impl SharedDesk {
    /// A desk; calls that are dead are told to `dead`.
    pub(super) fn new(config: &Config, dead: mpsc::Sender<CallKey>, metrics: MediaMetrics) -> Self {
        Self {
            desk: Arc::new(Mutex::new(Desk::new(config, dead, metrics))),
            changed: Arc::default(),
            wanting: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a tick has something to do.
    pub(super) fn note_change(&self) {
        self.changed.notify_one();
    }

    /// As [`Self::note_change`], if a tick has anything to do.
    pub(super) fn note_due(&self) {
        let mut desk = self.lock();
        let (is_due, is_wanting) = (desk.is_due(), desk.anchor.supply().is_wanting());
        drop(desk);
        if is_due {
            self.changed.notify_one();
        }
        if is_wanting {
            self.wanting.notify_one();
        }
    }

    /// Passes on what has changed and makes ports: one pair at a time, so that SIP never waits for more. Whether a first
    /// call could get its ports now.
    pub(super) fn tick(&self, now: Instant) -> bool {
        self.lock().tick(now);
        while self.lock().make_next(now) {}
        let mut desk = self.lock();
        desk.wake_engine();
        desk.is_stocked()
    }

    /// Until something has changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Lets other changes come, less long if ports are to be made: a burst of calls needs them.
    pub(super) async fn pause(&self) {
        let ports = async {
            self.wanting.notified().await;
            tokio::time::sleep(limits::MEDIA_DESK_PAUSE_PORTS).await;
        };
        tokio::select! {
            () = tokio::time::sleep(limits::MEDIA_DESK_PAUSE) => {}
            () = ports => {}
        }
    }

    /// An edge-e says something about its ports.
    pub(super) fn report(&self, edge: EdgeIndex, report: MediaReport) {
        self.lock().report(edge, report, clock::now());
        self.changed.notify_one();
    }
}

/// Every call leg and its ports.
#[derive(Debug)]
pub(super) struct Desk {
    anchor: Anchor,
    calls: BTreeMap<CallKey, Call>,
    by_leg: BTreeMap<LegId, CallKey>,
    by_stream: BTreeMap<StreamId, StreamLabel>,
    /// Public ports that were asked for and are not there yet.
    asked: BTreeMap<AllocId, Asked>,
    /// What was refused, and when to ask again.
    refused: VecDeque<(Instant, Wanted)>,
    /// Public ports that edge-e keeps for this edge-c.
    living: BTreeMap<EdgeIndex, BTreeMap<AllocId, Kept>>,
    ports: Ports,
    /// Addresses of inner ports.
    own: Vec<IpAddr>,
    engine: Option<EngineHandle>,
    /// Orders that the engine was not woken for.
    unheard: usize,
    outboxes: Vec<Arc<Outbox>>,
    /// What the next tick tells edge-e.
    to_say: Vec<(EdgeIndex, MediaCommand)>,
    /// Who ends calls whose clients are silent.
    dead: mpsc::Sender<CallKey>,
    metrics: MediaMetrics,
}

#[derive(Debug)]
struct Call {
    leg: LegId,
    call_id: Redacted<Box<[u8]>>,
    /// Of the connection that the call began on.
    tracking: TrackingId,
    flow_address: IpAddr,
    streams: BTreeSet<StreamId>,
    silent: BTreeSet<StreamId>,
    is_told_dead: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    edge: EdgeIndex,
    class: MediaClass,
    since: Instant,
}

impl Desk {
    fn new(config: &Config, dead: mpsc::Sender<CallKey>, metrics: MediaMetrics) -> Self {
        let settings = AnchorSettings {
            networks: config.networks.clone(),
            own: config.listen.clone(),
        };
        let mut anchor = Anchor::new(settings, Box::new(random::fill));
        let ports = Ports::new(&config.listen, &config.ports);
        for family in ports.families() {
            anchor.supply().add_family(family);
        }
        Self {
            anchor,
            calls: BTreeMap::new(),
            by_leg: BTreeMap::new(),
            by_stream: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused: VecDeque::new(),
            living: BTreeMap::new(),
            ports,
            own: config.listen.clone(),
            engine: None,
            unheard: 0,
            outboxes: Vec::new(),
            to_say: Vec::new(),
            dead,
            metrics,
        }
    }

    /// From now on there is an engine, and a way to each edge-e.
    pub(super) fn attach(&mut self, engine: EngineHandle, outboxes: Vec<Arc<Outbox>>) {
        self.engine = Some(engine);
        self.outboxes = outboxes;
    }

    /// Replaces where inner legs may go.
    pub(super) fn set_networks(&mut self, networks: Vec<ipnet::IpNet>) {
        let own = self.own.clone();
        self.anchor.set_settings(AnchorSettings { networks, own });
    }

    /// The leg of a call, opened if it is new.
    ///
    /// # Errors
    /// [`Refusal`] if there are too many calls.
    pub(super) fn leg(
        &mut self,
        call: CallKey,
        call_id: &[u8],
        tracking: TrackingId,
        terms: LegTerms,
    ) -> Result<LegId, Refusal> {
        if let Some(known) = self.calls.get_mut(&call) {
            if known.flow_address != terms.flow_address {
                known.flow_address = terms.flow_address;
                let leg = known.leg;
                self.anchor.handle_flow_moved(leg, terms.flow_address);
                self.follow(None);
                return Ok(leg);
            }
            return Ok(known.leg);
        }
        let leg = self.anchor.open(terms)?;
        self.by_leg.insert(leg, call);
        self.calls.insert(
            call,
            Call {
                leg,
                call_id: Redacted::new(call_id.into()),
                tracking,
                flow_address: terms.flow_address,
                streams: BTreeSet::new(),
                silent: BTreeSet::new(),
                is_told_dead: false,
            },
        );
        Ok(leg)
    }

    /// Whether a tick has something to do.
    pub(super) fn is_due(&mut self) -> bool {
        let supply = self.anchor.supply();
        let is_about_ports = supply.is_wanting() || supply.has_released();
        is_about_ports || self.unheard > 0 || !self.to_say.is_empty()
    }

    /// Whether a call could get its ports now.
    pub(super) fn is_stocked(&mut self) -> bool {
        let edges: Vec<EdgeIndex> = self.living.keys().copied().collect();
        let families: Vec<Family> = self.ports.families().collect();
        let supply = self.anchor.supply();
        let has_outer = edges
            .iter()
            .any(|edge| supply.spare_outer(*edge, MediaClass::Audio) > 0);
        has_outer
            && families
                .iter()
                .any(|family| supply.spare_inner(*family) > 0)
    }

    /// Whether this call has a leg.
    pub(super) fn knows(&self, call: CallKey) -> bool {
        self.calls.contains_key(&call)
    }

    /// Handles one message of a leg.
    pub(super) fn handle_body(&mut self, leg: LegId, exchange: &Exchange<'_>) -> Verdict {
        let now = clock::now();
        let verdict = self.anchor.handle_body(leg, exchange, now);
        if let Verdict::Refuse(reason) = verdict {
            self.note_refused(leg, exchange.from, reason, None);
        }
        while let Some(line) = self.anchor.poll_refused() {
            self.note_refused(line.leg, line.from, line.reason, Some(line.index));
        }
        self.follow(Some(leg));
        verdict
    }

    /// A description went no further, or went on without the line of that place.
    fn note_refused(&self, leg: LegId, from: Side, reason: Refusal, line: Option<usize>) {
        self.metrics.refused(reason);
        let side = match (reason, from) {
            (Refusal::NoPorts, _) => "local",
            (_, Side::Outer) => "downstream",
            (_, Side::Inner) => "upstream",
        };
        let call = self.by_leg.get(&leg).and_then(|key| self.calls.get(key));
        let tracking_id = call.map(|call| call.tracking);
        let call = call.map(|call| &call.call_id);
        let remedy = reason.remedy();
        match line {
            Some(line) => {
                tracing::info!(
                    side, ?call, tracking_id = tracking_id.map(display), line, %reason, remedy, "a media line is not relayed"
                );
            }
            None => tracing::info!(
                side, ?call, tracking_id = tracking_id.map(display), %reason, remedy, "media of a call refused"
            ),
        }
    }

    /// A call is over.
    pub(super) fn end(&mut self, call: CallKey, reason: StopReason) {
        if let Some(known) = self.calls.get(&call) {
            self.anchor.close(known.leg, reason);
            self.forget(call);
            self.follow(None);
        }
    }

    /// Tells edge-e what has changed, and closes ports that came back. Called now and then, and after changes.
    fn tick(&mut self, now: Instant) {
        let overdue = |asked: &Asked| {
            now.saturating_duration_since(asked.since) >= limits::MEDIA_ALLOCATION_TIMEOUT
        };
        let lost = self.asked.iter().filter(|(_, asked)| overdue(asked));
        let lost: Vec<(AllocId, Asked)> = lost.map(|(id, asked)| (*id, *asked)).collect();
        for (alloc, asked) in lost {
            self.asked.remove(&alloc);
            self.anchor
                .supply()
                .handle_refused(Wanted::Outer(asked.edge, asked.class));
        }
        while let Some((_, wanted)) = self.refused.pop_front_if(|(at, _)| *at <= now) {
            self.anchor.supply().handle_refused(wanted);
        }
        self.follow(None);
        for (edge, command) in std::mem::take(&mut self.to_say) {
            self.say(edge, command);
        }
        self.release(now);
        self.metrics.set_ports(self.anchor.supply().taken());
    }

    /// Makes one more port if one is wanted. Each is told once until it comes or is refused, so that has an end.
    fn make_next(&mut self, now: Instant) -> bool {
        let wanted = self.anchor.supply().poll_wanted();
        if let Some(wanted) = wanted {
            self.make(wanted, now);
            // One that came too late goes back at once.
            self.release(now);
        }
        wanted.is_some()
    }

    /// A stream has ended or fallen silent.
    pub(super) fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Ended(stream, reason, summary) => self.note_ended(stream, reason, &summary),
            Happened::Heard(stream) => self.note_heard(stream),
            Happened::Silent(stream) => self.note_silent(stream),
        }
    }

    fn note_ended(&mut self, stream: StreamId, reason: StopReason, summary: &Summary) {
        if let Some(label) = self.by_stream.remove(&stream) {
            quality::note(&label, stream, reason, summary);
            self.metrics.ended(label.class, reason, summary);
        }
    }

    fn note_heard(&mut self, stream: StreamId) {
        let call = self.by_stream.get(&stream).map(|label| label.call);
        if let Some(known) = call.and_then(|call| self.calls.get_mut(&call)) {
            known.silent.remove(&stream);
            known.is_told_dead = false;
        }
    }

    /// A call ends when all its streams are silent: a camera that is off is no reason.
    fn note_silent(&mut self, stream: StreamId) {
        let Some(call) = self.by_stream.get(&stream).map(|label| label.call) else {
            return;
        };
        let Some(known) = self.calls.get_mut(&call) else {
            return;
        };
        known.silent.insert(stream);
        if known.silent.is_superset(&known.streams) {
            // SIP hears of it again with the next sweep if it can't take more now.
            let is_told = self.dead.try_send(call).is_ok();
            if is_told && !std::mem::replace(&mut known.is_told_dead, true) {
                tracing::info!(side = "downstream", call = %known.call_id, tracking_id = %known.tracking, reason = "its client has been silent for too long",
                    remedy = "none if it lost its network; else look at the firewall in front of edge-e, and at [media] silence_timeout",
                    "a call is ended");
            }
        }
    }

    fn forget(&mut self, call: CallKey) {
        if let Some(call) = self.calls.remove(&call) {
            self.by_leg.remove(&call.leg);
        }
    }

    /// Passes on what the engine shall do; new streams belong to `leg`.
    fn follow(&mut self, leg: Option<LegId>) {
        while let Some(change) = self.anchor.poll_change() {
            match &change {
                PlanChange::Start(stream, plan) => {
                    let call = self.note_started(leg, *stream, plan.class, plan.outer.edge);
                    self.brief(call, &plan.outer, plan.class);
                }
                PlanChange::Change(_, plan) => self.brief(None, &plan.outer, plan.class),
                PlanChange::Stop(stream, _) => {
                    let call = self.by_stream.get(stream).map(|label| label.call);
                    if let Some(call) = call.and_then(|call| self.calls.get_mut(&call)) {
                        call.silent.remove(stream);
                        call.streams.remove(stream);
                    }
                }
            }
            self.order(Order::Plan(change));
        }
    }

    fn note_started(
        &mut self,
        leg: Option<LegId>,
        stream: StreamId,
        class: MediaClass,
        edge: EdgeIndex,
    ) -> Option<CallKey> {
        let key = leg.and_then(|leg| self.by_leg.get(&leg)).copied()?;
        let call = self.calls.get_mut(&key)?;
        call.streams.insert(stream);
        let label = StreamLabel {
            call: key,
            call_id: call.call_id.clone(),
            tracking: call.tracking,
            class,
            edge,
        };
        self.by_stream.insert(stream, label);
        Some(key)
    }

    /// Tells edge-e whose ports these are now: the address soon, as it only keeps a place for it; what its checks of
    /// connectivity need at once, as these come with the first packet and are long in coming again.
    fn brief(&mut self, call: Option<CallKey>, outer: &OuterLeg, class: MediaClass) {
        let alloc = outer.alloc;
        let living = self.living.get_mut(&outer.edge);
        if let Some(kept) = living.and_then(|living| living.get_mut(&alloc)) {
            kept.note(call, outer, class);
        }
        if let Some(address) = outer.flow_address {
            let command = MediaCommand::FlowAddress {
                alloc,
                address,
                class,
            };
            self.to_say.push((outer.edge, command));
        }
        if let Some(ice) = &outer.ice {
            let command = MediaCommand::Ice {
                alloc,
                ufrag: ice.ufrag.clone(),
                password: ice.password.clone(),
            };
            self.say(outer.edge, command);
        }
    }

    /// Closes the ports that came back.
    fn release(&mut self, now: Instant) {
        while let Some(released) = self.anchor.supply().poll_released() {
            match released {
                Released::Outer(edge, alloc) => {
                    if let Some(living) = self.living.get_mut(&edge) {
                        living.remove(&alloc);
                    }
                    self.say(edge, MediaCommand::Release { alloc });
                }
                Released::Inner(port) => {
                    self.order(Order::Close(port));
                    self.ports.close(port, now);
                }
            }
        }
    }

    fn make(&mut self, wanted: Wanted, now: Instant) {
        match wanted {
            Wanted::Outer(edge, class) => {
                let alloc = self.new_alloc();
                let asked = Asked {
                    edge,
                    class,
                    since: now,
                };
                self.asked.insert(alloc, asked);
                let command = MediaCommand::Allocate {
                    alloc,
                    class,
                    flow_address: None,
                    port: None,
                };
                self.say(edge, command);
            }
            Wanted::Inner(family) => match self.ports.open(family, now) {
                Ok((port, sockets)) => {
                    // The engine hears of the sockets before any plan can name them.
                    self.order(Order::Open(sockets));
                    self.anchor.supply().offer_inner(port);
                }
                Err(error) => {
                    tracing::warn!(side = "local", reason = %error, remedy = "widen [media] ports, or raise the limit of open files", "no inner media ports");
                    let again = now.checked_add(limits::MEDIA_PORTS_RETRY_AFTER);
                    self.refused.push_back((again.unwrap_or(now), wanted));
                }
            },
        }
    }

    fn new_alloc(&self) -> AllocId {
        let is_known = |alloc: &AllocId| {
            self.asked.contains_key(alloc) || self.living.values().any(|of| of.contains_key(alloc))
        };
        loop {
            let [a, b, c, d, ..] = random::number().to_be_bytes();
            let alloc = AllocId(u32::from_be_bytes([a, b, c, d]));
            if !is_known(&alloc) {
                return alloc;
            }
        }
    }

    fn say(&self, edge: EdgeIndex, command: MediaCommand) {
        if let Some(outbox) = self.outboxes.get(usize::from(edge.0)) {
            outbox.send(command);
        }
    }

    /// The engine follows an order before it looks at the next packet, and need not be woken for it.
    fn order(&mut self, order: Order) {
        let is_taken = self
            .engine
            .as_ref()
            .is_some_and(|engine| engine.order(order));
        self.unheard += 1;
        if self.unheard >= limits::MEDIA_ORDERS_AT_ONCE {
            self.wake_engine();
        }
        if !is_taken {
            tracing::error!(
                side = "local",
                reason = "the media engine takes no orders",
                remedy = "restart edge-c",
                "a stream is not relayed as it should be"
            );
        }
    }

    fn wake_engine(&mut self) {
        if let Some(engine) = self.engine.as_ref().filter(|_| self.unheard > 0) {
            engine.wake();
        }
        self.unheard = 0;
    }
}
