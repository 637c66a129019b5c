//! The control stream: numbered messages in both directions, replayed after a re-dial, each applied once.
//!
//! Four kinds of methods, to be called in this order (`now` never goes back):
//! inputs (`handle_*`) and commands (`send`), then until each is empty `poll_transmit`, `poll_event`, and last
//! `poll_timeout`. Not here: what the messages mean ([`message`]), TLS, sockets, the clock.
//!
//! A frame is a 32-bit length, one byte of kind, and the kind's fields:
//! message (number, JSON), acknowledgement (number), ping and pong (sender's Unix time in ms).

#![warn(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;
use crate::link::greeting::Resume;
use crate::time::Wakeup;
use crate::wire::{Reader, Writer};

pub mod media;
pub mod message;

/// The two clocks a control stream is handed: one for deadlines, one to compare with the peer's.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<M> {
    /// The peer's next message, exactly once.
    Applied(M),
    /// The peer answered a ping.
    Pong {
        /// So many milliseconds the peer's clock is ahead of ours (behind, if negative).
        clock_offset_ms: i64,
        /// From the ping to the answer.
        round_trip: Duration,
    },
    /// Nothing was heard for too long; the connection is of no more use.
    PeerLost,
    /// The peer knows nothing of what was sent before: send it the whole state.
    PeerReset,
    /// A message this build does not know; the peer is a minor version ahead.
    Unknown,
}

/// Why the connection must be closed. Always the peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A frame over the limit.
    #[error("a control frame of {0} bytes is over the limit")]
    TooLong(usize),
    /// A kind this protocol does not have, or fields that don't fit it.
    #[error("a control frame of kind {0} is malformed")]
    Malformed(u8),
    /// An acknowledgement of something never sent.
    #[error("an acknowledgement of message {0}, which was never sent")]
    Acknowledged(u64),
}

/// Too many messages wait for the peer. They are dropped, and the peer gets the whole state after the next dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not take control messages; the whole state will be sent after a re-dial")]
pub struct Overflow;

/// One side of a control stream; outlives its connections. `O` goes out, `I` comes in.
#[derive(Debug)]
pub struct Control<O, I> {
    peer: Option<u64>,
    is_connected: bool,
    needs_reset: bool,
    /// Sent or to be sent, not yet acknowledged; oldest first.
    unacknowledged: VecDeque<(u64, Bytes)>,
    /// How many of them went out on this connection.
    sent: usize,
    last_number: u64,
    applied: u64,
    acknowledge: bool,
    inbound: BytesMut,
    replies: VecDeque<Bytes>,
    events: VecDeque<Event<I>>,
    heard: Instant,
    ping_due: Instant,
    /// When the last ping was made, by both clocks.
    pinged: Option<(u64, Instant)>,
    outgoing: PhantomData<fn(O)>,
}

const MESSAGE: u8 = 0;
const ACKNOWLEDGEMENT: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
const PREFIX_BYTES: usize = 4;

impl<O: Serialize, I: DeserializeOwned> Control<O, I> {
    /// A side that never had a connection.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            peer: None,
            is_connected: false,
            needs_reset: false,
            unacknowledged: VecDeque::new(),
            sent: 0,
            last_number: 0,
            applied: 0,
            acknowledge: false,
            inbound: BytesMut::new(),
            replies: VecDeque::new(),
            events: VecDeque::new(),
            heard: now,
            ping_due: now,
            pinged: None,
            outgoing: PhantomData,
        }
    }

    /// Up to where the peer's messages were applied; goes into the greeting.
    #[must_use]
    pub fn resume(&self) -> Option<Resume> {
        self.peer.map(|instance| Resume {
            instance,
            applied: self.applied,
        })
    }

    /// How many messages the peer has not acknowledged; right after [`Self::handle_connected`], those sent again.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Whether everything sent was acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// A connection stands. `peer` is the instance at its other end, `resume` what it says it applied, and
    /// `own` our own instance.
    pub fn handle_connected(&mut self, peer: u64, resume: Option<Resume>, own: u64, now: Now) {
        self.inbound.clear();
        self.replies.clear();
        self.sent = 0;
        self.is_connected = true;
        self.heard = now.instant;
        self.ping_due = now.instant;
        self.pinged = None;
        if self.peer != Some(peer) {
            self.peer = Some(peer);
            self.applied = 0;
        }
        match resume.filter(|resume| resume.instance == own && resume.applied <= self.last_number) {
            Some(resume) if !self.needs_reset => self.forget_up_to(resume.applied),
            Some(_) | None => {
                self.needs_reset = false;
                self.unacknowledged.clear();
                self.events.push_back(Event::PeerReset);
            }
        }
        self.check_invariants();
    }

    /// The connection is gone; what was not acknowledged is kept for the next one.
    pub fn handle_eof(&mut self) {
        self.is_connected = false;
        self.sent = 0;
        self.replies.clear();
        self.inbound.clear();
    }

    /// Bytes of the peer, in any chunks.
    ///
    /// # Errors
    /// [`ControlError`]: the peer broke the protocol, close the connection.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Now) -> Result<(), ControlError> {
        self.heard = now.instant;
        self.inbound.extend_from_slice(bytes);
        while let Some(frame) = self.next_frame()? {
            self.handle_frame(&frame, now)?;
        }
        self.check_invariants();
        Ok(())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if !self.is_connected {
            return;
        }
        if now.instant.saturating_duration_since(self.heard) >= limits::LINK_DEAD_AFTER {
            self.is_connected = false;
            self.events.push_back(Event::PeerLost);
            return;
        }
        if now.instant >= self.ping_due {
            self.ping_due = now
                .instant
                .checked_add(limits::LINK_KEEPALIVE_INTERVAL)
                .unwrap_or(now.instant);
            self.pinged = Some((now.unix_ms, now.instant));
            self.replies
                .push_back(frame(PING, |w| w.u64(now.unix_ms).u64(0)));
        }
    }

    /// Queues a message for the peer; it survives the loss of the connection.
    ///
    /// # Errors
    /// [`Overflow`] if the peer has not acknowledged [`limits::CONTROL_QUEUE_MAX`] messages.
    pub fn send(&mut self, message: &O) -> Result<(), Overflow> {
        if self.unacknowledged.len() >= limits::CONTROL_QUEUE_MAX {
            self.unacknowledged.clear();
            self.sent = 0;
            self.needs_reset = true;
            return Err(Overflow);
        }
        // Serialising a message can't fail: its maps have string keys.
        let body = serde_json::to_vec(message).unwrap_or_default();
        self.last_number = self.last_number.saturating_add(1);
        let number = self.last_number;
        let frame = frame(MESSAGE, |w| w.u64(number).slice(&body));
        self.unacknowledged.push_back((number, frame));
        self.check_invariants();
        Ok(())
    }

    /// The next bytes for the peer.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if !self.is_connected {
            return None;
        }
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        if std::mem::take(&mut self.acknowledge) {
            return Some(frame(ACKNOWLEDGEMENT, |w| w.u64(self.applied)));
        }
        let (_, message) = self.unacknowledged.get(self.sent)?;
        self.sent = self.sent.saturating_add(1);
        Some(message.clone())
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event<I>> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let dead = self.heard.checked_add(limits::LINK_DEAD_AFTER)?;
        let next = crate::time::earliest(Some((dead, "peer lost")), Some((self.ping_due, "ping")));
        next.filter(|_| self.is_connected)
    }

    fn next_frame(&mut self) -> Result<Option<BytesMut>, ControlError> {
        let Some(prefix) = self.inbound.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > limits::CONTROL_FRAME_BYTES_MAX {
            return Err(ControlError::TooLong(len));
        }
        if self.inbound.len().saturating_sub(PREFIX_BYTES) < len {
            return Ok(None);
        }
        self.inbound.advance(PREFIX_BYTES);
        Ok(Some(self.inbound.split_to(len)))
    }

    fn handle_frame(&mut self, frame: &[u8], now: Now) -> Result<(), ControlError> {
        let mut reader = Reader::new(frame);
        let kind = reader.u8().unwrap_or(u8::MAX);
        let number = reader.u64().map_err(|_| ControlError::Malformed(kind))?;
        match kind {
            MESSAGE => self.handle_message(number, reader.all()),
            ACKNOWLEDGEMENT if number > self.last_number => {
                return Err(ControlError::Acknowledged(number));
            }
            ACKNOWLEDGEMENT => self.forget_up_to(number),
            PING if self.replies.len() < REPLIES_MAX => {
                self.replies
                    .push_back(self::frame(PONG, |w| w.u64(now.unix_ms).u64(number)));
            }
            PING => {}
            PONG => self.handle_pong(number, reader.u64().ok(), now),
            other => return Err(ControlError::Malformed(other)),
        }
        Ok(())
    }

    fn handle_message(&mut self, number: u64, body: &[u8]) {
        self.acknowledge = true;
        if number <= self.applied {
            return;
        }
        self.applied = number;
        let message = serde_json::from_slice(body);
        self.events
            .push_back(message.map_or(Event::Unknown, Event::Applied));
    }

    /// The peer's clock was read in the middle between our sending and our hearing of it.
    fn handle_pong(&mut self, peer_ms: u64, sent_ms: Option<u64>, now: Now) {
        let Some(sent_ms) = sent_ms.filter(|sent| *sent <= now.unix_ms) else {
            return;
        };
        // Only the last ping's time is kept: an answer to an older one tells nothing of the way now.
        let Some((_, pinged)) = self.pinged.filter(|(ms, _)| *ms == sent_ms) else {
            return;
        };
        let middle = sent_ms.midpoint(now.unix_ms);
        let offset = i128::from(peer_ms).saturating_sub(i128::from(middle));
        self.events.push_back(Event::Pong {
            clock_offset_ms: i64::try_from(offset).unwrap_or(i64::MAX),
            round_trip: now.instant.saturating_duration_since(pinged),
        });
    }

    fn forget_up_to(&mut self, number: u64) {
        while self
            .unacknowledged
            .front()
            .is_some_and(|(first, _)| *first <= number)
        {
            self.unacknowledged.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.sent <= self.unacknowledged.len(),
            "more sent than queued"
        );
        debug_assert!(
            self.unacknowledged.len() <= limits::CONTROL_QUEUE_MAX,
            "the queue has no bound"
        );
        debug_assert!(
            self.applied == 0 || self.peer.is_some(),
            "applied from nobody"
        );
    }
}

/// A peer that sends pings faster than it reads gets no more answers than this at once.
const REPLIES_MAX: usize = 16;

fn frame(kind: u8, fields: impl FnOnce(&mut Writer) -> &mut Writer) -> Bytes {
    let mut body = Writer::new();
    fields(body.u8(kind));
    let body = body.into_bytes();
    let mut framed = Writer::new();
    framed
        .u32(u32::try_from(body.len()).unwrap_or(u32::MAX))
        .slice(&body);
    framed.into_bytes().into()
}

#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test itself"
)]
mod tests;
