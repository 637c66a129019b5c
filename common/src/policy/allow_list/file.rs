//! The allow list as a TOML file: defaults, rules, and the tests that every load of the file must pass.
//!
//! ```toml
//! default_methods = ["GET", "HEAD", "OPTIONS"]   # this is the default
//!
//! [[rule]]
//! description = "contact photos"
//! url = "https://photos.example.com/thumbs/"
//! match = "prefix"               # or "exact"; required
//! methods = ["GET"]              # default_methods if left out
//! deployment = "default"         # this is the default
//! expires = 2027-12-31           # the last day, in UTC; or a date and time with offset
//! forward_authorization = false  # this is the default
//!
//! [[test]]
//! url = "https://photos.example.com/thumbs/alice.jpg"
//! expected = "allow"             # or "block"; required
//! ```
//!
//! The tests judge the rules of the file alone, without automatic rules and as if nothing had expired: whether a file is
//! valid never depends on the clock or on what was discovered.

use std::fmt;
use std::sync::Arc;

use crate::http::target::{Target, TargetError};
use crate::limits;
use crate::net::{Deployment, Origin, Scheme};
use crate::policy::allow_list::{AllowList, Match, MethodSet, Request, Rule, RuleSource, Verdict};
use crate::time::UnixTime;

mod problem;
mod read;
mod write;

pub use problem::{Problem, Problems};

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Some rule allows the request.
    Allow,
    /// No rule does, or the target is refused.
    Block,
}

impl Expected {
    /// Reads `allow` or `block`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "allow" => Some(Self::Allow),
            "block" => Some(Self::Block),
            _ => None,
        }
    }

    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
}

/// A request whose verdict the file states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    /// The URL as written, hostile ones included.
    pub url: String,
    /// Where it leads.
    pub origin: Origin,
    /// What it asks for there, or why no such target is accepted.
    pub target: Result<Target<'static>, TargetError>,
    /// `GET` by default.
    pub method: String,
    /// Of the user who asks.
    pub deployment: Deployment,
    /// The verdict.
    pub expected: Expected,
    /// For people.
    pub description: String,
    /// Where the test begins in its file, counted from 1.
    pub line: usize,
}

impl TestCase {
    /// Whether `list` gives the expected verdict; if not, what it says instead.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn run(&self, list: &AllowList) -> Result<(), String> {
        let target = match (&self.target, self.expected) {
            (Ok(target), _) => target,
            (Err(_), Expected::Block) => return Ok(()),
            (Err(error), Expected::Allow) => {
                return Err(format!("is refused: the path or query {error}"));
            }
        };
        let request = Request {
            method: &self.method,
            origin: &self.origin,
            target,
            deployment: &self.deployment,
            now: BEFORE_ANY_EXPIRY,
        };
        match (list.trial(&request), self.expected) {
            (Verdict::Allow(_), Expected::Allow) | (Verdict::Deny(_), Expected::Block) => Ok(()),
            (Verdict::Allow(rule), Expected::Block) => {
                Err(format!("is allowed by the rule {rule}"))
            }
            (Verdict::Deny(denial), Expected::Allow) => {
                Err(format!("is blocked: {}", denial.reason))
            }
        }
    }
}

/// A file that was read completely and whose tests pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowListFile {
    /// For rules that name no methods.
    pub default_methods: MethodSet,
    /// In the order of the file.
    pub rules: Vec<Arc<Rule>>,
    /// In the order of the file.
    pub tests: Vec<TestCase>,
}

impl AllowListFile {
    /// Reads `text` and runs its tests; `name` is for the messages.
    ///
    /// # Errors
    /// [`Problems`]: everything that is wrong with the file, up to [`limits::ALLOW_LIST_PROBLEMS_MAX`].
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        let file = read::read(name, text)?;
        file.check_tests(name)?;
        Ok(file)
    }

    /// Runs the tests against the file's own rules.
    ///
    /// # Errors
    /// [`Problems`], one for each test that fails.
    pub fn check_tests(&self, name: &str) -> Result<(), Problems> {
        let list = AllowList::compile(self.rules.iter().cloned());
        let mut problems = Problems::new(name);
        for (at, test) in self.tests.iter().enumerate() {
            if let Err(what) = test.run(&list) {
                problems.push(Problem {
                    line: test.line,
                    place: format!("test {}", at.saturating_add(1)),
                    key: "expected",
                    value: Some(format!("\"{}\"", test.expected.as_str())),
                    what: format!(
                        "but {} {} for deployment \"{}\" {what}",
                        test.method, test.url, test.deployment
                    ),
                    allowed: None,
                });
            }
        }
        problems.into_result(())
    }

    /// What is allowed in a file, but rarely meant.
    #[must_use]
    pub fn warnings(&self, name: &str, now: UnixTime) -> Problems {
        let mut warnings = Problems::new(name);
        let mut seen: Vec<&Arc<Rule>> = self.rules.iter().collect();
        seen.sort_by_key(|rule| (scope(rule), line(rule)));
        for pair in seen.windows(2) {
            if let [first, second] = pair
                && scope(first) == scope(second)
            {
                warnings.push(warning(second, "url", &format!("repeats the rule {first}")));
            }
        }
        for rule in &self.rules {
            self.warn_of_rule(rule, now, &mut warnings);
        }
        warnings.sort();
        warnings
    }

    fn warn_of_rule(&self, rule: &Rule, now: UnixTime, warnings: &mut Problems) {
        let path = rule.url.target.path();
        let has_query = rule.url.target.query().is_some();
        if rule.matching == Match::Prefix && !has_query && !path.ends_with('/') {
            let what = format!(
                "the prefix does not end in '/', so it also allows {path}-anything and {path}.anything"
            );
            warnings.push(warning(rule, "url", &what));
        }
        if rule.has_expired(now) {
            warnings.push(warning(
                rule,
                "expires",
                "the rule has expired and allows nothing",
            ));
        }
        if rule.methods.is_empty() {
            let what = "allows no method: neither the rule nor default_methods names one";
            warnings.push(warning(rule, "methods", what));
        }
        if path.contains(';') {
            let what = "servers differ in how they read ';' in a path; test this rule well";
            warnings.push(warning(rule, "url", what));
        }
        if rule.url.origin.scheme == Scheme::Http && rule.methods.contains("POST") {
            let what = "what clients post goes to this server unencrypted";
            warnings.push(warning(rule, "url", what));
        }
    }
}

/// Writes the file so that [`AllowListFile::parse`] gives the same rules and tests.
impl fmt::Display for AllowListFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write::write(self, f)
    }
}

fn scope(rule: &Rule) -> (&Origin, &str, Option<&str>, Match, &Deployment, &MethodSet) {
    let target = &rule.url.target;
    (
        &rule.url.origin,
        target.path(),
        target.query(),
        rule.matching,
        &rule.deployment,
        &rule.methods,
    )
}

fn warning(rule: &Rule, key: &'static str, what: &str) -> Problem {
    Problem {
        line: line(rule),
        place: "rule".to_owned(),
        key,
        value: Some(format!("\"{}\"", rule.url)).filter(|_| key == "url"),
        what: what.to_owned(),
        allowed: None,
    }
}

const fn line(rule: &Rule) -> usize {
    match rule.source {
        RuleSource::Automatic(_) => 0,
        RuleSource::File { line } => line,
    }
}

/// Tests judge as if nothing had expired.
const BEFORE_ANY_EXPIRY: UnixTime = UnixTime(0);

/// Cuts what a file says down to what a message can show.
pub(super) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut start: String = chars
        .by_ref()
        .take(limits::ALLOW_LIST_SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if chars.next().is_some() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests;
