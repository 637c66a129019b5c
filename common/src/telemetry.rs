//! Names and labels of metrics and log fields: values only. Writes and counts nothing itself.

mod filter;

pub use filter::{LogFilter, LogFilterError};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// One line a message, for people.
    #[default]
    Text,
}

/// Names of log fields, so that a search finds them everywhere. Spans and events use them as they stand here.
pub mod field {
    /// Follows one request across both edges.
    pub const TRACKING_ID: &str = "tracking_id";
    /// Whose fault it was: `downstream`, `upstream`, `link` or `local`.
    pub const SIDE: &str = "side";
    /// Why, in one word that is also a metric label.
    pub const REASON: &str = "reason";
    /// What the operator can do about it.
    pub const REMEDY: &str = "remedy";
}
