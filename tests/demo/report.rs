//! What the demo prints: one numbered step after the other, and the one line at the end.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Steps so far.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    steps: u32,
    passed: u32,
    interrupted: Arc<AtomicBool>,
}

/// What a step has to tell besides that it passed.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<String>);

impl Notes {
    /// Adds one line, or several.
    pub(crate) fn add(&mut self, text: impl AsRef<str>) {
        self.0.extend(text.as_ref().lines().map(str::to_owned));
    }
}

impl Report {
    /// Starts the clock. No step runs once `interrupted` is set.
    pub(crate) fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self {
            began: Instant::now(),
            steps: 0,
            passed: 0,
            interrupted,
        }
    }

    /// Runs one step and prints how it went; `None` if it failed.
    pub(crate) fn step<T>(
        &mut self,
        title: &str,
        work: impl FnOnce(&mut Notes) -> Result<T>,
    ) -> Option<T> {
        let mut notes = Notes::default();
        let began = Instant::now();
        let outcome = if self.is_interrupted() {
            Err(anyhow::anyhow!("interrupted"))
        } else {
            work(&mut notes)
        };
        let took = milliseconds(began.elapsed());
        self.steps += 1;
        let word = if outcome.is_ok() { "passed" } else { "FAILED" };
        say(&format!("{:>3}  {word} {took:>9}  {title}", self.steps));
        for line in notes.0 {
            say(&format!("{INDENT}{line}"));
        }
        match outcome {
            Ok(value) => {
                self.passed += 1;
                Some(value)
            }
            Err(error) => {
                for line in format!("reason: {error:#}").lines() {
                    say(&format!("{INDENT}{line}"));
                }
                None
            }
        }
    }

    /// Whether somebody wants the demo to end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether every step passed.
    pub(crate) const fn is_good(&self) -> bool {
        self.passed == self.steps
    }

    /// The one line that stands at the end.
    pub(crate) fn summary(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let (passed, steps) = (self.passed, self.steps);
        if self.is_good() {
            format!("demo: {steps} steps passed in {seconds:.1} s")
        } else {
            format!("demo: FAILED, {passed} of {steps} steps passed in {seconds:.1} s")
        }
    }
}

/// One line on standard output. A reader that has gone away is no reason to stop before cleaning up.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}"));
    drop(out.flush());
}

/// Fails with the answer's status in words unless it is the wanted one.
pub(crate) fn expect_status(status: u16, wanted: u16) -> Result<()> {
    ensure!(
        status == wanted,
        "the answer is {status} where {wanted} was expected"
    );
    Ok(())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

const INDENT: &str = "                        ";
