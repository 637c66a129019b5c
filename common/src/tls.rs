//! TLS configurations, and the names that certificates give to peers.

pub mod config;
pub mod fault;
pub mod identity;
