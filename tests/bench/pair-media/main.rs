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

use std::process::ExitCode;

use anyhow::Result;
use support::bench;

use crate::arguments::Arguments;

fn main() -> Result<ExitCode> {
    bench::run(|arguments: &Arguments| {
        let results = measure::run(arguments)?;
        if arguments.json {
            report::json(&results)
        } else {
            Ok(report::table(&results))
        }
    })
}
