//! The edge-c library: everything but the command line's entry.

pub mod allow_list;
pub mod cli;
pub mod config;
