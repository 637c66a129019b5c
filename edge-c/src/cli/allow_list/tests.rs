use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);

const FILE: &str = r#"
[[rule]]
description = "contact photos"
url = "https://photos.example.com/thumbs/"
match = "prefix"
expires = 2027-12-31

[[rule]]
url = "https://reports.example.com:8443/upload"
match = "exact"
methods = ["POST"]
deployment = "lab"

[[test]]
url = "https://photos.example.com/thumbs/a.jpg"
expected = "allow"
"#;

#[test]
fn a_good_file_is_checked_with_its_tests() {
    let lab = Lab::new();

    let done = lab.run(&["check", &lab.list]);

    assert_eq!(done.code, 0);
    assert!(
        done.out.ends_with("good; 2 rules, 1 tests passed\n"),
        "{done:?}"
    );
    assert_eq!(done.err, "");
}

#[test]
fn a_wrong_file_is_78_and_names_every_problem() {
    let lab = Lab::new();
    fs::write(
        &lab.list,
        "[[rule]]\nurl = \"ftp://a/\"\nmatch = \"exact\"\nx = 1\n",
    )
    .unwrap();

    let done = lab.run(&["check", &lab.list]);
    assert_eq!(done.code, 78);
    assert_eq!(done.out, "");
    assert!(
        done.err.contains("allow-list.toml:2: rule 1: url = "),
        "{done:?}"
    );
    assert!(
        done.err.contains("allow-list.toml:4: rule 1: the key `x`"),
        "{done:?}"
    );

    let done = lab.run(&["check", "--json", &lab.list]);
    assert_eq!(done.code, 78);
    assert_eq!(done.json()["problems"][0]["line"], 2);
    assert_eq!(done.json()["problems"][0]["key"], "url");

    assert_eq!(lab.run(&["check", "/nonexistent/file"]).code, 78);
}

#[test]
fn warnings_leave_the_file_good() {
    let lab = Lab::new();
    fs::write(
        &lab.list,
        "[[rule]]\nurl = \"https://a/b\"\nmatch = \"prefix\"\n",
    )
    .unwrap();

    let done = lab.run(&["check", &lab.list]);
    assert_eq!(done.code, 0);
    assert!(done.err.starts_with("warning: "), "{done:?}");
    assert!(done.err.contains("does not end in '/'"), "{done:?}");

    let done = lab.run(&["check", "--json", &lab.list]);
    assert_eq!(done.json()["warnings"][0]["line"], 1);
}

#[test]
fn a_test_answers_by_its_exit_code() {
    let lab = Lab::new();

    for (code, arguments) in [
        (0, vec!["https://photos.example.com/thumbs/b.jpg"]),
        (0, vec!["https://photos.example.com/x/../thumbs/b.jpg"]),
        (1, vec!["https://photos.example.com/thumbs/../b.jpg"]),
        (1, vec!["https://photos.example.com/thumbs/%2fb.jpg"]),
        (
            1,
            vec!["https://photos.example.com/thumbs/b.jpg", "--method", "PUT"],
        ),
        (
            1,
            vec![
                "https://photos.example.com/thumbs/b.jpg",
                "--deployment",
                "lab",
            ],
        ),
        (
            0,
            vec![
                "https://reports.example.com:8443/upload",
                "-m",
                "POST",
                "-d",
                "lab",
            ],
        ),
        (64, vec!["photos.example.com/thumbs/b.jpg"]),
        (64, vec!["https://photos.example.com/", "--method", "get"]),
    ] {
        let done = lab.ask("test", &arguments);
        assert_eq!(done.code, code, "{arguments:?} {done:?}");
        let word = match code {
            0 => "allow: ",
            1 => "block: ",
            _ => "",
        };
        assert!(done.out.starts_with(word), "{arguments:?} {done:?}");
    }
}

#[test]
fn a_blocked_test_carries_the_needed_rule_for_scripts() {
    let lab = Lab::new();

    let done = lab.ask("test", &["https://new.example.com/a?b=c", "--json"]);

    assert_eq!(done.code, 1);
    assert_eq!(done.json()["verdict"], "block");
    assert_eq!(done.json()["reason"], "origin");
    let needed = done.json()["needed_rule"].as_str().unwrap().to_owned();
    let file = AllowListFile::parse("needed", &needed).unwrap();
    assert_eq!(file.rules[0].url.to_string(), "https://new.example.com/a");
}

#[test]
fn automatic_rules_are_asked_where_a_node_is_named() {
    let lab = Lab::new();
    let url = "https://ucm1.example.com:8443/cucm-uds/version";

    assert_eq!(lab.ask("test", &[url]).code, 1);
    let done = lab.ask("test", &[url, "--node", "ucm=ucm1.example.com"]);
    assert_eq!(done.code, 0);
    assert!(done.out.contains("of the ucm node"), "{done:?}");

    let sso = "https://ucm1.example.com:8443/ssosp/ws/config";
    assert_eq!(
        lab.ask("test", &[sso, "--node", "ucm=ucm1.example.com"])
            .code,
        1
    );
    let done = lab.ask("test", &[sso, "--node", "ucm=ucm1.example.com", "--oauth"]);
    assert_eq!(done.code, 0);

    let other = "https://[2001:db8::1]:9443/cucm-uds/version";
    assert_eq!(
        lab.ask("test", &[other, "--node", "ucm=[2001:db8::1]:9443"])
            .code,
        0
    );
}

#[test]
fn an_explanation_teaches() {
    let lab = Lab::new();

    let done = lab.ask(
        "explain",
        &["https://photos.example.com/x/../thumbs/%61.jpg"],
    );
    assert_eq!(done.code, 0);
    insta::assert_snapshot!(done.out, @r#"
    GET https://photos.example.com/thumbs/a.jpg for users of deployment "default"
      (the form that is matched, and sent to the server)
    allow: by the rule at line 2: prefix https://photos.example.com/thumbs/
      methods: GET, HEAD, OPTIONS
      description: contact photos
      expires: in 350 days
      the client's own Authorization field is not sent on
    "#);

    let done = lab.ask(
        "explain",
        &["http://photos.example.com/thumbs/a.jpg?token=x"],
    );
    assert_eq!(done.code, 0);
    insta::assert_snapshot!(done.out, @r#"
    GET http://photos.example.com/thumbs/a.jpg?token=x for users of deployment "default"
    block: no rule names this scheme, host and port
    rules that come close:
      at line 2: prefix https://photos.example.com/thumbs/ (GET, HEAD, OPTIONS, deployment "default")
    the narrowest rule that would allow it:

    [[rule]]
    url = "http://photos.example.com/thumbs/a.jpg"
    match = "exact"
    methods = ["GET"]
    deployment = "default"
    "#);

    let done = lab.ask("explain", &["https://photos.example.com/thumbs/..%2fadmin"]);
    assert_eq!(done.code, 0);
    insta::assert_snapshot!(done.out, @"
    GET https://photos.example.com/thumbs/..%2fadmin
    block: the path or query has an encoded slash
    It is refused before any rule is asked: servers would not agree on what it means.
    ");
}

#[test]
fn csv_becomes_a_file_that_is_good() {
    let lab = Lab::new();
    let rules = lab.write(
        "rules.csv",
        "Url,Deployment,HttpMethods,MatchType,Description\n\
         https://a.example.com/x/,,\"GET,POST\",,\"one, two\"\n",
    );
    let tests = lab.write(
        "tests.csv",
        "Url,ExpectedResult,Deployment,Description,HttpMethod\n\
         https://a.example.com/x/y,allow,,,POST\n",
    );
    let written = lab.path("new.toml");

    let done = lab.run(&["import", &rules, "--tests", &tests, "-o", &written]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(lab.run(&["check", &written]).code, 0);

    let again = lab.run(&["import", &rules, "-o", &written]);
    assert_eq!(again.code, 64, "{again:?}");

    let printed = lab.run(&["import", &rules]);
    assert_eq!(printed.code, 0);
    assert!(
        AllowListFile::parse("printed", &printed.out).is_ok(),
        "{printed:?}"
    );
}

#[test]
fn an_import_whose_tests_fail_writes_nothing() {
    let lab = Lab::new();
    let rules = lab.write("rules.csv", "Url\nhttps://a.example.com/x/\n");
    let tests = lab.write(
        "tests.csv",
        "Url,ExpectedResult\nhttps://a.example.com/x/y,block\n",
    );
    let written = lab.path("new.toml");

    let done = lab.run(&["import", &rules, "--tests", &tests, "-o", &written]);

    assert_eq!(done.code, 78);
    assert!(
        done.err.contains("tests.csv:2: test 1: expected"),
        "{done:?}"
    );
    assert!(!Path::new(&written).exists());
    let bad = lab.run(&["import", &rules, "--default-methods", "get"]);
    assert_eq!(bad.code, 64);
}

#[test]
fn an_export_imports_again() {
    let lab = Lab::new();
    let base = lab.path("out");

    let done = lab.run(&["export", "--format", "both", "-o", &base, "-f", &lab.list]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.err.contains("no columns for expires"), "{done:?}");
    let (rules, tests) = (format!("{base}-rules.csv"), format!("{base}-tests.csv"));
    assert_eq!(lab.run(&["import", &rules, "--tests", &tests]).code, 0);

    assert_eq!(
        lab.run(&["export", "--format", "both", "-f", &lab.list])
            .code,
        64
    );
    let rules = lab.run(&["export", "--format", "rules", "-f", &lab.list]);
    assert!(
        rules
            .out
            .starts_with("Url,Deployment,HttpMethods,MatchType,Description\n")
    );
    let tests = lab.run(&["export", "--format", "tests", "-f", &lab.list]);
    assert!(
        tests
            .out
            .starts_with("Url,ExpectedResult,Deployment,Description,HttpMethod\n")
    );
}

#[test]
fn an_answer_that_cannot_be_written_is_74_but_a_closed_pipe_is_fine() {
    let lab = Lab::new();
    for (kind, code) in [
        (io::ErrorKind::StorageFull, 74),
        (io::ErrorKind::BrokenPipe, 0),
    ] {
        let args = Command::try_parse_from(["allow-list", "check", &lab.list]).unwrap();
        let mut err = Vec::new();

        let got = run_at(&args.args, NOW, &mut Broken(kind), &mut err);

        assert_eq!(got, code);
    }
}

#[test]
fn the_help_names_every_exit_code() {
    let help = Command::try_parse_from(["allow-list", "--help"])
        .unwrap_err()
        .to_string();

    for code in [DONE, BLOCKED, BAD_ARGUMENTS, CANT_WRITE, BAD_FILE] {
        assert!(help.contains(&format!("\n  {code:<4}")), "{code}: {help}");
    }
}

#[test]
fn the_example_in_deploy_is_good_and_so_is_each_of_its_packs() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/allow-list.example.toml"
    );
    let text = fs::read_to_string(path).unwrap();
    let file = AllowListFile::parse("example", &text).unwrap();
    assert!(!file.rules.is_empty() && !file.tests.is_empty());
    assert!(file.warnings("example", NOW).is_empty());

    let mut packs = 0;
    for pack in text.split("# --- pack: ").skip(1) {
        let pack = pack.split("\n# -----").next().unwrap();
        let rules: String = pack
            .lines()
            .skip(1)
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| line.starts_with("[[") || line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let file = AllowListFile::parse(pack, &rules).unwrap();
        assert!(!file.rules.is_empty(), "{pack}");
        assert!(file.warnings(pack, NOW).is_empty(), "{pack}");
        packs += 1;
    }
    assert_eq!(packs, 6);
}

/// The command as `edge-c` will have it.
#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: AllowListArgs,
}

/// A folder with a good allow list in it.
struct Lab {
    folder: TempDir,
    list: String,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("allow-list.toml");
        fs::write(&list, FILE).unwrap();
        let list = list.to_str().unwrap().to_owned();
        Self { folder, list }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn ask(&self, verb: &str, arguments: &[&str]) -> Done {
        let mut all = vec![verb, "--file", &self.list];
        all.extend(arguments);
        self.run(&all)
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let all = ["allow-list"].iter().chain(arguments);
        let command = Command::try_parse_from(all).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run_at(&command.args, NOW, &mut out, &mut err);
        Done {
            code,
            out: String::from_utf8(out).unwrap(),
            err: String::from_utf8(err).unwrap(),
        }
    }
}

#[derive(Debug)]
struct Done {
    code: u8,
    out: String,
    err: String,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
