//! `test` and `explain`: what the list says about one request.

use std::fmt;
use std::sync::Arc;

use common::http::target::Target;
use common::net::{Deployment, Origin};
use common::policy::allow_list::{
    AllowList, Denial, Request, Rule, RuleSource, Verdict, automatic_rules, method, rule,
};
use serde_json::{Value, json};

use super::{AllowListArgs, BLOCKED, DONE, Desk, Failure, Question, file_of, load};

/// How many rules that only come close are shown.
const NEAR_RULES_MAX: usize = 10;

pub(super) fn test(
    args: &AllowListArgs,
    question: &Question,
    desk: &mut Desk<'_>,
) -> Result<u8, Failure> {
    let asked = Asked::read(args, question)?;
    let verdict = match &asked.target {
        Ok(target) => asked.list.trial(&asked.request(target, desk)),
        Err(why) => {
            let text = format!("block: {why}");
            desk.answer(
                &text,
                &json!({ "verdict": "block", "reason": "target", "why": why }),
            )?;
            return Ok(BLOCKED);
        }
    };
    let text = match &verdict {
        Verdict::Allow(rule) => format!("allow: by the rule {rule}"),
        Verdict::Deny(denial) => format!("block: {}", denial.reason),
    };
    desk.answer(&text, &verdict_json(&verdict))?;
    Ok(if verdict.is_allowed() { DONE } else { BLOCKED })
}

pub(super) fn explain(
    args: &AllowListArgs,
    question: &Question,
    desk: &mut Desk<'_>,
) -> Result<u8, Failure> {
    let asked = Asked::read(args, question)?;
    let target = match &asked.target {
        Ok(target) => target,
        Err(why) => {
            let text = format!(
                "{} {}\nblock: {why}\nIt is refused before any rule is asked: servers would not agree on what it means.",
                question.method, question.url
            );
            desk.answer(
                &text,
                &json!({ "verdict": "block", "reason": "target", "why": why }),
            )?;
            return Ok(DONE);
        }
    };
    let request = asked.request(target, desk);
    let verdict = asked.list.trial(&request);
    let form = format!(
        "{}://{}{target}",
        asked.origin.scheme.as_str(),
        asked.origin.authority()
    );

    let mut text = format!(
        "{} {form} for users of deployment \"{}\"\n",
        question.method, asked.deployment
    );
    if form != question.url {
        text.push_str("  (the form that is matched, and sent to the server)\n");
    }
    let mut near = Vec::new();
    match &verdict {
        Verdict::Allow(rule) => explain_allowed(&asked, &request, rule, &mut text),
        Verdict::Deny(denial) => {
            near = asked.near_rules(&request);
            explain_denied(denial, &near, &mut text);
        }
    }
    let mut json = verdict_json(&verdict);
    if let Some(object) = json.as_object_mut() {
        object.insert("url".to_owned(), json!(form));
        let near: Vec<Value> = near.iter().map(|rule| rule_json(rule)).collect();
        object.insert("near".to_owned(), json!(near));
    }
    desk.answer(&text, &json)?;
    Ok(DONE)
}

/// A request and the rules it is put to.
struct Asked<'q> {
    list: AllowList,
    origin: Origin,
    /// Or why it is refused.
    target: Result<Target<'static>, String>,
    deployment: Deployment,
    method: &'q str,
}

impl<'q> Asked<'q> {
    fn read(args: &AllowListArgs, question: &'q Question) -> Result<Self, Failure> {
        let (origin, target) = rule::split(&question.url)
            .map_err(|error| Failure::Arguments(format!("{}: {error}", question.url)))?;
        let target =
            rule::read_target(target).map_err(|error| format!("the path or query {error}"));
        match method::check(&question.method) {
            Ok(()) | Err(method::MethodError::Never) => {}
            Err(error) => {
                let message = format!("--method {}: {error}", question.method);
                return Err(Failure::Arguments(message));
            }
        }
        let file = load(file_of(args))?;
        let automatic = question
            .nodes()
            .into_iter()
            .flat_map(|node| automatic_rules(&node, question.oauth()))
            .map(Arc::new);
        Ok(Self {
            list: AllowList::compile(automatic.chain(file.rules)),
            origin,
            target,
            deployment: Deployment(question.deployment.as_str().into()),
            method: &question.method,
        })
    }

    const fn request<'a>(&'a self, target: &'a Target<'a>, desk: &Desk<'_>) -> Request<'a> {
        Request {
            method: self.method,
            origin: &self.origin,
            target,
            deployment: &self.deployment,
            now: desk.now,
        }
    }

    /// Rules that would match but for one thing or two: the ones an administrator may have had in mind.
    fn near_rules(&self, request: &Request<'_>) -> Vec<&Arc<Rule>> {
        let rules = self.list.rules().map(|(rule, _)| rule);
        rules
            .filter(|rule| {
                let origin = &rule.url.origin;
                rule.matches_target(request.target) && origin.host == self.origin.host
                    || *origin == self.origin && rule.deployment == self.deployment
            })
            .take(NEAR_RULES_MAX)
            .collect()
    }
}

fn explain_allowed(asked: &Asked<'_>, request: &Request<'_>, rule: &Arc<Rule>, text: &mut String) {
    push(text, format_args!("allow: by the rule {rule}"));
    push(text, format_args!("  methods: {}", rule.methods));
    if !rule.description.is_empty() {
        push(text, format_args!("  description: {}", rule.description));
    }
    if let Some(expires) = rule.expires {
        let days = expires.since(request.now).as_secs().div_euclid(86_400);
        push(text, format_args!("  expires: in {days} days"));
    }
    let forwards = if rule.forward_authorization {
        "is"
    } else {
        "is not"
    };
    push(
        text,
        format_args!("  the client's own Authorization field {forwards} sent on"),
    );
    let others = asked.list.rules().map(|(other, _)| other);
    for other in others.filter(|other| !Arc::ptr_eq(other, rule) && other.allows(request)) {
        push(text, format_args!("also allowed by the rule {other}"));
    }
}

fn explain_denied(denial: &Denial<'_>, near: &[&Arc<Rule>], text: &mut String) {
    push(text, format_args!("block: {}", denial.reason));
    if !near.is_empty() {
        push(text, format_args!("rules that come close:"));
    }
    for rule in near {
        push(
            text,
            format_args!(
                "  {rule} ({}, deployment \"{}\")",
                rule.methods, rule.deployment
            ),
        );
    }
    push(
        text,
        format_args!(
            "the narrowest rule that would allow it:\n\n{}",
            denial.needed_rule()
        ),
    );
}

fn push(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
    text.push('\n');
}

fn verdict_json(verdict: &Verdict<'_>) -> Value {
    match verdict {
        Verdict::Allow(rule) => json!({ "verdict": "allow", "rule": rule_json(rule) }),
        Verdict::Deny(denial) => json!({
            "verdict": "block",
            "reason": denial.reason.as_str(),
            "why": denial.reason.to_string(),
            "nearest": denial.reason.nearest().map(|rule| rule_json(rule)),
            "needed_rule": denial.needed_rule().to_string(),
        }),
    }
}

fn rule_json(rule: &Rule) -> Value {
    let (line, node) = match rule.source {
        RuleSource::Automatic(kind) => (None, Some(kind.as_str())),
        RuleSource::File { line } => (Some(line), None),
    };
    json!({
        "url": rule.url.to_string(),
        "match": rule.matching.as_str(),
        "methods": rule.methods.iter().collect::<Vec<_>>(),
        "deployment": rule.deployment.0.as_ref(),
        "description": rule.description,
        "expires_unix": rule.expires.map(|expires| expires.0),
        "forward_authorization": rule.forward_authorization,
        "line": line,
        "node": node,
    })
}
