//! What the `control` fuzz target drives: two sides, chunks of any size, lost connections, messages of any form.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a fuzz target reports by panicking"
)]

use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Command, Report};
use super::{Control, Event, Now};

/// Reads a message of either direction; what was understood must read back the same from what is written.
pub fn messages(bytes: &[u8]) {
    round_trip::<Command>(bytes);
    round_trip::<Report>(bytes);
}

fn round_trip<M: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = serde_json::from_slice::<M>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&message).unwrap_or_default();
    match serde_json::from_slice::<M>(&written) {
        Ok(again) if again == message => {}
        other => panic!("{message:?} reads back as {other:?}"),
    }
}

/// Feeds raw bytes in the chunks that their first byte names; nothing may panic or grow.
pub fn frames(bytes: &[u8]) {
    let now = Now {
        instant: crate::testing::epoch(),
        unix_ms: 1,
    };
    let chunk = usize::from(bytes.first().copied().unwrap_or(1)).max(1);
    let mut whole: Control<u32, u32> = connected(now);
    let mut chunked: Control<u32, u32> = connected(now);

    let at_once = whole.handle_bytes(bytes, now);
    let piecewise = bytes
        .chunks(chunk)
        .try_for_each(|piece| chunked.handle_bytes(piece, now));

    if at_once != piecewise || events(&mut whole) != events(&mut chunked) {
        panic!("chunking changed what was understood");
    }
}

/// Reads steps out of `bytes` and checks that each message is applied once and in order.
pub fn steps(bytes: &[u8]) {
    let start = crate::testing::epoch();
    let mut world = World::new(start);
    for step in bytes {
        world.step(*step);
    }
    world.reconnect();
    world.settle();
    let expected: Vec<u32> = (1..=world.sent).collect();
    if world.applied != expected {
        panic!("sent 1..={}, applied {:?}", world.sent, world.applied);
    }
}

struct World {
    left: Control<u32, u32>,
    right: Control<u32, u32>,
    now: Now,
    sent: u32,
    applied: Vec<u32>,
}

impl World {
    fn new(start: Instant) -> Self {
        let mut world = Self {
            left: Control::new(start),
            right: Control::new(start),
            now: Now {
                instant: start,
                unix_ms: 1_000_000,
            },
            sent: 0,
            applied: Vec::new(),
        };
        world.reconnect();
        world
    }

    fn step(&mut self, step: u8) {
        match step % 8 {
            0..=2 if self.sent < 1000 => {
                self.sent += 1;
                must(self.left.send(&self.sent));
            }
            3 => self.settle(),
            4 => self.one_way(usize::from(step)),
            5 => self.reconnect(),
            _ => self.pass(Duration::from_millis(u64::from(step) * 20)),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap_or(0);
        self.left.handle_timeout(self.now);
        self.right.handle_timeout(self.now);
        self.collect();
    }

    /// A connection is lost with some bytes delivered and the acknowledgement not.
    fn one_way(&mut self, bytes: usize) {
        if let Some(frame) = self.left.poll_transmit() {
            let part = frame.get(..bytes.min(frame.len())).unwrap_or_default();
            must(self.right.handle_bytes(part, self.now));
            self.collect();
            if part.len() < frame.len() {
                self.reconnect();
            }
        }
    }

    fn reconnect(&mut self) {
        let (left, right) = (self.left.resume(), self.right.resume());
        self.left.handle_eof();
        self.right.handle_eof();
        self.left.handle_connected(2, right, 1, self.now);
        self.right.handle_connected(1, left, 2, self.now);
        self.collect();
    }

    fn settle(&mut self) {
        loop {
            let right = self.left.poll_transmit();
            let left = self.right.poll_transmit();
            if left.is_none() && right.is_none() {
                return;
            }
            if let Some(frame) = right {
                must(self.right.handle_bytes(&frame, self.now));
            }
            if let Some(frame) = left {
                must(self.left.handle_bytes(&frame, self.now));
            }
            self.collect();
        }
    }

    fn collect(&mut self) {
        self.applied.extend(
            events(&mut self.right)
                .into_iter()
                .filter_map(|event| match event {
                    Event::Applied(number) => Some(number),
                    Event::Pong { .. } | Event::PeerLost | Event::PeerReset | Event::Unknown => {
                        None
                    }
                }),
        );
        drop(events(&mut self.left));
    }
}

fn must<E: Debug>(result: Result<(), E>) {
    if let Err(error) = result {
        panic!("two sides that keep the protocol disagree: {error:?}");
    }
}

fn connected(now: Now) -> Control<u32, u32> {
    let mut control = Control::new(now.instant);
    control.handle_connected(2, None, 1, now);
    control
}

fn events(control: &mut Control<u32, u32>) -> Vec<Event<u32>> {
    std::iter::from_fn(|| control.poll_event()).collect()
}
