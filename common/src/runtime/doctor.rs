//! Looks at everything around the process that must be right for it to work, and says for each thing whether it is,
//! why not, and what to do. Changes nothing.

use std::fmt;

use serde_json::{Value, json};

mod local;
mod names;
mod tls;

pub use local::{answers, certificate, open_files, port, resolves};
pub use names::{is_hidden, leads_here};
pub use tls::{TlsProbe, probe};

/// How something looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should.
    Pass,
    /// Works, but not for everybody or not for long.
    Warn,
    /// Will not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, such as `port 8443`.
    pub what: String,
    /// How it looks.
    pub grade: Grade,
    /// What was seen.
    pub detail: String,
    /// What to do; empty if nothing.
    pub remedy: String,
}

impl Finding {
    /// Something that is as it should be.
    pub fn pass(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Pass,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    /// Something that works, but not for everybody or not for long.
    pub fn warn(
        what: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Warn,
            detail: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that will not work.
    pub fn fail(
        what: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Fail,
            detail: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// Everything that was looked at, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(pub Vec<Finding>);

impl Report {
    /// Adds what was seen.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.0.extend(findings);
    }

    /// The worst grade of all.
    #[must_use]
    pub fn grade(&self) -> Grade {
        let grades = self.0.iter().map(|finding| finding.grade);
        grades.max().unwrap_or(Grade::Pass)
    }

    /// The report for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let lines = self.0.iter().map(|finding| {
            json!({
                "what": finding.what,
                "grade": finding.grade.to_string(),
                "detail": finding.detail,
                "remedy": finding.remedy,
            })
        });
        json!({ "grade": self.grade().to_string(), "findings": lines.collect::<Vec<_>>() })
    }

    fn count(&self, grade: Grade) -> usize {
        let same = self.0.iter().filter(|finding| finding.grade == grade);
        same.count()
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            writeln!(f, "{}  {}: {}", finding.grade, finding.what, finding.detail)?;
            if !finding.remedy.is_empty() {
                writeln!(f, "      {}", finding.remedy)?;
            }
        }
        let (passed, warned) = (self.count(Grade::Pass), self.count(Grade::Warn));
        let failed = self.count(Grade::Fail);
        write!(f, "{passed} passed, {warned} warned, {failed} failed")
    }
}

#[cfg(test)]
mod tests;
