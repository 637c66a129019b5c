//! What commands print, and the runtime they run on. Logs are elsewhere: this is for who typed the command.

use std::io::{self, Write as _};

use tokio::runtime::Runtime;

use super::doctor::{Grade, Report};
use super::exit::Exit;
use crate::config::{ConfigErrors, Loaded, report as config_report};

/// Prints to standard output. A reader that has gone away, such as `head`, is no error.
pub fn say(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
}

/// Prints to standard error; there is nobody left to tell if that fails.
pub fn complain(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Prints what a check of the configuration found: JSON and good news to standard output, errors to standard error.
#[must_use]
pub fn report<C>(checked: &Result<Loaded<C>, ConfigErrors>, is_json: bool) -> Exit {
    if is_json {
        say(&format!("{:#}\n", config_report::to_json(checked)));
    } else if checked.is_ok() {
        say(&config_report::to_text(checked));
    } else {
        complain(&config_report::to_text(checked));
    }
    if checked.is_ok() {
        Exit::Done
    } else {
        Exit::BadConfig
    }
}

/// Prints what the doctor found.
#[must_use]
pub fn diagnosis(report: &Report, is_json: bool) -> Exit {
    if is_json {
        say(&format!("{:#}\n", report.to_json()));
    } else {
        say(&format!("{report}\n"));
    }
    match report.grade() {
        Grade::Pass | Grade::Warn => Exit::Done,
        Grade::Fail => Exit::Unavailable,
    }
}

/// The runtime of everything that is not a client's connection: those have `workers`.
///
/// # Errors
/// If it can't be made.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
