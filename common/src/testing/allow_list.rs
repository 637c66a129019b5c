//! A big allow list and questions to it, for benches and the proof that verdicts allocate nothing.

use std::sync::Arc;

use crate::http::target::Target;
use crate::net::{Deployment, Origin};
use crate::policy::allow_list::{AllowList, Match, MethodSet, Request, Rule, RuleSource, Url};
use crate::time::UnixTime;

/// How 10,000 rules are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 1,000 origins with 5 exact rules and 5 prefixes each.
    ManyOrigins,
    /// 10,000 exact paths on one origin.
    OneOriginExact,
    /// 10,000 prefixes on one origin, one in ten inside another.
    OneOriginPrefixes,
}

/// Every shape.
pub const SHAPES: [Shape; 3] = [
    Shape::ManyOrigins,
    Shape::OneOriginExact,
    Shape::OneOriginPrefixes,
];

/// A compiled list of 10,000 rules, and one request of each outcome.
#[derive(Debug)]
pub struct Scene {
    /// The list.
    pub list: AllowList,
    /// A rule in the middle of the list allows it.
    pub allowed: Question,
    /// The origin is known, the path is not.
    pub wrong_path: Question,
    /// The origin is not known.
    pub wrong_origin: Question,
}

/// What a request needs to borrow from.
#[derive(Debug)]
pub struct Question {
    origin: Origin,
    target: Target<'static>,
    deployment: Deployment,
}

impl Question {
    /// A `GET` request.
    #[must_use]
    pub const fn request(&self) -> Request<'_> {
        Request {
            method: "GET",
            origin: &self.origin,
            target: &self.target,
            deployment: &self.deployment,
            now: UnixTime(1_800_000_000),
        }
    }
}

/// Makes the list and the questions of one shape.
#[must_use]
pub fn scene(shape: Shape) -> Scene {
    let rules = (0..10_000).filter_map(|n| rule(shape, n));
    let middle = 5_002;
    let (allowed, wrong_path) = match shape {
        Shape::ManyOrigins => (url(shape, middle), "https://host502.example.com/none"),
        Shape::OneOriginExact | Shape::OneOriginPrefixes => {
            (url(shape, middle), "https://host.example.com/area5002")
        }
    };
    Scene {
        list: AllowList::compile(rules.map(Arc::new)),
        allowed: question(&allowed),
        wrong_path: question(wrong_path),
        wrong_origin: question("https://elsewhere.example.com/area5002/photo.jpg"),
    }
}

fn matching(shape: Shape, n: usize) -> Match {
    match shape {
        Shape::ManyOrigins if n.is_multiple_of(2) => Match::Exact,
        Shape::OneOriginExact => Match::Exact,
        Shape::ManyOrigins | Shape::OneOriginPrefixes => Match::Prefix,
    }
}

fn url(shape: Shape, n: usize) -> String {
    match shape {
        Shape::ManyOrigins => {
            let (host, area) = (n / 10, n % 10);
            format!("https://host{host}.example.com/area{area}/photo.jpg")
        }
        Shape::OneOriginExact => format!("https://host.example.com/area{n}/photo.jpg"),
        Shape::OneOriginPrefixes if n.is_multiple_of(10) => {
            let outer = n.saturating_add(1);
            format!("https://host.example.com/area{outer}/inner/")
        }
        Shape::OneOriginPrefixes => format!("https://host.example.com/area{n}/"),
    }
}

fn rule(shape: Shape, n: usize) -> Option<Rule> {
    Some(Rule {
        url: Url::parse(&url(shape, n)).ok()?,
        matching: matching(shape, n),
        methods: MethodSet::standard(),
        has_own_methods: false,
        deployment: Deployment::standard(),
        expires: None,
        forward_authorization: false,
        description: String::new(),
        source: RuleSource::File { line: n },
    })
}

#[expect(clippy::expect_used, reason = "test support: the URLs stand above")]
fn question(url: &str) -> Question {
    let url = Url::parse(url).expect("a URL");
    Question {
        origin: url.origin,
        target: url.target,
        deployment: Deployment::standard(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_has_its_rules_and_outcomes() {
        for shape in SHAPES {
            let scene = scene(shape);
            let reason = |question: &Question| match scene.list.trial(&question.request()) {
                crate::policy::allow_list::Verdict::Allow(_) => "allow",
                crate::policy::allow_list::Verdict::Deny(denial) => denial.reason.as_str(),
            };

            assert_eq!(scene.list.rules().len(), 10_000);
            assert_eq!(reason(&scene.allowed), "allow", "{shape:?}");
            assert_eq!(reason(&scene.wrong_path), "path", "{shape:?}");
            assert_eq!(reason(&scene.wrong_origin), "origin", "{shape:?}");
        }
    }
}
