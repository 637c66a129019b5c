//! `SIPp`: thousands of users who register and call. It has no TLS (as Debian builds it): it speaks TCP, one connection for
//! each user, to a [`TlsForwarder`](crate::tls_forwarder::TlsForwarder).

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::registrar::PASSWORD;
use crate::place::Place;
use crate::process::Process;
use crate::template::fill;

/// What every user of a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// Registers.
    Register,
    /// Registers, and calls that user for a second.
    Call(&'a str),
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load<'a> {
    /// What each does.
    pub deed: Deed<'a>,
    /// The domain of everybody.
    pub domain: &'a str,
    /// Users in all, numbered from 20000.
    pub users: u32,
    /// Users that begin in each second.
    pub per_second: u32,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Zero if nobody failed.
    pub status: ExitStatus,
    /// Its last picture of itself, and what went wrong.
    pub report: String,
}

/// Runs a load towards a TCP address, from that place's loopback.
pub fn run(place: &Place, dir: &Path, server: SocketAddr, load: &Load<'_>) -> Result<Outcome> {
    let dir = dir.join(format!("sipp-{}", load.users));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir)?;
    let (text, callee) = match load.deed {
        Deed::Register => (include_str!("sipp/register.xml"), ""),
        Deed::Call(callee) => (include_str!("sipp/call.xml"), callee),
    };
    let values = [
        ("CALLEE", callee.to_owned()),
        ("DOMAIN", load.domain.to_owned()),
    ];
    fs::write(dir.join("scenario.xml"), fill(text, &values))?;
    fs::write(dir.join("users.csv"), users(load.users))?;
    let mut command = command(place, &dir, "scenario.xml", server.ip());
    command.args([
        "-t",
        "tn",
        "-inf",
        "users.csv",
        "-trace_err",
        "-error_file",
        "errors",
    ]);
    command.args([
        "-m",
        &load.users.to_string(),
        "-r",
        &load.per_second.to_string(),
    ]);
    command.args([
        "-max_socket",
        "20000",
        "-max_reconnect",
        "0",
        "-mi",
        "127.0.0.1",
    ]);
    let limit = Duration::from_secs(u64::from(load.users / load.per_second)) + PATIENCE;
    command.args([
        "-timeout",
        &format!("{}s", limit.as_secs()),
        "-timeout_error",
    ]);
    command.arg(server.to_string());
    let log = dir.join("screen.log");
    let mut process = Process::spawn("sipp", command, &log)?;
    let status = process.wait_exit(limit + PATIENCE)?;
    let errors = fs::read_to_string(dir.join("errors")).unwrap_or_default();
    let screen = process.log()?;
    let report = format!("{}\n{}", last(&screen, 6000), first(&errors, 6000));
    Ok(Outcome { status, report })
}

/// A phone inside that answers every call, at a UDP port that is registered already.
#[derive(Debug)]
pub struct Answerer {
    process: Process,
}

impl Answerer {
    /// Starts it; returns when its port is open. Sealed media is what only phones outside want.
    pub fn start(place: &Place, dir: &Path, local: SocketAddr, is_sealed: bool) -> Result<Self> {
        let dir = dir.join("sipp-answerer");
        fs::create_dir_all(&dir)?;
        let (profile, crypto) = if is_sealed {
            ("SAVP", SEALED)
        } else {
            ("AVP", "")
        };
        let values = [
            ("PROFILE", profile.to_owned()),
            ("CRYPTO", crypto.to_owned()),
        ];
        fs::write(
            dir.join("scenario.xml"),
            fill(include_str!("sipp/answer.xml"), &values),
        )?;
        let mut command = command(place, &dir, "scenario.xml", local.ip());
        command.args(["-t", "u1", "-p", &local.port().to_string()]);
        command.args(["-mi", &local.ip().to_string(), "-mp", "36000"]);
        let mut process = Process::spawn("sipp", command, &dir.join("screen.log"))?;
        // The port is its own as soon as nobody else can have it.
        process.wait_ready(|| Ok(place.udp(local).is_err()))?;
        Ok(Self { process })
    }

    /// Stops it.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait_exit(PATIENCE).map(drop)
    }
}

impl Outcome {
    /// Fails if anybody failed.
    pub fn ensure_success(&self) -> Result<()> {
        ensure!(
            self.status.success(),
            "sipp ended with {}:\n{}",
            self.status,
            self.report
        );
        Ok(())
    }
}

fn command(place: &Place, dir: &Path, scenario: &str, local: IpAddr) -> std::process::Command {
    let mut command = place.command("sipp");
    command.current_dir(dir).env("TERM", "dumb");
    command.args([
        "-sf",
        scenario,
        "-i",
        &local.to_string(),
        "-nostdin",
        "-buff_size",
        "1048576",
    ]);
    command
}

/// One line for each user.
fn users(count: u32) -> String {
    let mut text = "SEQUENTIAL\n".to_owned();
    for number in FIRST_USER..FIRST_USER + count {
        let proof = format!("[authentication username={number} password={PASSWORD}]");
        writeln!(
            text,
            "{number};{proof};00000000-0000-4000-8000-{number:012}"
        )
        .expect("a String takes everything");
    }
    text
}

fn last(text: &str, characters: usize) -> String {
    let skip = text.chars().count().saturating_sub(characters);
    text.chars().skip(skip).collect()
}

fn first(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// Where users' numbers begin.
const FIRST_USER: u32 = 20_000;
/// Beyond the time that the load takes by its rate.
const PATIENCE: Duration = Duration::from_secs(30);
const SEALED: &str =
    "    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0\n";
