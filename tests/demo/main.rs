//! The demo: a company inside, the pair, and a client that signs in. `deploy/demo` builds and starts it.

mod client;
mod host;
mod journey;
mod keep;
mod real;
mod report;
mod scene;
mod xml;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::{Context as _, Result};
use clap::Parser;
use support::command_line;
use tokio::signal::unix::{SignalKind, signal};

use crate::report::{Report, say};
use crate::scene::Scene;

/// Shows a sign-in through the pair on this one machine: makes certificates, starts a company's inner
/// servers, edge-e and edge-c, signs a user in as a client outside would, and prints every step with
/// its time. Ends with exit code 0 if every step passed.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Leave everything running afterwards, and say what to try with curl.
    #[arg(long)]
    keep: bool,
    /// With BIND, nginx and a packet filter in network namespaces; needs root.
    #[arg(long)]
    real: bool,
}

fn main() -> Result<ExitCode> {
    command_line::run(show)
}

fn show(arguments: &Arguments) -> Result<ExitCode> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let signals = watch_signals(Arc::clone(&interrupted))?;
    let dir = tempfile::Builder::new().prefix("edge-demo-").tempdir()?;
    say(if arguments.real {
        "demo: four network namespaces, BIND, nginx, edge-e and edge-c on this machine"
    } else {
        "demo: a company's inner servers, edge-e and edge-c on this machine; loopback only"
    });
    say(&format!("      files and logs: {}\n", dir.path().display()));

    let mut report = Report::new(interrupted);
    let scene = start(&mut report, arguments, dir.path());
    if let Some(scene) = &scene {
        journey::run(&mut report, scene);
        if arguments.keep && !report.is_interrupted() {
            say("");
            keep::print(scene)?;
            signals.recv().context("Failed to wait for a signal")?;
        }
    }
    drop(scene);
    if !report.is_good() && !report.is_interrupted() {
        say(&format!(
            "\nfiles and logs are kept in {}",
            dir.keep().display()
        ));
    }
    say("");
    say(&report.summary());
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn start(report: &mut Report, arguments: &Arguments, dir: &Path) -> Option<Scene> {
    if arguments.real {
        real::start(report, dir, DOMAIN)
    } else {
        host::start(report, dir, DOMAIN)
    }
}

/// Notes SIGINT and SIGTERM instead of dying of them, so that no child outlives this process. Says each one
/// on the channel too.
fn watch_signals(interrupted: Arc<AtomicBool>) -> Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                interrupted.store(true, Ordering::Relaxed);
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
    });
    Ok(receiver)
}

const DOMAIN: &str = "example.com";
