//! Just enough of XML to follow the links in answers that this demo's own servers wrote, and to show one in short.

use anyhow::{Context as _, Result};

/// The text of the first element with that name.
pub(crate) fn text(document: &str, name: &str) -> Result<String> {
    let (_, rest) = document
        .split_once(&format!("<{name}>"))
        .with_context(|| format!("the answer has no <{name}>"))?;
    let (text, _) = rest.split_once('<').context("the answer ends too early")?;
    Ok(text.to_owned())
}

/// An attribute of the first element with that name.
pub(crate) fn attribute(document: &str, element: &str, name: &str) -> Result<String> {
    let (_, rest) = document
        .split_once(&format!("<{element} "))
        .with_context(|| format!("the answer has no <{element}>"))?;
    let (_, rest) = rest
        .split_once(&format!("{name}=\""))
        .with_context(|| format!("<{element}> has no {name}"))?;
    let (value, _) = rest.split_once('"').context("the answer ends too early")?;
    Ok(value.to_owned())
}

/// The document in lines, one for each service and each kind of edge, the long ones cut.
pub(crate) fn abridged(document: &str) -> Vec<String> {
    let mut text: String = document.lines().map(str::trim).collect();
    for name in SECTIONS {
        for end in [">", "/>"] {
            text = text.replace(&format!("<{name}{end}"), &format!("\n<{name}{end}"));
        }
    }
    for wrapper in WRAPPERS {
        text = text.replace(&format!("<{wrapper}>"), "");
        text = text.replace(&format!("</{wrapper}>"), "");
    }
    text.lines().skip(1).map(cut).collect()
}

/// Words are cut at a border of characters: documents may hold names in any script.
fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let head: String = line.chars().take(WIDTH).collect();
    format!("{head} ..")
}

const SECTIONS: [&str; 7] = [
    "service",
    "sipEdgeServer",
    "sipRequest",
    "xmppEdgeServer",
    "httpEdgeServer",
    "turnEdgeServer",
    "userUdsServer",
];
/// What holds the sections, left out.
const WRAPPERS: [&str; 3] = ["getEdgeConfigResponse", "serviceConfig", "edgeConfig"];
const WIDTH: usize = 120;
