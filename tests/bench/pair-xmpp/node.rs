//! The node behind all chains: this program once more, so that clients and node have descriptors of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};
use certs::{Identity, Leaf, Pki};
use support::place::Place;
use support::process::Process;
use support::xmpp::imp::{Accounts, Imp, Plan};

use crate::chain::inside;
use crate::stage::{DOMAIN, PASSWORD};

/// Starts it; gives it and where it listens, with TLS from the first byte.
pub(crate) fn start(dir: &Path, pki: &Pki) -> Result<(Process, SocketAddr)> {
    let identity = pki.inside.issue(&Leaf::server(&[DOMAIN.to_owned()]))?;
    identity.write_to(&dir.join(NAME))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--node").arg(dir);
    let mut process = Process::spawn(NAME, command, &dir.join("node.log"))?;
    let address = SocketAddr::new(inside(41), 5223);
    process.wait_ready(|| Ok(Place::Host.connect(address, CONNECT_LIMIT).is_ok()))?;
    Ok((process, address))
}

/// Is the node until it is killed.
pub(crate) fn serve(dir: &Path) -> Result<String> {
    let plan = Plan {
        address: inside(41),
        domain: DOMAIN.to_owned(),
        accounts: Accounts::Everybody(PASSWORD.to_owned()),
        home_and_backup: None,
        identity: Identity::read_from(&dir.join(NAME)).context("Failed to read the identity")?,
    };
    let _node = Imp::start_with(&Place::Host, plan, THREADS)?;
    loop {
        thread::park();
    }
}

const NAME: &str = "node";
const THREADS: usize = 2;
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);
