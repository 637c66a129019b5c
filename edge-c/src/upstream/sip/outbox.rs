//! Messages on their way to one connection: filled without waiting, emptied by the task of the connection, bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// How much waits for one connection; beyond it the peer doesn't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages.
    pub messages: usize,
    /// Their octets.
    pub bytes: usize,
}

/// The messages, each with what its sender wants to know it by.
#[derive(Debug)]
pub struct Outbox<T> {
    queue: Mutex<Queue<T>>,
    changed: Notify,
    /// It was closed or abandoned.
    closing: Notify,
    room: Room,
}

#[derive(Debug)]
struct Queue<T> {
    messages: VecDeque<(Bytes, T)>,
    bytes: usize,
    is_closed: bool,
    is_abandoned: bool,
}

impl<T> Outbox<T> {
    /// An empty one.
    #[must_use]
    pub const fn new(room: Room) -> Self {
        let queue = Queue {
            messages: VecDeque::new(),
            bytes: 0,
            is_closed: false,
            is_abandoned: false,
        };
        Self {
            queue: Mutex::new(queue),
            changed: Notify::const_new(),
            closing: Notify::const_new(),
            room,
        }
    }

    /// Puts a message in.
    ///
    /// # Errors
    /// The ticket comes back if there is no room, or the connection is closing.
    pub fn push(&self, bytes: Bytes, ticket: T) -> Result<(), T> {
        let mut queue = self.lock();
        let all = queue.bytes.saturating_add(bytes.len());
        let is_full = queue.messages.len() >= self.room.messages || all > self.room.bytes;
        if queue.is_closed || is_full {
            return Err(ticket);
        }
        queue.bytes = all;
        queue.messages.push_back((bytes, ticket));
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes nothing more; what is in there still goes out, and then [`Self::take`] says that it is over.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
        self.closing.notify_one();
    }

    /// Resolves once it is closed or abandoned: `true` if it was abandoned. For one waiter. Cancel safe.
    pub async fn closed(&self) -> bool {
        loop {
            {
                let queue = self.lock();
                if queue.is_closed {
                    return queue.is_abandoned;
                }
            }
            self.closing.notified().await;
        }
    }

    /// The next message, waited for; `None` when it is closed and empty. Cancel safe.
    pub async fn take(&self) -> Option<(Bytes, T)> {
        loop {
            {
                let mut queue = self.lock();
                if let Some(taken) = queue.pop() {
                    return Some(taken);
                }
                if queue.is_closed {
                    return None;
                }
            }
            // `notify_one` is remembered for whoever waits next, so nothing is missed in between.
            self.changed.notified().await;
        }
    }

    /// The next message, if there is one.
    pub fn try_take(&self) -> Option<(Bytes, T)> {
        self.lock().pop()
    }

    /// Closes it and gives back whatever was never taken.
    pub fn abandon(&self) -> Vec<T> {
        let mut queue = self.lock();
        queue.is_closed = true;
        queue.is_abandoned = true;
        queue.bytes = 0;
        let left = queue.messages.drain(..).map(|(_, ticket)| ticket).collect();
        drop(queue);
        self.changed.notify_one();
        self.closing.notify_one();
        left
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox<()> {
    /// `first`, which was just taken, and the messages behind it as far as they fit into `max` octets: what waits
    /// together leaves together.
    pub fn with_next(&self, first: Bytes, max: usize) -> Bytes {
        let mut queue = self.lock();
        let mut all = BytesMut::new();
        while let Some((next, _)) = queue.messages.front() {
            let before = if all.is_empty() {
                first.len()
            } else {
                all.len()
            };
            if before.saturating_add(next.len()) > max {
                break;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            let Some((next, _)) = queue.pop() else { break };
            all.extend_from_slice(&next);
        }
        if all.is_empty() { first } else { all.freeze() }
    }
}

impl<T> Queue<T> {
    fn pop(&mut self) -> Option<(Bytes, T)> {
        let taken = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(taken.0.len());
        if self.messages.is_empty() {
            // Thousands of idle connections must not each keep the memory of their busiest moment.
            self.messages = VecDeque::new();
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        messages: 3,
        bytes: 10,
    };

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn messages_leave_in_order_and_the_end_comes_after_the_last() {
        let outbox = Outbox::new(ROOM);
        outbox.push(bytes("a"), 1).unwrap();
        outbox.push(bytes("b"), 2).unwrap();
        outbox.close();

        assert_eq!(outbox.take().await, Some((bytes("a"), 1)));
        assert_eq!(outbox.take().await, Some((bytes("b"), 2)));
        assert_eq!(outbox.take().await, None);
        assert_eq!(outbox.push(bytes("c"), 3), Err(3));
    }

    #[test]
    fn what_does_not_fit_comes_back_and_room_returns() {
        let outbox = Outbox::new(ROOM);

        assert_eq!(
            outbox.push(bytes("12345678901"), 1),
            Err(1),
            "too many octets"
        );
        for number in 0..3 {
            outbox.push(bytes("x"), number).unwrap();
        }
        assert_eq!(outbox.push(bytes("x"), 3), Err(3), "too many messages");

        outbox.try_take().unwrap();
        assert_eq!(outbox.push(bytes("1234567"), 4), Ok(()));
        assert_eq!(outbox.abandon(), [1, 2, 4]);
        assert_eq!(outbox.push(bytes("x"), 5), Err(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_together_is_taken_together_as_far_as_it_fits() {
        let outbox = Outbox::new(ROOM);
        outbox.push(bytes("one"), ()).unwrap();
        outbox.push(bytes("two"), ()).unwrap();
        outbox.push(bytes("six"), ()).unwrap();

        let (first, ()) = outbox.take().await.unwrap();

        assert_eq!(outbox.with_next(first, 8), bytes("onetwo"));
        let (last, ()) = outbox.take().await.unwrap();
        assert_eq!(outbox.with_next(last, 8), bytes("six"));
        outbox.push(bytes("1234567"), ()).unwrap();
        let long = bytes("a message by itself");
        assert_eq!(outbox.with_next(long.clone(), 8), long);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken() {
        let outbox = std::sync::Arc::new(Outbox::new(ROOM));
        let waiting = std::sync::Arc::clone(&outbox);
        let waiting = tokio::spawn(async move { waiting.take().await });
        tokio::task::yield_now().await;

        outbox.push(bytes("a"), ()).unwrap();

        assert_eq!(waiting.await.unwrap(), Some((bytes("a"), ())));
    }
}
