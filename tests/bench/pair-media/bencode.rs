//! Dictionaries of strings as rtpengine's control protocol has them: written, and searched for one key.

use anyhow::{Context as _, Result};

/// A dictionary; the keys must come in order.
pub(crate) fn dictionary(entries: &[(&str, Value<'_>)]) -> String {
    let entries: String = entries
        .iter()
        .map(|(key, value)| string(key) + &value.write())
        .collect();
    format!("d{entries}e")
}

/// What stands under a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    List(&'a [&'a str]),
}

impl Value<'_> {
    fn write(self) -> String {
        match self {
            Self::Text(text) => string(text),
            Self::List(texts) => {
                let texts: String = texts.iter().map(|text| string(text)).collect();
                format!("l{texts}e")
            }
        }
    }
}

fn string(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// The text under a key anywhere in `encoded`.
pub(crate) fn find<'a>(encoded: &'a str, key: &str) -> Result<&'a str> {
    let (_, rest) = encoded
        .split_once(&string(key))
        .with_context(|| format!("no {key} in {encoded}"))?;
    let (length, rest) = rest.split_once(':').context("not a text")?;
    rest.get(..length.parse()?).context("cut off")
}
