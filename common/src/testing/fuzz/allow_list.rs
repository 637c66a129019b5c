//! The compiled list against reading every rule; and whatever the file reader accepts, it also writes.

use std::sync::Arc;

use crate::net::Deployment;
use crate::policy::allow_list::{
    AllowList, AllowListFile, Match, MethodSet, Request, Rule, RuleSource, Url, Verdict,
};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// Text is rules and requests, one a line, told apart by the first character; a line that is neither is skipped:
///
/// ```text
/// =GET,PUT default https://host/path     an exact rule
/// ^GET default https://host/path         a prefix rule
/// -GET lab https://host/path             an exact rule that has expired
/// ?GET default https://host/path         a request
/// ```
///
/// Text that begins with `#toml` is read as a file instead.
///
/// # Panics
/// If the compiled list and the naive reading disagree, the needed rule isn't enough, or a file doesn't survive writing.
pub fn allow_list(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if text.starts_with("#toml") {
        file(text);
        return;
    }
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    let mut requests = Vec::new();
    for line in text.lines() {
        let Some((kind, (methods, deployment, url))) = parse_line(line) else {
            continue;
        };
        match kind {
            '=' => rules.extend(rule(Match::Exact, methods, deployment, url, None)),
            '^' => rules.extend(rule(Match::Prefix, methods, deployment, url, None)),
            '-' => rules.extend(rule(Match::Exact, methods, deployment, url, Some(NOW))),
            '?' => requests.push((methods, deployment, url)),
            _ => {}
        }
    }
    let list = AllowList::compile(rules.iter().cloned());
    for (method, deployment, url) in requests {
        ask(&list, &rules, method, &deployment, &url);
    }
}

type Line<'t> = (&'t str, Deployment, Url);

fn parse_line(line: &str) -> Option<(char, Line<'_>)> {
    let mut chars = line.chars();
    let kind = chars.next()?;
    let mut words = chars.as_str().splitn(3, ' ');
    let (methods, deployment, url) = (words.next()?, words.next()?, words.next()?);
    let url = Url::parse(url).ok()?;
    Some((kind, (methods, Deployment(deployment.into()), url)))
}

fn rule(
    matching: Match,
    methods: &str,
    deployment: Deployment,
    url: Url,
    expires: Option<UnixTime>,
) -> Option<Arc<Rule>> {
    Some(Arc::new(Rule {
        url,
        matching,
        methods: MethodSet::parse(methods.split(',')).ok()?,
        has_own_methods: true,
        deployment,
        expires,
        forward_authorization: false,
        description: String::new(),
        source: RuleSource::File { line: 0 },
    }))
}

fn ask(list: &AllowList, rules: &[Arc<Rule>], method: &str, deployment: &Deployment, url: &Url) {
    let request = Request {
        method,
        origin: &url.origin,
        target: &url.target,
        deployment,
        now: NOW,
    };
    let is_allowed = rules.iter().any(|rule| rule.allows(&request));
    match list.verdict(&request) {
        Verdict::Allow(rule) => {
            assert!(is_allowed, "{request:?} is allowed by nothing");
            assert!(rule.allows(&request), "{rule} is named but doesn't allow");
        }
        Verdict::Deny(denial) => {
            assert!(!is_allowed, "{request:?} is denied: {}", denial.reason);
            let needed = denial.needed_rule().to_string();
            // A method or deployment that no file can have has no rule.
            if let Ok(file) = AllowListFile::parse("needed", &needed) {
                let list = AllowList::compile(file.rules.iter().cloned());
                let is_enough = list.trial(&request).is_allowed();
                assert!(is_enough || file.rules.is_empty(), "{needed} isn't enough");
            }
        }
    }
}

fn file(text: &str) {
    let Ok(first) = AllowListFile::parse("first", text) else {
        return;
    };
    drop(first.warnings("first", NOW).to_string());
    let written = first.to_string();
    let second = AllowListFile::parse("second", &written);
    let second = second.as_ref().map(AllowListFile::to_string);
    assert_eq!(second.as_deref(), Ok(written.as_str()));
}
