//! The edge-c binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_c::cli::main(std::env::args_os())
}
