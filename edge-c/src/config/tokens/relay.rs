//! `[sso]`: which pages of issuers clients outside reach.

use std::sync::Arc;

use common::config::Table;
use common::config::section::Rate;
use common::limits;
use common::net::Deployment;
use common::policy::allow_list::{Match, MethodSet, Rule, RuleSource};

use super::{Issuer, https, name};

/// `[sso]`: single sign-on through the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsoRelay {
    /// Requests of one address.
    pub rate_limit: Rate,
    /// Which pages clients reach. Never empty.
    pub rules: Vec<SsoRule>,
}

/// `[[sso.rule]]`: a page of an issuer, or all below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsoRule {
    /// Whose.
    pub issuer: Arc<str>,
    /// Which, in the form of an allow-list rule.
    pub rule: Arc<Rule>,
}

/// `Some(None)` without `[sso]`.
#[expect(
    clippy::option_option,
    reason = "an error that was noted, and a section that is not there, are different"
)]
pub(super) fn relay(table: &Table<'_>, issuers: Option<&[Issuer]>) -> Option<Option<SsoRelay>> {
    if !table.is_present() {
        return Some(None);
    }
    let standard = Rate {
        count: limits::SSO_COUNT_DEFAULT,
        window: limits::SSO_WINDOW_DEFAULT,
    };
    let rate_limit = Rate::read(&table.table("rate_limit"), standard);
    let allowed = "[[sso.rule]] with issuer, url and match: what clients outside reach";
    let tables = table.required_tables("rule", allowed);
    let rules: Vec<_> = tables.iter().map(sso_rule).collect();
    let rules: Vec<SsoRule> = rules.into_iter().collect::<Option<_>>()?;
    for (table, rule) in tables.iter().zip(&rules) {
        let first = rules.iter().find(|other| other.issuer == rule.issuer);
        if first.is_some_and(|first| first.rule.url.origin != rule.rule.url.origin) {
            let why = "is on another server than the issuer's first [[sso.rule]]";
            table.refuse("url", why, "pages of one server for each issuer");
        }
        let known = issuers.unwrap_or_default();
        if !known.iter().any(|issuer| issuer.name == rule.issuer) && issuers.is_some() {
            let allowed = "the name of an [[issuer]]";
            table.refuse("issuer", "is the name of no [[issuer]]", allowed);
        }
    }
    Some(Some(SsoRelay { rate_limit, rules }))
}

fn sso_rule(table: &Table<'_>) -> Option<SsoRule> {
    let issuer = table.required("issuer", "the name of an [[issuer]]", name);
    let allowed = "a page of it, such as url = \"https://idp.example.com/login/\"";
    let url = table.required("url", allowed, https);
    let words = [("exact", Match::Exact), ("prefix", Match::Prefix)];
    let allowed = "match = \"exact\" or \"prefix\"";
    let matching = table.required("match", allowed, |value| value.choice(&words));
    let methods = table.list("methods", |value| value.text().map(str::to_owned));
    let has_own_methods = !methods.is_empty();
    let methods = if has_own_methods {
        methods
    } else {
        ["GET", "POST"].map(str::to_owned).to_vec()
    };
    let methods = match MethodSet::parse(methods.iter().map(String::as_str)) {
        Ok(methods) => Some(methods),
        Err(error) => {
            table.refuse("methods", error, "such as methods = [\"GET\", \"POST\"]");
            None
        }
    };
    let line = table.place("url").line.unwrap_or_default();
    Some(SsoRule {
        issuer: issuer?,
        rule: Arc::new(Rule {
            url: url?,
            matching: matching?,
            methods: methods?,
            has_own_methods,
            deployment: Deployment::standard(),
            expires: None,
            forward_authorization: true,
            description: String::new(),
            source: RuleSource::File { line },
        }),
    })
}
