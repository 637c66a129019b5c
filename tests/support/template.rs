//! Configurations with places to fill in.

/// The text with `@NAME@` replaced by values.
#[must_use]
pub(crate) fn fill(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("@{name}@"), value)
    })
}
