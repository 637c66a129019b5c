//! The command line as scripts and service managers see it: output and exit codes of the real program.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows #[test] functions, not the helpers beside them"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use certs::{Pki, Plan};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-c");

/// A valid configuration of a core that reaches nobody.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::generate(&Plan::standard("example.com")).unwrap();
    pki.write_to(folder.path()).unwrap();
    write_config(folder.path(), "");
    folder
}

fn write_config(folder: &Path, more: &str) {
    let text = format!(
        r#"
name = "edge-c1.link.internal"
core_id = 1
edge = [{{ name = "edge1.example.com", address = "127.0.0.1:1", certificate_name = "edge1.link.internal" }}]
domain = [{{ name = "example.com" }}]
node = [{{ kind = "ucm", host = "127.0.0.1", port = 1 }}]
inside = {{ trust_anchors = ["inside/ca.pem"] }}
session = {{ state_dir = "state" }}
[link]
certificate = "link/edge-c1.pem"
key = "link/edge-c1.key"
trust_anchors = ["link/ca.pem"]
[admin]
listen = "127.0.0.1:0"
{more}
"#
    );
    std::fs::write(folder.join("edge.toml"), text).unwrap();
}

#[test]
fn a_bad_allow_list_fails_the_check_with_its_own_file_and_line() {
    let folder = folder();
    write_config(folder.path(), "[allow_list]\nfile = 'allow-list.toml'");
    let list = "[[rule]]\nurl = 'https://photos.example.com/'\nmatch = 'perfix'\n";
    std::fs::write(folder.path().join("allow-list.toml"), list).unwrap();

    let output = run(&["check", "--config", "edge.toml"], folder.path());

    assert_eq!(output.status.code(), Some(78));
    let text = text_of(&output.stderr);
    assert!(
        text.contains("allow-list.toml:3") && text.contains("perfix"),
        "{text}"
    );
}

#[test]
fn the_allow_list_has_commands_of_its_own() {
    let folder = folder();
    let list = "[[rule]]\nurl = 'https://photos.example.com/'\nmatch = 'prefix'\n";
    std::fs::write(folder.path().join("list.toml"), list).unwrap();
    let test = |url| {
        let arguments = ["allow-list", "--file", "list.toml", "test", url];
        run(&arguments, folder.path()).status.code()
    };

    assert_eq!(test("https://photos.example.com/a.jpg"), Some(0));
    assert_eq!(test("https://elsewhere.example.com/"), Some(1));
}

#[test]
fn the_doctor_says_which_peer_is_not_reached_and_what_to_do() {
    let folder = folder();

    let output = run(&["doctor", "--config", "edge.toml"], folder.path());

    assert_eq!(output.status.code(), Some(69));
    let text = text_of(&output.stdout);
    assert!(
        text.contains("fail  link to edge1.example.com: 127.0.0.1:1 can't be reached"),
        "{text}"
    );
    assert!(text.contains("fail  inner server 127.0.0.1:1"), "{text}");
    assert!(text.contains("packet filter"), "{text}");
}

#[test]
fn a_valid_configuration_passes_the_check() {
    let folder = folder();

    let output = run(&["check", "--config", "edge.toml"], folder.path());

    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    assert_eq!(text_of(&output.stdout), "edge.toml is valid\n");
}

#[test]
fn a_bad_configuration_ends_with_78_and_says_everything_that_is_wrong() {
    let folder = folder();
    write_config(folder.path(), "lisen = '127.0.0.1:9'\n[drain]\ngrace = 30");

    for command in ["check", "run", "doctor"] {
        let output = run(&[command, "--config", "edge.toml"], folder.path());

        assert_eq!(output.status.code(), Some(78), "{command}");
        let text = text_of(&output.stderr);
        assert!(text.contains("`admin.lisen` is not a key"), "{text}");
        assert!(text.contains("did you mean `listen`?"), "{text}");
        assert!(text.contains("`drain.grace` has no unit"), "{text}");
        assert!(text.ends_with("2 errors in the configuration\n"), "{text}");
    }
}

#[test]
fn a_missing_configuration_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();

    let output = run(&["run", "--config", "nowhere.toml"], folder.path());

    assert_eq!(output.status.code(), Some(78));
    assert!(text_of(&output.stderr).contains("nowhere.toml: does not exist"));
}

#[test]
fn the_check_prints_json_for_programs() {
    let folder = folder();
    let json =
        |output: &Output| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();

    let good = run(&["check", "--config", "edge.toml", "--json"], folder.path());
    assert_eq!(json(&good)["valid"], true);

    write_config(folder.path(), "[log]\nformat = 'xml'");
    let bad = run(&["check", "--config", "edge.toml", "--json"], folder.path());
    assert_eq!(bad.status.code(), Some(78));
    let errors = json(&bad)["errors"].clone();
    assert_eq!(errors[0]["key"], "log.format");
    assert_eq!(errors[0]["found"], "'xml'");
    assert_eq!(errors[0]["remedy"], "allowed: \"text\", \"json\"");
}

#[test]
fn arguments_that_are_not_understood_end_with_64_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [
        &["serve"][..],
        &[],
        &["run", "--colour"],
        &["check", "extra"],
    ] {
        let output = run(bad, folder.path());

        assert_eq!(output.status.code(), Some(64), "{bad:?}");
        assert!(text_of(&output.stderr).contains("Usage:"), "{bad:?}");
    }
    for good in [
        &["--help"][..],
        &["help", "run"],
        &["check", "-h"],
        &["version"],
    ] {
        assert_eq!(run(good, folder.path()).status.code(), Some(0), "{good:?}");
    }
    let help = run(&["--help"], folder.path());
    assert!(text_of(&help.stdout).contains("Examples:"));
}

#[test]
fn the_version_is_the_one_of_the_package() {
    let folder = tempfile::tempdir().unwrap();

    let plain = run(&["version"], folder.path());
    let json = run(&["version", "--json"], folder.path());

    assert!(text_of(&plain.stdout).ends_with(concat!(env!("CARGO_PKG_VERSION"), "\n")));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_port_that_is_taken_ends_with_69_and_names_its_key() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = folder.path().join("edge.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"";
    let taken = admin.replace("127.0.0.1:0", &address);
    std::fs::write(&file, text.replace(admin, &taken)).unwrap();

    let output = run(&["run", "--config", "edge.toml"], folder.path());

    assert_eq!(output.status.code(), Some(69));
    let text = text_of(&output.stderr);
    assert!(
        text.contains(&format!("can't listen on {address} (admin.listen)")),
        "{text}"
    );
    assert!(text.contains("ss -ltnp"), "{text}");
}

#[test]
fn a_termination_signal_drains_and_ends_with_0() {
    let folder = folder();
    let mut running = start(folder.path());
    let mut log = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "ended before it served"
        );
    }

    let kill = Command::new("kill")
        .arg(running.id().to_string())
        .status()
        .unwrap();
    assert!(kill.success());

    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(0), "{rest}");
    assert!(
        rest.contains("draining") && rest.contains("all finished after"),
        "{rest}"
    );
}

fn start(folder: &Path) -> Child {
    command(&["run", "--config", "edge.toml"], folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    command(arguments, folder).output().unwrap()
}

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder);
    command
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
