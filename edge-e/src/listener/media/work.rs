//! The work of the media thread, turn by turn: what has arrived on ports and trunks is passed on, then it sleeps.
//!
//! What edge-c sends is passed on as it comes. What clients send is gathered for [`limits::MEDIA_GATHER_OUTSIDE`] while it flows:
//! packets of many calls share a wake, system calls and datagrams of the trunk. A packet is copied into the trunk's datagram
//! and nowhere else, and allocates nothing.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::id::CoreId;
use common::limits;
use common::link::control::message::MediaReport;
use common::media::ice::{self, IceCheck};
use common::media::relay::{AllocIndex, Downlink, Relay, Uplink};
use common::media::trunk_frame::{HEAD_BYTES, Head};
use common::redact::Secret;
use common::runtime::clock;
use common::runtime::trunk::TrunkCounts;
use common::runtime::trunk::server::TrunkServer;
use common::runtime::udp::poll::{Token, Waker};
use common::runtime::udp::watch::Watch;

use super::ports::{Place, Ports};
use super::{Input, MediaPorts, Parts};
use crate::metrics::media::{MediaDrop, MediaMetrics, Tally};

use command::Outbox;

mod command;

const WAKER: Token = Token(u64::MAX);
const TRUNK: Token = Token(u64::MAX - 1);

/// Everything that the thread owns.
#[derive(Debug)]
pub(super) struct Work {
    watch: Watch,
    waker: Waker,
    inputs: Receiver<Input>,
    is_over: bool,
    trunk: TrunkServer,
    relay: Relay,
    ports: Ports,
    advertised: Vec<std::net::IpAddr>,
    reports: BTreeMap<CoreId, Outbox>,
    /// What connectivity checks of clients must show.
    checks: BTreeMap<AllocIndex, IceCheck>,
    buffer: Vec<u8>,
    metrics: MediaMetrics,
    tally: Tally,
    counted: Instant,
    trunk_counts: TrunkCounts,
}

impl Work {
    pub(super) fn new(
        parts: Parts,
        tls: &Arc<quinn_proto::ServerConfig>,
        inputs: Receiver<Input>,
        waker: Waker,
    ) -> io::Result<Self> {
        let Parts {
            ports,
            trunks,
            gate,
            metrics,
            ..
        } = parts;
        let now = clock::now();
        let trunk = TrunkServer::new(trunks, tls, gate, now);
        let watch = Watch::new(limits::MEDIA_GATHER_OUTSIDE)?;
        watch.add_prompt(&waker, WAKER)?;
        for socket in trunk.sockets() {
            watch.add_prompt(socket, TRUNK)?;
        }
        let MediaPorts { advertised, .. } = &ports;
        Ok(Self {
            watch,
            waker,
            inputs,
            is_over: false,
            trunk,
            relay: Relay::new(),
            advertised: advertised.clone(),
            ports: Ports::new(&ports),
            reports: BTreeMap::new(),
            checks: BTreeMap::new(),
            buffer: vec![0; limits::MEDIA_FRAME_BYTES_MAX],
            metrics,
            tally: Tally::default(),
            counted: now,
            trunk_counts: TrunkCounts::default(),
        })
    }

    /// Works until nobody speaks to this thread any more.
    pub(super) fn run(&mut self) -> io::Result<()> {
        while !self.is_over {
            let now = clock::now();
            self.watch.wait(self.wake_at(now), now)?;
            self.turn(clock::now())?;
        }
        Ok(())
    }

    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let timers = common::time::earliest(self.trunk.poll_timeout(), self.relay.poll_timeout());
        let count = (self.tally != Tally::default() || !self.relay.is_empty())
            .then(|| self.counted.checked_add(limits::GAUGE_INTERVAL))
            .flatten();
        let waiting = self
            .reports
            .values()
            .any(|outbox| !outbox.waiting.is_empty());
        let retry = waiting
            .then(|| now.checked_add(limits::MEDIA_GATHER_OUTSIDE))
            .flatten();
        let timer = timers.map(|(at, _)| at);
        [timer, count, retry].into_iter().flatten().min()
    }

    /// Passes on what has arrived and is not left to be gathered.
    fn turn(&mut self, now: Instant) -> io::Result<()> {
        if (0..)
            .map_while(|number| self.watch.prompt(number))
            .any(|token| token == WAKER)
        {
            self.waker.settle();
            self.take_inputs(now);
        }
        self.down(now);
        self.up(now)?;
        self.give_up_orphans(now);
        self.trunk.flush(now);
        if now.saturating_duration_since(self.counted) >= limits::GAUGE_INTERVAL {
            self.counted = now;
            self.count();
        }
        Ok(())
    }

    /// Passes on what clients have sent, if it is time.
    fn up(&mut self, now: Instant) -> io::Result<()> {
        let Self {
            watch,
            trunk,
            relay,
            ports,
            checks,
            buffer,
            tally,
            ..
        } = self;
        let mut upward = Upward {
            trunk,
            relay,
            ports,
            checks,
            buffer,
            tally,
        };
        watch.gather(now, |token| {
            Place::of(token).is_some_and(|place| upward.pass(place, now))
        })
    }

    /// Passes on what edge-c has sent to clients.
    fn down(&mut self, now: Instant) {
        let Self {
            trunk,
            relay,
            ports,
            tally,
            ..
        } = self;
        trunk.receive(now, &mut |core, frame| {
            let Ok((head, packet)) = Head::decode(frame) else {
                tally.note(MediaDrop::Malformed);
                return;
            };
            let (place, to) = match relay.handle_trunk(core, &head) {
                Downlink::Drop(reason) => return tally.note_drop(reason),
                Downlink::Send {
                    index,
                    component,
                    via,
                    to,
                } => {
                    let place = Place {
                        index,
                        component,
                        via,
                    };
                    (place, to)
                }
            };
            let sent = ports.socket(place).map(|socket| socket.send_to(packet, to));
            if matches!(sent, Some(Ok(_))) {
                tally.down += 1;
                tally.down_bytes += packet.len() as u64;
            } else {
                tally.note(MediaDrop::NotSent);
            }
        });
    }

    fn take_inputs(&mut self, now: Instant) {
        loop {
            match self.inputs.try_recv() {
                Ok(input) => self.on_input(input, now),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.is_over = true;
                    break;
                }
            }
        }
    }

    fn on_input(&mut self, input: Input, now: Instant) {
        match input {
            Input::Linked(core, sender) => {
                self.relay.handle_core_linked(core);
                let outbox = Outbox {
                    sender,
                    waiting: VecDeque::new(),
                };
                self.reports.insert(core, outbox);
                let nonce = Secret::new(nonce());
                self.trunk.set_nonce(core, nonce.clone());
                self.report(core, MediaReport::Nonce { nonce });
            }
            Input::Lost(core) => {
                self.relay.handle_core_lost(core, now);
                self.reports.remove(&core);
            }
            Input::Command(core, command) => self.on_command(core, command, now),
            Input::Attach(core, pipe) => self.trunk.attach(core, pipe),
            Input::Tls(tls) => self.trunk.set_tls(&tls),
        }
    }

    fn give_up_orphans(&mut self, now: Instant) {
        while let Some(orphan) = self.relay.orphan(now) {
            self.release(orphan, now);
        }
    }

    /// Hands the numbers of this thread to the metrics.
    fn count(&mut self) {
        for outbox in self.reports.values_mut() {
            outbox.flush();
        }
        self.metrics.publish(&std::mem::take(&mut self.tally));
        self.metrics
            .publish_trunks(&self.trunk, &mut self.trunk_counts);
        let allocations = i64::try_from(self.relay.len()).unwrap_or(i64::MAX);
        self.metrics.allocations.set(allocations);
    }
}

/// What passing on a client's packet takes.
struct Upward<'a> {
    trunk: &'a mut TrunkServer,
    relay: &'a mut Relay,
    ports: &'a Ports,
    checks: &'a BTreeMap<AllocIndex, IceCheck>,
    buffer: &'a mut [u8],
    tally: &'a mut Tally,
}

impl Upward<'_> {
    /// Passes on one packet, if there is one at this socket.
    fn pass(&mut self, place: Place, now: Instant) -> bool {
        let Some(socket) = self.ports.socket(place) else {
            return false;
        };
        // Room for the head in front: the packet stays where it was read.
        let Some((head, room)) = self.buffer.split_first_chunk_mut::<HEAD_BYTES>() else {
            return false;
        };
        let (len, source) = match socket.recv_from(room) {
            Ok(received) => received,
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        };
        if len == room.len() {
            self.tally.note(MediaDrop::TooLong);
            return true;
        }
        let decision =
            self.relay
                .handle_client(place.index, place.component, source, place.via, now);
        match decision {
            Uplink::Drop(reason) => self.tally.note_drop(reason),
            Uplink::Forward {
                core,
                class,
                head: decided,
            } => {
                let packet = room.get(..len).unwrap_or_default();
                if ice::is_stun(packet)
                    && let Some(check) = self.checks.get(&place.index)
                {
                    let answer = check.answer(packet, source);
                    let sent = answer.map(|answer| socket.send_to(&answer, source));
                    if !matches!(sent, Some(Ok(_))) {
                        self.tally.note(MediaDrop::Check);
                    }
                    return true;
                }
                *head = decided.encode();
                let frame = self.buffer.get(..HEAD_BYTES + len).unwrap_or_default();
                self.trunk.send(core, class, frame);
                self.tally.up += 1;
                self.tally.up_bytes += len as u64;
            }
        }
        true
    }
}

/// What proves that a trunk belongs to a control stream.
fn nonce() -> String {
    let mut bytes = [0; 24];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => STANDARD.encode(bytes),
        // No trunk can prove it: nothing is relayed, and nothing is guessed.
        Err(_) => String::new(),
    }
}
