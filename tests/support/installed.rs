//! Packages of other languages, where `tests/run` puts them: in folders of their own beside that of the profile.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::place::Place;

/// Finds `<target>/<folder>`, which holds `file`; else the error says how it comes there.
pub(crate) fn folder(folder: &str, file: &str, remedy: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let mut places = test.ancestors().map(|dir| dir.join(folder));
    let found = places.find(|place| place.join(file).exists());
    found.with_context(|| format!("{folder} is missing: {remedy}"))
}

/// Finds the npm packages that are locked in `tests/<source>`.
pub(crate) fn npm(name: &str, source: &str) -> Result<PathBuf> {
    let remedy = format!("npm ci --ignore-scripts in a copy of tests/{source} at target/{name}");
    folder(name, "node_modules", &remedy)
}

/// Node with a script of `tests/<source>` and the packages locked there, trusting the authority in `public/ca.pem` below
/// `dir`.
pub(crate) fn node(
    place: &Place,
    dir: &Path,
    (name, source): (&str, &str),
    script: &str,
) -> Result<Command> {
    let source_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut command = place.command("node");
    command
        .arg(source_dir.join(script))
        .env("NODE_PATH", npm(name, source)?.join("node_modules"))
        .env("NODE_EXTRA_CA_CERTS", dir.join("public/ca.pem"));
    Ok(command)
}
