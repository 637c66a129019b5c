//! `JsSIP` in Node as the phone of a web page: SIP over WebSocket.

use std::path::Path;

use anyhow::{Result, ensure};

use super::registrar::PASSWORD;
use crate::installed;
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
        let mut command = installed::node(place, dir, ("jssip", "support/sip/jssip"), "phone.js")?;
        command.args([origin, url, user, domain, PASSWORD, callee]);
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
