//! Edges between the zones: edge-e in the DMZ, edge-c inside, as the built binaries.

mod configuration;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use toml::Table;

use crate::netns::{self, Zones};
use crate::place::Place;
use crate::process::{Memory, Process};
use crate::wait;
use crate::world::World;

/// Some edge-e and some edge-c, every edge-c linked to every edge-e.
#[derive(Debug)]
pub struct Pair {
    /// In the DMZ: `edge1` ..
    pub edges: Vec<Member>,
    /// Inside: `edge-c1` ..
    pub cores: Vec<Member>,
}

/// One edge: its configuration and, while it runs, its process.
#[derive(Debug)]
pub struct Member {
    name: String,
    config: Table,
    binary: &'static str,
    place: Place,
    dir: PathBuf,
    process: Option<Process>,
}

/// How many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Up to two.
    pub edges: u8,
    /// Up to two.
    pub cores: u8,
}

impl Size {
    /// One of each.
    pub const ONE: Self = Self { edges: 1, cores: 1 };
    /// Two of each.
    pub const TWO: Self = Self { edges: 2, cores: 2 };
}

impl Pair {
    /// Prepares configurations for a world. `dir` holds the PKI as [`certs`] writes it, and will
    /// hold configurations, state and logs. Nothing runs yet.
    #[must_use]
    pub fn prepare(zones: &Zones, dir: &Path, world: &World, size: Size) -> Self {
        let member = |name, binary, place, config| Member {
            name,
            config,
            binary,
            place,
            dir: dir.to_owned(),
            process: None,
        };
        let edges = (1..=size.edges).map(|number| {
            let config = configuration::edge_e(dir, world, number, size.cores);
            member(format!("edge{number}"), "edge-e", zones.dmz(), config)
        });
        let cores = (1..=size.cores).map(|number| {
            let config = configuration::edge_c(dir, world, number, size.edges);
            member(format!("edge-c{number}"), "edge-c", zones.inside(), config)
        });
        Self {
            edges: edges.collect(),
            cores: cores.collect(),
        }
    }

    /// Starts all and waits until each says it is ready.
    pub fn start(&mut self) -> Result<()> {
        for member in self.members() {
            member.spawn()?;
        }
        for member in self.members() {
            member.wait_ready()?;
        }
        Ok(())
    }

    /// Stops all, edge-c first.
    pub fn stop(&mut self) -> Result<()> {
        for member in self.cores.iter_mut().chain(&mut self.edges) {
            member.stop()?;
        }
        Ok(())
    }

    fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        self.edges.iter_mut().chain(&mut self.cores)
    }
}

impl Member {
    /// File name of its configuration and identities: `edge1`, `edge-c1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it will be told at the next start or reload; change it freely before.
    pub const fn config_mut(&mut self) -> &mut Table {
        &mut self.config
    }

    /// Changes one key of a section.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        configuration::set(&mut self.config, section, key, value);
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts it and waits until its admin listener answers, ready or not: without its peers it can't be.
    pub fn start_alone(&mut self) -> Result<()> {
        self.spawn()?;
        let (place, admin) = (self.place.clone(), self.admin()?);
        self.process_mut()?
            .wait_ready(|| Ok(ask_admin(&place, admin, "/live").is_ok()))
    }

    /// Writes its configuration and starts it, without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        self.write_config()?;
        let binary = binary(self.binary)?;
        let mut command = self.place.command(&binary.to_string_lossy());
        command.arg("run").arg("--config").arg(self.config_file());
        self.process = Some(Process::spawn(&self.name, command, &self.log_file())?);
        Ok(())
    }

    /// Waits until its admin listener says that it is ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        let (place, admin) = (self.place.clone(), self.admin()?);
        self.process_mut()?.wait_ready(|| {
            let answer = ask_admin(&place, admin, "/ready");
            // Nobody listens while it starts; that is not a reason to stop asking.
            Ok(answer.is_ok_and(|(status, _)| status == 200))
        })
    }

    /// Stops it in order (SIGTERM).
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        let process = self.process.take();
        process.map(|mut p| p.terminate(STOP_LIMIT)).transpose()
    }

    /// Asks it to stop in order (SIGTERM), without waiting.
    pub fn signal_to_stop(&mut self) -> Result<()> {
        self.process_mut()?.signal(Signal::TERM)
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self) -> Result<ExitStatus> {
        let status = self.process_mut()?.wait_exit(STOP_LIMIT)?;
        self.process = None;
        Ok(status)
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut p| p.kill())
    }

    /// Stops it in order and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Writes the changed configuration and asks the process to read it (SIGHUP).
    pub fn reload(&mut self) -> Result<()> {
        self.write_config()?;
        self.process_mut()?.signal(Signal::HUP)
    }

    /// The running process.
    pub fn process_mut(&mut self) -> Result<&mut Process> {
        let name = &self.name;
        self.process
            .as_mut()
            .with_context(|| format!("{name} does not run"))
    }

    /// Everything it has logged, in all its lives.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log_file())?)
    }

    /// Empties its log, so that what is found in it later is new.
    pub fn forget_log(&self) -> Result<()> {
        let log = File::options().write(true).open(self.log_file())?;
        log.set_len(0).context("Failed to empty a log")
    }

    /// Waits until its log has such a line, and returns it.
    pub fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let what = format!("a line in the log of {}", self.name);
        wait::until(&what, wait::START_LIMIT, || {
            let log = self.log()?;
            Ok(log.lines().find(|line| wanted(line)).map(str::to_owned))
        })
    }

    /// Asks its admin listener: `/ready`, `/metrics` .. Returns status and body.
    pub fn ask_admin(&self, path: &str) -> Result<(u16, String)> {
        ask_admin(&self.place, self.admin()?, path)
    }

    /// Resident memory.
    pub fn memory(&mut self) -> Result<Memory> {
        self.process_mut()?.memory()
    }

    /// Runs the binary with other arguments, such as `check`, and returns its output.
    pub fn run(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let binary = binary(self.binary)?;
        let mut command = self.place.command(&binary.to_string_lossy());
        command.args(arguments);
        command.output().context("Failed to run an edge")
    }

    /// The same with a text at its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<std::process::Output> {
        let binary = binary(self.binary)?;
        let mut command = self.place.command(&binary.to_string_lossy());
        command.args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("Failed to run an edge")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes())?;
        drop(stdin);
        child.wait_with_output().context("Failed to run an edge")
    }

    /// Where its configuration is.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join(format!("{}.toml", self.name))
    }

    /// Writes its configuration.
    pub fn write_config(&self) -> Result<()> {
        let text = toml::to_string(&self.config)?;
        fs::create_dir_all(self.dir.join(&self.name))?;
        fs::write(self.config_file(), text).context("Failed to write a configuration")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Where its admin listener is, seen from its own zone.
    pub fn admin(&self) -> Result<SocketAddr> {
        let admin = self.config.get("admin").and_then(|a| a.get("listen"));
        let text = admin.and_then(toml::Value::as_str).context("no [admin]")?;
        Ok(text.parse()?)
    }
}

/// The public HTTPS sockets of an edge-e, by its number from 1.
#[must_use]
pub fn public_sockets(edge: u8) -> [SocketAddr; 2] {
    netns::public(10 + edge).map(|address| SocketAddr::new(address, PUBLIC_PORT))
}

/// Finds a binary beside the test: `target/<profile>/`.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let beside = test.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    for path in beside {
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("{name} is not built: cargo build --workspace --bins")
}

/// One GET without a client library, as the admin listener is on another zone's loopback.
pub fn ask_admin(place: &Place, admin: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = place.connect(admin, ADMIN_LIMIT)?;
    stream.set_read_timeout(Some(ADMIN_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

const PUBLIC_PORT: u16 = 8443;
const LINK_PORT: u16 = 7001;
const ADMIN_LIMIT: Duration = Duration::from_secs(2);
/// Longer than the grace that the configurations give.
const STOP_LIMIT: Duration = Duration::from_secs(20);
