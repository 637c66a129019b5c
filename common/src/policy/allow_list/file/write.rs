//! From rules and tests to TOML text.

use std::fmt;

use crate::policy::allow_list::file::{AllowListFile, TestCase};
use crate::policy::allow_list::rule::quoted;
use crate::policy::allow_list::{MethodSet, Rule};
use crate::time::UnixTime;

pub(super) fn write(file: &AllowListFile, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "default_methods = {}", list(&file.default_methods))?;
    file.rules.iter().try_for_each(|rule| write_rule(rule, f))?;
    file.tests.iter().try_for_each(|test| write_test(test, f))
}

fn write_rule(rule: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\n[[rule]]\n")?;
    write_description(&rule.description, f)?;
    writeln!(f, "url = {}", quoted(&rule.url.to_string()))?;
    writeln!(f, "match = {}", quoted(rule.matching.as_str()))?;
    if rule.has_own_methods {
        writeln!(f, "methods = {}", list(&rule.methods))?;
    }
    writeln!(f, "deployment = {}", quoted(&rule.deployment.0))?;
    if let Some(expires) = rule.expires.and_then(timestamp) {
        writeln!(f, "expires = {expires}")?;
    }
    if rule.forward_authorization {
        f.write_str("forward_authorization = true\n")?;
    }
    Ok(())
}

fn write_test(test: &TestCase, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\n[[test]]\n")?;
    write_description(&test.description, f)?;
    writeln!(f, "url = {}", quoted(&test.url))?;
    writeln!(f, "method = {}", quoted(&test.method))?;
    writeln!(f, "deployment = {}", quoted(&test.deployment.0))?;
    writeln!(f, "expected = {}", quoted(test.expected.as_str()))
}

fn write_description(description: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if description.is_empty() {
        return Ok(());
    }
    writeln!(f, "description = {}", quoted(description))
}

fn list(methods: &MethodSet) -> String {
    let names: Vec<String> = methods.iter().map(quoted).collect();
    format!("[{}]", names.join(", "))
}

/// RFC 3339 in UTC; `None` beyond the year 9999, which no file can state.
fn timestamp(at: UnixTime) -> Option<jiff::Timestamp> {
    i64::try_from(at.0)
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
}
