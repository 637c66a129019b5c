//! Writes a throw-away PKI into a folder.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use certs::{InnerPlan, Pki, Plan};
use clap::Parser;

/// Makes a throw-away PKI for tests and the demo: a public CA with a certificate for each edge-e,
/// a link CA with an identity for each edge-e and edge-c, and an inside CA with server
/// certificates. Never for production.
#[derive(Debug, Parser)]
#[command(name = "certs")]
struct Arguments {
    /// Folder to write to; made if missing.
    #[arg(long)]
    out: PathBuf,
    /// Service domain; may be given several times, the machines are named in the first.
    #[arg(long = "domain", default_value = "example.com")]
    domains: Vec<String>,
    /// How many edge-e.
    #[arg(long, default_value_t = 2)]
    edges: u8,
    /// How many edge-c.
    #[arg(long, default_value_t = 2)]
    cores: u8,
    /// One more server inside, as FILE=NAME[,NAME or IP address ..]; may be given several times.
    #[arg(long = "inner", value_name = "FILE=NAME,..", value_parser = parse_inner)]
    inner: Vec<InnerPlan>,
}

fn main() -> Result<ExitCode> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print()?;
            return Ok(if error.use_stderr() {
                ExitCode::from(BAD_ARGUMENTS)
            } else {
                ExitCode::SUCCESS
            });
        }
    };
    let mut plan = Plan::for_domains(&arguments.domains, arguments.edges, arguments.cores);
    plan.inner.extend(arguments.inner);
    let pki = Pki::generate(&plan)?;
    pki.write_to(&arguments.out)?;
    let mut out = std::io::stdout().lock();
    for name in pki.identities.keys() {
        writeln!(out, "{}", arguments.out.join(name).display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_inner(text: &str) -> Result<InnerPlan> {
    let Some((file, names)) = text.split_once('=') else {
        bail!("needs FILE=NAME");
    };
    if file.is_empty() || file.contains(['/', '.']) || names.is_empty() {
        bail!("needs a plain file name before '=' and at least one name after it");
    }
    let (addresses, names): (Vec<&str>, Vec<&str>) = names
        .split(',')
        .partition(|name| name.parse::<IpAddr>().is_ok());
    Ok(InnerPlan {
        file: file.to_owned(),
        names: names.into_iter().map(str::to_owned).collect(),
        addresses: addresses.iter().filter_map(|a| a.parse().ok()).collect(),
    })
}

const BAD_ARGUMENTS: u8 = 64;
