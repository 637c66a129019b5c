//! `JsSIP` in Node as the phone of a web page: SIP over WebSocket.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::registrar::PASSWORD;
use crate::place::Place;
use crate::process::Process;
use crate::wait;

/// A page that registers, calls somebody and hangs up when it is answered.
#[derive(Debug)]
pub struct Page {
    process: Process,
}

impl Page {
    /// Opens it; it comes from `origin`, and `url` is that of the WebSocket.
    pub fn open(
        place: &Place,
        dir: &Path,
        (origin, url): (&str, &str),
        (user, domain, callee): (&str, &str, &str),
    ) -> Result<Self> {
        let modules = modules()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/sip/jssip/phone.js");
        let mut command = place.command("node");
        command
            .arg(script)
            .args([origin, url, user, domain, PASSWORD, callee]);
        command
            .env("NODE_PATH", modules)
            .env("NODE_EXTRA_CA_CERTS", dir.join("public/ca.pem"));
        let log = dir.join("page.log");
        // What an earlier page has said is not this one's.
        drop(std::fs::remove_file(&log));
        let process = Process::spawn("node", command, &log)?;
        Ok(Self { process })
    }

    /// Waits until it has said something: `registered`, `accepted sealed`, `ended` ..
    pub fn wait(&self, line: &str) -> Result<()> {
        let outcome = wait::until_true(line, wait::START_LIMIT, || {
            Ok(self.process.log()?.lines().any(|own| own == line))
        });
        let log = self.process.log()?;
        ensure!(outcome.is_ok(), "no {line:?} of the page: {log}");
        Ok(())
    }
}

/// Where `tests/run` puts the packages: `jssip` beside the profile's folder.
fn modules() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let found = test
        .ancestors()
        .map(|dir| dir.join("jssip/node_modules"))
        .find(|dir| dir.is_dir());
    let hint = "npm packages are missing: npm ci --ignore-scripts in a copy of tests/support/sip/jssip at target/jssip";
    found.ok_or_else(|| anyhow::anyhow!(hint))
}
