//! `import` and `export`: from CSV to TOML and back.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::policy::allow_list::{AllowListFile, MethodSet, csv};
use serde_json::json;

use super::{AllowListArgs, DONE, Desk, ExportFormat, Failure, file_of, load, read};

pub(super) fn import(
    rules: &Path,
    tests: Option<&Path>,
    default_methods: &str,
    output: Option<&Path>,
    desk: &mut Desk<'_>,
) -> Result<u8, Failure> {
    let names = default_methods.split(',').map(str::trim);
    let default_methods = MethodSet::parse(names.filter(|name| !name.is_empty()))
        .map_err(|error| Failure::Arguments(format!("--default-methods: {error}")))?;
    let name = rules.display().to_string();
    let rules = csv::read_rules(&name, &read(rules)?, &default_methods)?;
    let (tests_name, tests) = match tests {
        Some(path) => {
            let name = path.display().to_string();
            let tests = csv::read_tests(&name, &read(path)?)?;
            (name, tests)
        }
        None => (name.clone(), Vec::new()),
    };
    let file = AllowListFile {
        default_methods,
        rules,
        tests,
    };
    file.check_tests(&tests_name)?;
    let warnings = file.warnings(&name, desk.now);
    for warning in warnings.to_string().lines() {
        desk.note(&format!("warning: {warning}"))?;
    }

    let (rules, tests) = (file.rules.len(), file.tests.len());
    let text = file.to_string();
    let done = format!("imported {rules} rules and {tests} tests from {name}");
    let Some(output) = output else {
        desk.answer(
            &text,
            &json!({ "rules": rules, "tests": tests, "toml": text }),
        )?;
        desk.note(&done)?;
        return Ok(DONE);
    };
    create(output, &text)?;
    let written = output.display().to_string();
    let json = json!({ "rules": rules, "tests": tests, "written": written });
    desk.answer(&format!("{done} into {written}"), &json)?;
    Ok(DONE)
}

pub(super) fn export(
    args: &AllowListArgs,
    format: ExportFormat,
    output: Option<&Path>,
    desk: &mut Desk<'_>,
) -> Result<u8, Failure> {
    let file = load(file_of(args))?;
    let rules = || csv::write_rules(file.rules.iter().map(AsRef::as_ref));
    let tests = || csv::write_tests(&file.tests);
    let parts: Vec<(Option<PathBuf>, String)> = match (format, output) {
        (ExportFormat::Rules, output) => vec![(output.map(Path::to_owned), rules())],
        (ExportFormat::Tests, output) => vec![(output.map(Path::to_owned), tests())],
        (ExportFormat::Both, Some(output)) => vec![
            (Some(with_suffix(output, "-rules.csv")), rules()),
            (Some(with_suffix(output, "-tests.csv")), tests()),
        ],
        (ExportFormat::Both, None) => {
            let message = "--format both writes two files: say --output NAME for NAME-rules.csv and NAME-tests.csv";
            return Err(Failure::Arguments(message.to_owned()));
        }
    };
    let is_lossy = file
        .rules
        .iter()
        .any(|rule| rule.expires.is_some() || rule.forward_authorization);
    if is_lossy && format != ExportFormat::Tests {
        desk.note(
            "note: CSV has no columns for expires and forward_authorization; they are left out",
        )?;
    }
    for (path, text) in parts {
        match path {
            Some(path) => {
                create(&path, &text)?;
                let written = path.display().to_string();
                desk.answer(&format!("wrote {written}"), &json!({ "written": written }))?;
            }
            None => desk.answer(&text, &json!({ "csv": text }))?,
        }
    }
    Ok(DONE)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes a new file; one that exists is somebody's work.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let wrong = |error| Failure::Arguments(format!("can't write {}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)
}
