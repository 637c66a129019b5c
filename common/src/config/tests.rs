//! The texts that operators read, and the rule that all errors come at once.

use std::time::Duration;

use insta::assert_snapshot;

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Sample {
    name: crate::net::Domain,
    ports: Vec<u16>,
    grace: Duration,
    is_loud: bool,
}

fn sample(root: &Table<'_>) -> Option<Sample> {
    let name = root.required("name", "name = \"a.example\"", Value::full_name);
    let section = root.table("section");
    let ports = section.list("ports", |value| value.integer(&(1..=u16::MAX)));
    let range = Duration::from_secs(1)..=Duration::from_secs(60);
    let grace = section.or("grace", Duration::from_secs(30), |value| {
        value.duration(&range)
    });
    let is_loud = section.or("volume", false, |value| {
        value.choice(&[("quiet", false), ("loud", true)])
    });
    for entry in root.tables("entry") {
        entry.required("id", "id = 1", |value| value.integer(&(1..=9_u8)));
    }
    Some(Sample {
        name: name?,
        ports,
        grace,
        is_loud,
    })
}

fn errors(text: &str) -> String {
    parse(Path::new("sample.toml"), text, sample)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_good_file_becomes_a_typed_value_with_its_defaults() {
    let text = "name = 'A.Example'\nsection.ports = [1, 0x10]\n";

    let loaded = parse(Path::new("sample.toml"), text, sample).unwrap();

    assert_eq!(
        loaded.config,
        Sample {
            name: "a.example".parse().unwrap(),
            ports: vec![1, 16],
            grace: Duration::from_secs(30),
            is_loud: false,
        }
    );
    assert!(loaded.keys_present.contains("section.ports"));
    assert!(!loaded.keys_present.contains("section.grace"));
    assert!(loaded.keys_allowed.contains("section.grace"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    assert_snapshot!(errors(
        "name = 'a.example'\n\n[section]\ngrase = '3s'\nxyzzy = 1\n"
    ), @r#"
    error: sample.toml:4: `section.grase` is not a key of this file
        did you mean `grace`? keys allowed here: grace, ports, volume
    error: sample.toml:5: `section.xyzzy` is not a key of this file
        keys allowed here: grace, ports, volume
    2 errors in the configuration
    "#);
}

#[test]
fn every_error_is_reported_at_once_in_the_order_of_the_file() {
    assert_snapshot!(errors(
        "name = 'a b'\n[section]\nports = [1, 70000, 'x']\ngrace = 300\nvolume = 'medium'\n[[entry]]\n[[entry]]\nid = 10\n"
    ), @r#"
    error: sample.toml:1: `name` has a character that is not a letter, digit, '-' or '_'
        found: 'a b'
        allowed: a DNS name such as "edge1.example.com"
    error: sample.toml:3: `section.ports` is out of range
        found: 70000
        allowed: 1 to 65535
    error: sample.toml:3: `section.ports` must be a whole number, not text
        found: 'x'
    error: sample.toml:4: `section.grace` has no unit
        found: 300
        allowed: text with a unit, such as "300s" for 300 seconds
    error: sample.toml:5: `section.volume` is not one of the words allowed
        found: 'medium'
        allowed: "quiet", "loud"
    error: sample.toml:6: `entry.id` is missing
        write: id = 1
    error: sample.toml:8: `entry.id` is out of range
        found: 10
        allowed: 1 to 9
    7 errors in the configuration
    "#);
}

#[test]
fn bad_durations_say_what_a_duration_looks_like() {
    let section = |value: &str| errors(&format!("name = 'a.example'\nsection.grace = {value}\n"));

    assert_snapshot!(section("'5x'"), @r#"
    error: sample.toml:2: `section.grace` has an unknown unit
        found: '5x'
        allowed: a whole number and a unit: ms, s, m, h or d ("250ms", "30s", "8h")
    1 error in the configuration
    "#);
    assert_snapshot!(section("'2h'"), @r#"
    error: sample.toml:2: `section.grace` is out of range
        found: '2h'
        allowed: 1s to 1m
    1 error in the configuration
    "#);
    assert_snapshot!(section("true"), @r#"
    error: sample.toml:2: `section.grace` must be text in quotes, not true or false
        found: true
    1 error in the configuration
    "#);
}

#[test]
fn a_missing_key_says_what_to_write() {
    assert_snapshot!(errors("[section]\n"), @r#"
    error: sample.toml: `name` is missing
        write: name = "a.example"
    1 error in the configuration
    "#);
}

#[test]
fn a_wrong_type_in_place_of_a_table_is_one_error() {
    assert_snapshot!(errors("name = 'a.example'\nsection = 5\nentry = [7]\n"), @r#"
    error: sample.toml:2: `section` must be a table, not a whole number
        found: 5
    error: sample.toml:3: `entry` must be a table, not a whole number
        found: 7
    2 errors in the configuration
    "#);
}

#[test]
fn broken_toml_is_shown_with_its_line() {
    assert_snapshot!(errors("name = 'a.example'\n[section\nports = [1\n"), @r#"
    error: sample.toml:2: is not TOML: unclosed table, expected `]`
    error: sample.toml:3: is not TOML: unclosed array, expected `]`
    2 errors in the configuration
    "#);
}

#[test]
fn a_name_that_is_an_address_or_a_single_label_is_refused() {
    assert_snapshot!(errors("name = '192.0.2.1'\n"), @r#"
    error: sample.toml:1: `name` is an address, not a name
        found: '192.0.2.1'
        allowed: a full DNS name such as "edge1.example.com"
    1 error in the configuration
    "#);
    assert_snapshot!(errors("name = 'localhost'\n"), @r#"
    error: sample.toml:1: `name` is a single label
        found: 'localhost'
        allowed: a full DNS name such as "edge1.example.com"
    1 error in the configuration
    "#);
}

#[test]
fn a_missing_configuration_file_says_so() {
    let errors = load(Path::new("/nowhere/sample.toml"), sample).unwrap_err();

    assert_snapshot!(errors.to_string(), @r#"
    error: /nowhere/sample.toml: does not exist
        name the configuration file with --config FILE
    1 error in the configuration
    "#);
}

#[test]
fn a_long_value_is_cut_and_a_list_is_bounded() {
    let long = "y".repeat(100);
    assert_snapshot!(errors(&format!(
        "name = 'a.example'\nsection.volume = '{long}'\n"
    )), @r#"
    error: sample.toml:2: `section.volume` is not one of the words allowed
        found: 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy ...
        allowed: "quiet", "loud"
    1 error in the configuration
    "#);

    let many = vec!["1"; limits::CONFIG_LIST_MAX + 1].join(",");
    assert!(
        errors(&format!("name = 'a.example'\nsection.ports = [{many}]\n")).contains("at most 1024")
    );
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let read = |root: &Table<'_>| root.required("file", "", |value| value.file(FileKind::Text));
    let at = |text: &str| {
        parse(Path::new("/etc/edge/x.toml"), text, read)
            .unwrap()
            .config
    };

    assert_eq!(at("file = 'a/b.pem'"), Path::new("/etc/edge/a/b.pem"));
    assert_eq!(at("file = '/a/b.pem'"), Path::new("/a/b.pem"));
}

#[test]
fn files_that_are_named_are_looked_at_and_each_fault_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("empty.pem", "nothing here\n");
    write(
        "bad.pem",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    );
    write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    write(
        "sample.toml",
        "chain = 'gone.pem'\nkey = 'locked.key'\ntrust = ['empty.pem', 'bad.pem']\n",
    );

    let read = |root: &Table<'_>| {
        root.list("trust", section::trust_anchor);
        section::Identity::read(root, "chain", "key")
    };
    let errors = load(&folder.path().join("sample.toml"), read).unwrap_err();

    let shown = errors
        .to_string()
        .replace(&folder.path().display().to_string(), "/etc/edge");
    assert_snapshot!(shown, @r#"
    error: /etc/edge/sample.toml:1: `chain` names /etc/edge/gone.pem, which does not exist
        create it or correct the path; relative paths start at the folder of the configuration file
    error: /etc/edge/sample.toml:2: `key` names /etc/edge/locked.key, which holds an encrypted private key
        remove the pass phrase: openssl pkey -in /etc/edge/locked.key -out /etc/edge/locked.key.plain
    error: /etc/edge/sample.toml:3: `trust` names /etc/edge/empty.pem, which holds no certificate
        a PEM file with a certificate is needed here
    error: /etc/edge/sample.toml:3: `trust` names /etc/edge/bad.pem, which is not valid PEM: base64 decode error: InvalidCharacter(33)
        a PEM file has -----BEGIN and -----END lines around base64 text
    4 errors in the configuration
    "#);
}
