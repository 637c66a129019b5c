//! A server in the foreground that can be stopped, killed and started again, with all its files below one folder.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::place::Place;
use crate::process::Process;

/// How to run it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Names its folder and its log.
    pub(super) name: String,
    /// Which program.
    pub(super) program: &'static str,
    /// With what.
    pub(super) arguments: Vec<String>,
    /// Beside what it inherits.
    pub(super) environment: Vec<(&'static str, String)>,
    /// It is ready when all of these accept connections,
    pub(super) probes: Vec<SocketAddr>,
    /// and when this file is there.
    pub(super) ready: Option<PathBuf>,
}

/// A server: an IM and Presence node, or the foreign edge that the pair is compared with.
#[derive(Debug)]
pub struct Daemon {
    plan: Plan,
    place: Place,
    log: PathBuf,
    process: Option<Process>,
}

impl Daemon {
    /// Starts it; its log stands beside its folder.
    pub(super) fn start(place: &Place, dir: &Path, plan: Plan) -> Result<Self> {
        let mut daemon = Self {
            log: dir.join(format!("{}.log", plan.name)),
            place: place.clone(),
            plan,
            process: None,
        };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts it again, after stopping it if it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        if let Some(file) = &self.plan.ready {
            // It is not there at the first start.
            drop(fs::remove_file(file));
        }
        let mut command = self.place.command(self.plan.program);
        command.args(&self.plan.arguments);
        command.envs(self.plan.environment.iter().cloned());
        let mut process = Process::spawn(&self.plan.name, command, &self.log)?;
        process.wait_ready(|| Ok(self.is_ready()))?;
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

    /// Ends it at once (SIGKILL): its connections are reset.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.kill()
    }

    /// The process id.
    pub fn pid(&self) -> Result<u32> {
        let process = self.process.as_ref().context("it does not run")?;
        Ok(process.pid())
    }

    /// What it has logged, in all its lives.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn is_ready(&self) -> bool {
        let listens = |probe: &SocketAddr| self.place.connect(*probe, CONNECT_LIMIT).is_ok();
        self.plan.ready.as_ref().is_none_or(|file| file.exists())
            && self.plan.probes.iter().all(listens)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // What it has started itself ends with it only if it may end in order.
        drop(self.stop());
    }
}

const CONNECT_LIMIT: Duration = Duration::from_millis(500);
const STOP_LIMIT: Duration = Duration::from_secs(10);
