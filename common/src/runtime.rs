//! The shells around the cores, and the only part that knows tokio: accept loops, reload, drain, supervision.

pub mod admin;
pub mod aside;
pub mod body;
pub mod clock;
pub mod control;
pub mod doctor;
pub mod drain;
pub mod exit;
pub mod expiry;
pub mod greeting;
pub mod http_pool;
pub mod http_server;
pub mod lifecycle;
pub mod link_streams;
pub mod listen;
pub mod pongs;
pub mod progress;
pub mod reload;
pub mod request_count;
pub mod supervise;
pub mod telemetry;
pub mod terminal;
pub mod trunk;
pub mod udp;
pub mod workers;
