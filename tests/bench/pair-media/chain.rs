//! A chain under test: what stands between the SRTP of clients and the RTP inside.

mod pair;
mod rtpengine;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::{Context as _, Result};
use common::sdp::crypto::{SrtpKeys, SrtpSuite};
use support::bench::chain::Processes;
use support::sip::srtp::Keys;

use crate::arguments::ChainName;
use crate::registrar::Registrar;

/// A running chain. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) calls: Vec<Call>,
    processes: Processes,
    /// Keeps the calls of the pair alive.
    _signalling: Option<(Vec<support::sip::agent::Agent>, Registrar)>,
}

/// Both sides of a call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) outer: Outer,
    pub(crate) inner: Inner,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Outer {
    pub(crate) socket: UdpSocket,
    /// Where the chain wants its packets.
    pub(crate) remote: SocketAddr,
    /// What it seals them with.
    pub(crate) keys: SrtpKeys,
}

/// The one whom it calls.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) socket: UdpSocket,
    pub(crate) remote: SocketAddr,
}

impl Inner {
    pub(crate) fn bind(remote: SocketAddr) -> Result<Self> {
        Ok(Self {
            socket: media_socket()?,
            remote,
        })
    }

    /// Plain G.711.
    pub(crate) fn sdp(&self) -> Result<String> {
        Ok(sdp(self.socket.local_addr()?, "RTP/AVP", ""))
    }
}

impl Chain {
    pub(crate) fn start(name: ChainName, calls: u16, dir: &Path) -> Result<Self> {
        match name {
            ChainName::Pair => pair::start(calls, dir),
            ChainName::Rtpengine => rtpengine::start_one(calls, dir),
            ChainName::Chained => rtpengine::start_two(calls, dir),
        }
    }

    /// The processes that were started for it.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.pids()
    }
}

/// A client that has a socket and keys, and no call yet.
#[derive(Debug)]
struct Caller {
    socket: UdpSocket,
    attribute: String,
    keys: SrtpKeys,
}

impl Caller {
    fn new() -> Result<Self> {
        let keys = Keys::random()?;
        let attribute = keys.attribute();
        let inline = attribute.rsplit("inline:").next().unwrap_or_default();
        let inline = inline.split('|').next().unwrap_or_default();
        let material = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, inline)?;
        let keys = SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &material, None);
        Ok(Self {
            socket: media_socket()?,
            attribute,
            keys: keys.context("not the keys of this suite")?,
        })
    }

    fn offer(&self) -> Result<String> {
        let crypto = format!("a=crypto:{}\r\n", self.attribute);
        Ok(sdp(self.socket.local_addr()?, "RTP/SAVP", &crypto))
    }

    /// With what was answered.
    fn connected(self, answer: &str) -> Result<Outer> {
        Ok(Outer {
            socket: self.socket,
            remote: media_address(answer)?,
            keys: self.keys,
        })
    }
}

fn media_socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind(loopback(0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn sdp(address: SocketAddr, profile: &str, crypto: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} 8\r\n\
         a=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n{crypto}"
    )
}

/// Where a description wants audio.
pub(crate) fn media_address(sdp: &str) -> Result<SocketAddr> {
    let after = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix));
    let ip: IpAddr = after("c=IN IP4 ").context("no address")?.trim().parse()?;
    let audio = after("m=audio ").context("no audio")?;
    let port = audio.split(' ').next().unwrap_or_default().parse()?;
    Ok(SocketAddr::new(ip, port))
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
