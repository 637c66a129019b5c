//! The pair of edges against a Kamailio edge that does the same signalling in one process group, in the same run.
//!
//! Started by `tests/bench/sip`, in a network namespace of its own. Measures; decides nothing.

mod arguments;
mod chain;
mod figure;
mod load;
mod measure;
mod stage;

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use support::bench;

use crate::arguments::Arguments;
use crate::stage::Stage;

fn main() -> Result<ExitCode> {
    bench::run(compare)
}

fn compare(arguments: &Arguments) -> Result<String> {
    let mut stage = Stage::start(arguments)?;
    if arguments.serve {
        stage.describe(&mut io::stderr())?;
        io::read_to_string(io::stdin())?;
        return Ok(String::new());
    }
    let results = measure::run(&mut stage, arguments);
    if results.is_err() {
        stage.keep_logs();
    }
    results?.text(arguments.json)
}
