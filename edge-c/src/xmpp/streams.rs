//! The clients' streams, as far as others ask about them: whose they are, and how to end one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use common::limits;
use common::link::flow::FlowClose;
use common::net::Domain;
use common::policy::deadlines::Deadlines;
use common::time::UnixTime;
use common::xmpp::error::Condition;
use tokio::sync::Notify;

use super::gate::Stay;
use crate::upstream::xmpp::Node;

/// All of them.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: BTreeMap<u64, Arc<Stream>>,
    /// When it is to be looked whether their owners may stay.
    ends: Deadlines<u64>,
}

/// One of them.
#[derive(Debug)]
pub struct Stream {
    id: u64,
    owner: OnceLock<Owner>,
    stop: AtomicU8,
    stopped: Notify,
}

/// Whose stream it is, from authentication on.
#[derive(Debug)]
pub struct Owner {
    /// The user, if the mechanism named one.
    pub user: Option<Box<str>>,
    /// Until when a token lets the user stay, if one has let the user in.
    pub token_ends: Option<UnixTime>,
    /// The domain.
    pub domain: Domain,
    /// The node that it is on.
    pub node: Arc<Node>,
}

/// Why a stream is ended from outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// edge-c stops.
    Draining,
    /// The session or the token that has let the user in is over.
    Expired,
    /// The node can't be reached any more.
    NodeLost,
    /// The user's session was revoked.
    Revoked,
}

impl Stop {
    const fn code(self) -> u8 {
        match self {
            Self::Draining => 1,
            Self::NodeLost => 2,
            Self::Revoked => 3,
            Self::Expired => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Draining),
            2 => Some(Self::NodeLost),
            3 => Some(Self::Revoked),
            4 => Some(Self::Expired),
            _ => None,
        }
    }

    /// What the client is told.
    #[must_use]
    pub const fn condition(self) -> Condition {
        match self {
            Self::Draining => Condition::SystemShutdown,
            Self::NodeLost => Condition::RemoteConnectionFailed,
            Self::Expired | Self::Revoked => Condition::Reset,
        }
    }

    /// What edge-e is told.
    #[must_use]
    pub const fn close(self) -> FlowClose {
        match self {
            Self::Draining => FlowClose::Draining,
            Self::NodeLost => FlowClose::UpstreamLost,
            Self::Expired | Self::Revoked => FlowClose::Revoked,
        }
    }
}

impl Stream {
    /// Who signed in.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.get()
    }

    /// Notes who signed in.
    pub fn owned_by(&self, owner: Owner) {
        // A stream authenticates once.
        drop(self.owner.set(owner));
    }

    /// Resolves when somebody ends the stream. Cancel safe; for one waiter.
    pub async fn stopped(&self) -> Stop {
        loop {
            if let Some(stop) = Stop::from_code(self.stop.load(Ordering::Acquire)) {
                return stop;
            }
            self.stopped.notified().await;
        }
    }

    fn stop(&self, why: Stop) -> bool {
        let first = self
            .stop
            .compare_exchange(0, why.code(), Ordering::AcqRel, Ordering::Acquire);
        self.stopped.notify_one();
        first.is_ok()
    }
}

impl Streams {
    /// A place for one more, or `None` if there are as many as edge-c takes.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.streams.len() >= limits::XMPP_STREAMS_MAX {
            return None;
        }
        let id = open.next;
        open.next = open.next.wrapping_add(1);
        let stream = Arc::new(Stream {
            id,
            owner: OnceLock::new(),
            stop: AtomicU8::new(0),
            stopped: Notify::new(),
        });
        open.streams.insert(id, Arc::clone(&stream));
        drop(open);
        Some(Place {
            streams: Arc::clone(self),
            stream,
        })
    }

    /// Ends up to `max` of those that are chosen and go on yet. Returns how many these are.
    pub fn stop(&self, why: Stop, max: usize, is_chosen: impl Fn(&Stream) -> bool) -> usize {
        let chosen: Vec<Arc<Stream>> = {
            let open = self.lock();
            let going_on = open
                .streams
                .values()
                .filter(|stream| stream.stop.load(Ordering::Acquire) == 0);
            let chosen = going_on.filter(|stream| is_chosen(stream));
            chosen.take(max).cloned().collect()
        };
        chosen.iter().filter(|stream| stream.stop(why)).count()
    }

    /// Has [`Self::end_due`] ask about a stream then, and not when it was to ask before.
    pub fn ask_at(&self, stream: &Stream, end: UnixTime) {
        let mut open = self.lock();
        if open.streams.contains_key(&stream.id) {
            open.ends.set(stream.id, end);
        }
    }

    /// Asks about every stream whose time is over by `now` whether its owner may stay, and ends those of whom that is not
    /// true. Returns how many.
    pub fn end_due(&self, now: UnixTime, stay: impl Fn(&Stream) -> Stay) -> usize {
        let mut ended = 0;
        while let Some(stream) = self.pop_due(now) {
            match stay(&stream) {
                Stay::Always => {}
                Stay::Over => ended += usize::from(stream.stop(Stop::Expired)),
                // Later in any case, or this would never end.
                Stay::Until(end) => {
                    self.ask_at(&stream, end.max(UnixTime(now.0.saturating_add(1))));
                }
            }
        }
        ended
    }

    fn pop_due(&self, now: UnixTime) -> Option<Arc<Stream>> {
        let mut open = self.lock();
        let id = open.ends.pop_due(now)?;
        open.streams.get(&id).cloned()
    }

    /// How many there are, signed in or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().streams.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's place among all; free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    streams: Arc<Streams>,
    stream: Arc<Stream>,
}

impl Place {
    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.streams.remove(&self.stream.id);
        open.ends.remove(self.stream.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_is_stopped_hears_why_once() {
        let streams = Arc::new(Streams::default());
        let (one, other) = (streams.open().unwrap(), streams.open().unwrap());

        assert_eq!(
            streams.stop(Stop::Revoked, 9, |stream| stream.id == one.stream.id),
            1
        );
        assert_eq!(streams.stop(Stop::Draining, 9, |_| true), 1);

        assert_eq!(one.stream.stopped().await, Stop::Revoked);
        assert_eq!(other.stream.stopped().await, Stop::Draining);
        assert_eq!(streams.stop(Stop::Draining, 9, |_| true), 0);
    }

    #[tokio::test]
    async fn a_stream_ends_with_what_let_it_in_unless_that_was_renewed() {
        let streams = Arc::new(Streams::default());
        let (one, other) = (streams.open().unwrap(), streams.open().unwrap());
        streams.ask_at(&one.stream, UnixTime(100));
        streams.ask_at(&other.stream, UnixTime(100));
        let (renewed, over) = (
            |_: &Stream| Stay::Until(UnixTime(200)),
            |_: &Stream| Stay::Over,
        );
        assert_eq!(streams.end_due(UnixTime(99), over), 0);

        let end = |stream: &Stream| {
            if stream.id == one.stream.id {
                Stay::Over
            } else {
                renewed(stream)
            }
        };
        assert_eq!(streams.end_due(UnixTime(100), end), 1);

        assert_eq!(one.stream.stopped().await, Stop::Expired);
        assert_eq!(streams.end_due(UnixTime(199), over), 0);
        assert_eq!(streams.end_due(UnixTime(200), over), 1);
        assert_eq!(other.stream.stopped().await, Stop::Expired);
    }

    #[test]
    fn streams_that_need_nothing_and_those_that_are_gone_are_not_asked_about_again() {
        let streams = Arc::new(Streams::default());
        let (free, gone) = (streams.open().unwrap(), streams.open().unwrap());
        streams.ask_at(&free.stream, UnixTime(100));
        streams.ask_at(&gone.stream, UnixTime(100));
        drop(gone);

        assert_eq!(streams.end_due(UnixTime(100), |_| Stay::Always), 0);

        assert_eq!(streams.end_due(UnixTime(u64::MAX), |_| Stay::Over), 0);
    }

    #[test]
    fn a_place_is_free_when_its_stream_is_over() {
        let streams = Arc::new(Streams::default());
        let place = streams.open().unwrap();
        assert_eq!(streams.count(), 1);

        drop(place);

        assert_eq!(streams.count(), 0);
    }
}
