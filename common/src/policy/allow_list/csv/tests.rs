use super::*;
use crate::policy::allow_list::AllowListFile;

#[test]
fn rules_are_read_with_prefix_where_the_column_is_empty() {
    let rules = rules(
        "\u{feff}Url,Deployment,HttpMethods,MatchType,Description\r\n\
         https://photos.example.com/thumbs/,,,,contact photos\r\n\
         \"https://unity.example.com/vmrest\",lab,\"GET,post\",Exact,\"voice, mail\"\r\n",
    )
    .unwrap();

    let [photos, voicemail] = rules.as_slice() else {
        panic!("two rules");
    };
    assert_eq!(photos.matching, Match::Prefix);
    assert_eq!(photos.methods, MethodSet::standard());
    assert_eq!(photos.deployment, Deployment::standard());
    assert_eq!(voicemail.matching, Match::Exact);
    assert_eq!(voicemail.methods.to_string(), "GET, POST");
    assert_eq!(voicemail.description, "voice, mail");
    assert_eq!(voicemail.source, RuleSource::File { line: 3 });
}

#[test]
fn columns_may_come_in_any_order_and_paths_in_any_form() {
    let rules = rules("description,url\nx,https://a/b/../c//d\n").unwrap();

    assert_eq!(rules[0].url.to_string(), "https://a/c/d");
}

#[test]
fn every_wrong_row_is_named() {
    let problems = rules(
        "Url,Deployment,HttpMethods,MatchType,Description\n\
         photos.example.com,,,,\n\
         https://a/,,G ET?,sometimes,\n\
         https://a/,,TRACE,,\n\
         https://a/,,,,,,\n",
    )
    .unwrap_err();

    insta::assert_snapshot!(problems, @r#"
    r.csv:2: row 1: Url = photos.example.com: does not start with "http://" or "https://"
    r.csv:3: row 2: HttpMethods = G ET?: is not the name of a method
    r.csv:3: row 2: MatchType = sometimes: is not a way to match (allowed: exact, prefix, empty)
    r.csv:4: row 3: HttpMethods = TRACE: this method is never passed on, so no rule can allow it
    r.csv:5: row 4: 7 fields, but 5 columns
    "#);
}

#[test]
fn a_wrong_header_is_named_once() {
    assert_eq!(
        rules("Uri,Deployment\nhttps://a/,x\nhttps://b/,x\n")
            .unwrap_err()
            .to_string(),
        "r.csv:1: the column `Uri` is not known (allowed: Url,Deployment,HttpMethods,MatchType,Description)\n\
         r.csv:1: the column `Url` is missing (allowed: Url,Deployment,HttpMethods,MatchType,Description)"
    );
}

#[test]
fn tests_are_read_with_get_where_the_column_is_empty() {
    let tests = read_tests(
        "t.csv",
        "Url,ExpectedResult,Deployment,Description,HttpMethod\n\
         https://a/b,Allow,,,\n\
         https://a/%2e%2e%2f,block,lab,traversal,put\n",
    )
    .unwrap();

    let [first, second] = tests.as_slice() else {
        panic!("two tests");
    };
    assert_eq!(
        (first.method.as_str(), first.expected),
        ("GET", Expected::Allow)
    );
    assert_eq!(
        (second.method.as_str(), second.expected),
        ("PUT", Expected::Block)
    );
    assert!(second.target.is_err());
    assert!(read_tests("t.csv", "Url\nhttps://a/\n").is_err());
    assert!(read_tests("t.csv", "Url,ExpectedResult\nhttps://a/,maybe\n").is_err());
}

#[test]
fn what_is_exported_imports_the_same() {
    let file = AllowListFile::parse(
        "f",
        r#"
        [[rule]]
        description = "quotes \" and, commas"
        url = "https://a.example.com/x?y=1,2"
        match = "exact"
        methods = ["GET", "PROPFIND"]
        [[rule]]
        url = "https://b.example.com/"
        match = "prefix"
        deployment = "lab"
        [[test]]
        url = "https://a.example.com/x?y=1,2"
        expected = "allow"
        [[test]]
        url = "https://b.example.com/"
        method = "PUT"
        expected = "block"
        "#,
    )
    .unwrap();

    let rules = rules(&write_rules(file.rules.iter().map(AsRef::as_ref))).unwrap();
    let tests = read_tests("t.csv", &write_tests(&file.tests)).unwrap();

    let same_rules = rules.iter().zip(&file.rules).all(|(one, two)| {
        let source = two.source;
        Rule {
            source,
            ..Rule::clone(one)
        } == **two
    });
    assert!(same_rules && rules.len() == 2, "{rules:?}");
    let same_tests = tests.iter().zip(&file.tests).all(|(one, two)| {
        let line = two.line;
        TestCase {
            line,
            ..one.clone()
        } == *two
    });
    assert!(same_tests && tests.len() == 2, "{tests:?}");
}

fn rules(text: &str) -> Result<Vec<Arc<Rule>>, Problems> {
    read_rules("r.csv", text, &MethodSet::standard())
}
