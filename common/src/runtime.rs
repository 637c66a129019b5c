//! The shells around the cores, and the only part that knows tokio: accept loops, reload, drain, supervision.

pub mod admin;
pub mod clock;
pub mod drain;
pub mod reload;
pub mod supervise;
pub mod telemetry;
