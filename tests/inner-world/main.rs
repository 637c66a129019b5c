//! The inner world as a process of its own, for the demo and for trying things by hand.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use support::command_line;
use support::inner_world::{InnerWorld, Setup};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Starts the servers of a company on loopback: DNS, UDS of two clusters with two nodes each,
/// configuration files and photos. Prints one line of JSON that says where everything is, then
/// runs until SIGTERM or SIGINT, or until standard input ends if that is a pipe.
#[derive(Debug, Parser)]
#[command(name = "inner-world")]
struct Arguments {
    /// Folder of the PKI, as `certs` writes it; made if it is not there.
    #[arg(long)]
    pki: PathBuf,
    /// Service domain.
    #[arg(long, default_value = "example.com")]
    domain: String,
    /// Port of UDS on every node's own address; 0 takes a free one.
    #[arg(long, default_value_t = 8443)]
    uds_port: u16,
    /// Port of configuration files over HTTP.
    #[arg(long, default_value_t = 6970)]
    files_http_port: u16,
    /// Port of configuration files over HTTPS.
    #[arg(long, default_value_t = 6972)]
    files_https_port: u16,
    /// Port of photos over HTTPS.
    #[arg(long, default_value_t = 8444)]
    photos_port: u16,
    /// Where DNS listens, UDP and TCP.
    #[arg(long, default_value = "127.0.0.1:0")]
    dns: SocketAddr,
    /// Where orders are taken: faults, nodes off and on, passwords, tokens.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Put the services records into `cisco-internal.<domain>` instead of the domain.
    #[arg(long)]
    pinpoint: bool,
    /// Let each cluster know its own users only.
    #[arg(long)]
    without_ils: bool,
}

fn main() -> Result<ExitCode> {
    command_line::run(serve)
}

fn serve(arguments: &Arguments) -> Result<ExitCode> {
    let world = InnerWorld::start(&arguments.into())?;
    let line = serde_json::to_string(world.description())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    drop(out);
    wait_for_the_end()?;
    Ok(ExitCode::SUCCESS)
}

fn wait_for_the_end() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).context("Failed to wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("Failed to wait for SIGINT")?;
        let (held_while_open, ended) = oneshot::channel::<()>();
        let is_pipe = fs::metadata("/dev/stdin").is_ok_and(|stdin| stdin.file_type().is_fifo());
        if is_pipe {
            // Ends with the process; standard input can't be read but by blocking a thread.
            std::thread::spawn(move || {
                drop(io::stdin().read_to_end(&mut Vec::new()));
                drop(held_while_open);
            });
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = ended, if is_pipe => {}
        }
        Ok(())
    })
}

impl From<&Arguments> for Setup {
    fn from(arguments: &Arguments) -> Self {
        let mut setup = Self::new(&arguments.domain, &arguments.pki);
        setup.ports.uds = arguments.uds_port;
        setup.ports.files_http = arguments.files_http_port;
        setup.ports.files_https = arguments.files_https_port;
        setup.ports.photos = arguments.photos_port;
        setup.dns = arguments.dns;
        setup.control = arguments.control;
        setup.has_pinpoint_zone = arguments.pinpoint;
        setup.has_ils = !arguments.without_ils;
        setup
    }
}
