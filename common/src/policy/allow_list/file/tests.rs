use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);

#[test]
fn a_file_is_read_with_its_defaults() {
    let file = parse(
        r#"
        [[rule]]
        url = "https://photos.example.com/thumbs/"
        match = "prefix"

        [[rule]]
        description = "voicemail"
        url = "https://unity.example.com:8443/vmrest"
        match = "exact"
        methods = ["GET", "POST"]
        deployment = "lab"
        expires = 2027-12-31
        forward_authorization = true
        "#,
    )
    .unwrap();

    let [photos, voicemail] = file.rules.as_slice() else {
        panic!("two rules");
    };
    assert_eq!(photos.methods, MethodSet::standard());
    assert_eq!(photos.deployment, Deployment::standard());
    assert!(!photos.forward_authorization && !photos.has_own_methods);
    assert_eq!(photos.source, RuleSource::File { line: 2 });
    assert_eq!(voicemail.methods.to_string(), "GET, POST");
    assert_eq!(voicemail.source, RuleSource::File { line: 6 });
    assert!(voicemail.forward_authorization);
    // 2028-01-01T00:00:00Z: the last day counts to its end.
    assert_eq!(voicemail.expires, Some(UnixTime(1_830_297_600)));
}

#[test]
fn every_problem_is_named_with_line_key_value_and_what_is_allowed() {
    let problems = parse(
        r#"default_methods = ["get"]
colour = "red"
[[rule]]
url = "https://a.example.com/x/../y"
match = "prefx"
methods = []
expires = 2027-02-28T00:00:00
forward_authorization = "yes"
owner = "bob"
[[rule]]
description = 7
[[rule]]
url = "http://a.example.com/"
match = "exact"
forward_authorization = true
[[test]]
url = "ftp://a.example.com/"
expected = "maybe"
"#,
    )
    .unwrap_err();

    insta::assert_snapshot!(problems, @r#"
    f:1: default_methods = ["get"]: methods are case-sensitive: write "GET" (allowed: a list such as ["GET", "HEAD", "POST"])
    f:2: the key `colour` is not known here (allowed: default_methods, rule, test)
    f:4: rule 1: url = "https://a.example.com/x/../y": the path is not in its normal form (allowed: "https://a.example.com/y")
    f:5: rule 1: match = "prefx": is not a way to match (allowed: "exact", "prefix")
    f:6: rule 1: methods = []: a rule without methods allows nothing: leave it out for default_methods
    f:7: rule 1: expires = 2027-02-28T00:00:00: has a time but no offset: add Z for UTC (allowed: 2027-12-31 (the last day, in UTC), 2027-12-31T18:00:00+01:00)
    f:8: rule 1: forward_authorization = "yes": is neither true nor false (allowed: true, false)
    f:9: rule 1: the key `owner` is not known here (allowed: description, url, match, methods, deployment, expires, forward_authorization)
    f:10: rule 2: match: is missing (allowed: "exact", "prefix")
    f:10: rule 2: url: is missing (allowed: an absolute URL such as "https://photos.example.com/thumbs/")
    f:11: rule 2: description = 7: is not a text in quotes
    f:15: rule 3: forward_authorization = true: credentials are never sent over http: use an https URL (allowed: false)
    f:17: test 1: url = "ftp://a.example.com/": does not start with "http://" or "https://" (allowed: an absolute URL such as "https://photos.example.com/thumbs/alice.jpg")
    f:18: test 1: expected = "maybe": is not a verdict (allowed: "allow", "block")
    "#);
}

#[test]
fn broken_toml_names_its_lines() {
    let problems = parse("a = \n[[rule]]\nurl = https\n").unwrap_err();

    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 3], "{problems}");
}

#[test]
fn wrong_shapes_are_problems_not_panics() {
    for text in [
        "rule = 1",
        "rule = [1]",
        "test = \"x\"",
        "[rule]\nurl = \"https://a/\"",
        "default_methods = 1",
        "default_methods = [1]",
        "[[rule]]\nurl = []\nmatch = {}",
        "[[rule]]\nurl = \"https://a/\"\nmatch = \"exact\"\nexpires = 12:00:00",
        "[[rule]]\nurl = \"https://a/\"\nmatch = \"exact\"\nexpires = 2027-01-01T00:00:00",
        "[[rule]]\nurl = \"https://a/\"\nmatch = \"exact\"\nexpires = 1969-01-01",
        "[[rule]]\nurl = \"https://a/\"\nmatch = \"exact\"\nexpires = \"soon\"",
        "[[rule]]\nurl = \"https://a/\"\nmatch = \"exact\"\ndeployment = \"\"",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn expiry_takes_a_last_day_or_a_moment() {
    for (written, second) in [
        ("2027-12-31", 1_830_297_600),
        ("\"2027-12-31\"", 1_830_297_600),
        ("2027-12-31T18:00:00Z", 1_830_276_000),
        ("2027-12-31T18:00:00+01:00", 1_830_272_400),
        ("2027-12-31 18:00:00-01:30", 1_830_281_400),
    ] {
        let text =
            format!("[[rule]]\nurl = \"https://a/\"\nmatch = \"exact\"\nexpires = {written}");

        let file = parse(&text).unwrap();

        assert_eq!(file.rules[0].expires, Some(UnixTime(second)), "{written}");
    }
}

#[test]
fn a_failing_test_makes_the_file_invalid() {
    let problems = parse(
        r#"
[[rule]]
url = "https://a.example.com/x/"
match = "prefix"

[[test]]
url = "https://a.example.com/x/1"
expected = "block"

[[test]]
url = "https://a.example.com/x/../y"
method = "POST"
expected = "allow"

[[test]]
url = "https://a.example.com/x/%2fy"
expected = "allow"
"#,
    )
    .unwrap_err();

    insta::assert_snapshot!(problems, @r#"
    f:6: test 1: expected = "block": but GET https://a.example.com/x/1 for deployment "default" is allowed by the rule at line 2: prefix https://a.example.com/x/
    f:10: test 2: expected = "allow": but POST https://a.example.com/x/../y for deployment "default" is blocked: rules name the host, but none matches the path
    f:15: test 3: expected = "allow": but GET https://a.example.com/x/%2fy for deployment "default" is refused: the path or query has an encoded slash
    "#);
}

#[test]
fn hostile_urls_can_be_tested_to_be_blocked() {
    parse(
        r#"
        [[rule]]
        url = "https://a.example.com/x/"
        match = "prefix"

        [[test]]
        url = "https://a.example.com/x/..%2fy"
        expected = "block"
        [[test]]
        url = "https://a.example.com/x/%2e%2e/y"
        expected = "block"
        [[test]]
        url = "https://a.example.com/x/y"
        method = "TRACE"
        expected = "block"
        [[test]]
        url = "https://a.example.com/x/y"
        deployment = "lab"
        expected = "block"
        "#,
    )
    .unwrap();
}

#[test]
fn a_file_stays_valid_when_its_rules_expire() {
    let text = r#"
        [[rule]]
        url = "https://a.example.com/x"
        match = "exact"
        expires = 2001-01-01
        [[test]]
        url = "https://a.example.com/x"
        expected = "allow"
        "#;

    let file = parse(text).unwrap();

    let warnings = file.warnings("f", NOW);
    assert!(warnings.to_string().contains("has expired"), "{warnings}");
}

#[test]
fn what_is_rarely_meant_is_warned_of() {
    let file = parse(
        r#"default_methods = []
[[rule]]
url = "https://a.example.com/photo"
match = "prefix"
methods = ["GET"]
[[rule]]
url = "https://a.example.com/x"
match = "exact"
[[rule]]
url = "https://a.example.com/photo"
match = "prefix"
methods = ["GET"]
[[rule]]
url = "http://a.example.com/a;v=1/"
match = "prefix"
methods = ["POST"]
"#,
    )
    .unwrap();

    insta::assert_snapshot!(file.warnings("f", NOW), @r#"
    f:2: rule: url = "https://a.example.com/photo": the prefix does not end in '/', so it also allows /photo-anything and /photo.anything
    f:6: rule: methods: allows no method: neither the rule nor default_methods names one
    f:9: rule: url = "https://a.example.com/photo": repeats the rule at line 2: prefix https://a.example.com/photo
    f:9: rule: url = "https://a.example.com/photo": the prefix does not end in '/', so it also allows /photo-anything and /photo.anything
    f:13: rule: url = "http://a.example.com/a;v=1/": servers differ in how they read ';' in a path; test this rule well
    f:13: rule: url = "http://a.example.com/a;v=1/": what clients post goes to this server unencrypted
    "#);
}

#[test]
fn a_written_file_reads_back_the_same() {
    let text = r#"
        default_methods = ["GET"]
        [[rule]]
        description = "quotes \" and \\ and\nlines, ä"
        url = "https://a.example.com:8443/x?y=\"z\""
        match = "exact"
        expires = 2027-12-31T18:00:00+01:00
        forward_authorization = true
        [[rule]]
        url = "https://[2001:db8::1]/"
        match = "prefix"
        methods = ["PROPFIND", "GET"]
        deployment = "lab"
        [[test]]
        description = "traversal"
        url = "https://a.example.com/\\"
        expected = "block"
        "#;
    let first = parse(text).unwrap();

    let second = parse(&first.to_string()).unwrap();

    assert_eq!(without_lines(&second), without_lines(&first));
    assert_eq!(parse(&second.to_string()).unwrap(), second);
}

#[test]
fn bounds_hold() {
    let too_long = "#".repeat(limits::ALLOW_LIST_FILE_BYTES_MAX + 1);
    assert!(parse(&too_long).is_err());

    let wrong = "[[rule]]\n".repeat(limits::ALLOW_LIST_PROBLEMS_MAX);
    let problems = parse(&wrong).unwrap_err();
    assert_eq!(problems.iter().len(), limits::ALLOW_LIST_PROBLEMS_MAX);
    assert!(problems.to_string().ends_with("f: and 50 more"));

    let value = "x".repeat(limits::ALLOW_LIST_SHOWN_CHARS_MAX * 2);
    let problems = parse(&format!("[[rule]]\nurl = \"{value}\"")).unwrap_err();
    assert!(problems.iter().all(|problem| {
        let shown = problem
            .value
            .as_ref()
            .map_or(0, |value| value.chars().count());
        shown <= limits::ALLOW_LIST_SHOWN_CHARS_MAX + 1
    }));
}

fn parse(text: &str) -> Result<AllowListFile, Problems> {
    AllowListFile::parse("f", text)
}

fn without_lines(file: &AllowListFile) -> AllowListFile {
    let mut file = file.clone();
    for rule in &mut file.rules {
        Arc::make_mut(rule).source = RuleSource::File { line: 0 };
    }
    for test in &mut file.tests {
        test.line = 0;
    }
    file
}
