//! The alerts of `deploy/` as Prometheus reads them: their form, and when they sound.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// What `promtool` says, in the folder of the repository.
fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_alerts_are_valid() {
    let said = promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        "deploy/prometheus-alerts.yml",
    ]);

    let text = std::fs::read_to_string(root().join("deploy/prometheus-alerts.yml")).unwrap();
    let alerts = text.matches("- alert: ").count();
    assert!(said.contains(&format!("{alerts} rules found")), "{said}");
}

#[test]
fn they_sound_when_users_notice_and_not_before() {
    let said = promtool(&["test", "rules", "tests/vectors/alerts.yml"]);

    assert!(said.contains("SUCCESS"), "{said}");
}
