//! What is wrong with a file: where, which key, which value, what is allowed. All of it at once.

use std::fmt;

use crate::limits;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Counted from 1; 0 if it belongs to no line.
    pub line: usize,
    /// The table or row, such as `rule 3`; empty at the top level.
    pub place: String,
    /// The key or column; empty if there is none.
    pub key: &'static str,
    /// As the file has it.
    pub value: Option<String>,
    /// What is wrong, as a sentence without subject and full stop.
    pub what: String,
    /// What could stand there instead.
    pub allowed: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        match (self.key, &self.value) {
            ("", Some(value)) => write!(f, "{value}: ")?,
            ("", None) => {}
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
        }
        f.write_str(&self.what)?;
        self.allowed
            .as_ref()
            .map_or(Ok(()), |allowed| write!(f, " (allowed: {allowed})"))
    }
}

/// All that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
    /// Beyond [`limits::ALLOW_LIST_PROBLEMS_MAX`].
    left_out: usize,
}

impl Problems {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
            left_out: 0,
        }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.push_with(|| problem);
    }

    /// Makes the problem only if there is room for it: to find its line may mean to count through the file.
    pub(crate) fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.list.len() < limits::ALLOW_LIST_PROBLEMS_MAX {
            self.list.push(problem());
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    pub(crate) fn sort(&mut self) {
        self.list.sort();
    }

    pub(crate) fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            return Ok(value);
        }
        self.sort();
        Err(self)
    }

    /// The name of the file, as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// In the order of the lines.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.list.iter()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// One line for each problem: `file:line: what`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                0 => write!(f, "{}: {problem}", self.file)?,
                line => write!(f, "{}:{line}: {problem}", self.file)?,
            }
        }
        if self.left_out > 0 {
            write!(f, "\n{}: and {} more", self.file, self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
