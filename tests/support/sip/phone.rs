//! baresip as a phone: its own folder, its own namespace, controlled over its socket.

mod configuration;
mod control;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::ear::{self, Ear, Heard};
use super::registrar::PASSWORD;
use super::tone::Recording;
use crate::place::Place;
use crate::process::Process;
use crate::wait;

pub use control::{Control, Event};

/// What distinguishes one phone from another.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it calls itself in file names, and the user part of its address.
    pub user: String,
    /// Tells two phones of one user apart.
    pub device: u8,
    /// The part of its address after `@`.
    pub domain: String,
    /// What it proves itself with.
    pub password: String,
    /// Its own address; with an IPv6 one it speaks nothing else.
    pub address: IpAddr,
    /// The device that has the address.
    pub device_name: String,
    /// Whom it registers with.
    pub proxy: SocketAddr,
    /// Outside: TLS, SRTP, outbound. Inside: UDP and RTP.
    pub network: Network,
    /// What it does when it is called.
    pub answer: Answer,
    /// The frequency of what it says, Hz.
    pub tone: u32,
    /// Whether it speaks nothing but SRTP, inside too.
    pub is_sealed: bool,
    /// Whether it looks for the way of its media by ICE (RFC 8445).
    pub has_ice: bool,
    /// Whether it sends and wants pictures (VP8).
    pub has_video: bool,
    /// Calls at a time; one more is told that it is busy.
    pub calls_max: u8,
    /// The authorities that it trusts.
    pub authorities: PathBuf,
    /// Seconds that it asks its registrations to last; it registers anew a little earlier.
    pub registration: u32,
}

/// On which side of the edge a phone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// TLS with SRTP by SDES and no less; RFC 5626.
    Outside,
    /// UDP with plain RTP.
    Inside,
}

/// What a phone does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answers at once.
    Auto,
    /// It rings until it is told.
    Manual,
    /// It rings and speaks: 183 with a session description.
    Early,
}

/// A running phone.
#[derive(Debug)]
pub struct Phone {
    process: Process,
    control: Control,
    ear: Ear,
    dir: PathBuf,
    aor: String,
}

impl Plan {
    /// A phone that answers at once, with one line and no pictures.
    #[must_use]
    pub fn new(
        user: &str,
        domain: &str,
        address: IpAddr,
        proxy: SocketAddr,
        network: Network,
    ) -> Self {
        Self {
            user: user.to_owned(),
            device: 1,
            domain: domain.to_owned(),
            password: PASSWORD.to_owned(),
            address,
            device_name: "lan0".to_owned(),
            proxy,
            network,
            answer: Answer::Auto,
            tone: 440,
            is_sealed: network == Network::Outside,
            has_ice: false,
            has_video: false,
            calls_max: 4,
            authorities: PathBuf::new(),
            registration: 120,
        }
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

impl Phone {
    /// Starts it and waits until it can be controlled; it registers meanwhile.
    pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Self> {
        let dir = dir.join(format!("phone-{}-{}", plan.user, plan.device));
        // What an earlier phone of that name has recorded is not this one's.
        drop(fs::remove_dir_all(&dir));
        configuration::write(&dir, plan)?;
        let wire = (plan.device_name.as_str(), plan.address);
        let ear = Ear::start(place, &dir.join("wire.pcap"), wire)?;
        // Line by line, so that its log is never behind; with all messages, so that the keys are known.
        let mut command = place.command("stdbuf");
        command.args(["-oL", "baresip", "-s", "-f"]).arg(&dir);
        if plan.address.is_ipv6() {
            command.arg("-6");
        }
        let log = dir.with_extension("log");
        let mut process = Process::spawn(&dir.to_string_lossy(), command, &log)?;
        let socket = SocketAddr::new(CONTROL_ADDRESS, CONTROL_PORT);
        let mut control = None;
        process.wait_ready(|| {
            control = place.connect(socket, CONTROL_LIMIT).ok();
            Ok(control.is_some())
        })?;
        Ok(Self {
            process,
            control: Control::new(control.context("no control connection")?),
            ear,
            dir,
            aor: plan.aor(),
        })
    }

    /// Waits until it is registered.
    pub fn wait_registered(&mut self) -> Result<()> {
        let aor = self.aor.clone();
        let control = &mut self.control;
        // The answer may have come before anybody listened for events.
        let outcome = wait::until_true("a registration", REGISTRATION_LIMIT, || {
            let lines = control.command("reginfo", "")?;
            Ok(lines
                .lines()
                .any(|line| line.contains(&aor) && line.contains("OK")))
        });
        outcome.with_context(|| self.log().unwrap_or_default())
    }

    /// Calls a user or a URI.
    pub fn dial(&mut self, uri: &str) -> Result<()> {
        self.control.forget();
        self.control.command("dial", uri).map(drop)
    }

    /// Answers what rings.
    pub fn accept(&mut self) -> Result<()> {
        self.control.command("accept", "").map(drop)
    }

    /// Ends, cancels or rejects the current call.
    pub fn hang_up(&mut self) -> Result<()> {
        self.control.command("hangup", "").map(drop)
    }

    /// Any other command of its menu.
    pub fn command(&mut self, name: &str, parameters: &str) -> Result<String> {
        self.control.command(name, parameters)
    }

    /// Waits until the call is established.
    pub fn wait_established(&mut self) -> Result<Event> {
        self.wait_call("CALL_ESTABLISHED")
    }

    /// Waits until the call has ended; the event's parameter says how.
    pub fn wait_closed(&mut self) -> Result<Event> {
        self.wait_call("CALL_CLOSED")
    }

    /// Waits until the registrar has refused it.
    pub fn wait_refused(&self, status: u16) -> Result<()> {
        let line = format!("{}: ", self.aor.trim_start_matches("sip:"));
        wait::until_true("a refusal", EVENT_LIMIT, || {
            let log = self.log()?;
            Ok(log
                .lines()
                .any(|l| l.contains(&line) && l.contains(&status.to_string())))
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Waits for an event of a call by its name, and fails early if the call ends instead.
    pub fn wait_call(&mut self, kind: &str) -> Result<Event> {
        let event = self.wait(kind, |event| {
            event.kind == kind || event.kind == "CALL_CLOSED"
        })?;
        if event.kind != kind {
            bail!("no {kind}: {event:?}\n{}", self.log()?);
        }
        Ok(event)
    }

    /// Waits for an event.
    pub fn wait(&mut self, what: &str, is_wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let outcome = self.control.wait(EVENT_LIMIT, is_wanted);
        outcome.with_context(|| {
            let log = self.log().unwrap_or_default();
            format!("Failed to see {what} at {}:\n{log}", self.aor)
        })
    }

    /// Forgets the events so far: what is waited for must be new.
    pub fn forget_events(&mut self) {
        self.control.forget();
    }

    /// What it hears and has heard in its latest call.
    pub fn heard(&self) -> Result<Recording> {
        Recording::latest(&self.dir.join("rec"), "dec")
    }

    /// Waits until it hears that tone, for at least `lasting` from now on.
    pub fn wait_tone(&self, hertz: u32, lasting: Duration) -> Result<()> {
        // Each call has its own file, which begins with the first packet.
        let what = format!("{hertz} Hz at {}", self.aor);
        let mut start = None;
        wait::until_true(&what, TONE_LIMIT, || {
            let recording = self.heard()?;
            let from = *start.get_or_insert_with(|| recording.length());
            let news = recording.after(from);
            if news.length() < lasting {
                bail!("{:?} of it heard, after {from:?}", news.length());
            }
            let share = news.last(lasting).share_of(hertz);
            if share < PURE {
                bail!("its share is {share:.2}");
            }
            Ok(true)
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Waits until that tone comes in for at least `lasting` from now on; how long it took to begin.
    ///
    /// Unlike [`wait_tone`](Self::wait_tone) this sees what the wire brings, and not what the phone makes of it.
    pub fn wait_incoming(&self, hertz: u32, lasting: Duration) -> Result<Duration> {
        let start = SystemTime::now();
        let what = format!("{hertz} Hz coming in at {}", self.aor);
        let outcome = wait::until(&what, TONE_LIMIT, || {
            let heard = self.incoming(start)?;
            let recording = ear::speech(&heard).last(lasting);
            let share = recording.share_of(hertz);
            if recording.length() < lasting || share < PURE {
                bail!("{:?} of it, share {share:.2}", recording.length());
            }
            let first = heard.first().context("nothing")?;
            Ok(Some(first.time.duration_since(start).unwrap_or_default()))
        });
        outcome.with_context(|| self.log().unwrap_or_default())
    }

    /// Waits until no media comes in for so long.
    pub fn wait_silence(&self, lasting: Duration) -> Result<()> {
        wait::until_true(&format!("silence at {}", self.aor), TONE_LIMIT, || {
            let heard = self.incoming(SystemTime::now() - lasting)?;
            if heard.is_empty() {
                return Ok(true);
            }
            bail!("{} packets", heard.len())
        })
    }

    /// The media that has come in since a moment.
    pub fn incoming(&self, since: SystemTime) -> Result<Vec<Heard>> {
        self.ear.since(since, &self.log()?)
    }

    /// Whether it has no call.
    pub fn is_idle(&mut self) -> Result<bool> {
        let calls = self.control.command("listcalls", "")?;
        Ok(!calls.contains("[line"))
    }

    /// Ends it at once, as a dead battery does.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> &str {
        &self.aor
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// What it has written.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }
}

/// Its own loopback: phones have networks of their own.
const CONTROL_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const CONTROL_PORT: u16 = 4444;
const CONTROL_LIMIT: Duration = Duration::from_secs(1);
const REGISTRATION_LIMIT: Duration = Duration::from_secs(20);
const EVENT_LIMIT: Duration = Duration::from_secs(20);
const TONE_LIMIT: Duration = Duration::from_secs(20);
/// The share of the energy that must be at the tone's frequency; codecs and lost packets take the rest.
const PURE: f64 = 0.5;
