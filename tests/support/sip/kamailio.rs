//! A running Kamailio: the registrar inside, or the foreign edge that the pair is compared with.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;
use crate::process::Process;
use crate::template::fill;

/// A Kamailio that can be stopped, killed and started again.
#[derive(Debug)]
pub struct Kamailio {
    name: String,
    place: Place,
    dir: PathBuf,
    probe: SocketAddr,
    process: Option<Process>,
}

/// Its certificate on its TLS listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The authority that clients' certificates must be of; `None`: clients need none.
    pub client_authority: Option<PathBuf>,
}

impl TlsFiles {
    /// `<name>.pem` and `<name>.key`; clients need no certificate.
    #[must_use]
    pub fn beside(name: &Path) -> Self {
        Self {
            chain: name.with_extension("pem"),
            key: name.with_extension("key"),
            client_authority: None,
        }
    }

    fn text(&self) -> String {
        let authority = self.client_authority.as_ref().unwrap_or(&self.chain);
        let verify = if self.client_authority.is_some() {
            "yes"
        } else {
            "no"
        };
        let files = [
            ("VERIFY", verify.to_owned()),
            ("KEY", self.key.display().to_string()),
            ("CHAIN", self.chain.display().to_string()),
            ("AUTHORITY", authority.display().to_string()),
        ];
        fill(include_str!("tls.cfg"), &files)
    }
}

impl Kamailio {
    /// Writes the configuration below `dir` and starts it; returns when `probe` accepts connections.
    pub(super) fn start(
        name: &str,
        place: &Place,
        dir: &Path,
        probe: SocketAddr,
        configuration: &str,
        tls: &TlsFiles,
    ) -> Result<Self> {
        let dir = dir.join(name);
        fs::create_dir_all(dir.join("run"))?;
        fs::write(dir.join("tls.cfg"), tls.text())?;
        let directory = [("DIR", dir.display().to_string())];
        fs::write(dir.join("kamailio.cfg"), fill(configuration, &directory))?;
        let mut kamailio = Self {
            name: name.to_owned(),
            place: place.clone(),
            dir,
            probe,
            process: None,
        };
        kamailio.restart()?;
        Ok(kamailio)
    }

    /// Starts it again, after stopping it if it runs. It has forgotten every registration.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let mut command = self.place.command("kamailio");
        // In the foreground, logging to standard error, with shared and private memory in MiB: a TLS connection takes 70 KiB
        // of the shared memory, of which only what is used is taken from the machine.
        command.args(["-DD", "-E", "-m", "1024", "-M", "32", "-Y"]);
        command
            .arg(self.dir.join("run"))
            .arg("-f")
            .arg(self.dir.join("kamailio.cfg"));
        let mut process = Process::spawn(&self.name, command, &self.log_file())?;
        process.wait_ready(|| Ok(self.place.connect(self.probe, CONNECT_LIMIT).is_ok()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it in order; its ports are closed afterwards.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Ends all its processes at once.
    pub fn kill(&mut self) -> Result<()> {
        let pids = self.pids()?;
        let mut process = self.process.take().context("it does not run")?;
        process.signal(Signal::STOP)?;
        for pid in pids.iter().skip(1) {
            let pid = Pid::from_raw(i32::try_from(*pid)?).context("no process id")?;
            kill_process(pid, Signal::KILL)?;
        }
        process.kill()
    }

    /// Whether it ends, or has ended, without being told to: looked at after something failed.
    pub fn has_ended(&mut self) -> bool {
        let Some(mut process) = self.process.take() else {
            return true;
        };
        let has_ended = process.wait_exit(END_LIMIT).is_ok();
        if !has_ended {
            self.process = Some(process);
        }
        has_ended
    }

    /// The first process and its children.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let process = self.process.as_ref().context("it does not run")?;
        let own = process.pid();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let children = children.split_whitespace().map(str::parse);
        let pids = std::iter::once(Ok(own))
            .chain(children)
            .collect::<Result<Vec<u32>, _>>()?;
        ensure!(pids.len() > 1, "{} has no children", self.name);
        Ok(pids)
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log_file())?)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.with_extension("log")
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Killed at once, its first process would leave the others behind.
        drop(self.stop());
    }
}

/// The configuration with the lines of a variant, which begin with `#@NAME@`.
pub(super) fn include(text: &str, variant: &str) -> String {
    text.replace(&format!("#@{variant}@"), "")
}

/// The socket of a service on an address.
pub(super) const fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

const CONNECT_LIMIT: Duration = Duration::from_millis(500);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The first process waits for its children when one of them has crashed.
const END_LIMIT: Duration = Duration::from_secs(5);
