//! The edge-c library: everything but the command line's entry.

pub mod config;
pub mod allow_list;
pub mod cli;
