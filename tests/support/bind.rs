//! A real BIND 9 as the name server inside.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use rustix::process::Signal;

use crate::dns::{self, Zone};
use crate::place::Place;
use crate::process::Process;
use crate::wait;

/// A name server that can be stopped, changed and started again.
#[derive(Debug)]
pub struct Bind {
    place: Place,
    dir: PathBuf,
    addresses: Vec<SocketAddr>,
    probe: String,
    process: Option<Process>,
}

impl Bind {
    /// Writes configuration and zones below `dir` and starts `named`; returns when it answers.
    pub fn start(
        place: &Place,
        dir: &Path,
        addresses: &[SocketAddr],
        zones: &[Zone],
    ) -> Result<Self> {
        let mut bind = Self {
            place: place.clone(),
            dir: dir.join("bind"),
            addresses: addresses.to_vec(),
            probe: String::new(),
            process: None,
        };
        fs::create_dir_all(&bind.dir)?;
        bind.write(zones)?;
        bind.restart()?;
        Ok(bind)
    }

    /// Stops it; its port is closed afterwards.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Starts it again, after stopping it if it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let mut command = self.place.command("named");
        // In the foreground, logging to standard error, one worker.
        command.args(["-g", "-n", "1", "-c"]);
        command.arg(self.dir.join("named.conf"));
        let mut process = Process::spawn("named", command, &self.dir.join("named.log"))?;
        process.wait_ready(|| self.answers_everywhere())?;
        self.process = Some(process);
        Ok(())
    }

    /// Replaces the zones of the running server without a restart.
    pub fn reload(&mut self, zones: &[Zone], is_visible: impl Fn() -> Result<bool>) -> Result<()> {
        self.write(zones)?;
        let process = self.process.as_ref().context("named is stopped")?;
        process.signal(Signal::HUP)?;
        wait::until_true("the new zones", wait::START_LIMIT, is_visible)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn answers_everywhere(&self) -> Result<bool> {
        for address in &self.addresses {
            let answer = dns::ask(&self.place, *address, &self.probe, RecordType::SOA)?;
            if answer.code != ResponseCode::NoError || answer.records.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write(&mut self, zones: &[Zone]) -> Result<()> {
        self.probe = zones.first().context("needs a zone")?.origin.clone();
        let dir = self.dir.display();
        let mut text = format!(
            "options {{\n  directory \"{dir}\";\n  pid-file none;\n  session-keyfile none;\n  \
             lock-file none;\n  recursion no;\n  dnssec-validation no;\n  notify no;\n  \
             allow-query {{ any; }};\n  allow-transfer {{ none; }};\n"
        );
        for address in &self.addresses {
            let option = if address.is_ipv4() {
                "listen-on"
            } else {
                "listen-on-v6"
            };
            let (port, ip) = (address.port(), address.ip());
            text.push_str(&format!("  {option} port {port} {{ {ip}; }};\n"));
        }
        if self.addresses.iter().all(SocketAddr::is_ipv4) {
            text.push_str("  listen-on-v6 { none; };\n");
        }
        text.push_str("};\ncontrols { };\n");
        for zone in zones {
            let origin = &zone.origin;
            text.push_str(&format!(
                "zone \"{origin}\" {{ type primary; file \"{origin}.zone\"; }};\n"
            ));
            fs::write(self.dir.join(format!("{origin}.zone")), zone.master_file())?;
        }
        fs::write(self.dir.join("named.conf"), text)?;
        Ok(())
    }
}

const STOP_LIMIT: Duration = Duration::from_secs(10);
