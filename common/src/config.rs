//! Reading configuration files and saying what is wrong with them: file, line, key, value, what is allowed.
//!
//! This is the machinery that both edges share; which keys there are is said by `edge-e/src/config.rs` and
//! `edge-c/src/config.rs`. A configuration is either valid as a whole, in types that can't be wrong, or refused
//! with *every* error in it. Never logs, and never decides whether to go on with an older one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub mod certificate;
pub mod duration;
mod error;
pub mod name_server;
pub mod names;
mod nearest;
pub mod pem;
mod reader;
pub mod report;
pub mod section;
mod settings;
mod value;

pub use error::{ConfigError, ConfigErrors, ConfigWarning, Place, Problem};
pub use reader::{FileKind, FileUse, Table};
pub use settings::Settings;
pub use value::Value;

use crate::limits;
use crate::time::UnixTime;
use certificate::Facts;

/// A valid configuration and what else was seen while it was read.
#[derive(Clone, Debug)]
pub struct Loaded<C> {
    /// The file it was read from.
    pub file: PathBuf,
    /// The configuration.
    pub config: C,
    /// What works but is probably not meant.
    pub warnings: Vec<ConfigWarning>,
    /// Every file that it names.
    pub files: Vec<FileUse>,
    /// Every key that its tables may have, with the tables in front; tables of an array that is absent are not seen.
    pub keys_allowed: BTreeSet<String>,
    /// Every key that it has.
    pub keys_present: BTreeSet<String>,
    /// Every setting as the file has it, to tell at a reload what has changed.
    pub settings: Settings,
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It proves who dials.
    Client,
    /// It proves who listens.
    Server,
}

impl<C> Loaded<C> {
    /// Where the file `path` is named, or a place without a line if it isn't.
    #[must_use]
    pub fn place_of(&self, path: &Path) -> Place {
        let named = self.files.iter().find(|used| used.path == path);
        named.map_or_else(|| Place::of_file(path), |used| used.place.clone())
    }

    /// Every file whose change asks for a reload: the configuration itself and what it names.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        let named = self.files.iter().map(|used| used.path.clone());
        std::iter::once(self.file.clone()).chain(named).collect()
    }

    /// What peers will dislike about the leaf certificate in `chain` at the time `now`: its dates and its purpose.
    #[must_use]
    pub fn about_certificate(
        &self,
        chain: &Path,
        purpose: Purpose,
        now: UnixTime,
    ) -> Vec<ConfigWarning> {
        let Ok(facts) = Facts::of_leaf(chain) else {
            return Vec::new();
        };
        let found = facts.faults(purpose, now).into_iter();
        found
            .map(|(why, remedy)| ConfigWarning {
                place: self.place_of(chain),
                why,
                remedy,
            })
            .collect()
    }
}

/// Reads `file`, and looks at every file that it names. `read` turns the top-level table into the typed form and
/// returns `None` only after an error was noted.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn load<C>(
    file: &Path,
    read: impl FnOnce(&Table<'_>) -> Option<C>,
) -> Result<Loaded<C>, ConfigErrors> {
    let bytes = pem::read_file(file, limits::CONFIG_FILE_BYTES_MAX)
        .map_err(|error| whole_file(file, Problem::Unreadable(error.fault)))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| whole_file(file, Problem::Syntax("it is not UTF-8 text".to_owned())))?;
    let loaded = parse(file, &text, read)?;
    let mut errors: Vec<_> = loaded.files.iter().filter_map(look_at).collect();
    errors.sort_by_key(|error| error.place.line);
    if errors.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigErrors(errors))
    }
}

/// Reads `text` as the contents of `file`, which gives relative paths their folder and errors their name. Looks at
/// no file.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn parse<C>(
    file: &Path,
    text: &str,
    read: impl FnOnce(&Table<'_>) -> Option<C>,
) -> Result<Loaded<C>, ConfigErrors> {
    let context = reader::Context::new(file, text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            context.note(
                "",
                error.span(),
                Problem::Syntax(error.message().to_owned()),
            );
        }
        return Err(sorted(context));
    }
    let root = Table::new(&context, Some(document.get_ref()), String::new(), None);
    let config = read(&root);
    drop(root);
    let Some(config) = config.filter(|_| context.notes.borrow().errors.is_empty()) else {
        return Err(sorted(context));
    };
    let notes = context.notes.into_inner();
    // It was read without an error above.
    let settings = Settings::of(text.parse().unwrap_or_default());
    Ok(Loaded {
        file: file.to_owned(),
        config,
        warnings: notes.warnings,
        files: notes.files,
        keys_allowed: notes.allowed,
        keys_present: notes.present,
        settings,
    })
}

/// Errors in the order of the file.
fn sorted(context: reader::Context<'_>) -> ConfigErrors {
    let mut errors = context.notes.into_inner().errors;
    errors.sort_by_key(|(offset, _)| *offset);
    ConfigErrors(errors.into_iter().map(|(_, error)| error).collect())
}

fn look_at(used: &FileUse) -> Option<ConfigError> {
    let found = match &used.kind {
        FileKind::Chain => pem::certificates(&used.path).map(drop),
        // A chain that can't be read is reported by the key that names it.
        FileKind::KeyOf(chain) if pem::certificates(chain).is_err() => {
            pem::private_key(&used.path).map(drop)
        }
        FileKind::KeyOf(chain) => pem::certified_key(chain, &used.path).map(drop),
        FileKind::Text => pem::read_file(&used.path, limits::WATCHED_FILE_BYTES_MAX).map(drop),
        FileKind::CookieKeys => names::cookie_keys(&used.path).map(drop),
        FileKind::Zone(apex) => names::zone(&used.path, apex).map(drop),
        FileKind::TrustAnchors => pem::trust_anchors(std::slice::from_ref(&used.path)).map(drop),
    };
    found.err().map(|error| ConfigError {
        place: used.place.clone(),
        value: None,
        problem: Problem::File(error),
    })
}

fn whole_file(file: &Path, problem: Problem) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        place: Place::of_file(file),
        value: None,
        problem,
    }])
}

#[cfg(test)]
mod tests;
