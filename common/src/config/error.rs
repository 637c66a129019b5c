//! What is wrong with a configuration file, said so that the reader can put it right without the manual:
//! file, line, key, the value found, what is allowed. Reads nothing itself.

use std::fmt;
use std::path::{Path, PathBuf};

use super::pem::{FileError, FileFault};

/// Where in which file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The configuration file.
    pub file: PathBuf,
    /// Line from 1; `None` for what stands nowhere, such as a missing top-level key.
    pub line: Option<usize>,
    /// The key with its tables in front, `link.certificate`; empty for the file as a whole.
    pub key: String,
}

impl Place {
    /// A file as a whole.
    #[must_use]
    pub fn of_file(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            key: String::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.key.is_empty() {
            return Ok(());
        }
        write!(f, ": `{}`", self.key)
    }
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A file that the configuration names can't be used.
    File(FileError),
    /// A value of the right type that is not acceptable.
    Invalid {
        /// Continues "`key` ...".
        why: String,
        /// What would be acceptable.
        allowed: String,
    },
    /// A key that must be there.
    Missing {
        /// What to write.
        allowed: String,
    },
    /// A value that has a secret in it, which is not repeated.
    Secret {
        /// Continues "`key` ...".
        why: String,
        /// What would be acceptable.
        allowed: String,
    },
    /// Not TOML.
    Syntax(String),
    /// A key that nobody reads.
    UnknownKey {
        /// The allowed key that looks most like it.
        suggestion: Option<&'static str>,
        /// Every key that is allowed there.
        allowed: Vec<&'static str>,
    },
    /// The configuration file itself can't be read.
    Unreadable(FileFault),
    /// A value of another type.
    WrongType {
        /// The type wanted.
        expected: &'static str,
        /// The type found.
        found: &'static str,
    },
}

impl Problem {
    /// A value that is not acceptable, why, and what would be.
    pub fn invalid(why: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self::Invalid {
            why: why.to_string(),
            allowed: allowed.into(),
        }
    }

    /// What is wrong, as the rest of a sentence that starts with the key.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::File(error) => error.to_string(),
            Self::Invalid { why, .. } | Self::Secret { why, .. } => why.clone(),
            Self::Missing { .. } => "is missing".to_owned(),
            Self::Syntax(why) => format!("is not TOML: {why}"),
            Self::UnknownKey { .. } => "is not a key of this file".to_owned(),
            Self::Unreadable(fault) => fault.to_string(),
            Self::WrongType { expected, found } => format!("must be {expected}, not {found}"),
        }
    }

    /// What to do about it; empty if there is nothing to add.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::File(error) => error.remedy(),
            Self::Invalid { allowed, .. } if allowed.is_empty() => String::new(),
            Self::Invalid { allowed, .. } | Self::Secret { allowed, .. } => {
                format!("allowed: {allowed}")
            }
            Self::Missing { allowed } => format!("write: {allowed}"),
            Self::Syntax(_) | Self::WrongType { .. } => String::new(),
            Self::UnknownKey {
                suggestion,
                allowed,
            } => {
                let allowed = format!("keys allowed here: {}", allowed.join(", "));
                match suggestion {
                    Some(key) => format!("did you mean `{key}`? {allowed}"),
                    None => allowed,
                }
            }
            Self::Unreadable(_) => "name the configuration file with --config FILE".to_owned(),
        }
    }
}

/// One thing that is wrong: nothing starts with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// The value found, as it is written in the file, shortened.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.place.key.is_empty() { ":" } else { "" };
        write!(f, "{}{separator} {}", self.place, self.problem.what())?;
        if let Some(value) = &self.value {
            write!(f, "\n    found: {value}")?;
        }
        let remedy = self.problem.remedy();
        if remedy.is_empty() {
            return Ok(());
        }
        write!(f, "\n    {remedy}")
    }
}

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(f, "error: {error}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 error in the configuration"),
            count => write!(f, "{count} errors in the configuration"),
        }
    }
}

/// One thing that works but is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// Where.
    pub place: Place,
    /// What is doubtful, as the rest of a sentence that starts with the key.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.why)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(f, "\n    {}", self.remedy)
    }
}
