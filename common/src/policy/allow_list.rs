//! The HTTP allow list: rules, their compiled form and the verdict on a request.
//!
//! Everything is denied unless a rule allows it; there are no deny rules, so the order of rules never matters. A rule
//! allows a request if the origin and the deployment are the same, the method is in the rule's set, the rule has not
//! expired, and the target matches:
//!
//! - `exact`: the paths are equal. A rule with a query also wants the same query, a rule without one allows any;
//! - `prefix`: the path begins with the rule's path, character by character: `/photo` allows `/photo`, `/photo/a` and
//!   `/photos-private`, `/photo/` only what is below it. A rule with a query wants an equal path and a query that begins
//!   with the rule's.
//!
//! Both sides are compared in the one normal form of [`crate::http::target`], which is also what the origin is sent, so
//! neither `..` nor an escape nor a letter-case trick leads out of a prefix.
//!
//! | file | what it holds |
//! |---|---|
//! | [`method`] | sets of request methods |
//! | [`rule`] | a rule, its URL and where it came from |
//! | [`automatic`] | the rules that discovered nodes bring with them |
//! | [`compiled`] | all rules, arranged so that a verdict costs no allocation |
//! | [`file`](mod@file) | the TOML file with its tests |
//! | [`csv`] | the two CSV formats that administrators bring along |

use std::fmt;
use std::sync::Arc;

use crate::http::target::Target;
use crate::net::{Deployment, Origin};
use crate::time::UnixTime;

pub mod automatic;
pub mod compiled;
pub mod csv;
pub mod file;
pub mod method;
pub mod rule;

pub use automatic::{Node, NodeKind, OAuth, automatic_rules};
pub use compiled::{AllowList, Usage};
pub use file::{AllowListFile, Expected, Problem, Problems, TestCase};
pub use method::{MethodError, MethodSet};
pub use rule::{Match, Rule, RuleSource, Url, UrlError};

/// What a verdict is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The request method, in the letter case it came in (RFC 9110 section 9.1).
    pub method: &'a str,
    /// Whom the request is for.
    pub origin: &'a Origin,
    /// What it asks for, normalised.
    pub target: &'a Target<'a>,
    /// The deployment of the user's domain.
    pub deployment: &'a Deployment,
    /// For the expiry of rules.
    pub now: UnixTime,
}

/// The decision about one request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// The rule that allows it.
    Allow(&'a Arc<Rule>),
    /// Why nothing does.
    Deny(Denial<'a>),
}

impl Verdict<'_> {
    /// Whether the request may go on.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// A refusal: why, and which rule would have been needed.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// How far the look-up got.
    pub reason: DenyReason<'a>,
    /// What was asked.
    pub request: Request<'a>,
}

impl<'a> Denial<'a> {
    /// The narrowest rule that would allow the request. `{}` writes it as lines for the file, `{:#}` as one line for a log.
    /// It never shows the query. The path may name a person: that is the point of the line, log it accordingly.
    #[must_use]
    pub const fn needed_rule(&self) -> NeededRule<'a> {
        NeededRule(self.request)
    }
}

/// How far the look-up for a denied request got.
#[derive(Clone, Copy, Debug)]
pub enum DenyReason<'a> {
    /// This rule would match, but has expired.
    Expired(&'a Arc<Rule>),
    /// This rule would match, but for the method.
    Method(&'a Arc<Rule>),
    /// No rule names the origin (scheme, host and port).
    NoRuleForOrigin,
    /// Rules name the origin, none matches the path.
    NoRuleForPath,
    /// Rules name the origin, but in other deployments only.
    OtherDeployment,
}

impl<'a> DenyReason<'a> {
    /// A short stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Expired(_) => "expired",
            Self::Method(_) => "method",
            Self::NoRuleForOrigin => "origin",
            Self::NoRuleForPath => "path",
            Self::OtherDeployment => "deployment",
        }
    }

    /// The rule that came closest, where one matched but for method or expiry.
    #[must_use]
    pub const fn nearest(&self) -> Option<&'a Arc<Rule>> {
        match self {
            Self::Expired(rule) | Self::Method(rule) => Some(rule),
            Self::NoRuleForOrigin | Self::NoRuleForPath | Self::OtherDeployment => None,
        }
    }
}

impl fmt::Display for DenyReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(rule) => write!(f, "the rule {rule} has expired"),
            Self::Method(rule) => write!(f, "the rule {rule} allows only {}", rule.methods),
            Self::NoRuleForOrigin => f.write_str("no rule names this scheme, host and port"),
            Self::NoRuleForPath => f.write_str("rules name the host, but none matches the path"),
            Self::OtherDeployment => {
                f.write_str("rules name the host, but only for other deployments")
            }
        }
    }
}

/// The rule a denied request would need, as TOML.
#[derive(Clone, Copy, Debug)]
pub struct NeededRule<'a>(Request<'a>);

impl fmt::Display for NeededRule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request {
            method,
            origin,
            target,
            deployment,
            ..
        } = self.0;
        if MethodSet::parse([method]).is_err() {
            return write!(f, "# no rule can allow the method {method}");
        }
        let url = rule::quoted(&format!(
            "{}://{}{}",
            origin.scheme.as_str(),
            origin.authority(),
            target.path()
        ));
        let method = rule::quoted(method);
        let deployment = rule::quoted(&deployment.0);
        if f.alternate() {
            write!(
                f,
                "{{ url = {url}, match = \"exact\", methods = [{method}], deployment = {deployment} }}"
            )
        } else {
            write!(
                f,
                "[[rule]]\nurl = {url}\nmatch = \"exact\"\nmethods = [{method}]\ndeployment = {deployment}\n"
            )
        }
    }
}
