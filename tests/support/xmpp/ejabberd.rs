//! ejabberd as an IM and Presence node: the second implementation, and one that reads the PROXY protocol.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use certs::Identity;

use super::daemon::{self, Daemon};
use crate::place::Place;
use crate::template::fill;

/// Where it stands and whom it knows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names its folder and its log.
    pub name: String,
    /// Listens here: 5222 with STARTTLS, 5223 with TLS from the start, 5322 with STARTTLS after a PROXY header.
    pub address: IpAddr,
    /// The domain of its users; chat rooms are at `conference.<domain>`.
    pub domain: String,
    /// Local parts and passwords.
    pub accounts: Vec<(String, String)>,
    /// Its certificate.
    pub identity: Identity,
}

/// Starts it; returns when it knows all users.
pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Daemon> {
    let own = dir.join(&plan.name);
    fs::create_dir_all(own.join("spool"))?;
    let Identity {
        chain_pem, key_pem, ..
    } = &plan.identity;
    fs::write(own.join("node.pem"), format!("{chain_pem}{key_pem}"))?;
    let file = |name: &str| own.join(name).display().to_string();
    let values = [
        ("DIR", own.display().to_string()),
        ("ADDRESS", plan.address.to_string()),
        ("DOMAIN", plan.domain.clone()),
    ];
    fs::write(
        own.join("ejabberd.yml"),
        fill(include_str!("ejabberd.yml"), &values),
    )?;
    let ready = own.join("ready");
    let arguments = [
        "-noinput",
        "-mnesia",
        "dir",
        &format!("{:?}", file("spool")),
        "-ejabberd",
        "config",
        &format!("{:?}", file("ejabberd.yml")),
        "log_path",
        &format!("{:?}", file("ejabberd.log")),
        "-eval",
        &start_up(plan, &ready),
    ]
    .map(str::to_owned);
    let plan = daemon::Plan {
        name: plan.name.clone(),
        program: "erl",
        arguments: arguments.to_vec(),
        // No distribution: no name, no cookie, no port mapper.
        environment: vec![
            ("HOME", own.display().to_string()),
            ("ERL_LIBS", libraries()?.display().to_string()),
            ("ERL_CRASH_DUMP", file("crash")),
        ],
        probes: [5222, 5223, 5322]
            .map(|port| SocketAddr::new(plan.address, port))
            .to_vec(),
        ready: Some(ready),
    };
    Daemon::start(place, dir, plan)
}

/// Where its package puts applications: beside the system's libraries, whose folder is named after the machine.
fn libraries() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.filter_map(Result::ok);
    let has_it = |folder: &PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(Result::ok).any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("ejabberd-")
        })
    };
    let mut folders = folders.map(|entry| entry.path());
    folders.find(has_it).context("ejabberd is not installed")
}

/// Starts it, adds its users, and says so with a file.
fn start_up(plan: &Plan, ready: &Path) -> String {
    let binary = |text: &str| format!("<<{text:?}>>");
    let domain = binary(&plan.domain);
    let accounts: Vec<String> = plan
        .accounts
        .iter()
        .map(|(name, password)| format!("{{{},{}}}", binary(name), binary(password)))
        .collect();
    format!(
        "{{ok, _}} = ejabberd:start(), \
         [ejabberd_auth:try_register(U, {domain}, P) || {{U, P}} <- [{}]], \
         ok = file:write_file({:?}, <<>>).",
        accounts.join(","),
        ready.display().to_string(),
    )
}
