//! The edge-c library: everything but the command line's entry.

pub mod config;
pub mod sessions;
pub mod metrics;
pub mod discovery;
#[cfg(test)]
mod testing;
pub mod uds;
pub mod allow_list;
pub mod cli;
