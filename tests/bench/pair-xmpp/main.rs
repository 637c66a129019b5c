//! XMPP through the pair of edges against an HAProxy pair and an nginx pair, in the same run.
//!
//! Started by `tests/bench/xmpp`, in a network namespace of its own. Measures; decides nothing.

mod arguments;
mod chain;
mod figure;
mod load;
mod measure;
mod node;
mod stage;

use std::process::ExitCode;

use anyhow::Result;
use support::bench;

use crate::arguments::Arguments;
use crate::stage::Stage;

fn main() -> Result<ExitCode> {
    bench::run(|arguments: &Arguments| {
        if let Some(dir) = &arguments.node {
            return node::serve(dir);
        }
        let stage = Stage::start(arguments)?;
        measure::run(&stage, arguments)?.text(arguments.json)
    })
}
