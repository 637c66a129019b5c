//! What `check` prints about a configuration: text for people, JSON for machines.

use serde_json::{Value, json};

use super::{ConfigErrors, Loaded, Place};

/// Whether the configuration is valid, every error and every warning.
#[must_use]
pub fn to_json<C>(checked: &Result<Loaded<C>, ConfigErrors>) -> Value {
    let errors: Vec<_> = match checked {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(error_json).collect(),
    };
    let warnings: Vec<_> = match checked {
        Ok(loaded) => {
            let lines = loaded.warnings.iter();
            lines
                .map(|w| with_place(&w.place, &w.why, &w.remedy))
                .collect()
        }
        Err(_) => Vec::new(),
    };
    json!({ "valid": checked.is_ok(), "errors": errors, "warnings": warnings })
}

/// The same in words, with the line break at the end.
#[must_use]
pub fn to_text<C>(checked: &Result<Loaded<C>, ConfigErrors>) -> String {
    let loaded = match checked {
        Ok(loaded) => loaded,
        Err(errors) => return format!("{errors}\n"),
    };
    let warnings = loaded.warnings.iter();
    let warnings: String = warnings.map(|w| format!("warning: {w}\n")).collect();
    let file = loaded.file.display();
    let count = match loaded.warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    format!("{warnings}{file} is valid{count}\n")
}

fn error_json(error: &super::ConfigError) -> Value {
    let mut line = with_place(&error.place, &error.problem.what(), &error.problem.remedy());
    if let Some(fields) = line.as_object_mut() {
        fields.insert("found".to_owned(), json!(error.value));
    }
    line
}

fn with_place(place: &Place, why: &str, remedy: &str) -> Value {
    json!({
        "file": place.file.display().to_string(),
        "line": place.line,
        "key": place.key,
        "reason": why,
        "remedy": remedy,
    })
}
