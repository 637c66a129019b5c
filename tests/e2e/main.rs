//! End to end, with real peers in network namespaces. Needs root; see `tests/run`.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "helpers of tests; a failure ends the test that called them"
)]

mod alerts;
mod allow_list;
mod bulk;
mod calling;
mod chat;
mod clusters;
mod demo;
mod edge_config;
mod failover;
mod hostile;
mod inner_world;
mod jail;
mod lab;
mod link;
mod load;
mod metrics;
mod names;
mod nodes;
mod origin;
mod privacy;
mod proxied;
mod reload;
mod restart;
mod sessions;
mod shutdown;
mod signin;
mod stage;
mod tokens;
