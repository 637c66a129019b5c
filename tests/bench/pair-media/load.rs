//! Paced calls: every 20 ms a packet from each side of each call, and what has come out at the other side, and when.
//!
//! One thread sends, one receives. Times of arrival are the system's (`SO_TIMESTAMPNS`), so that a receiver that is kept
//! waiting by others on this machine counts for nothing.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use common::media::rtp::RtpHeader;
use common::media::srtp::{self, Sender};
use common::runtime::udp::poll::{Poller, Token};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};

use crate::chain::Call;

/// What the load saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Microseconds on the way through the chain, in order.
    pub(crate) delays: Vec<u32>,
    /// Packets that left more than 5 ms late: the load itself did not keep up.
    pub(crate) late: u64,
}

/// Both ways of all calls, for the life of a chain: sequence numbers must go on.
#[derive(Debug)]
pub(crate) struct Load {
    streams: Vec<Stream>,
    sent_at: Arc<Vec<AtomicU64>>,
    poller: Poller,
}

/// One direction of one call.
#[derive(Debug)]
struct Stream {
    sender: Option<Sender>,
    sequence: u16,
    packet: [u8; ROOM],
}

impl Load {
    pub(crate) fn new(calls: &[Call]) -> Result<Self> {
        let poller = Poller::new()?;
        let mut streams = Vec::new();
        for (number, call) in (0_u32..).zip(calls) {
            let outside = Sender::new(&call.outer.keys)?;
            streams.push(Stream::new(2 * number + 1, Some(outside)));
            streams.push(Stream::new(2 * number + 2, None));
            // What comes in inside was sent outside, and the other way.
            for (socket, stream) in [(&call.inner.socket, 0), (&call.outer.socket, 1)] {
                setsockopt(socket, ReceiveTimestampns, &true)?;
                poller.add(socket, Token(u64::from(2 * number + stream)))?;
            }
        }
        let sent_at = (0..streams.len() * REMEMBERED).map(|_| AtomicU64::new(0));
        Ok(Self {
            streams,
            sent_at: Arc::new(sent_at.collect()),
            poller,
        })
    }

    /// Lets all calls speak for a while.
    pub(crate) fn run(&mut self, calls: &[Call], duration: Duration) -> Result<Seen> {
        let Self {
            streams,
            sent_at,
            poller,
        } = self;
        let is_over = AtomicBool::new(false);
        let mut seen = thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(calls, poller, sent_at, &is_over));
            let sent = send(calls, streams, sent_at, duration);
            thread::sleep(REST);
            is_over.store(true, Ordering::Relaxed);
            let mut seen = receiving.join().ok().context("the receiver panicked")??;
            (seen.sent, seen.late) = sent?;
            anyhow::Ok(seen)
        })?;
        seen.delays.sort_unstable();
        Ok(seen)
    }
}

impl Stream {
    fn new(source: u32, sender: Option<Sender>) -> Self {
        let mut packet = [0xd5; ROOM];
        let head = [0x80, 8, 0, 0, 0, 0, 0, 0];
        packet[..8].copy_from_slice(&head);
        packet[8..12].copy_from_slice(&source.to_be_bytes());
        Self {
            sender,
            sequence: 0,
            packet,
        }
    }

    /// The next packet, sealed if the stream is.
    fn next(&mut self) -> Result<([u8; ROOM], usize)> {
        self.sequence = self.sequence.wrapping_add(1);
        let stamp = u32::from(self.sequence).wrapping_mul(160);
        self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        self.packet[4..8].copy_from_slice(&stamp.to_be_bytes());
        let mut packet = self.packet;
        let Some(sender) = &mut self.sender else {
            return Ok((packet, PLAIN));
        };
        let header = RtpHeader::decode(&packet[..PLAIN])?;
        let len = sender.seal_rtp(&mut packet, PLAIN, &header)?;
        Ok((packet, len))
    }
}

fn send(
    calls: &[Call],
    streams: &mut [Stream],
    sent_at: &[AtomicU64],
    duration: Duration,
) -> Result<(u64, u64)> {
    let start = Instant::now();
    let (mut sent, mut late) = (0, 0);
    for turn in 0.. {
        let due = start + TURN * turn;
        let now = Instant::now();
        if due >= start + duration {
            return Ok((sent, late));
        }
        thread::sleep(due.saturating_duration_since(now));
        let is_late = Instant::now().saturating_duration_since(due) > LATE;
        // Calls speak in turn, so that the load is as even as that of many phones.
        let phase = usize::try_from(turn % TURNS)?;
        let turns = usize::try_from(TURNS)?;
        let calls = calls.iter().zip(streams.chunks_exact_mut(2)).enumerate();
        for (number, (Call { outer, inner }, streams)) in calls.skip(phase).step_by(turns) {
            let ways = [(&outer.socket, outer.remote), (&inner.socket, inner.remote)];
            for ((way, stream), (socket, remote)) in streams.iter_mut().enumerate().zip(ways) {
                let (packet, len) = stream.next()?;
                let place = place(2 * number + way, stream.sequence);
                if let Some(sent_at) = sent_at.get(place) {
                    sent_at.store(unix_nanos(), Ordering::Relaxed);
                }
                socket.send_to(packet.get(..len).unwrap_or_default(), remote)?;
                sent += 1;
                late += u64::from(is_late);
            }
        }
    }
    Ok((sent, late))
}

fn receive(
    calls: &[Call],
    poller: &mut Poller,
    sent_at: &[AtomicU64],
    is_over: &AtomicBool,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while !is_over.load(Ordering::Relaxed) {
        let now = Instant::now();
        let ready = poller.wait(Some(now + WAIT), now)?;
        for Token(token) in (0..ready).filter_map(|number| poller.ready(number)) {
            let at = usize::try_from(token)?;
            let Some(call) = calls.get(at / 2) else {
                continue;
            };
            let socket = if at % 2 == 0 {
                &call.inner.socket
            } else {
                &call.outer.socket
            };
            let mut buffer = [0; 256];
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = socket.as_raw_fd();
            let (len, arrived) = match recvmsg::<()>(fd, &mut slices, Some(&mut control), flags) {
                Ok(message) => (message.bytes, arrival(message.cmsgs()?)),
                Err(Errno::EAGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            // RTCP, on the same port or not, is not what was sent.
            if len < PLAIN || buffer[1] & 0x7f != 8 {
                continue;
            }
            seen.received += 1;
            let sequence = u16::from_be_bytes([buffer[2], buffer[3]]);
            let sent = sent_at.get(place(at, sequence));
            let sent = sent.map_or(0, |sent| sent.load(Ordering::Relaxed));
            let nanos = arrived.unwrap_or_else(unix_nanos).saturating_sub(sent);
            seen.delays
                .push(u32::try_from(nanos / 1000).unwrap_or(u32::MAX));
        }
        // Packets come in bursts; a receiver that wakes for each would take the processor from those under test.
        thread::sleep(RECEIVE_TURN);
    }
    Ok(seen)
}

/// Where the time of a packet is kept.
fn place(stream: usize, sequence: u16) -> usize {
    stream * REMEMBERED + usize::from(sequence) % REMEMBERED
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's enum has dozens; only this was asked for"
)]
fn arrival(mut controls: impl Iterator<Item = ControlMessageOwned>) -> Option<u64> {
    controls.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => {
            let seconds = u64::try_from(time.tv_sec()).ok()?;
            Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).ok()?)
        }
        _ => None,
    })
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}

/// RTP header and 20 ms of G.711.
const PLAIN: usize = 12 + 160;
const ROOM: usize = PLAIN + srtp::TRAILER_BYTES_MAX;
const TURN: Duration = Duration::from_millis(1);
/// Turns between two packets of a stream.
const TURNS: u32 = 20;
const LATE: Duration = Duration::from_millis(5);
/// Packets of a stream whose time is remembered: those of five seconds.
const REMEMBERED: usize = 256;
const WAIT: Duration = Duration::from_millis(20);
const RECEIVE_TURN: Duration = Duration::from_millis(2);
/// For the last packets to arrive.
const REST: Duration = Duration::from_millis(200);
