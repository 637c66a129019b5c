//! The media trunk: one sealed path between an edge-c and an edge-e that carries media frames and may lose them.
//!
//! A trunk belongs to the thread that owns the media sockets and does nothing by itself: the thread waits until one of
//! [`MediaTrunk::sockets`] can be read or [`MediaTrunk::poll_timeout`] has come, then calls `receive` and, once per turn
//! after everything was sent, `flush`. Not here: what a frame means ([`crate::media::trunk_frame`]).

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::media::class::MediaClass;
use crate::time::Wakeup;

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
