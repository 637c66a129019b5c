//! XMPP through the pair of edges against an HAProxy pair and an nginx pair, in the same run.
//!
//! Started by `tests/bench/xmpp`, in a network namespace of its own. Measures; decides nothing.

mod arguments;
mod chain;
mod figure;
mod load;
mod measure;
#[path = "../pair-http/report.rs"]
mod report;
mod stage;
#[path = "../pair-http/usage.rs"]
mod usage;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser as _;

use crate::arguments::Arguments;
use crate::stage::Stage;

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
    let stage = Stage::start(&arguments)?;
    let results = measure::run(&stage, &arguments)?;
    let text = if arguments.json {
        report::json(&results)?
    } else {
        report::table(&results)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Fixed ports and thousands of connections belong into a network of their own.
fn ensure_alone() -> Result<()> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let others = devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    let is_alone = others.map(|(name, _)| name.trim()).all(|name| name == "lo");
    ensure!(
        is_alone,
        "this is not a network namespace of its own: start it by tests/bench/xmpp"
    );
    Ok(())
}

const BAD_ARGUMENTS: u8 = 64;
