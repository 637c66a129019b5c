//! The media of calls through the pair of edges, against one rtpengine and two in a row, in the same run.
//!
//! Started by `tests/bench/media`, in a network namespace of its own. Measures; decides nothing.

mod arguments;
mod bencode;
mod chain;
mod figure;
mod load;
mod measure;
mod registrar;
mod report;
#[path = "../pair-http/usage.rs"]
#[expect(dead_code, reason = "the other bench needs more of it")]
mod usage;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser as _;

use crate::arguments::Arguments;

fn main() -> Result<ExitCode> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print()?;
            let is_mistake = error.use_stderr();
            return Ok(ExitCode::from(if is_mistake { BAD_ARGUMENTS } else { 0 }));
        }
    };
    ensure_alone()?;
    let results = measure::run(&arguments)?;
    let text = if arguments.json {
        report::json(&results)?
    } else {
        report::table(&results)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Fixed ports belong into a network of their own, and so do drop counters.
fn ensure_alone() -> Result<()> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let others = devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    let is_alone = others.map(|(name, _)| name.trim()).all(|name| name == "lo");
    ensure!(
        is_alone,
        "this is not a network namespace of its own: start it by tests/bench/media"
    );
    Ok(())
}

const BAD_ARGUMENTS: u8 = 64;
