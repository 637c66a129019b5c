//! What the measuring programs of `tests/bench` share: options, rounds, figures, the report, and processes under test.
//! The loads are each program's own.

pub mod chain;
pub mod figure;
pub mod meter;
pub mod options;
mod report;
pub mod results;
pub mod usage;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::command_line;

/// Runs a comparison in a network of its own. The text that it returns goes to standard output.
pub fn run<A: Parser>(compare: impl FnOnce(&A) -> Result<String>) -> Result<ExitCode> {
    command_line::run(|arguments: &A| {
        ensure_alone(A::command().get_bin_name().unwrap_or_default())?;
        let text = compare(arguments)?;
        io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Fixed ports, thousands of connections and counters of the kernel belong into a network of their own.
fn ensure_alone(script: &str) -> Result<()> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let others = devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    let is_alone = others.map(|(name, _)| name.trim()).all(|name| name == "lo");
    ensure!(
        is_alone,
        "this is not a network namespace of its own: start it by {script}"
    );
    Ok(())
}
