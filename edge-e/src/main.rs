//! The edge-e binary.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request allocates some dozen small things; this costs half of what the system's allocator takes for them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    edge_e::cli::main(std::env::args_os())
}
