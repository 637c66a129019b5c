//! The media trunk: one sealed path between an edge-c and an edge-e that carries media frames and may lose them.
//!
//! A trunk belongs to the thread that owns the media sockets and does nothing by itself: the thread waits until one of
//! [`MediaTrunk::sockets`] can be read or [`MediaTrunk::poll_timeout`] has come, then calls `receive` and, once per turn
//! after everything was sent, `flush`. Not here: what a frame means ([`crate::media::trunk_frame`]).

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::media::class::MediaClass;
use crate::time::Wakeup;

pub mod client;
mod pack;
pub mod pipe;
mod quic;
pub mod server;
pub mod settings;
#[cfg(test)]
mod tests;

/// What carries the frames now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrunkPath {
    /// Nothing: frames are dropped.
    Down,
    /// QUIC datagrams.
    Quic,
    /// A TCP connection of the link, because UDP does not get through. Calls work and sound worse.
    Tcp,
}

/// One end of a media trunk. Nothing in here waits.
pub trait MediaTrunk {
    /// Takes one frame (head and packet); it leaves at the next [`Self::flush`]. What can't be sent is dropped and counted.
    fn send(&mut self, class: MediaClass, frame: &[u8]);

    /// Sends what was taken since the last time, in as few system calls as can be, and what the trunk itself has to say.
    fn flush(&mut self, now: Instant);

    /// Reads everything that has arrived and hands each whole frame to `sink`, in a buffer that it may change.
    fn receive(&mut self, now: Instant, sink: &mut dyn FnMut(&mut [u8]));

    /// When [`Self::receive`] and [`Self::flush`] want to be called even if nothing arrives.
    fn poll_timeout(&self) -> Option<Wakeup>;

    /// What becomes readable when there is something to receive. The same ones for the life of the trunk.
    fn sockets(&self) -> Vec<BorrowedFd<'_>>;

    /// What carries the frames now.
    fn path(&self) -> TrunkPath;
}

/// What has passed a trunk and what has not, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrunkCounts {
    /// Frames taken to be sent.
    pub sent: u64,
    /// Their octets.
    pub sent_bytes: u64,
    /// Frames that have arrived.
    pub received: u64,
    /// Their octets.
    pub received_bytes: u64,
    /// Frames dropped because there was no path, or they were too many or too long.
    pub dropped: u64,
    /// Datagrams, or frames over TCP, that were taken and then not sent.
    pub unsent: u64,
    /// Datagrams that the system dropped because nobody read them in time.
    pub kernel_drops: u64,
    /// Dials that failed.
    pub failures: u64,
}

impl TrunkCounts {
    fn note_sent(&mut self, is_sent: bool, len: usize) {
        if is_sent {
            self.sent += 1;
            self.sent_bytes += u64::try_from(len).unwrap_or(0);
        } else {
            self.dropped += 1;
        }
    }

    fn note_received(&mut self, len: usize) {
        self.received += 1;
        self.received_bytes += u64::try_from(len).unwrap_or(0);
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.dropped += other.dropped;
        self.unsent += other.unsent;
        self.kernel_drops += other.kernel_drops;
        self.failures += other.failures;
    }
}
