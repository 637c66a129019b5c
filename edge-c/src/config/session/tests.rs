use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use insta::assert_snapshot;

use super::*;
use crate::config::tests::SMALLEST;

fn parse(text: &str) -> Result<Loaded<Config>, ConfigErrors> {
    Config::parse(
        Path::new("/etc/edge/edge-c.toml"),
        &format!("{SMALLEST}{text}"),
    )
}

fn errors(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The shared store with these lines.
fn redis(lines: &str) -> String {
    format!("[session]\nstore = 'redis'\n[session.redis]\n{lines}\n")
}

#[test]
fn a_store_is_shared_only_where_it_is_named() {
    let alone = parse("").unwrap().config.session.shared;
    let loaded = parse(&redis("url = 'rediss://redis.example.com'")).unwrap();

    assert_eq!(alone, None);
    assert!(loaded.warnings.is_empty());
    let shared = loaded.config.session.shared.unwrap();
    assert_eq!(
        shared.address.to_string(),
        "rediss://redis.example.com:6379/0"
    );
    assert_eq!((shared.user, shared.password_file), (None, None));
    assert!(shared.trust_anchors.is_empty());
}

#[test]
fn what_is_missing_or_no_word_is_said() {
    assert_snapshot!(errors("[session]\nstore = 'redis'\n"), @r#"
    error: /etc/edge/edge-c.toml: `session.redis.url` is missing
        write: url = "rediss://redis.example.com:6379", the store that all edge-c share
    1 error in the configuration
    "#);
    assert_snapshot!(errors("[session]\nstore = 'valkey'\n"), @r#"
    error: /etc/edge/edge-c.toml:18: `session.store` is not one of the words allowed
        found: 'valkey'
        allowed: "memory", "redis"
    1 error in the configuration
    "#);
    assert_snapshot!(errors(&redis("url = 'rediss://store'\npasword_file = 'p'")), @r#"
    error: /etc/edge/edge-c.toml:21: `session.redis.pasword_file` is not a key of this file
        did you mean `password_file`? keys allowed here: password_file, trust_anchors, url, user
    1 error in the configuration
    "#);
}

#[test]
fn wrong_values_are_named_with_what_is_allowed() {
    assert_snapshot!(errors(&redis("url = 'http://store'\nuser = 7")), @r#"
    error: /etc/edge/edge-c.toml:20: `session.redis.url` does not begin with rediss://, redis:// or unix:///
        found: 'http://store'
        allowed: "rediss://host:port/database", "redis://host:port" or "unix:///path"
    error: /etc/edge/edge-c.toml:21: `session.redis.user` must be text in quotes, not a whole number
        found: 7
    2 errors in the configuration
    "#);
    assert_snapshot!(errors(&redis("url = 'rediss://store/x'")), @r#"
    error: /etc/edge/edge-c.toml:20: `session.redis.url` ends in something that is no number of a database
        found: 'rediss://store/x'
        allowed: "rediss://host:port/database", "redis://host:port" or "unix:///path"
    1 error in the configuration
    "#);
    assert_snapshot!(errors(&redis("url = 'rediss://store'\nuser = 'edge'")), @r#"
    error: /etc/edge/edge-c.toml:21: `session.redis.user` has no password
        found: 'edge'
        allowed: password_file beside it
    1 error in the configuration
    "#);
}

#[test]
fn a_password_in_the_url_is_refused_and_not_repeated() {
    let told = errors(&redis("url = 'rediss://edge:hunter2@store'"));

    assert!(!told.contains("hunter2"), "{told}");
    assert_snapshot!(told, @r#"
    error: /etc/edge/edge-c.toml:20: `session.redis.url` has a user or a password in it; they go into `user` and `password_file`
        allowed: "rediss://host:port/database", "redis://host:port" or "unix:///path"
    1 error in the configuration
    "#);
}

#[test]
fn what_works_and_is_hardly_meant_is_a_warning() {
    let warned = |text: &str| {
        let warnings = parse(text).unwrap().warnings;
        let keys = warnings.iter().map(|warning| warning.place.key.clone());
        keys.collect::<Vec<_>>()
    };

    let clear = redis("url = 'redis://store'");
    assert_eq!(warned(&clear), ["session.redis.url"]);
    let socket = redis("url = 'unix:///run/redis.sock'\ntrust_anchors = ['ca.pem']");
    assert_eq!(warned(&socket), ["session.redis.trust_anchors"]);
    let unused = "[session.redis]\nurl = 'rediss://store'\n";
    assert_eq!(warned(unused), ["session.redis"]);
    // What is wrong in it is said all the same.
    assert!(errors("[session.redis]\nurl = 'store'\n").contains("session.redis.url"));
}

#[test]
fn the_password_is_looked_at_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("redis.password");
    let text = redis("url = 'rediss://store'\nuser = 'edge'\npassword_file = 'redis.password'");
    let config = dir.path().join("edge-c.toml");
    let loaded = || Config::parse(&config, &format!("{SMALLEST}{text}")).unwrap();
    let told = |content: &str, mode: u32| {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        check(&loaded()).map_err(|errors| errors.to_string())
    };

    assert_eq!(told("hunter2\n", 0o600), Ok(()));
    let secret = loaded().config.session.shared.unwrap().password();
    assert_eq!(secret.unwrap().unwrap().reveal(), "hunter2");
    let too_long = "x".repeat(limits::STORE_PASSWORD_BYTES_MAX + 1);
    for (content, mode, why) in [
        ("hunter2\n", 0o640, "chmod 600"),
        ("", 0o600, "must have 1 to"),
        ("\nhunter2", 0o600, "must have 1 to"),
        (too_long.as_str(), 0o600, "must have 1 to"),
    ] {
        let told = told(content, mode).unwrap_err();
        assert!(
            told.contains(":22: `session.redis.password_file`"),
            "{told}"
        );
        assert!(
            told.contains(why) && told.contains("allowed: a file"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }
    fs::remove_file(&file).unwrap();
    let told = check(&loaded()).unwrap_err().to_string();
    assert!(told.contains("can't read"), "{told}");
}
