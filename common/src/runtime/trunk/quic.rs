//! QUIC connections that share one UDP socket, driven by hand in the thread that owns it.
//!
//! Knows nothing of cores and edges: a connection stands, says one greeting each way, and then carries datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, Incoming, ServerConfig, StreamEvent, StreamId, Transmit, VarInt,
};
use rustls_pki_types::CertificateDer;

use super::pack::{Packer, Unpacker};
use crate::limits;
use crate::link::greeting;
use crate::media::class::{Dscp, MediaClass};
use crate::net::Domain;
use crate::runtime::udp::{BulkSocket, Destination};
use crate::time::Wakeup;
use crate::tls::identity;

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum QuicEvent {
    /// It stands, and nobody has said anything yet.
    Connected,
    /// The peer's greeting, whole but unread.
    Greeting(Vec<u8>),
    /// It is gone.
    Lost(String),
}

/// Markings in the order in which they leave.
const MARKINGS: [Dscp; 4] = [Dscp::EF, Dscp::AF41, Dscp::CS3, Dscp::BEST_EFFORT];

#[derive(Debug)]
pub(super) struct Quic {
    socket: BulkSocket,
    endpoint: Endpoint,
    connections: BTreeMap<usize, Live>,
    events: VecDeque<(ConnectionHandle, QuicEvent)>,
    transmit: Vec<u8>,
    arena: BytesMut,
    /// When a connection wants to be asked again.
    timeout: Option<Instant>,
    unsent: u64,
}

struct Live {
    machine: Connection,
    /// The one stream: the dialling side opens it, both say one thing on it.
    stream: Option<StreamId>,
    greeting: Vec<u8>,
    packers: [Packer; MARKINGS.len()],
    unpacker: Unpacker,
    /// The longest datagram; 0 until the handshake is done.
    datagram_max: usize,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Quic {
    pub(super) fn new(socket: BulkSocket, server: Option<Arc<ServerConfig>>) -> Self {
        // Packets of this socket are never fragmented on the way, as far as the system can know: see `udp`.
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), server, true, None);
        Self {
            socket,
            endpoint,
            connections: BTreeMap::new(),
            events: VecDeque::new(),
            transmit: Vec::with_capacity(limits::TRUNK_RECEIVE_BYTES),
            arena: BytesMut::new(),
            timeout: None,
            unsent: 0,
        }
    }

    pub(super) const fn socket(&self) -> &BulkSocket {
        &self.socket
    }

    /// Datagrams that the system had no room for.
    pub(super) const fn unsent(&self) -> u64 {
        self.unsent
    }

    pub(super) fn set_server(&mut self, config: Arc<ServerConfig>) {
        self.endpoint.set_server_config(Some(config));
    }

    pub(super) fn dial(
        &mut self,
        config: ClientConfig,
        to: SocketAddr,
        name: &Domain,
        now: Instant,
    ) -> Result<ConnectionHandle, String> {
        let dialled = self.endpoint.connect(now, config, to, name.as_str());
        let (handle, machine) = dialled.map_err(|error| error.to_string())?;
        self.connections.insert(handle.0, Live::new(machine));
        Ok(handle)
    }

    /// The names in the peer's certificate.
    pub(super) fn peer_names(&self, handle: ConnectionHandle) -> Vec<Domain> {
        let live = self.connections.get(&handle.0);
        let identity = live.and_then(|live| live.machine.crypto_session().peer_identity());
        let chain = identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let leaf = chain.as_ref().and_then(|chain| chain.first());
        leaf.map(identity::dns_names).unwrap_or_default()
    }

    /// Says the one thing that this side says on a stream.
    pub(super) fn greet(&mut self, handle: ConnectionHandle, message: &[u8]) {
        let Some(live) = self.connections.get_mut(&handle.0) else {
            return;
        };
        let is_client = live.machine.side().is_client();
        let stream = if is_client {
            live.machine.streams().open(Dir::Bi)
        } else {
            live.stream
        };
        let Some(stream) = stream else {
            return;
        };
        live.stream = Some(stream);
        let mut sending = live.machine.send_stream(stream);
        // A greeting fits into the window of a fresh stream; if the peer closed it, the connection's end will tell.
        drop(sending.write(message));
        drop(sending.finish());
    }

    pub(super) fn close(&mut self, handle: ConnectionHandle, now: Instant, reason: &'static str) {
        if let Some(live) = self.connections.get_mut(&handle.0) {
            let reason = Bytes::from_static(reason.as_bytes());
            live.machine.close(now, VarInt::from_u32(0), reason);
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<(ConnectionHandle, QuicEvent)> {
        self.events.pop_front()
    }

    /// Takes a frame for the next flush; `false` if it was dropped.
    pub(super) fn send(
        &mut self,
        handle: ConnectionHandle,
        class: MediaClass,
        frame: &[u8],
    ) -> bool {
        let Some(live) = self.connections.get_mut(&handle.0) else {
            return false;
        };
        let marking = MARKINGS.iter().position(|dscp| *dscp == class.dscp());
        let packer = live.packers.get_mut(marking.unwrap_or(MARKINGS.len() - 1));
        packer.is_some_and(|packer| packer.push(frame, live.datagram_max))
    }

    /// Reads the socket empty, as far as one turn may.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        sink: &mut dyn FnMut(ConnectionHandle, &mut [u8]),
    ) {
        for _ in 0..limits::TRUNK_READS_AT_ONCE {
            match self.receive_some(now) {
                Ok(true) => {}
                Ok(false) => break,
                // An earlier packet was answered by ICMP; nothing is wrong with the socket.
                Err(error) => tracing::debug!(reason = %error, "the trunk's socket"),
            }
            self.hand_on(sink);
        }
        self.settle(now);
    }

    fn receive_some(&mut self, now: Instant) -> io::Result<bool> {
        let Self {
            socket,
            endpoint,
            connections,
            arena,
            transmit,
            ..
        } = self;
        let mut arrived = Vec::new();
        let mut answers = Vec::new();
        let Some(received) = socket.receive()? else {
            return Ok(false);
        };
        // Before the first packet, when nobody holds those of the last time: then the buffer is used again.
        if arena.capacity() < received.bytes.len() {
            arena.reserve(limits::TRUNK_ARENA_BYTES.max(received.bytes.len()));
        }
        for packet in received.bytes.chunks(received.segment) {
            arena.extend_from_slice(packet);
            transmit.clear();
            let packet = arena.split();
            match endpoint.handle(now, received.from, received.to, None, packet, transmit) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(live) = connections.get_mut(&handle.0) {
                        live.machine.handle_event(event);
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => arrived.push(incoming),
                Some(DatagramEvent::Response(answer)) => {
                    answers.push((answer, transmit.clone()));
                }
                None => {}
            }
        }
        for (answer, bytes) in answers {
            self.send_now(&answer, &bytes, Dscp::CS3);
        }
        for incoming in arrived {
            self.admit(incoming, now);
        }
        Ok(true)
    }

    /// Whether somebody who wants to connect may begin: until the certificate is seen, anybody can ask.
    fn admit(&mut self, incoming: Incoming, now: Instant) {
        let handshaking = self.connections.values();
        let handshaking = handshaking
            .filter(|live| live.machine.is_handshaking())
            .count();
        self.transmit.clear();
        let answer = if self.connections.len() >= limits::TRUNKS_MAX {
            Some(self.endpoint.refuse(incoming, &mut self.transmit))
        } else if handshaking >= limits::TRUNK_HANDSHAKES_UNPROVED_MAX && incoming.may_retry() {
            self.endpoint.retry(incoming, &mut self.transmit).ok()
        } else {
            match self
                .endpoint
                .accept(incoming, now, &mut self.transmit, None)
            {
                Ok((handle, machine)) => {
                    self.connections.insert(handle.0, Live::new(machine));
                    None
                }
                Err(refused) => refused.response,
            }
        };
        if let Some(answer) = answer {
            let bytes = std::mem::take(&mut self.transmit);
            self.send_now(&answer, &bytes, Dscp::CS3);
            self.transmit = bytes;
        }
    }

    /// Hands the datagrams that have arrived to `sink`, frame by frame.
    fn hand_on(&mut self, sink: &mut dyn FnMut(ConnectionHandle, &mut [u8])) {
        for (number, live) in &mut self.connections {
            let handle = ConnectionHandle(*number);
            while let Some(datagram) = live.machine.datagrams().recv() {
                let sink = &mut |frame: &mut [u8]| sink(handle, frame);
                live.unpacker.unpack(&datagram, sink);
            }
        }
    }

    /// Does what connections ask for after their inputs, and notes what happened to them.
    fn settle(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for (number, live) in &mut self.connections {
            let handle = ConnectionHandle(*number);
            if live.machine.poll_timeout().is_some_and(|at| at <= now) {
                live.machine.handle_timeout(now);
            }
            while let Some(event) = live.machine.poll_endpoint_events() {
                if event.is_drained() {
                    gone.push(*number);
                }
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    live.machine.handle_event(event);
                }
            }
            live.take_events(handle, &mut self.events);
        }
        for number in gone {
            self.connections.remove(&number);
        }
    }

    /// Sends what was taken since the last time, most urgent first, then what QUIC itself has to say.
    pub(super) fn flush(&mut self, now: Instant) {
        self.settle(now);
        self.timeout = None;
        let mut connections = std::mem::take(&mut self.connections);
        for live in connections.values_mut() {
            for (marking, dscp) in MARKINGS.iter().enumerate() {
                let Some(packer) = live.packers.get_mut(marking).filter(|p| !p.is_empty()) else {
                    continue;
                };
                for datagram in packer.drain() {
                    // Too long only if the path has become narrower since it was packed.
                    if live.machine.datagrams().send(datagram, true).is_err() {
                        self.unsent = self.unsent.saturating_add(1);
                    }
                }
                self.transmit(live, *dscp, now);
            }
            self.transmit(live, Dscp::CS3, now);
            live.datagram_max = live.machine.datagrams().max_size().unwrap_or(0);
            let next = live.machine.poll_timeout();
            self.timeout = [self.timeout, next].into_iter().flatten().min();
        }
        self.connections = connections;
    }

    fn transmit(&mut self, live: &mut Live, dscp: Dscp, now: Instant) {
        let mut bytes = std::mem::take(&mut self.transmit);
        loop {
            bytes.clear();
            let segments = self.socket.segments_max();
            let Some(transmit) = live.machine.poll_transmit(now, segments, &mut bytes) else {
                break;
            };
            self.send_now(&transmit, &bytes, dscp);
        }
        self.transmit = bytes;
    }

    fn send_now(&mut self, transmit: &Transmit, bytes: &[u8], dscp: Dscp) {
        let destination = Destination {
            to: transmit.destination,
            from: transmit.src_ip,
            dscp,
        };
        let bytes = bytes.get(..transmit.size).unwrap_or_default();
        match self.socket.send(bytes, transmit.segment_size, &destination) {
            Ok(true) => {}
            Ok(false) => self.unsent = self.unsent.saturating_add(1),
            Err(error) => {
                self.unsent = self.unsent.saturating_add(1);
                tracing::debug!(reason = %error, "a trunk datagram was not sent");
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        self.timeout.map(|at| (at, "trunk"))
    }
}

impl Live {
    fn new(machine: Connection) -> Self {
        Self {
            machine,
            stream: None,
            greeting: Vec::new(),
            packers: Default::default(),
            unpacker: Unpacker::default(),
            datagram_max: 0,
        }
    }

    fn take_events(
        &mut self,
        handle: ConnectionHandle,
        events: &mut VecDeque<(ConnectionHandle, QuicEvent)>,
    ) {
        while let Some(event) = self.machine.poll() {
            match event {
                Event::Connected => events.push_back((handle, QuicEvent::Connected)),
                Event::ConnectionLost { reason } => {
                    events.push_back((handle, QuicEvent::Lost(reason.to_string())));
                }
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    self.stream = self.machine.streams().accept(Dir::Bi);
                    self.read_greeting(handle, events);
                }
                Event::Stream(StreamEvent::Readable { .. }) => self.read_greeting(handle, events),
                Event::Stream(_)
                | Event::HandshakeDataReady
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
    }

    fn read_greeting(
        &mut self,
        handle: ConnectionHandle,
        events: &mut VecDeque<(ConnectionHandle, QuicEvent)>,
    ) {
        let Some(stream) = self.stream else {
            return;
        };
        let mut receiving = self.machine.recv_stream(stream);
        if let Ok(mut chunks) = receiving.read(true) {
            while let Ok(Some(chunk)) = chunks.next(limits::LINK_GREETING_BYTES_MAX) {
                self.greeting.extend_from_slice(&chunk.bytes);
            }
            // Whether the peer is to be told of new credit: it has nothing more to say.
            let _should_transmit = chunks.finalize();
        }
        let whole = self.greeting.split_first_chunk::<4>();
        let Some((prefix, body)) = whole else {
            return;
        };
        match greeting::body_len(*prefix) {
            Ok(len) if body.len() < len => {}
            Ok(len) => {
                let body = body.get(..len).unwrap_or_default().to_vec();
                self.greeting.clear();
                events.push_back((handle, QuicEvent::Greeting(body)));
            }
            // Longer than any: reading it as one fails, and that is told.
            Err(_) => events.push_back((handle, QuicEvent::Greeting(Vec::new()))),
        }
    }
}
