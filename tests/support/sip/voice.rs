//! Media of an agent ([`super::agent`]): a socket that speaks a tone, plain or sealed, and hands out what comes in.

use std::f64::consts::TAU;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::agent::Message;
use super::ear::a_law;
use super::srtp::{Keys, head_length};
use super::tone::Recording;
use crate::place::Place;

/// One audio stream: G.711 A-law.
#[derive(Debug)]
pub struct Voice {
    socket: UdpSocket,
    keys: Option<Keys>,
    source: u32,
    /// The first number of whoever speaks next: none is used twice.
    next: AtomicU16,
}

/// Speaks until it is dropped.
#[derive(Debug)]
pub struct Speaker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Voice {
    /// Binds a socket; with keys, if it shall be sealed.
    pub fn new(place: &Place, address: IpAddr, is_sealed: bool) -> Result<Self> {
        let socket = place.udp(SocketAddr::new(address, 0))?;
        let source = 0x1000_0000 + u32::from(socket.local_addr()?.port());
        Ok(Self {
            socket,
            keys: is_sealed.then(Keys::random).transpose()?,
            source,
            next: AtomicU16::new(0),
        })
    }

    /// Own keys.
    #[must_use]
    pub const fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// An offer.
    pub fn sdp(&self) -> Result<String> {
        Ok(self.sdp_at(self.socket.local_addr()?))
    }

    /// The answer to an offer: it takes the suite of its own keys, by the tag that the offer gives it.
    pub fn answer(&self, offer: &Message) -> Result<String> {
        let sdp = self.sdp()?;
        let Some(keys) = &self.keys else {
            return Ok(sdp);
        };
        let own = keys.attribute();
        let (_, suite) = own.split_once(' ').context("no suite")?;
        let suite = suite.split(' ').next().unwrap_or_default();
        let lines = offer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("a=crypto:"));
        let mut fields = lines.filter_map(|line| line.split_once(' '));
        let taken = fields.find(|(_, rest)| rest.starts_with(suite));
        let (tag, _) = taken.context("the offer has no such suite")?;
        Ok(sdp.replace("a=crypto:1 ", &format!("a=crypto:{tag} ")))
    }

    /// An offer with an address that may be somebody else's.
    #[must_use]
    pub fn sdp_at(&self, address: SocketAddr) -> String {
        let (ip, port) = (address.ip(), address.port());
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let (profile, crypto) = match &self.keys {
            Some(keys) => ("RTP/SAVP", format!("a=crypto:{}\r\n", keys.attribute())),
            None => ("RTP/AVP", String::new()),
        };
        format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} {profile} 8 101\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n{crypto}"
        )
    }

    /// One packet of 20 ms of a tone, sealed if the stream is.
    pub fn packet(&self, sequence: u16, hertz: u32) -> Result<Vec<u8>> {
        self.packet_of(sequence, &second_of(hertz))
    }

    fn packet_of(&self, sequence: u16, second: &[u8]) -> Result<Vec<u8>> {
        let at = usize::from(sequence) * FRAME;
        let mut packet = vec![0x80, PCMA];
        packet.extend(sequence.to_be_bytes());
        packet.extend(u32::try_from(at)?.to_be_bytes());
        packet.extend(self.source.to_be_bytes());
        packet.extend(second.iter().cycle().skip(at % second.len()).take(FRAME));
        match &self.keys {
            Some(keys) => keys.seal(&packet, 0),
            None => Ok(packet),
        }
    }

    /// Speaks a tone to an address, from now on.
    pub fn speak(&self, to: SocketAddr, hertz: u32) -> Result<Speaker> {
        let second = second_of(hertz);
        let first = self.next.fetch_add(LONGEST, Ordering::Relaxed);
        let packets = (first..first + LONGEST).map(|sequence| self.packet_of(sequence, &second));
        let packets = packets.collect::<Result<Vec<_>>>()?;
        let socket = self.socket.try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for packet in packets {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Nobody may be there yet.
                drop(socket.send_to(&packet, to));
                thread::sleep(PACE);
            }
        });
        Ok(Speaker {
            stop,
            thread: Some(thread),
        })
    }

    /// What comes in within that time: from where, and as it is.
    pub fn receive(&self, limit: Duration) -> Result<Option<(SocketAddr, Vec<u8>)>> {
        self.socket
            .set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut bytes = [0; 2048];
        match self.socket.recv_from(&mut bytes) {
            Ok((count, from)) => Ok(Some((from, bytes.iter().take(count).copied().collect()))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error).context("Failed to hear"),
        }
    }

    /// Forgets what has come in.
    pub fn forget(&self) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        let mut bytes = [0; 2048];
        while self.socket.recv_from(&mut bytes).is_ok() {}
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Listens for so many packets that the other's keys open (all, if there are none), at most for `limit`.
    pub fn hear(&self, keys: Option<&Keys>, packets: usize, limit: Duration) -> Result<Recording> {
        let deadline = std::time::Instant::now() + limit;
        let mut samples = Vec::new();
        let mut count = 0;
        while count < packets {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            let Some((_, packet)) = self.receive(left)? else {
                break;
            };
            let opened = match keys {
                Some(keys) => (0..3).find_map(|rollovers| keys.open(&packet, rollovers)),
                None => Some(packet),
            };
            let Some(opened) = opened else { continue };
            let Ok(head) = head_length(&opened) else {
                continue;
            };
            if opened.get(1).is_some_and(|byte| byte & 0x7f == PCMA) {
                samples.extend(opened.iter().skip(head).map(|byte| a_law(*byte)));
                count += 1;
            }
        }
        Ok(Recording::new(samples, 8000))
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Where a session description wants audio sent to.
pub fn audio_address(message: &Message) -> Result<SocketAddr> {
    let ip = ["c=IN IP4 ", "c=IN IP6 "].iter();
    let ip = ip.filter_map(|prefix| message.sdp(prefix)).next();
    let ip = ip.context("no c=")?;
    let port = message
        .sdp("m=audio ")
        .and_then(|rest| rest.split(' ').next());
    Ok(SocketAddr::new(
        ip.trim().parse()?,
        port.context("no audio")?.parse()?,
    ))
}

/// The keys with which the one who wrote a session description seals.
pub fn keys_of(message: &Message) -> Result<Keys> {
    let keys = Keys::found_in(&message.body);
    keys.into_iter().next().context("no keys")
}

/// The codes of one second of a tone.
fn second_of(hertz: u32) -> Vec<u8> {
    let levels: Vec<f64> = (0..=255).map(|code| f64::from(a_law(code))).collect();
    let nearest = |wanted: f64| {
        let distance = |code: &u8| {
            levels
                .get(usize::from(*code))
                .map_or(f64::MAX, |level| (level - wanted).abs())
        };
        (0..=255)
            .min_by(|one, other| distance(one).total_cmp(&distance(other)))
            .unwrap_or_default()
    };
    (0..8000)
        .map(|sample| nearest(8000.0 * (TAU * f64::from(hertz) * f64::from(sample) / 8000.0).sin()))
        .collect()
}

const PCMA: u8 = 8;
/// Samples in a packet.
const FRAME: usize = 160;
const PACE: Duration = Duration::from_millis(20);
/// Packets until a speaker is out of breath: a minute.
const LONGEST: u16 = 3000;
