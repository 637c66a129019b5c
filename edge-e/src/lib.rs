//! The edge-e library: everything but the command line's entry.

pub mod config;
pub mod metrics;
