//! rtpengine in user space, told by its control protocol what a SIP proxy would tell it.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::process::Process;

use super::{Call, Caller, Chain, Inner, loopback, media_address};
use crate::bencode::{self, Value};

/// One daemon and the way to it.
#[derive(Debug)]
struct Engine {
    process: Process,
    control: UdpSocket,
    asked: u32,
}

/// SRTP outside, RTP inside, one process.
pub(super) fn start_one(calls: u16, dir: &Path) -> Result<Chain> {
    let mut engine = Engine::start("rtpengine", dir, 2223, (20_000, 29_999))?;
    let calls = (0..calls).map(|number| {
        let caller = Caller::new()?;
        let id = format!("call-{number}");
        let offer = engine.offer(&id, &caller.offer()?, "RTP/AVP")?;
        let inner = Inner::bind(media_address(&offer)?)?;
        let answer = engine.answer(&id, &inner.sdp()?)?;
        let outer = caller.connected(&answer)?;
        Ok(Call { outer, inner })
    });
    Ok(Chain {
        calls: calls.collect::<Result<_>>()?,
        processes: vec![engine.process].into(),
        _signalling: None,
    })
}

/// As the pair does it: one process outside, one inside, sealed between.
pub(super) fn start_two(calls: u16, dir: &Path) -> Result<Chain> {
    let mut outside = Engine::start("rtpengine-1", dir, 2224, (20_000, 29_999))?;
    let mut inside = Engine::start("rtpengine-2", dir, 2225, (30_000, 39_999))?;
    let calls = (0..calls).map(|number| {
        let caller = Caller::new()?;
        let id = format!("call-{number}");
        let middle = outside.offer(&id, &caller.offer()?, "RTP/SAVP")?;
        let offer = inside.offer(&id, &middle, "RTP/AVP")?;
        let inner = Inner::bind(media_address(&offer)?)?;
        let middle = inside.answer(&id, &inner.sdp()?)?;
        let answer = outside.answer(&id, &middle)?;
        let outer = caller.connected(&answer)?;
        Ok(Call { outer, inner })
    });
    Ok(Chain {
        calls: calls.collect::<Result<_>>()?,
        processes: vec![outside.process, inside.process].into(),
        _signalling: None,
    })
}

impl Engine {
    fn start(name: &str, dir: &Path, control: u16, ports: (u16, u16)) -> Result<Self> {
        let mut command = Command::new("rtpengine");
        command
            .args([
                "--config-file=none",
                "--foreground",
                "--log-stderr",
                "--log-level=4",
            ])
            // No kernel module, and one thread: more of them cost more per packet, and one is far from busy here.
            .args(["--table=-1", "--num-threads=1", "--interface=127.0.0.1"])
            .arg(format!("--listen-ng={}", loopback(control)))
            .arg(format!("--port-min={}", ports.0))
            .arg(format!("--port-max={}", ports.1));
        let mut process = Process::spawn(name, command, &dir.join(format!("{name}.log")))?;
        let socket = UdpSocket::bind(loopback(0))?;
        socket.connect(loopback(control))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        process.wait_ready(|| Ok(ask(&socket, "0", &ping()).is_ok()))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            process,
            control: socket,
            asked: 0,
        })
    }

    fn offer(&mut self, id: &str, sdp: &str, profile: &str) -> Result<String> {
        self.ask(&[
            ("ICE", Value::Text("remove")),
            ("call-id", Value::Text(id)),
            ("command", Value::Text("offer")),
            ("from-tag", Value::Text("from")),
            ("replace", Value::List(&["origin"])),
            ("sdp", Value::Text(sdp)),
            ("transport-protocol", Value::Text(profile)),
        ])
    }

    fn answer(&mut self, id: &str, sdp: &str) -> Result<String> {
        self.ask(&[
            ("ICE", Value::Text("remove")),
            ("call-id", Value::Text(id)),
            ("command", Value::Text("answer")),
            ("from-tag", Value::Text("from")),
            ("replace", Value::List(&["origin"])),
            ("sdp", Value::Text(sdp)),
            ("to-tag", Value::Text("to")),
        ])
    }

    fn ask(&mut self, entries: &[(&str, Value<'_>)]) -> Result<String> {
        self.asked += 1;
        let cookie = self.asked.to_string();
        let answer = ask(&self.control, &cookie, &bencode::dictionary(entries))?;
        let sdp = bencode::find(&answer, "sdp");
        sdp.map(str::to_owned)
            .with_context(|| format!("asked {entries:?}"))
    }
}

fn ping() -> String {
    bencode::dictionary(&[("command", Value::Text("ping"))])
}

fn ask(control: &UdpSocket, cookie: &str, text: &str) -> Result<String> {
    control.send(format!("{cookie} {text}").as_bytes())?;
    let mut buffer = vec![0; 65_536];
    let len = control.recv(&mut buffer)?;
    let answer = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
    let answer = answer
        .strip_prefix(cookie)
        .context("an answer to something else")?;
    ensure!(!answer.contains("5:error"), "rtpengine refuses: {answer}");
    Ok(answer.to_owned())
}
