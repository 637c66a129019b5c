//! What stands between clients and servers in a comparison, as processes.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::pair;
use crate::place::Place;
use crate::process::Process;

/// Processes that belong together. They end when dropped.
#[derive(Debug)]
pub struct Processes(Vec<Process>);

impl Processes {
    /// The processes that were started; they may have children.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.0.iter().map(Process::pid).collect()
    }
}

impl From<Vec<Process>> for Processes {
    fn from(processes: Vec<Process>) -> Self {
        Self(processes)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // In order, as workers outlive a master that is killed; if it fails the process is killed next.
        for process in &mut self.0 {
            drop(process.terminate(STOP_LIMIT));
        }
    }
}

/// How an edge is started.
#[derive(Clone, Debug)]
pub struct Edge {
    /// `edge-e` or `edge-c`.
    pub binary: &'static str,
    /// Its configuration.
    pub text: String,
    /// Where its admin listener is.
    pub admin: SocketAddr,
}

/// Starts the two edges with configurations and logs in `dir`, and waits until both are ready. They are the release
/// binaries beside this program, or those in `folder`.
pub fn start_edges(dir: &Path, folder: Option<&Path>, edges: [Edge; 2]) -> Result<Processes> {
    let mut started = Vec::new();
    for edge in edges {
        let file = dir.join(format!("{}.toml", edge.binary));
        fs::write(&file, edge.text)?;
        let program = match folder {
            Some(folder) => folder.join(edge.binary),
            None => pair::binary(edge.binary)?,
        };
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(&file);
        started.push((spawn(edge.binary, command, dir)?, edge.admin));
    }
    // Each is ready when the other is there.
    for (process, admin) in &mut started {
        process.wait_ready(|| {
            let answer = pair::ask_admin(&Place::Host, *admin, "/ready");
            Ok(answer.is_ok_and(|(status, _)| status == 200))
        })?;
    }
    let processes: Vec<Process> = started.into_iter().map(|(process, _)| process).collect();
    Ok(processes.into())
}

/// Starts something with its log in `dir`, and waits until it accepts at an address.
pub fn start_listening(
    name: &str,
    command: Command,
    dir: &Path,
    address: SocketAddr,
) -> Result<Process> {
    let mut process = spawn(name, command, dir)?;
    process.wait_ready(|| match Place::Host.connect(address, CONNECT_LIMIT) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error.into()),
    })?;
    Ok(process)
}

/// Starts HAProxy with such a configuration in `dir`, and waits until it accepts at an address.
pub fn start_haproxy(name: &str, text: &str, dir: &Path, address: SocketAddr) -> Result<Process> {
    let file = dir.join(format!("{name}.cfg"));
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    // In the foreground: the pid is the one that works.
    command.arg("-db").arg("-f").arg(&file);
    start_listening(name, command, dir, address)
}

/// Chain and key in one file, as HAProxy wants them.
pub fn join_identity(identity: &Path, to: &Path) -> Result<()> {
    let chain = fs::read_to_string(identity.with_extension("pem"))?;
    let key = fs::read_to_string(identity.with_extension("key"))?;
    fs::write(to, chain + &key)?;
    Ok(())
}

fn spawn(name: &str, command: Command, dir: &Path) -> Result<Process> {
    Process::spawn(name, command, &dir.join(format!("{name}.log")))
}

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Longer than the grace of the edges.
const STOP_LIMIT: Duration = Duration::from_secs(10);
