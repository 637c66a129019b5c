//! edge-c's end of the trunk to one edge-e: dials from one socket, proves itself, dials again, and falls back to TCP.
//!
//! The thread that owns the media sockets owns the [`TrunkClient`]; whoever keeps the link tells it by a [`TrunkHandle`]
//! that the control stream stands, and brings a TCP connection when it is asked for one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn_proto::ConnectionHandle;
use tokio::sync::watch;

use super::pipe::{Pipe, PipeEnd, pipe};
use super::quic::{Quic, QuicEvent};
use super::{MediaTrunk, TrunkCounts, TrunkPath, settings};
use crate::limits;
use crate::link::greeting::{self, Answer, Hello};
use crate::media::class::MediaClass;
use crate::net::Domain;
use crate::redact::Secret;
use crate::runtime::udp::BulkSocket;
use crate::runtime::udp::poll::Waker;
use crate::time::{Wakeup, earliest};

/// What the trunk must know of the link once its control stream stands.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Where edge-e's link is: the trunk is there too, over UDP.
    pub address: SocketAddr,
    /// Which process edge-e is, as it said in its welcome: after a restart it knows nothing of the trunk.
    pub instance: u64,
    /// The name that edge-e's certificate on the link has.
    pub certificate_name: Domain,
    /// The link's own TLS configuration.
    pub tls: Arc<rustls::ClientConfig>,
    /// What edge-c says first; with the nonce that edge-e has sent on the control stream.
    pub hello: Hello,
}

/// Tells a [`TrunkClient`] from another thread what happens to the link. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct TrunkHandle {
    inbox: Arc<Mutex<Inbox>>,
    waker: Waker,
    wants_tcp: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Inbox {
    linked: Option<Linked>,
    pipe: Option<Pipe>,
}

impl TrunkHandle {
    /// The control stream stands, and edge-e has sent a nonce on it.
    pub fn linked(&self, linked: Linked) {
        lock(&self.inbox).linked = Some(linked);
        self.waker.wake();
    }

    /// Says whether the trunk wants a TCP connection, now and whenever that changes.
    #[must_use]
    pub fn wants_tcp(&self) -> watch::Receiver<bool> {
        self.wants_tcp.subscribe()
    }

    /// The end of a new pipe, to be driven over a TCP connection that edge-e has welcomed.
    #[must_use]
    pub fn pipe(&self) -> PipeEnd {
        let (ours, end) = pipe(self.waker.clone());
        lock(&self.inbox).pipe = Some(ours);
        self.waker.wake();
        end
    }
}

/// The dialling end of a trunk.
#[derive(Debug)]
pub struct TrunkClient {
    quic: Quic,
    handle: TrunkHandle,
    linked: Option<Linked>,
    state: State,
    /// Dials that failed since the last one that did not.
    failures: u32,
    /// Since when there is no QUIC.
    down_since: Option<Instant>,
    pipe: Option<Pipe>,
    counts: TrunkCounts,
    now: Instant,
    unpacker: super::pack::Unpacker,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing to dial, or not yet.
    Waiting(Option<Instant>),
    /// From the first packet to the answer of edge-e.
    Dialling(ConnectionHandle, Instant),
    Up(ConnectionHandle),
}

impl TrunkClient {
    /// A trunk that has not dialled, from the address that the link is dialled from.
    ///
    /// # Errors
    /// The system's error if there is no socket.
    pub fn new(bind_address: Option<IpAddr>, now: Instant) -> std::io::Result<Self> {
        let address = SocketAddr::new(bind_address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), 0);
        let socket = BulkSocket::bind(address).or_else(|error| match bind_address {
            Some(_) => Err(error),
            // A system without IPv6.
            None => BulkSocket::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
        })?;
        Ok(Self {
            quic: Quic::new(socket, None),
            handle: TrunkHandle {
                inbox: Arc::default(),
                waker: Waker::new()?,
                wants_tcp: watch::Sender::new(false),
            },
            linked: None,
            state: State::Waiting(None),
            failures: 0,
            down_since: None,
            pipe: None,
            counts: TrunkCounts::default(),
            now,
            unpacker: super::pack::Unpacker::default(),
        })
    }

    /// Speaks to this trunk from other threads.
    #[must_use]
    pub fn handle(&self) -> TrunkHandle {
        self.handle.clone()
    }

    /// What has passed and what has not, since the beginning.
    #[must_use]
    pub fn counts(&self) -> TrunkCounts {
        TrunkCounts {
            unsent: self.quic.unsent() + self.pipe.as_ref().map_or(0, Pipe::dropped),
            kernel_drops: u64::from(self.quic.socket().drops()),
            ..self.counts
        }
    }

    fn take_news(&mut self, now: Instant) {
        self.handle.waker.settle();
        let Inbox { linked, pipe } = std::mem::take(&mut *lock(&self.handle.inbox));
        if let Some(linked) = linked {
            let is_other = self.linked.as_ref().is_none_or(|known| {
                (known.address, known.instance) != (linked.address, linked.instance)
            });
            self.linked = Some(linked);
            match self.state {
                // The trunk outlives the control stream.
                State::Up(_) | State::Dialling(..) if !is_other => {}
                State::Up(handle) | State::Dialling(handle, _) => {
                    self.quic.close(handle, now, "another edge");
                    self.state = State::Waiting(Some(now));
                }
                State::Waiting(_) => {
                    self.failures = 0;
                    self.state = State::Waiting(Some(now));
                }
            }
            self.down_since.get_or_insert(now);
        }
        if pipe.is_some() {
            self.pipe = pipe;
        }
        if self.pipe.as_ref().is_some_and(Pipe::is_closed) {
            self.pipe = None;
            // Whoever brings connections asks again only if this changes.
            self.handle.wants_tcp.send_replace(false);
        }
    }

    fn dial(&mut self, now: Instant) {
        let Some(linked) = &self.linked else {
            self.state = State::Waiting(None);
            return;
        };
        let dialled = settings::client(&linked.tls).and_then(|config| {
            let to = as_seen_from(self.quic.socket(), linked.address);
            self.quic.dial(config, to, &linked.certificate_name, now)
        });
        match dialled {
            Ok(handle) => self.state = State::Dialling(handle, now),
            Err(reason) => self.note_failed(&reason, now),
        }
    }

    fn note_failed(&mut self, reason: &str, now: Instant) {
        if self.failures == 0 {
            tracing::warn!(
                side = "link",
                reason,
                remedy = REMEDY,
                "there is no media trunk"
            );
        } else {
            tracing::debug!(
                side = "link",
                reason,
                failures = self.failures,
                "still no media trunk"
            );
        }
        self.counts.failures += 1;
        let wait = back_off(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting(now.checked_add(wait));
    }

    fn on_event(&mut self, handle: ConnectionHandle, event: QuicEvent, now: Instant) {
        let is_current = match self.state {
            State::Dialling(current, _) | State::Up(current) => current == handle,
            State::Waiting(_) => false,
        };
        if !is_current {
            return;
        }
        match event {
            QuicEvent::Connected => {
                if let Some(linked) = &self.linked {
                    self.quic.greet(handle, &greeting::encode(&linked.hello));
                }
            }
            QuicEvent::Greeting(body) => match greeting::decode(&body) {
                Ok(Answer::Welcome { .. }) => self.note_up(handle),
                Ok(Answer::Refused { reason, .. }) => {
                    self.quic.close(handle, now, "refused");
                    self.note_failed(&format!("edge-e refuses the trunk: {reason}"), now);
                }
                Err(error) => {
                    self.quic.close(handle, now, "no greeting");
                    self.note_failed(&error.to_string(), now);
                }
            },
            QuicEvent::Lost(reason) => {
                if matches!(self.state, State::Up(_)) {
                    self.failures = 0;
                    self.down_since = Some(now);
                }
                self.note_failed(&reason, now);
            }
        }
    }

    fn note_up(&mut self, handle: ConnectionHandle) {
        self.state = State::Up(handle);
        self.failures = 0;
        self.down_since = None;
        self.pipe = None;
        self.handle.wants_tcp.send_replace(false);
        tracing::info!("the media trunk stands");
    }

    /// Does what time asks for.
    fn tick(&mut self, now: Instant) {
        self.now = now;
        match self.state {
            State::Waiting(Some(at)) if at <= now => self.dial(now),
            State::Dialling(handle, since)
                if now.saturating_duration_since(since) >= limits::TRUNK_DIAL_TIMEOUT =>
            {
                self.quic.close(handle, now, "too late");
                self.note_failed("edge-e does not answer over UDP", now);
            }
            State::Waiting(_) | State::Dialling(..) | State::Up(_) => {}
        }
        let is_due = self.fallback_at().is_some_and(|at| at <= now);
        if is_due && self.pipe.is_none() && !*self.handle.wants_tcp.borrow() {
            tracing::warn!(
                side = "link",
                reason = "UDP does not get through to edge-e",
                remedy = REMEDY,
                "media goes over TCP: calls may sound bad"
            );
            self.handle.wants_tcp.send_replace(true);
        }
    }

    fn fallback_at(&self) -> Option<Instant> {
        self.down_since?.checked_add(limits::TRUNK_FALLBACK_AFTER)
    }
}

impl MediaTrunk for TrunkClient {
    fn send(&mut self, class: MediaClass, frame: &[u8]) {
        let is_sent = match (self.state, &self.pipe) {
            (State::Up(handle), _) => self.quic.send(handle, class, frame),
            (_, Some(pipe)) => {
                pipe.send(frame, self.now);
                true
            }
            (_, None) => false,
        };
        self.counts.note_sent(is_sent, frame.len());
    }

    fn flush(&mut self, now: Instant) {
        self.tick(now);
        self.quic.flush(now);
        if let Some(pipe) = &self.pipe {
            pipe.flush();
        }
    }

    fn receive(&mut self, now: Instant, sink: &mut dyn FnMut(&mut [u8])) {
        self.now = now;
        self.take_news(now);
        let counts = &mut self.counts;
        let current = match self.state {
            State::Up(handle) => Some(handle),
            State::Waiting(_) | State::Dialling(..) => None,
        };
        self.quic.receive(now, &mut |handle, frame| {
            if Some(handle) == current {
                counts.note_received(frame.len());
                sink(frame);
            }
        });
        if let Some(pipe) = &self.pipe {
            while let Some(frame) = pipe.receive(now) {
                self.unpacker.take(&frame, &mut |frame| {
                    counts.note_received(frame.len());
                    sink(frame);
                });
            }
        }
        while let Some((handle, event)) = self.quic.poll_event() {
            self.on_event(handle, event, now);
        }
        self.tick(now);
    }

    fn poll_timeout(&self) -> Option<Wakeup> {
        let own = match self.state {
            State::Waiting(at) => at.map(|at| (at, "dial the trunk")),
            State::Dialling(_, since) => {
                let at = since.checked_add(limits::TRUNK_DIAL_TIMEOUT);
                at.map(|at| (at, "give the dial up"))
            }
            State::Up(_) => None,
        };
        let is_asked = self.pipe.is_some() || *self.handle.wants_tcp.borrow();
        let fallback = self.fallback_at().filter(|_| !is_asked);
        let fallback = fallback.map(|at| (at, "fall back to TCP"));
        earliest(earliest(own, fallback), self.quic.poll_timeout())
    }

    fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        vec![
            self.quic.socket().socket().as_fd(),
            self.handle.waker.as_fd(),
        ]
    }

    fn path(&self) -> TrunkPath {
        match (self.state, &self.pipe) {
            (State::Up(_), _) => TrunkPath::Quic,
            (State::Waiting(_) | State::Dialling(..), Some(_)) => TrunkPath::Tcp,
            (State::Waiting(_) | State::Dialling(..), None) => TrunkPath::Down,
        }
    }
}

const REMEDY: &str =
    "let edge-c send UDP to the link port of edge-e, 7001 by default, and its answers come back";

/// An IPv4 address as a dual-stack socket wants it.
fn as_seen_from(socket: &BulkSocket, address: SocketAddr) -> SocketAddr {
    let is_ipv6 = socket.socket().local_addr().is_ok_and(|own| own.is_ipv6());
    match address.ip().to_canonical() {
        IpAddr::V4(ip) if is_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => SocketAddr::new(ip, address.port()),
    }
}

/// Twice as long each time. Trunks are few: nothing need be spread.
fn back_off(failures: u32) -> Duration {
    limits::LINK_BACK_OFF_MIN
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(limits::LINK_BACK_OFF_MAX)
}

/// The nonce of a greeting, as edge-e sent it.
pub type Nonce = Secret<String>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
