//! How the programs of this crate read their command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Reads the command line and does the work. Help and mistakes are printed instead, with exit code 0 and 64.
pub fn run<A: Parser>(work: impl FnOnce(&A) -> Result<ExitCode>) -> Result<ExitCode> {
    match A::try_parse() {
        Ok(arguments) => work(&arguments),
        Err(error) => {
            error.print()?;
            let is_mistake = error.use_stderr();
            Ok(ExitCode::from(if is_mistake { BAD_ARGUMENTS } else { 0 }))
        }
    }
}

const BAD_ARGUMENTS: u8 = 64;
