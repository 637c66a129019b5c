//! The edge-c library: everything but the command line's entry.

pub mod allow_list;
pub mod app;
pub mod cli;
pub mod config;
pub mod dial;
pub mod discovery;
pub mod home_cluster;
pub mod link_client;
pub mod media;
pub mod metrics;
pub mod pinpoint;
pub mod policy;
pub mod sessions;
pub mod sign_in;
pub mod sip;
pub mod sso;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod uds;
pub mod upstream;
pub mod xmpp;
