//! `@xmpp/client` in Node as the chat client of a web page: XMPP over WebSocket.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

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
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/xmpp/page/page.js");
        let mut command = place.command("node");
        let (user, password) = plan.user;
        command.arg(script).args([
            plan.origin,
            plan.url,
            plan.domain,
            user,
            password,
            plan.peer,
        ]);
        command
            .env("NODE_PATH", modules()?)
            .env("NODE_EXTRA_CA_CERTS", dir.join("public/ca.pem"));
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

/// Where `tests/run` puts the packages: `xmpp-page` beside the profile's folder.
fn modules() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let found = test
        .ancestors()
        .map(|dir| dir.join("xmpp-page/node_modules"))
        .find(|dir| dir.is_dir());
    found.context(
        "npm packages are missing: npm ci --ignore-scripts in a copy of tests/support/xmpp/page at target/xmpp-page",
    )
}
