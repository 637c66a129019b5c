//! The edge-c library: everything but the command line's entry.

pub mod config;
pub mod discovery;
pub mod home_cluster;
pub mod sign_in;
#[cfg(test)]
mod testing;
pub mod uds;
