//! Sleeping until a socket can be read, another thread wants something, or time has passed: one set for a media thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::limits;

/// What a socket is called in a [`Poller`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Sockets that are waited for together. A socket that is closed leaves by itself.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    ready: usize,
}

impl Poller {
    /// A set without sockets.
    ///
    /// # Errors
    /// The system's error.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); limits::MEDIA_EVENTS_AT_ONCE],
            ready: 0,
        })
    }

    /// Waits for this socket too, from now on until it is closed. It is reported as long as there is something to read.
    ///
    /// # Errors
    /// The system's error.
    pub fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token.0);
        Ok(self.epoll.add(socket, event)?)
    }

    /// Sleeps until something can be read, or until `until`; not at all if that has passed. Returns how many sockets
    /// can be read: [`Self::ready`].
    ///
    /// # Errors
    /// The system's error.
    pub fn wait(&mut self, until: Option<Instant>, now: Instant) -> io::Result<usize> {
        let timeout = match until {
            None => EpollTimeout::NONE,
            Some(until) => milliseconds_up(until.saturating_duration_since(now)),
        };
        self.ready = match self.epoll.wait(&mut self.events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.ready)
    }

    /// A socket that can be read, by its number in the last [`Self::wait`].
    #[must_use]
    pub fn ready(&self, number: usize) -> Option<Token> {
        let ready = self.events.get(..self.ready)?;
        ready.get(number).map(|event| Token(event.data()))
    }
}

impl AsFd for Poller {
    /// Can be read when one of the sockets can.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Rounded up: a timer that is asked a little early would be asked again at once.
fn milliseconds_up(wait: Duration) -> EpollTimeout {
    let wait = wait.saturating_add(Duration::from_micros(999)).as_millis();
    EpollTimeout::try_from(i32::try_from(wait).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
}

/// Ends the sleep of a media thread from any other thread. Clones wake the same thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Call>);

#[derive(Debug)]
struct Call {
    event: EventFd,
    /// Somebody has called since the thread last looked: another call would say nothing new.
    is_made: AtomicBool,
}

impl Waker {
    /// A waker; its thread adds it to its [`Poller`].
    ///
    /// # Errors
    /// The system's error.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(Call {
            event: EventFd::from_flags(flags)?,
            is_made: AtomicBool::new(false),
        })))
    }

    /// Ends the sleep, or the next one.
    pub fn wake(&self) {
        if !self.0.is_made.swap(true, Ordering::AcqRel) {
            // Fails only when it is already as awake as can be.
            self.0.event.write(1).ok();
        }
    }

    /// Lets the thread sleep again; called by the thread itself, before it looks for what it was woken for.
    pub fn settle(&self) {
        // Fails only when nobody has called.
        self.0.event.read().ok();
        // Whoever calls from here on is heard anew, and what came before is looked for after this.
        self.0.is_made.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock;
    use crate::runtime::udp::bind;

    #[test]
    fn what_can_be_read_ends_the_sleep_and_is_named() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        let left = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let right = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        poller.add(&waker, Token(1)).unwrap();
        poller.add(&right, Token(2)).unwrap();
        let now = clock::now();
        assert_eq!(poller.wait(Some(now), now).unwrap(), 0);

        left.send_to(b"x", right.local_addr().unwrap()).unwrap();

        assert_eq!(poller.wait(None, now).unwrap(), 1);
        assert_eq!((poller.ready(0), poller.ready(1)), (Some(Token(2)), None));
        assert_eq!(right.recv(&mut [0; 4]).unwrap(), 1);

        waker.wake();
        assert_eq!(poller.wait(None, now).unwrap(), 1);
        assert_eq!(poller.ready(0), Some(Token(1)));
        waker.settle();
        assert_eq!(poller.wait(Some(now), now).unwrap(), 0);
    }
}
