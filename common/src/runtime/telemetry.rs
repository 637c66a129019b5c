//! Writes log lines, as text for people or JSON for machines, and lets the filter be changed while running.
//!
//! Fields of all spans around an event stand beside its own, so that every line of a request carries its
//! `tracking_id`. Decides nothing about what is logged; redaction is the work of the types that are logged.

use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::telemetry::{LogFilter, LogFormat};

mod format;

/// Why logging could not be set up or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// This process has set logging up before.
    #[error("logging is set up already")]
    SetUpTwice,
    /// The subscriber is gone.
    #[error("logging has ended")]
    Gone,
}

/// Changes the filter while running. Clones are the same control.
#[derive(Clone, Debug)]
pub struct LogControl {
    handle: reload::Handle<Targets, Registry>,
    filter: Arc<Mutex<LogFilter>>,
}

impl LogControl {
    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        let filter = self.filter.lock();
        filter.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `filter` in force.
    ///
    /// # Errors
    /// [`LogError::Gone`] if nothing is logged any more.
    pub fn set_filter(&self, filter: LogFilter) -> Result<(), LogError> {
        let targets = targets(&filter);
        self.handle.reload(targets).map_err(|_| LogError::Gone)?;
        let mut current = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        *current = filter;
        Ok(())
    }
}

/// Logs to standard error from now on, panics included.
///
/// # Errors
/// [`LogError::SetUpTwice`] if logging was set up before.
pub fn start(log_format: LogFormat, filter: LogFilter) -> Result<LogControl, LogError> {
    let (subscriber, control) = subscriber(log_format, filter, std::io::stderr);
    subscriber.try_init().map_err(|_| LogError::SetUpTwice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(control)
}

/// A subscriber that writes to `writer`, and its control.
pub fn subscriber<W>(
    log_format: LogFormat,
    filter: LogFilter,
    writer: W,
) -> (impl Subscriber + Send + Sync + 'static, LogControl)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (targets, handle) = reload::Layer::new(targets(&filter));
    let lines = match log_format {
        LogFormat::Json => format::json_lines(writer).boxed(),
        LogFormat::Text => format::text_lines(writer).boxed(),
    };
    let control = LogControl {
        handle,
        filter: Arc::new(Mutex::new(filter)),
    };
    (
        tracing_subscriber::registry().with(targets).with(lines),
        control,
    )
}

fn targets(filter: &LogFilter) -> Targets {
    Targets::new()
        .with_default(filter.level)
        .with_targets(filter.targets.clone())
}

/// Says where, not what: the message of a panic may quote what a peer sent.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let location = location.unwrap_or_default();
    tracing::error!(%location, "panic");
}

#[cfg(test)]
mod tests;
