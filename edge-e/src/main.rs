//! The edge-e binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_e::cli::main(std::env::args_os())
}
