//! The edge-e library: everything but the command line's entry.

pub mod admission;
pub mod app;
pub mod cli;
pub mod config;
pub mod cores;
pub mod gate;
pub mod link_server;
pub mod listener;
pub mod metrics;
pub mod names;
