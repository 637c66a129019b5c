//! What comes in at a phone, on the wire: RTP as tcpdump sees it, opened with the keys of the phone's own signalling.
//!
//! Recordings of a phone ([`super::tone`]) say what it hears, but baresip stops recording when a call is put on hold, and
//! its recordings don't say when something was heard.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::srtp::{Keys, head_length};
use super::tone::Recording;
use crate::place::Place;
use crate::process::Process;

/// Records the datagrams that come in at an address.
#[derive(Debug)]
pub struct Ear {
    process: Process,
    file: PathBuf,
    log: PathBuf,
}

/// One RTP packet that came in, with its seal opened.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When it came in.
    pub time: SystemTime,
    /// What kind of media it says it has.
    pub payload_type: u8,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Whether it was sealed.
    pub is_sealed: bool,
}

impl Ear {
    /// Starts to listen on a device; returns when nothing is missed any more.
    pub fn start(place: &Place, file: &Path, (device, address): (&str, IpAddr)) -> Result<Self> {
        let mut command = place.command("tcpdump");
        command.args(["-i", device, "-n", "-U", "-Z", "root", "-B", "4096", "-w"]);
        command
            .arg(file)
            .args(["udp", "and", "dst", "host", &address.to_string()]);
        let log = file.with_extension("log");
        let mut process = Process::spawn("tcpdump", command, &log)?;
        process.wait_ready(|| Ok(fs::read_to_string(&log)?.contains("listening on")))?;
        Ok(Self {
            process,
            file: file.to_owned(),
            log,
        })
    }

    /// The RTP packets since a moment: plain ones, and those that a key opens which stands in `signalling`.
    pub fn since(&self, moment: SystemTime, signalling: &str) -> Result<Vec<Heard>> {
        let keys = Keys::found_in(signalling);
        let file = fs::read(&self.file)?;
        let packets = packets(&file).context("no capture")?;
        let news = packets.into_iter().filter(|(time, _)| *time >= moment);
        Ok(news
            .filter_map(|(time, datagram)| open(time, datagram, &keys))
            .collect())
    }

    /// How many datagrams have come in since a moment, whatever they are.
    pub fn count_since(&self, moment: SystemTime) -> Result<usize> {
        let file = fs::read(&self.file)?;
        let packets = packets(&file).context("no capture")?;
        Ok(packets
            .into_iter()
            .filter(|(time, _)| *time >= moment)
            .count())
    }

    /// Stops listening.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::INT)?;
        self.process.wait_exit(STOP_LIMIT)?;
        let log = fs::read_to_string(&self.log)?;
        ensure!(log.contains("0 packets dropped by kernel"), "{log}");
        Ok(())
    }
}

/// The speech among the packets (G.711 A-law) as one recording.
#[must_use]
pub fn speech(heard: &[Heard]) -> Recording {
    let speech = heard.iter().filter(|packet| packet.payload_type == PCMA);
    let samples = speech
        .flat_map(|packet| &packet.payload)
        .map(|byte| a_law(*byte));
    Recording::new(samples.collect(), 8000)
}

/// Time and UDP payload of each packet in a capture of Ethernet, as tcpdump writes it on this machine.
fn packets(file: &[u8]) -> Option<Vec<(SystemTime, &[u8])>> {
    let mut rest = file.get(24..)?;
    let mut packets = Vec::new();
    while let Some((head, body)) = rest.split_at_checked(16) {
        let field = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?))
        };
        let time = Duration::new(u64::from(field(0)?), field(4)? * 1000);
        let length = usize::try_from(field(8)?).ok()?;
        let Some((frame, next)) = body.split_at_checked(length) else {
            break; // half written
        };
        rest = next;
        // Ethernet, IPv4 with its options or IPv6 without extensions, UDP.
        let version = frame.get(14)?;
        let ip = if version >> 4 == 6 {
            40
        } else {
            4 * usize::from(version & 0x0f)
        };
        if let Some(datagram) = frame.get(14 + ip + 8..) {
            packets.push((SystemTime::UNIX_EPOCH + time, datagram));
        }
    }
    Some(packets)
}

fn open(time: SystemTime, datagram: &[u8], keys: &[Keys]) -> Option<Heard> {
    let head = head_length(datagram).ok()?;
    let payload_type = datagram.get(1)? & 0x7f;
    if RTCP.contains(&payload_type) {
        return None;
    }
    // Sequence numbers begin anywhere, so that they may have begun again once or twice.
    let opened = keys
        .iter()
        .find_map(|keys| (0..3).find_map(|rollovers| keys.open(datagram, rollovers)));
    let is_sealed = opened.is_some();
    // Where nothing is sealed there are no keys.
    let opened = opened.or_else(|| keys.is_empty().then(|| datagram.to_vec()))?;
    Some(Heard {
        time,
        payload_type,
        payload: opened.get(head..)?.to_vec(),
        is_sealed,
    })
}

/// One sample of ITU-T G.711 A-law.
#[must_use]
pub fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = (byte >> 4 & 7, i16::from(byte & 0x0f));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

const PCMA: u8 = 8;
/// RFC 5761: what RTCP looks like where RTP has its payload type.
const RTCP: std::ops::RangeInclusive<u8> = 64..=95;
const STOP_LIMIT: Duration = Duration::from_secs(5);
