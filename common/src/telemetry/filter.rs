//! Which log lines are written: a level for everything, and other levels for some modules.
//!
//! Stricter than `RUST_LOG`: there a misspelt level is taken for a module and silences everything else.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;

use crate::limits;

/// A level for everything, and levels for modules that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// For whatever `targets` doesn't name.
    pub level: LevelFilter,
    /// Module path prefix and its level.
    pub targets: Vec<(String, LevelFilter)>,
}

/// Why a text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFilterError {
    /// A part that is neither a level nor `module=level`.
    #[error("has {0:?}, which is neither a level nor module=level")]
    Directive(String),
    /// Not a level.
    #[error("has the unknown level {0:?}")]
    Level(String),
    /// Two levels for everything.
    #[error("has two levels for everything")]
    TwoLevels,
    /// More than [`limits::LOG_FILTER_TARGETS_MAX`] modules.
    #[error("has too many parts")]
    TooMany,
}

impl LogFilter {
    /// What may be written, for error texts.
    pub const ALLOWED: &str = "a level (off, error, warn, info, debug, trace), then module=level after commas: \"info,common::link=debug\"";
}

impl Default for LogFilter {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            targets: Vec::new(),
        }
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let mut level = None;
        let mut targets = Vec::new();
        for part in text.split(',').map(str::trim) {
            if let Some((target, name)) = part.split_once('=') {
                targets.push((target_name(target, part)?, level_named(name)?));
            } else if level.replace(level_named(part)?).is_some() {
                return Err(LogFilterError::TwoLevels);
            }
            if targets.len() > limits::LOG_FILTER_TARGETS_MAX {
                return Err(LogFilterError::TooMany);
            }
        }
        Ok(Self {
            level: level.unwrap_or(LevelFilter::INFO),
            targets,
        })
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        self.targets
            .iter()
            .try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

fn target_name(target: &str, part: &str) -> Result<String, LogFilterError> {
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    if target.is_empty() || !target.bytes().all(is_path) {
        return Err(LogFilterError::Directive(part.to_owned()));
    }
    Ok(target.to_owned())
}

/// Words only: the parser of `tracing` takes numbers too, and nobody remembers which way they count.
fn level_named(name: &str) -> Result<LevelFilter, LogFilterError> {
    let unknown = || LogFilterError::Level(name.to_owned());
    if !name.bytes().all(|b| b.is_ascii_alphabetic()) || name.is_empty() {
        return Err(unknown());
    }
    name.parse().map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_reads_back_as_written() {
        for text in ["info", "off", "warn,common::link=debug,edge_c=trace"] {
            let filter: LogFilter = text.parse().unwrap();

            assert_eq!(filter.to_string(), text);
        }
        assert_eq!(
            "common=debug".parse::<LogFilter>().unwrap().to_string(),
            "info,common=debug"
        );
    }

    #[test]
    fn a_misspelt_level_is_refused_instead_of_silencing_everything() {
        let level = |text: &str| Err(LogFilterError::Level(text.to_owned()));

        assert_eq!("infoo".parse::<LogFilter>(), level("infoo"));
        assert_eq!("".parse::<LogFilter>(), level(""));
        assert_eq!("3".parse::<LogFilter>(), level("3"));
        assert_eq!("info,common=loud".parse::<LogFilter>(), level("loud"));
        assert_eq!(
            "info,debug".parse::<LogFilter>(),
            Err(LogFilterError::TwoLevels)
        );
        assert_eq!(
            "a b=info".parse::<LogFilter>(),
            Err(LogFilterError::Directive("a b=info".to_owned()))
        );
    }
}
