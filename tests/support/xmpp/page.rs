//! `@xmpp/client` in Node as the chat client of a web page: XMPP over WebSocket.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::installed;
use crate::place::Place;
use crate::process::Process;
use crate::wait;

/// A page that signs in, says `hello from a page` to somebody, and leaves when it hears `bye`.
#[derive(Debug)]
pub struct Page {
    process: Process,
}

/// Who signs in, and where.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Where the page comes from.
    pub origin: &'a str,
    /// The URL of the WebSocket.
    pub url: &'a str,
    /// The XMPP domain.
    pub domain: &'a str,
    /// Local part and password.
    pub user: (&'a str, &'a str),
    /// The JID to whom it says hello.
    pub peer: &'a str,
}

impl Page {
    /// Opens it; it trusts the authority in `public/ca.pem` below `dir`.
    pub fn open(place: &Place, dir: &Path, plan: Plan<'_>) -> Result<Self> {
        let packages = ("xmpp-page", "support/xmpp/page");
        let mut command = installed::node(place, dir, packages, "page.js")?;
        let (user, password) = plan.user;
        command.args([
            plan.origin,
            plan.url,
            plan.domain,
            user,
            password,
            plan.peer,
        ]);
        let log = dir.join("chat-page.log");
        // What an earlier page has said is not this one's.
        drop(std::fs::remove_file(&log));
        let process = Process::spawn("node", command, &log)?;
        Ok(Self { process })
    }

    /// Waits until it has said a line that begins so: `online alice@`, `heard hello`, `error not-authorized`.
    pub fn wait(&self, start: &str) -> Result<()> {
        let outcome = wait::until_true(start, wait::START_LIMIT, || {
            Ok(self.lines()?.iter().any(|line| line.starts_with(start)))
        });
        ensure!(
            outcome.is_ok(),
            "no {start:?} of the page: {:#?}",
            self.lines()?
        );
        Ok(())
    }

    /// What it has said so far.
    pub fn lines(&self) -> Result<Vec<String>> {
        let log = self.process.log()?;
        Ok(log.lines().map(str::to_owned).collect())
    }
}
