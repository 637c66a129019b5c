//! What edge-e does with a client's connection before edge-c sees anything of it: takes messages apart, refuses what is
//! malformed, lets nobody but a registered client call, answers keep-alives, and says when a connection has been silent or
//! slow for too long. Routes nothing and knows no transactions.
//!
//! Sans I/O: push what arrived with [`Gate::handle_bytes`] or [`Gate::handle_websocket_message`], then take outputs with
//! [`Gate::next`] until there is none, and call [`Gate::handle_timeout`] at [`Gate::poll_timeout`]. A client that sends
//! too often is not refused anything: outputs stop for a while, so that the connection is not read on.

use std::hash::{Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem;

use super::framing::{self, Framer, FramingError, Item, Progress};
use super::keep_alive;
use super::message::{Fault, Message, Method, ParseError};
use super::name::Name;
use super::response::{self, Response};
use crate::limits;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Every request that clients send.
    Everything,
    /// REGISTER and OPTIONS.
    Registering,
}

/// How often a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Messages a second, not 0.
    pub per_second: u32,
    /// Messages at once after a pause.
    pub burst: u32,
}

/// What came of an item that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write this to the client.
    Answer {
        /// The octets.
        bytes: Bytes,
        /// What is answered.
        to: Answered,
    },
    /// Nobody hears of it.
    Dropped(Refusal),
    /// Send it on.
    Forward(Message),
}

/// What is answered on the spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Line ends.
    Ping,
    /// A request that is not let through.
    Refused(Refusal),
    /// A STUN Binding.
    Stun,
}

/// Why something is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// An ACK that belongs to an answer of ours.
    OwnAck,
    /// It can't be read.
    Malformed(Fault),
    /// A method that clients have no business with.
    Method,
    /// The client has not registered.
    NotRegistered,
    /// A STUN message that is no Binding request.
    Stun,
}

/// Why the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ended {
    /// Nothing was heard for too long.
    #[error("silent for too long")]
    Silent,
    /// A head that does not come to its end.
    #[error("a head that dripped in too slowly")]
    SlowHead,
    /// A body that does not come to its end.
    #[error("a body that dripped in too slowly")]
    SlowBody,
    /// What arrived can't be read on.
    #[error("unreadable: {0}")]
    Unreadable(Fault),
    /// Too much that was malformed.
    #[error("too many malformed messages")]
    Malformed,
}

/// The front of one client connection.
#[derive(Debug)]
pub struct Gate {
    framer: Framer,
    admits: Admits,
    peer: SocketAddr,
    /// Makes the tags of our answers unlike those of other connections.
    seed: u64,
    pace: Pace,
    /// When the client may send its whole burst again.
    paid_until: Instant,
    /// The client has sent too often: nothing is read before this.
    paused_until: Option<Instant>,
    heard: Instant,
    /// When what the framer holds began to arrive.
    began: Option<Instant>,
    /// How long a registered client may be silent.
    silence_max: Duration,
    malformed: u32,
    /// A message of a WebSocket that waits for its turn.
    waiting: Option<Item>,
    ended: Option<Ended>,
}

impl Gate {
    /// The gate of a connection that has just been opened from `peer`; `seed` is any random number.
    #[must_use]
    pub fn new(peer: SocketAddr, pace: Pace, seed: u64, now: Instant) -> Self {
        Self {
            framer: Framer::new(),
            admits: Admits::Registering,
            peer,
            seed,
            pace,
            paid_until: now,
            paused_until: None,
            heard: now,
            began: None,
            silence_max: limits::SIP_REGISTERED_SILENCE_MAX,
            malformed: 0,
            waiting: None,
            ended: None,
        }
    }

    /// Says what the client may send from now on: edge-c knows.
    pub fn set_admits(&mut self, admits: Admits, now: Instant) {
        if self.admits != admits {
            self.admits = admits;
            // It has as long as a new client.
            self.heard = now;
        }
    }

    /// Whether more can be taken: not while the client is made to wait. What was pushed before stays.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        self.paused_until.is_none() && self.waiting.is_none()
    }

    /// Takes what arrived next on a stream.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        self.framer.push(bytes);
    }

    /// Takes note of a sign of life that is no message.
    pub const fn handle_keep_alive(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Takes one message of a WebSocket, which is one message of SIP (RFC 7118 section 5.2).
    pub fn handle_websocket_message(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        match framing::datagram(bytes) {
            Ok(item) => self.waiting = Some(item),
            Err(error) => self.ended = Some(Ended::Unreadable(error.fault())),
        }
    }

    /// Takes note of what edge-c sends to the client: a REGISTER that was accepted says how often the client will be heard
    /// (RFC 5626 section 4.4.1).
    pub fn handle_message_from_core(&mut self, bytes: &Bytes) {
        // Most are answers to other requests, and not worth being read for that.
        let method = Method::Register.as_str().as_bytes();
        if !bytes.starts_with(b"SIP/2.0 2") || memmem::find(bytes, method).is_none() {
            return;
        }
        let Ok(answer) = Message::parse(bytes.clone()) else {
            return;
        };
        if answer.cseq().method == Method::Register {
            let promised = answer.seconds(Name::FlowTimer).filter(|timer| *timer > 0);
            self.silence_max = promised.map_or(limits::SIP_REGISTERED_SILENCE_MAX, silence_of);
        }
    }

    /// What comes of what arrived; `None` if that is nothing yet.
    ///
    /// # Errors
    /// [`Ended`]: the connection is to be closed, once what was to be written is written.
    pub fn next(&mut self, now: Instant) -> Result<Option<Output>, Ended> {
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        if self.is_paused(now) {
            return Ok(None);
        }
        let item = match self.waiting.take() {
            Some(item) => Ok(Some(item)),
            None => self.framer.next(),
        };
        let output = match item {
            Ok(Some(item)) => Some(self.output(item, now)),
            Ok(None) => None,
            Err(error) => Some(self.unreadable(&error)?),
        };
        self.began = match self.framer.progress() {
            Progress::Between => None,
            // A new message, or one that was there while the client had to wait.
            Progress::Head | Progress::Body if output.is_some() => Some(now),
            Progress::Head | Progress::Body => self.began.or(Some(now)),
        };
        Ok(output)
    }

    /// Notices what has taken too long.
    ///
    /// # Errors
    /// [`Ended`]: the connection is to be closed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Ended> {
        if self.paused_until.is_some() {
            return Ok(());
        }
        if let Some((at, ended)) = self.message_deadline()
            && at <= now
        {
            return Err(ended);
        }
        if self.silence_deadline() <= now {
            return Err(Ended::Silent);
        }
        Ok(())
    }

    /// When to come back, and for what. Outputs may go on then too.
    #[must_use]
    pub fn poll_timeout(&self) -> (Instant, &'static str) {
        if let Some(at) = self.paused_until {
            return (at, "the client may send again");
        }
        let silence = (self.silence_deadline(), "the client is silent");
        let message = self.message_deadline();
        let message = message.map(|(at, _)| (at, "a message dripped in too slowly"));
        message.map_or(silence, |message| message.min(silence))
    }

    fn message_deadline(&self) -> Option<(Instant, Ended)> {
        let began = self.began?;
        let (allowed, ended) = match self.framer.progress() {
            Progress::Between => return None,
            Progress::Head => (limits::SIP_HEAD_TIMEOUT, Ended::SlowHead),
            Progress::Body => (limits::SIP_BODY_TIMEOUT, Ended::SlowBody),
        };
        Some((began + allowed, ended))
    }

    fn silence_deadline(&self) -> Instant {
        let allowed = match self.admits {
            Admits::Everything => self.silence_max,
            Admits::Registering => limits::SIP_UNREGISTERED_SILENCE_MAX,
        };
        self.heard + allowed
    }

    fn is_paused(&mut self, now: Instant) -> bool {
        match self.paused_until {
            Some(until) if until > now => true,
            Some(_) => {
                self.paused_until = None;
                self.heard = now;
                false
            }
            None => false,
        }
    }

    /// Counts an item, and makes the client wait for the next one if it has sent more than it may.
    fn pay(&mut self, now: Instant) {
        let each = Duration::from_secs(1) / self.pace.per_second.max(1);
        let burst = each.saturating_mul(self.pace.burst.max(1));
        self.paid_until = self.paid_until.max(now) + each;
        let ahead = self.paid_until.saturating_duration_since(now);
        let over = ahead.saturating_sub(burst);
        if !over.is_zero() {
            self.paused_until = Some(now + over);
        }
    }

    fn output(&mut self, item: Item, now: Instant) -> Output {
        self.pay(now);
        match item {
            Item::Ping => Output::Answer {
                bytes: Bytes::from_static(keep_alive::PONG),
                to: Answered::Ping,
            },
            Item::Stun(request) => match keep_alive::binding_response(&request, self.peer) {
                Some(bytes) => Output::Answer {
                    bytes,
                    to: Answered::Stun,
                },
                None => Output::Dropped(Refusal::Stun),
            },
            Item::Message(bytes) => match Message::parse(bytes) {
                Ok(message) => self.message(message),
                Err(error) => self.malformed(&error),
            },
        }
    }

    fn message(&self, message: Message) -> Output {
        let is_ours = message
            .to_tag()
            .is_some_and(|tag| tag == self.tag(&message));
        if message.is_request() && message.method() == Method::Ack && is_ours {
            return Output::Dropped(Refusal::OwnAck);
        }
        match self.refusal(&message) {
            None => Output::Forward(message),
            Some((refusal, code)) => self.refuse(&message, refusal, code),
        }
    }

    fn refusal(&self, message: &Message) -> Option<(Refusal, u16)> {
        let method = message.method();
        match self.admits {
            Admits::Registering => {
                let is_registering =
                    message.is_request() && matches!(method, Method::Register | Method::Options);
                (!is_registering).then_some((Refusal::NotRegistered, 403))
            }
            Admits::Everything => {
                let is_known = !matches!(method, Method::Service | Method::Other);
                let is_refused = message.is_request() && !is_known;
                is_refused.then_some((Refusal::Method, 405))
            }
        }
    }

    /// The answer `code` to a message that can't be sent on; its ACK will end here. `None` for a response or an ACK, which
    /// nobody answers.
    #[must_use]
    pub fn answer(&self, message: &Message, code: u16, extra: &[(Name, &[u8])]) -> Option<Bytes> {
        if !message.is_request() || message.method() == Method::Ack {
            return None;
        }
        let tag = self.tag(message);
        let mut answer = Response::new(message, code).to_tag(&tag).source(self.peer);
        for (name, value) in extra {
            answer = answer.header(*name, value);
        }
        Some(answer.to_bytes())
    }

    fn refuse(&self, message: &Message, refusal: Refusal, code: u16) -> Output {
        let allow: &[(Name, &[u8])] = match refusal {
            Refusal::Method => &[(Name::Allow, ALLOW)],
            Refusal::Malformed(_) | Refusal::NotRegistered | Refusal::OwnAck | Refusal::Stun => &[],
        };
        match self.answer(message, code, allow) {
            Some(bytes) => Output::Answer {
                bytes,
                to: Answered::Refused(refusal),
            },
            None => Output::Dropped(refusal),
        }
    }

    fn malformed(&mut self, error: &ParseError) -> Output {
        self.malformed = self.malformed.saturating_add(1);
        let refusal = Refusal::Malformed(error.fault());
        if is_fatal(error.fault()) {
            self.ended = Some(Ended::Unreadable(error.fault()));
        } else if self.malformed >= limits::SIP_MALFORMED_MAX {
            self.ended = Some(Ended::Malformed);
        }
        let tag = error.message().map(|message| self.tag(message));
        let answer = response::respond_to_malformed(error, &tag.unwrap_or_default());
        match answer {
            Some(bytes) => Output::Answer {
                bytes,
                to: Answered::Refused(refusal),
            },
            None => Output::Dropped(refusal),
        }
    }

    /// The stream can't be read on; what can be answered is answered before it is closed.
    fn unreadable(&mut self, error: &FramingError) -> Result<Output, Ended> {
        let ended = Ended::Unreadable(error.fault());
        self.ended = Some(ended);
        match self.malformed(error) {
            Output::Dropped(_) => Err(ended),
            output @ (Output::Answer { .. } | Output::Forward(_)) => {
                self.ended = Some(ended);
                Ok(output)
            }
        }
    }

    /// The To tag of our answer to this request: the same for its ACK, so that no state is needed to know that one again
    /// (RFC 3261 section 8.2.7).
    fn tag(&self, message: &Message) -> [u8; 17] {
        // With fixed keys its results are the same each time.
        let mut hasher = std::hash::DefaultHasher::new();
        self.seed.hash(&mut hasher);
        message.call_id().hash(&mut hasher);
        message.from_tag().hash(&mut hasher);
        message.cseq().number.hash(&mut hasher);
        let mut tag = *b"e0000000000000000";
        let digits = tag.iter_mut().skip(1);
        let nibbles = (0..16).map(|at| hasher.finish() >> (at * 4) & 15);
        for (digit, nibble) in digits.zip(nibbles) {
            let letter = u8::try_from(nibble).unwrap_or_default();
            *digit = if letter < 10 { b'0' } else { b'a' - 10 }.saturating_add(letter);
        }
        tag
    }
}

/// What a 405 allows: every method that is let through.
const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH, REGISTER, OPTIONS";

/// One and a half timers, and some time on the way.
fn silence_of(flow_timer: u32) -> Duration {
    let timer = Duration::from_secs(u64::from(flow_timer));
    let allowed = timer
        .saturating_add(timer / 2)
        .saturating_add(limits::SIP_FLOW_TIMER_SLACK);
    allowed.min(limits::SIP_REGISTERED_SILENCE_MAX)
}

/// Whoever sends these does not speak SIP, or wants two readers to see different messages.
const fn is_fatal(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::LineEnd
            | Fault::Nul
            | Fault::NoBlankLine
            | Fault::Header
            | Fault::HeadTooLong
            | Fault::TooLong
            | Fault::ContentLength
            | Fault::BodyShort
    )
}

#[cfg(test)]
mod tests;
