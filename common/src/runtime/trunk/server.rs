//! edge-e's end of all trunks: waits for every edge-c, lets those in that prove whose they are, opens nothing.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{ConnectionHandle, ServerConfig};

use super::pack::Unpacker;
use super::pipe::Pipe;
use super::quic::{Quic, QuicEvent};
use super::{TrunkCounts, TrunkPath};
use crate::id::CoreId;
use crate::limits;
use crate::link::greeting::{self, Answer, Hello, RefusalKind};
use crate::media::class::MediaClass;
use crate::net::Domain;
use crate::redact::Secret;
use crate::runtime::udp::BulkSocket;
use crate::time::{Wakeup, earliest};

/// Decides whether the core that greets may have a trunk; its certificate has these names.
pub type Gate = Box<dyn Fn(&Hello, &[Domain]) -> Result<Answer, Answer> + Send>;

/// The listening end of trunks.
pub struct TrunkServer {
    quics: Vec<Quic>,
    gate: Gate,
    peers: BTreeMap<CoreId, Peer>,
    cores: BTreeMap<(usize, usize), CoreId>,
    /// Connections that have not greeted, and since when.
    silent: BTreeMap<(usize, usize), Instant>,
    unpacker: Unpacker,
    now: Instant,
}

/// What is known of an edge-c.
#[derive(Debug, Default)]
struct Peer {
    nonce: Option<Secret<String>>,
    quic: Option<(usize, ConnectionHandle)>,
    pipe: Option<Pipe>,
    counts: TrunkCounts,
}

impl std::fmt::Debug for TrunkServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrunkServer")
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

impl TrunkServer {
    /// Trunks may come in on these sockets.
    #[must_use]
    pub fn new(
        sockets: Vec<BulkSocket>,
        tls: &Arc<ServerConfig>,
        gate: Gate,
        now: Instant,
    ) -> Self {
        let quics = sockets
            .into_iter()
            .map(|socket| Quic::new(socket, Some(Arc::clone(tls))))
            .collect();
        Self {
            quics,
            gate,
            peers: BTreeMap::new(),
            cores: BTreeMap::new(),
            silent: BTreeMap::new(),
            unpacker: Unpacker::default(),
            now,
        }
    }

    /// Uses this configuration from the next trunk on.
    pub fn set_tls(&mut self, tls: &Arc<ServerConfig>) {
        for quic in &mut self.quics {
            quic.set_server(Arc::clone(tls));
        }
    }

    /// A trunk of `core` must bring this nonce.
    pub fn set_nonce(&mut self, core: CoreId, nonce: Secret<String>) {
        self.peers.entry(core).or_default().nonce = Some(nonce);
    }

    /// Whether a greeting proves that it belongs to the control stream of its core.
    #[must_use]
    pub fn is_proved(&self, hello: &Hello) -> bool {
        let expected = self
            .peers
            .get(&hello.core_id)
            .and_then(|peer| peer.nonce.as_ref());
        let (Some(expected), Some(nonce)) = (expected, &hello.nonce) else {
            return false;
        };
        aws_lc_rs::constant_time::verify_slices_are_equal(
            expected.reveal().as_bytes(),
            nonce.reveal().as_bytes(),
        )
        .is_ok()
    }

    /// A TCP connection of `core` carries its frames while QUIC does not.
    pub fn attach(&mut self, core: CoreId, pipe: Pipe) {
        self.peers.entry(core).or_default().pipe = Some(pipe);
    }

    /// What carries the frames of `core` now.
    #[must_use]
    pub fn path(&self, core: CoreId) -> TrunkPath {
        match self.peers.get(&core) {
            Some(Peer { quic: Some(_), .. }) => TrunkPath::Quic,
            Some(Peer { pipe: Some(_), .. }) => TrunkPath::Tcp,
            Some(_) | None => TrunkPath::Down,
        }
    }

    /// What has passed and what has not, over the trunks of all cores, since the beginning.
    #[must_use]
    pub fn counts(&self) -> TrunkCounts {
        let mut all = TrunkCounts::default();
        for peer in self.peers.values() {
            all.add(&peer.counts);
            all.unsent += peer.pipe.as_ref().map_or(0, Pipe::dropped);
        }
        for quic in &self.quics {
            all.unsent += quic.unsent();
            all.kernel_drops += u64::from(quic.socket().drops());
        }
        all
    }

    /// Every core that has a nonce, with what carries its frames.
    pub fn paths(&self) -> impl Iterator<Item = (CoreId, TrunkPath)> {
        self.peers.keys().map(|core| (*core, self.path(*core)))
    }

    /// What becomes readable when there is something to receive. Always the same ones.
    #[must_use]
    pub fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.quics.iter();
        sockets.map(|quic| quic.socket().socket().as_fd()).collect()
    }

    /// Takes a frame for `core`; it leaves at the next [`Self::flush`]. What can't be sent is dropped and counted.
    pub fn send(&mut self, core: CoreId, class: MediaClass, frame: &[u8]) {
        let Some(peer) = self.peers.get_mut(&core) else {
            return;
        };
        let is_sent = match (peer.quic, &peer.pipe) {
            (Some((number, handle)), _) => {
                let quic = self.quics.get_mut(number);
                quic.is_some_and(|quic| quic.send(handle, class, frame))
            }
            (None, Some(pipe)) => {
                pipe.send(frame, self.now);
                true
            }
            (None, None) => false,
        };
        peer.counts.note_sent(is_sent, frame.len());
    }

    /// Sends what was taken since the last time.
    pub fn flush(&mut self, now: Instant) {
        self.now = now;
        self.give_up_silent(now);
        for quic in &mut self.quics {
            quic.flush(now);
        }
        for peer in self.peers.values() {
            if let Some(pipe) = &peer.pipe {
                pipe.flush();
            }
        }
    }

    /// Reads everything that has arrived and hands each whole frame to `sink`.
    pub fn receive(&mut self, now: Instant, sink: &mut dyn FnMut(CoreId, &mut [u8])) {
        self.now = now;
        let (cores, peers) = (&self.cores, &mut self.peers);
        for (number, quic) in self.quics.iter_mut().enumerate() {
            quic.receive(now, &mut |handle, frame| {
                let Some(core) = cores.get(&(number, handle.0)) else {
                    return;
                };
                if let Some(peer) = peers.get_mut(core) {
                    peer.counts.note_received(frame.len());
                    sink(*core, frame);
                }
            });
        }
        for (core, peer) in &mut self.peers {
            let Peer { pipe, counts, .. } = peer;
            while let Some(frame) = pipe.as_ref().and_then(|pipe| pipe.receive(now)) {
                self.unpacker.take(&frame, &mut |frame| {
                    counts.note_received(frame.len());
                    sink(*core, frame);
                });
            }
            if pipe.as_ref().is_some_and(Pipe::is_closed) {
                *pipe = None;
            }
        }
        for number in 0..self.quics.len() {
            while let Some((handle, event)) = self.quics.get_mut(number).and_then(Quic::poll_event)
            {
                self.on_event(number, handle, event, now);
            }
        }
    }

    /// When [`Self::receive`] and [`Self::flush`] want to be called even if nothing arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let silent = self.silent.values().min();
        let silent = silent.and_then(|since| since.checked_add(limits::TRUNK_DIAL_TIMEOUT));
        let silent = silent.map(|at| (at, "a trunk without a greeting"));
        let quics = self.quics.iter().map(Quic::poll_timeout);
        quics.fold(silent, earliest)
    }

    fn on_event(
        &mut self,
        number: usize,
        handle: ConnectionHandle,
        event: QuicEvent,
        now: Instant,
    ) {
        let place = (number, handle.0);
        match event {
            QuicEvent::Connected => {
                self.silent.insert(place, now);
            }
            QuicEvent::Greeting(body) => {
                let is_first = self.silent.remove(&place).is_some();
                if is_first {
                    self.answer(number, handle, &body, now);
                }
            }
            QuicEvent::Lost(reason) => {
                self.silent.remove(&place);
                let Some(core) = self.cores.remove(&place) else {
                    return;
                };
                if let Some(peer) = self.peers.get_mut(&core)
                    && peer.quic == Some((number, handle))
                {
                    peer.quic = None;
                    tracing::warn!(side = "link", %core, reason, remedy = "none: edge-c dials again",
                        "media trunk lost");
                }
            }
        }
    }

    fn answer(&mut self, number: usize, handle: ConnectionHandle, body: &[u8], now: Instant) {
        let Some(quic) = self.quics.get(number) else {
            return;
        };
        let names = quic.peer_names(handle);
        let decided = match greeting::decode::<Hello>(body) {
            Ok(hello) if self.is_proved(&hello) => {
                (self.gate)(&hello, &names).map(|answer| (hello.core_id, answer))
            }
            Ok(_) => Err(refusal("the trunk brings no nonce, or an old one")),
            Err(error) => Err(refusal(&error.to_string())),
        };
        let Some(quic) = self.quics.get_mut(number) else {
            return;
        };
        let (core, answer) = match decided {
            Ok(welcome) => welcome,
            Err(refused) => {
                if let Answer::Refused { reason, remedy, .. } = &refused {
                    tracing::warn!(side = "link", reason, remedy, "a media trunk was refused");
                }
                // Left to be closed by the core, which reads why: closing here would drop the answer.
                quic.greet(handle, &greeting::encode(&refused));
                self.silent.insert((number, handle.0), now);
                return;
            }
        };
        quic.greet(handle, &greeting::encode(&answer));
        self.cores.insert((number, handle.0), core);
        let peer = self.peers.entry(core).or_default();
        let former = peer.quic.replace((number, handle));
        peer.pipe = None;
        if let Some((number, handle)) = former
            && let Some(quic) = self.quics.get_mut(number)
        {
            self.cores.remove(&(number, handle.0));
            quic.close(handle, now, "a newer trunk has come");
        }
        tracing::info!(%core, "a media trunk stands");
    }

    fn give_up_silent(&mut self, now: Instant) {
        let is_over =
            |since: &Instant| now.saturating_duration_since(*since) >= limits::TRUNK_DIAL_TIMEOUT;
        while let Some((place, _)) = self.silent.iter().find(|(_, since)| is_over(since)) {
            let (number, handle) = *place;
            self.silent.remove(&(number, handle));
            if let Some(quic) = self.quics.get_mut(number) {
                quic.close(ConnectionHandle(handle), now, "no greeting");
            }
        }
    }
}

fn refusal(reason: &str) -> Answer {
    Answer::Refused {
        reason: reason.to_owned(),
        remedy: "none: edge-c dials again with what the control stream says".to_owned(),
        version: String::new(),
        kind: RefusalKind::NotAllowed,
    }
}
