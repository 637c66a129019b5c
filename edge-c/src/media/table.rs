//! The streams of the engine and their inner sockets: which packet belongs to which stream, and the way of one packet.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{AllocId, EdgeIndex};
use common::limits;
use common::link::control::message::MediaCommand;
use common::media::class::{Component, MediaClass};
use common::media::latch::Candidate;
use common::media::latch::LatchDecision;
use common::media::plan::{InnerPortId, PlanChange, StopReason, StreamId, StreamPlan};
use common::media::session::{DropReason, Origin, Session, ToInner, ToOuter};
use common::media::supply::Family;
use common::media::trunk_frame::{HEAD_BYTES, Head};
use common::runtime::udp::{self, poll::Token, watch::Watch};

use super::control::Outbox;
use super::engine::Happened;

/// A pair of inner ports with their sockets.
#[derive(Debug)]
pub(super) struct InnerPorts {
    /// What they are called.
    pub(super) id: InnerPortId,
    /// Of their address.
    pub(super) family: Family,
    /// Even port.
    pub(super) rtp: UdpSocket,
    /// Odd port.
    pub(super) rtcp: UdpSocket,
}

impl InnerPorts {
    const fn socket(&self, component: Component) -> &UdpSocket {
        match component {
            Component::Rtp => &self.rtp,
            Component::Rtcp => &self.rtcp,
        }
    }
}

/// What the engine has counted since it was asked last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Packets that clients sent and the inside got, and their octets.
    pub(super) inward: (u64, u64),
    /// Packets that the inside sent and trunks took, and their octets.
    pub(super) outward: (u64, u64),
    /// Packets that were dropped, by reason.
    pub(super) drops: [u64; DropReason::ALL.len()],
    /// Frames of trunks that belong to no stream, or are none.
    pub(super) strays: u64,
    /// Packets that the system did not take.
    pub(super) unsent: u64,
    /// Sources that were latched.
    pub(super) latches: u64,
    /// Sources that were rejected.
    pub(super) rejects: u64,
    /// Streams now.
    pub(super) streams: usize,
}

/// Takes one frame for the trunk of an edge.
pub(super) type Send<'a> = dyn FnMut(EdgeIndex, MediaClass, &[u8]) + 'a;

#[derive(Debug)]
pub(super) struct Table {
    streams: Vec<Option<Box<Stream>>>,
    vacant: Vec<usize>,
    by_id: BTreeMap<StreamId, usize>,
    by_alloc: HashMap<(EdgeIndex, AllocId), usize>,
    by_port: HashMap<InnerPortId, usize>,
    /// Ports that wait for their stream.
    spare: HashMap<InnerPortId, InnerPorts>,
    outboxes: Vec<Arc<Outbox>>,
    /// One packet, with room for the head in front and for what protection adds behind.
    buffer: Vec<u8>,
    counts: Counts,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    session: Session,
    ports: InnerPorts,
    is_told_silent: bool,
}

/// Room behind a packet for what protection adds, a long identifier of the key included.
const TRAILER_ROOM: usize = 160;

impl Table {
    pub(super) fn new(outboxes: Vec<Arc<Outbox>>) -> Self {
        Self {
            streams: Vec::new(),
            vacant: Vec::new(),
            by_id: BTreeMap::new(),
            by_alloc: HashMap::new(),
            by_port: HashMap::new(),
            spare: HashMap::new(),
            outboxes,
            buffer: vec![0; HEAD_BYTES + limits::MEDIA_PACKET_BYTES_MAX + TRAILER_ROOM],
            counts: Counts::default(),
        }
    }

    /// Listens on new inner ports.
    ///
    /// # Errors
    /// The system's error; the ports are closed then.
    pub(super) fn open(&mut self, ports: InnerPorts, watch: &Watch) -> io::Result<()> {
        watch.add_call(&ports.rtp, token(ports.id, Component::Rtp))?;
        watch.add_call(&ports.rtcp, token(ports.id, Component::Rtcp))?;
        self.spare.insert(ports.id, ports);
        Ok(())
    }

    /// Closes inner ports that have no stream. Those of a stream end with it.
    pub(super) fn close(&mut self, port: InnerPortId) {
        self.spare.remove(&port);
    }

    /// Follows a plan; what to tell about it.
    pub(super) fn follow(&mut self, change: PlanChange, now: Instant) -> Option<Happened> {
        match change {
            PlanChange::Start(id, plan) => {
                self.start(id, *plan, now);
                None
            }
            PlanChange::Change(id, plan) => {
                let at = self.by_id.get(&id).copied()?;
                let stream = self.streams.get_mut(at)?.as_mut()?;
                if stream.session.plan().class != plan.class {
                    mark(&stream.ports, plan.class);
                }
                if let Err(error) = stream.session.change(*plan) {
                    tracing::warn!(side = "local", reason = %error, remedy = "none: the earlier keys go on", "new keys of a call are not usable");
                }
                None
            }
            PlanChange::Stop(id, reason) => self.stop(id, reason),
        }
    }

    fn start(&mut self, id: StreamId, plan: StreamPlan, now: Instant) {
        let Some(ports) = self.spare.remove(&plan.inner.port) else {
            tracing::warn!(
                side = "local",
                reason = "its inner port is not there",
                remedy = "none: a fault of edge-c",
                "a stream can't start"
            );
            return;
        };
        mark(&ports, plan.class);
        let port = ports.id;
        let alloc = (plan.outer.edge, plan.outer.alloc);
        let session = match Session::new(plan, now) {
            Ok(session) => session,
            Err(error) => {
                tracing::warn!(side = "local", reason = %error, remedy = "none: the call has no media", "a stream can't start");
                return;
            }
        };
        let stream = Some(Box::new(Stream {
            id,
            session,
            ports,
            is_told_silent: false,
        }));
        let at = self.vacant.pop().unwrap_or(self.streams.len());
        match self.streams.get_mut(at) {
            Some(place) => *place = stream,
            None => self.streams.push(stream),
        }
        self.by_id.insert(id, at);
        self.by_alloc.insert(alloc, at);
        self.by_port.insert(port, at);
    }

    fn stop(&mut self, id: StreamId, reason: StopReason) -> Option<Happened> {
        let at = self.by_id.remove(&id)?;
        let stream = self.streams.get_mut(at)?.take()?;
        self.vacant.push(at);
        let outer = &stream.session.plan().outer;
        self.by_alloc.remove(&(outer.edge, outer.alloc));
        self.by_port.remove(&stream.ports.id);
        let summary = Box::new(stream.session.summary());
        Some(Happened::Ended(id, reason, summary))
    }

    /// Streams whose client has fallen silent, each every time, and those whose client is heard again, once.
    pub(super) fn silent(&mut self, silence_max: Duration, now: Instant) -> Vec<Happened> {
        let streams = self.streams.iter_mut().flatten();
        let news = streams.filter_map(|stream| {
            let is_silent = stream.session.is_over(silence_max, now);
            let was_silent = std::mem::replace(&mut stream.is_told_silent, is_silent);
            match (was_silent, is_silent) {
                (_, true) => Some(Happened::Silent(stream.id)),
                (true, false) => Some(Happened::Heard(stream.id)),
                (false, false) => None,
            }
        });
        news.collect()
    }

    /// What was counted since the last time.
    pub(super) fn take_counts(&mut self) -> Counts {
        let counts = std::mem::take(&mut self.counts);
        Counts {
            streams: self.by_id.len(),
            ..counts
        }
    }

    /// A frame of the trunk to `edge`: a packet of a client.
    pub(super) fn handle_trunk(&mut self, edge: EdgeIndex, frame: &[u8], now: Instant) {
        let Ok((head, packet)) = Head::decode(frame) else {
            self.counts.strays += 1;
            return;
        };
        let at = self.by_alloc.get(&(edge, head.alloc)).copied();
        let stream = at.and_then(|at| self.streams.get_mut(at)?.as_mut());
        let room = self.buffer.get_mut(..packet.len());
        let (Some(stream), Some(room)) = (stream, room) else {
            self.counts.strays += 1;
            return;
        };
        // Into a buffer with room behind: what the inside gets may be longer.
        room.copy_from_slice(packet);
        let origin = Origin {
            component: head.component,
            source: Candidate {
                slot: head.slot,
                generation: head.generation,
            },
        };
        let buffer = &mut self.buffer;
        let verdict = stream
            .session
            .handle_outer(origin, buffer, packet.len(), now);
        match verdict.packet {
            ToInner::Drop(reason) => note_drop(&mut self.counts, reason),
            ToInner::Forward { component, to, len } => {
                let packet = self.buffer.get(..len).unwrap_or_default();
                match stream.ports.socket(component).send_to(packet, to) {
                    Ok(_) => add(&mut self.counts.inward, len),
                    // Full buffers, or an answer by ICMP to an earlier packet.
                    Err(_) => self.counts.unsent += 1,
                }
            }
        }
        if let Some(decision) = verdict.source {
            self.tell(edge, head.alloc, head.component, decision);
        }
    }

    fn tell(
        &mut self,
        edge: EdgeIndex,
        alloc: AllocId,
        component: Component,
        decision: LatchDecision,
    ) {
        let command = match decision {
            LatchDecision::Latch(Candidate { slot, generation }) => {
                self.counts.latches += 1;
                MediaCommand::Latch {
                    alloc,
                    component,
                    slot,
                    generation,
                }
            }
            LatchDecision::Reject(Candidate { slot, generation }) => {
                self.counts.rejects += 1;
                MediaCommand::Reject {
                    alloc,
                    component,
                    slot,
                    generation,
                }
            }
        };
        if let Some(outbox) = self.outboxes.get(usize::from(edge.0)) {
            outbox.send(command);
        }
    }

    /// The socket of `token` can be read: takes one packet from inside. `false` if there is none.
    pub(super) fn handle_ready(&mut self, ready: Token, now: Instant, send: &mut Send<'_>) -> bool {
        let (port, component) = port_of(ready);
        let at = self.by_port.get(&port).copied();
        let Some(stream) = at.and_then(|at| self.streams.get_mut(at)?.as_mut()) else {
            return self.discard(port, component);
        };
        let socket = stream.ports.socket(component);
        let Some((len, source)) = receive(socket, &mut self.buffer) else {
            return false;
        };
        let Some((head, packet)) = self.buffer.split_first_chunk_mut::<HEAD_BYTES>() else {
            return true;
        };
        let verdict = stream
            .session
            .handle_inner(component, source, packet, len, now);
        let plan = stream.session.plan();
        let outer = &plan.outer;
        match verdict {
            ToOuter::Drop(reason) => note_drop(&mut self.counts, reason),
            ToOuter::Forward { component, len } => {
                *head = Head::to_client(outer.alloc, component).encode();
                let frame = self.buffer.get(..HEAD_BYTES + len).unwrap_or_default();
                send(outer.edge, plan.class, frame);
                add(&mut self.counts.outward, len);
            }
        }
        true
    }

    /// Nobody expects this packet.
    fn discard(&mut self, port: InnerPortId, component: Component) -> bool {
        let Some(ports) = self.spare.get(&port) else {
            return false;
        };
        let is_there = receive(ports.socket(component), &mut self.buffer).is_some();
        self.counts.strays += u64::from(is_there);
        is_there
    }
}

/// Reads one packet, behind the place of its head.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    let end = HEAD_BYTES + limits::MEDIA_PACKET_BYTES_MAX;
    // Nothing there, or an error that an earlier packet brought about: the next wait tells.
    socket.recv_from(buffer.get_mut(HEAD_BYTES..end)?).ok()
}

fn mark(ports: &InnerPorts, class: MediaClass) {
    for socket in [&ports.rtp, &ports.rtcp] {
        if let Err(error) = udp::mark(socket, ports.family, class.dscp()) {
            tracing::debug!(reason = %error, "packets inside are not marked");
        }
    }
}

fn note_drop(counts: &mut Counts, reason: DropReason) {
    if let Some(count) = counts.drops.get_mut(reason as usize) {
        *count += 1;
    }
}

const fn add(counts: &mut (u64, u64), len: usize) {
    counts.0 += 1;
    counts.1 += len as u64;
}

fn token(port: InnerPortId, component: Component) -> Token {
    let odd = match component {
        Component::Rtp => 0,
        Component::Rtcp => 1,
    };
    Token(u64::from(port.0) << 1 | odd)
}

fn port_of(token: Token) -> (InnerPortId, Component) {
    let component = if token.0 & 1 == 0 {
        Component::Rtp
    } else {
        Component::Rtcp
    };
    let port = u32::try_from(token.0 >> 1).unwrap_or(u32::MAX);
    (InnerPortId(port), component)
}
