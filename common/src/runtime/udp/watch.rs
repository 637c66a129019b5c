//! How a media thread waits: for trunks at once, for the many sockets of calls together and now and then.
//!
//! What comes over a trunk was gathered by the other edge, and is passed on as soon as it is there. A socket of a call has a
//! packet every few milliseconds: while packets flow nobody listens to these sockets, they are looked at together when it is
//! time, so that packets of many calls share a wake, and datagrams of the trunk. So a packet waits at one edge only,
//! and a single packet after a silence nowhere. Not here: what is read.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::poll::{Poller, Token};
use crate::limits;

/// What a media thread waits for.
#[derive(Debug)]
pub struct Watch {
    prompt: Poller,
    calls: Poller,
    pace: Pace,
}

impl Watch {
    /// Waits for nothing yet. While packets flow, sockets of calls are looked at every `interval`, or a little earlier if the
    /// thread is awake anyway.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(interval: Duration) -> io::Result<Self> {
        Ok(Self {
            prompt: Poller::new()?,
            calls: Poller::new()?,
            pace: Pace {
                interval,
                gathered: None,
            },
        })
    }

    /// Waits for this one too, until it is closed: [`Self::prompt`] tells as soon as it can be read.
    ///
    /// # Errors
    /// The system's error.
    pub fn add_prompt(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        self.prompt.add(socket, token)
    }

    /// Looks at this socket of a call too, until it is closed: see [`Self::gather`].
    ///
    /// # Errors
    /// The system's error.
    pub fn add_call(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        self.calls.add(socket, token)
    }

    /// Sleeps until there is something to do, or until `until`; not at all if that has passed.
    ///
    /// # Errors
    /// The system's error.
    pub fn wait(&mut self, until: Option<Instant>, now: Instant) -> io::Result<()> {
        let due = self.pace.due();
        let until = [until, due].into_iter().flatten().min();
        let timeout = until.map(|until| until.saturating_duration_since(now));
        let mut both = [
            PollFd::new(self.prompt.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.calls.as_fd(), PollFlags::POLLIN),
        ];
        let heard = if due.is_some() { 1 } else { both.len() };
        let heard = both.get_mut(..heard).unwrap_or_default();
        match ppoll(heard, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.prompt.wait(Some(now), now)?;
        Ok(())
    }

    /// One of those that are waited for promptly and can be read, by its number after the last [`Self::wait`].
    #[must_use]
    pub fn prompt(&self, number: usize) -> Option<Token> {
        self.prompt.ready(number)
    }

    /// Looks at the sockets of calls, if it is time: `read` takes one packet from each that can be read, and says whether
    /// there was one. Those that have more are asked again after the others.
    ///
    /// # Errors
    /// The system's error.
    pub fn gather(&mut self, now: Instant, mut read: impl FnMut(Token) -> bool) -> io::Result<()> {
        if !self.pace.is_due(now) {
            return Ok(());
        }
        let mut has_moved = false;
        for _ in 0..limits::MEDIA_PASSES_MAX {
            let ready = self.calls.wait(Some(now), now)?;
            let ready = (0..ready).filter_map(|number| self.calls.ready(number));
            if ready.filter(|token| read(*token)).count() == 0 {
                break;
            }
            has_moved = true;
        }
        self.pace.note_gathered(has_moved, now);
        Ok(())
    }
}

/// When sockets of calls are looked at.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// When they were last looked at, if they had packets then. If not, they are listened to.
    gathered: Option<Instant>,
}

impl Pace {
    /// When they are to be looked at even if nothing else happens; `None` while they are listened to.
    fn due(&self) -> Option<Instant> {
        self.gathered?.checked_add(self.interval)
    }

    /// Whether they are looked at by a thread that is awake now. Half of the interval is enough: a wake is saved, and the
    /// edges fall into step, the one looking when the other's packets come.
    fn is_due(&self, now: Instant) -> bool {
        self.gathered
            .is_none_or(|gathered| now.saturating_duration_since(gathered) >= self.interval / 2)
    }

    const fn note_gathered(&mut self, has_moved: bool, now: Instant) {
        self.gathered = if has_moved { Some(now) } else { None };
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::runtime::clock;
    use crate::runtime::udp::bind;
    use crate::testing::epoch;

    const INTERVAL: Duration = Duration::from_secs(60);

    /// A watch with one trunk and one socket of a call, and who sends to them.
    struct Scene {
        watch: Watch,
        trunk: UdpSocket,
        call: UdpSocket,
        far: UdpSocket,
    }

    impl Scene {
        fn new() -> Self {
            let socket = || bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let (trunk, call, far) = (socket(), socket(), socket());
            let watch = Watch::new(INTERVAL).unwrap();
            watch.add_prompt(&trunk, Token(1)).unwrap();
            watch.add_call(&call, Token(2)).unwrap();
            Self {
                watch,
                trunk,
                call,
                far,
            }
        }

        fn send(&self, to: &UdpSocket) {
            self.far.send_to(b"x", to.local_addr().unwrap()).unwrap();
        }

        /// How many packets of calls are taken at `now`.
        fn gather(&mut self, now: Instant) -> usize {
            let mut packets = 0;
            let call = &self.call;
            let read = |token| {
                assert_eq!(token, Token(2));
                let is_there = call.recv(&mut [0; 4]).is_ok();
                packets += usize::from(is_there);
                is_there
            };
            self.watch.gather(now, read).unwrap();
            packets
        }
    }

    #[test]
    fn a_packet_after_a_silence_ends_the_sleep_at_once() {
        let mut scene = Scene::new();
        scene.send(&scene.call);

        scene.watch.wait(None, clock::now()).unwrap();

        assert_eq!(scene.watch.prompt(0), None);
        assert_eq!(scene.gather(clock::now()), 1);
    }

    #[test]
    fn while_packets_flow_a_trunk_ends_the_sleep_and_a_call_does_not() {
        let mut scene = Scene::new();
        scene.send(&scene.call);
        let start = clock::now();
        assert_eq!(scene.gather(start), 1);
        scene.send(&scene.call);

        // It would not sleep if the socket of the call were listened to; that it does is seen by the time it takes.
        let until = start + Duration::from_millis(20);
        scene.watch.wait(Some(until), clock::now()).unwrap();
        assert!(clock::now() >= until);

        scene.send(&scene.trunk);
        scene.watch.wait(None, clock::now()).unwrap();
        assert_eq!(scene.watch.prompt(0), Some(Token(1)));
        assert_eq!(scene.watch.prompt(1), None);
        assert!(clock::now() < start + INTERVAL / 2);
        assert_eq!(scene.gather(start + INTERVAL / 3), 0);
        assert_eq!(scene.gather(start + INTERVAL / 2), 1);
    }

    #[test]
    fn all_packets_of_a_socket_are_taken_in_one_turn() {
        let mut scene = Scene::new();
        for _ in 0..5 {
            scene.send(&scene.call);
        }

        assert_eq!(scene.gather(clock::now()), 5);
    }

    #[test]
    fn sockets_are_listened_to_again_when_they_fall_silent() {
        let now = epoch();
        let mut pace = Pace {
            interval: INTERVAL,
            gathered: None,
        };
        assert_eq!((pace.due(), pace.is_due(now)), (None, true));

        pace.note_gathered(true, now);
        assert_eq!(pace.due(), Some(now + INTERVAL));
        assert!(!pace.is_due(now + INTERVAL / 3));
        assert!(pace.is_due(now + INTERVAL / 2));

        pace.note_gathered(false, now + INTERVAL);
        assert_eq!((pace.due(), pace.is_due(now + INTERVAL)), (None, true));
    }
}
