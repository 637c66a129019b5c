use proptest::prelude::*;

use super::*;
use crate::http::target::Target;
use crate::policy::allow_list::{RuleSource, Url};

const NOW: UnixTime = UnixTime(1_800_000_000);

#[test]
fn an_empty_list_denies_everything() {
    assert_eq!(deny(&[], "GET", "https://host/"), "origin");
}

#[test]
fn exact_wants_the_whole_path_and_prefix_the_beginning() {
    let rules = [
        rule(Match::Exact, "https://host/a"),
        rule(Match::Prefix, "https://host/photo/"),
        rule(Match::Prefix, "https://host/open"),
    ];

    for url in [
        "https://host/a",
        "https://host/a?any=query",
        "https://host/photo/",
        "https://host/photo/b/c.jpg?x",
        "https://host/open",
        "https://host/opening",
        "https://host/%61",
        "https://host/x/../a",
        "https://HOST.:443/a",
    ] {
        assert!(is_allowed(&rules, "GET", url), "{url}");
    }
    for url in [
        "https://host/",
        "https://host/a/",
        "https://host/A",
        "https://host/a/b",
        "https://host/a;x=1",
        "https://host/photo",
        "https://host/Photo/",
        "https://host/photo/../secret",
        "https://host/photo/%2e%2e/secret",
        "https://host//x/photo/",
        "https://host/ope",
    ] {
        assert_eq!(deny(&rules, "GET", url), "path", "{url}");
    }
}

#[test]
fn scheme_host_and_port_must_be_the_same() {
    let rules = [rule(Match::Prefix, "https://host:8443/")];

    for url in [
        "http://host:8443/",
        "https://host/",
        "https://host:443/",
        "https://host.example.com:8443/",
        "https://192.0.2.1:8443/",
    ] {
        assert_eq!(deny(&rules, "GET", url), "origin", "{url}");
    }
}

#[test]
fn a_rule_with_a_query_wants_it() {
    let rules = [
        rule(Match::Exact, "https://host/e?id=1"),
        rule(Match::Prefix, "https://host/p?id="),
    ];

    assert!(is_allowed(&rules, "GET", "https://host/e?id=1"));
    assert!(is_allowed(&rules, "GET", "https://host/p?id=7&x"));
    for url in [
        "https://host/e",
        "https://host/e?id=12",
        "https://host/e?",
        "https://host/p",
        "https://host/p?x&id=7",
        "https://host/p/q?id=7",
    ] {
        assert_eq!(deny(&rules, "GET", url), "path", "{url}");
    }
}

#[test]
fn methods_deployment_and_expiry_are_named_as_the_reason() {
    let mut expired = rule(Match::Exact, "https://host/old");
    expired.expires = Some(NOW);
    let mut lasting = rule(Match::Exact, "https://host/new");
    lasting.expires = Some(UnixTime(NOW.0 + 1));
    let mut other = rule(Match::Exact, "https://other/");
    other.deployment = Deployment("lab".into());
    let rules = [expired, lasting, other];

    assert_eq!(deny(&rules, "GET", "https://host/old"), "expired");
    assert!(is_allowed(&rules, "GET", "https://host/new"));
    assert_eq!(deny(&rules, "POST", "https://host/new"), "method");
    assert_eq!(deny(&rules, "get", "https://host/new"), "method");
    assert_eq!(deny(&rules, "GET", "https://other/"), "deployment");
}

#[test]
fn a_shorter_prefix_allows_what_a_longer_one_does_not() {
    let mut posts = rule(Match::Prefix, "https://host/a/b/");
    posts.methods = MethodSet::parse(["POST"]).unwrap();
    let rules = [
        rule(Match::Prefix, "https://host/a/"),
        posts,
        rule(Match::Prefix, "https://host/a/b/c/d"),
        rule(Match::Prefix, "https://host/a/bz"),
    ];

    assert!(is_allowed(&rules, "GET", "https://host/a/b/c"));
    assert!(is_allowed(&rules, "POST", "https://host/a/b/c"));
    assert_eq!(deny(&rules, "POST", "https://host/a/c"), "method");
}

#[test]
fn the_most_specific_rule_is_the_one_that_is_named() {
    let list = compile(&[
        rule(Match::Prefix, "https://host/"),
        rule(Match::Prefix, "https://host/a/"),
        rule(Match::Exact, "https://host/a/b"),
    ]);

    assert_eq!(allowing(&list, "https://host/a/b"), "https://host/a/b");
    assert_eq!(allowing(&list, "https://host/a/c"), "https://host/a/");
    assert_eq!(allowing(&list, "https://host/b"), "https://host/");
}

#[test]
fn the_needed_rule_is_a_rule_that_allows_the_request() {
    let url = Url::parse("https://host:8443/it's/a{b}?token=secret").unwrap();
    let deployment = Deployment("a \"b\"".into());
    let request = Request {
        method: "PROPFIND",
        origin: &url.origin,
        target: &url.target,
        deployment: &deployment,
        now: NOW,
    };
    let list = AllowList::default();
    let Verdict::Deny(denial) = list.verdict(&request) else {
        panic!("an empty list allows nothing");
    };

    let block = denial.needed_rule().to_string();
    let line = format!("rule = [{:#}]", denial.needed_rule());
    for text in [block, line] {
        assert!(!text.contains("secret"));
        let file = crate::policy::allow_list::AllowListFile::parse("needed", &text).unwrap();
        assert!(
            AllowList::compile(file.rules)
                .verdict(&request)
                .is_allowed(),
            "{text}"
        );
    }
}

#[test]
fn no_rule_is_suggested_for_a_method_that_none_can_allow() {
    let url = Url::parse("https://host/").unwrap();
    let deployment = Deployment::standard();
    let list = AllowList::default();
    let Verdict::Deny(denial) = list.verdict(&Request {
        method: "TRACE",
        origin: &url.origin,
        target: &url.target,
        deployment: &deployment,
        now: NOW,
    }) else {
        panic!("an empty list allows nothing");
    };

    assert_eq!(
        denial.needed_rule().to_string(),
        "# no rule can allow the method TRACE"
    );
}

#[test]
fn hits_are_counted_across_a_reload_but_not_by_trials() {
    let rules = [
        rule(Match::Prefix, "https://host/a/"),
        rule(Match::Prefix, "https://host/b/"),
    ];
    let first = compile(&rules);
    let ask = |list: &AllowList| {
        let url = Url::parse("https://host/a/x").unwrap();
        let deployment = Deployment::standard();
        let request = Request {
            method: "GET",
            origin: &url.origin,
            target: &url.target,
            deployment: &deployment,
            now: NOW,
        };
        assert!(list.trial(&request).is_allowed());
        assert!(list.verdict(&request).is_allowed());
    };
    ask(&first);
    ask(&first);

    let mut moved = rules[0].clone();
    moved.description = "new words".to_owned();
    let second = AllowList::compile_after([Arc::new(rules[1].clone()), Arc::new(moved)], &first);
    ask(&second);

    let counted: Vec<_> = second
        .rules()
        .map(|(rule, usage)| (rule.url.to_string(), usage.hits(), usage.last()))
        .collect();
    assert_eq!(
        counted,
        [
            ("https://host/b/".to_owned(), 0, None),
            ("https://host/a/".to_owned(), 3, Some(NOW)),
        ]
    );
}

proptest! {
    #[test]
    fn the_compiled_list_agrees_with_reading_every_rule(
        rules in prop::collection::vec(any_rule(), 0..24),
        requests in prop::collection::vec((path(), prop::sample::select(vec!["GET", "PUT", "X"])), 1..24),
    ) {
        let list = compile(&rules);
        let deployment = Deployment::standard();
        for (path, method) in requests {
            let url = Url::parse(&format!("https://host{path}")).unwrap();
            let request = Request {
                method,
                origin: &url.origin,
                target: &url.target,
                deployment: &deployment,
                now: NOW,
            };
            let naive = rules.iter().any(|rule| rule.allows(&request));
            prop_assert_eq!(list.verdict(&request).is_allowed(), naive, "{} {}", method, path);
        }
    }
}

fn path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["/", "a", "b", "%C3%A4", "?", "=", "."]);
    prop::collection::vec(piece, 0..6).prop_filter_map("refused", |pieces| {
        let path = format!("/{}", pieces.concat());
        Target::parse(&path).ok().map(|target| target.to_string())
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let methods = prop::sample::select(vec!["GET", "PUT"]);
    let deployment = prop::sample::select(vec!["default", "default", "lab"]);
    let expiry = prop::sample::select(vec![None, None, Some(NOW), Some(UnixTime(NOW.0 + 1))]);
    (any::<bool>(), path(), methods, deployment, expiry).prop_map(
        |(is_exact, path, method, deployment, expires)| {
            let matching = if is_exact {
                Match::Exact
            } else {
                Match::Prefix
            };
            Rule {
                methods: MethodSet::parse([method]).unwrap(),
                deployment: Deployment(deployment.into()),
                expires,
                ..rule(matching, &format!("https://host{path}"))
            }
        },
    )
}

fn rule(matching: Match, url: &str) -> Rule {
    Rule {
        url: Url::parse(url).unwrap(),
        matching,
        methods: MethodSet::standard(),
        has_own_methods: false,
        deployment: Deployment::standard(),
        expires: None,
        forward_authorization: false,
        description: String::new(),
        source: RuleSource::File { line: 1 },
    }
}

fn compile(rules: &[Rule]) -> AllowList {
    AllowList::compile(rules.iter().cloned().map(Arc::new))
}

fn is_allowed(rules: &[Rule], method: &str, url: &str) -> bool {
    reason(&compile(rules), method, url).is_none()
}

fn deny(rules: &[Rule], method: &str, url: &str) -> &'static str {
    reason(&compile(rules), method, url).expect("the request is denied")
}

fn reason(list: &AllowList, method: &str, url: &str) -> Option<&'static str> {
    let url = Url::parse(url).unwrap();
    let deployment = Deployment::standard();
    match list.verdict(&Request {
        method,
        origin: &url.origin,
        target: &url.target,
        deployment: &deployment,
        now: NOW,
    }) {
        Verdict::Allow(_) => None,
        Verdict::Deny(denial) => Some(denial.reason.as_str()),
    }
}

fn allowing(list: &AllowList, url: &str) -> String {
    let url = Url::parse(url).unwrap();
    let deployment = Deployment::standard();
    match list.verdict(&Request {
        method: "GET",
        origin: &url.origin,
        target: &url.target,
        deployment: &deployment,
        now: NOW,
    }) {
        Verdict::Allow(rule) => rule.url.to_string(),
        Verdict::Deny(denial) => denial.reason.to_string(),
    }
}
