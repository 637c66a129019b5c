//! The edge-c library: everything but the command line's entry.

pub mod allow_list;
pub mod app;
pub mod cli;
pub mod config;
pub mod discovery;
pub mod metrics;
pub mod sessions;
pub mod home_cluster;
pub mod sign_in;
#[cfg(test)]
mod testing;
pub mod uds;
