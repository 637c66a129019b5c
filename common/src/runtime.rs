//! The shells around the cores, and the only part that knows tokio: accept loops, reload, drain, supervision.

pub mod body;
pub mod clock;
pub mod control;
pub mod greeting;
pub mod http_pool;
pub mod http_server;
pub mod listen;
pub mod progress;
