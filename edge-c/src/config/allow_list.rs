//! The allow list as part of the configuration: a start or a check with a bad one fails, with its own file and lines.

use std::path::{Path, PathBuf};

use common::config::{ConfigError, ConfigErrors, ConfigWarning, Loaded, Place, Problem};
use common::policy::allow_list::{AllowListFile, Problem as Fault};
use common::time::UnixTime;

use super::Config;
use crate::allow_list;

/// Reads the file with the rules, if one is named, and runs its tests.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong with it.
pub(super) fn check(
    loaded: &Loaded<Config>,
    now: UnixTime,
) -> Result<Vec<ConfigWarning>, ConfigErrors> {
    let Some(path) = &loaded.config.allow_list_file else {
        return Ok(Vec::new());
    };
    let name = path.display().to_string();
    let text = allow_list::read(path).map_err(|error| {
        ConfigErrors(vec![ConfigError {
            place: loaded.place_of(path),
            value: Some(name.clone()),
            problem: Problem::invalid(error, "a file that can be read as UTF-8 text"),
        }])
    })?;
    match AllowListFile::parse(&name, &text) {
        Ok(file) => {
            let warnings = file.warnings(&name, now);
            Ok(warnings.iter().map(|fault| warning(path, fault)).collect())
        }
        Err(faults) => Err(ConfigErrors(
            faults.iter().map(|fault| error(path, fault)).collect(),
        )),
    }
}

fn error(path: &Path, fault: &Fault) -> ConfigError {
    ConfigError {
        place: place(path, fault),
        value: fault.value.clone(),
        problem: Problem::invalid(&fault.what, fault.allowed.clone().unwrap_or_default()),
    }
}

fn warning(path: &Path, fault: &Fault) -> ConfigWarning {
    ConfigWarning {
        place: place(path, fault),
        why: fault.what.clone(),
        remedy: fault.allowed.clone().unwrap_or_default(),
    }
}

fn place(path: &Path, fault: &Fault) -> Place {
    let parts = [fault.place.as_str(), fault.key];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Place {
        file: PathBuf::from(path),
        line: Some(fault.line).filter(|line| *line > 0),
        key: parts.join(" "),
    }
}
