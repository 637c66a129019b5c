//! Names and labels of metrics and log fields: values only. Writes no log line and opens no socket.
//!
//! Fields of log lines have the same names everywhere: `tracking_id` follows one request across both edges, `side` says
//! whose fault it was (`downstream`, `upstream`, `link`, `local`), `reason` why in one word that is also a metric
//! label, `remedy` what the operator can do.

mod filter;
mod label;
mod media;
mod metric;
mod shared;

pub use filter::{LogFilter, LogFilterError};
pub use label::Label;
pub use metric::{ByLabel, ByLabels, MetricKind, Named, counter, gauge, seconds};
pub use shared::{
    Certificates, ControlOutcome, Direction, HandshakeOutcome, Link, LinkPurpose, LinkRefusal,
    PoolState, Requests, Route, Status, registry,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// One line a message, for people.
    #[default]
    Text,
}
