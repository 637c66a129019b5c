//! `[session] store` and `[session.redis]`: where several edge-c share what they know.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use common::config::{ConfigError, ConfigErrors, FileKind, Loaded, Problem, Table, Value, section};
use common::limits;
use common::redact::Secret;

use super::Config;
use crate::sessions::{StoreAddress, StoreAddressError, StoreWay};

/// `[session.redis]`: the shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Where it is.
    pub address: StoreAddress,
    /// As whom edge-c signs in there; `None` for the store's default user.
    pub user: Option<String>,
    /// File of the password.
    pub password_file: Option<PathBuf>,
    /// Files of the authorities that sign its certificate; empty for those of `[inside]`.
    pub trust_anchors: Vec<PathBuf>,
}

impl Shared {
    /// Reads the password: the first line of its file.
    ///
    /// # Errors
    /// Why it can't be had.
    pub fn password(&self) -> Result<Option<Secret<String>>, String> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let failed = |error: std::io::Error| format!("can't read {}: {error}", path.display());
        let mode = fs::metadata(path).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "{} has mode {mode:03o}; others may not read or write it: chmod 600 {}",
                path.display(),
                path.display()
            ));
        }
        let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || line.len() > limits::STORE_PASSWORD_BYTES_MAX {
            let max = limits::STORE_PASSWORD_BYTES_MAX;
            return Err(format!(
                "the first line of {} must have 1 to {max} octets",
                path.display()
            ));
        }
        Ok(Some(Secret::new(line.to_owned())))
    }
}

/// `None` if what is said can't be used, `Some(None)` without a shared store.
pub(super) fn shared(table: &Table<'_>) -> Option<Option<Shared>> {
    let words = [("memory", false), ("redis", true)];
    let is_shared = table.or("store", false, |value| value.choice(&words));
    let redis = table.table("redis");
    if is_shared {
        return self::redis(&redis).map(Some);
    }
    if redis.is_present() {
        let why = "has no effect while store is \"memory\"";
        let remedy = "set store = \"redis\", or leave the table out";
        table.warn("redis", why, remedy);
        // What is wrong in it is said all the same.
        drop(self::redis(&redis));
    }
    Some(None)
}

/// `None` if what is said can't be used.
fn redis(redis: &Table<'_>) -> Option<Shared> {
    let allowed = "url = \"rediss://redis.example.com:6379\", the store that all edge-c share";
    let address = redis.required("url", allowed, address);
    let user = redis.optional("user", |value| value.text().map(str::to_owned));
    let password_file = redis.optional("password_file", |value| value.file(FileKind::Text));
    let trust_anchors = redis.list("trust_anchors", section::trust_anchor);
    let address = address?;
    if user.is_some() && password_file.is_none() {
        redis.refuse("user", "has no password", "password_file beside it");
    }
    match &address.way {
        StoreWay::Tcp(_) => {
            let why = "is not encrypted: whoever listens inside sees the store's password";
            redis.warn(
                "url",
                why,
                "use rediss:// unless the network between is protected otherwise",
            );
        }
        StoreWay::Unix(_) if !trust_anchors.is_empty() => {
            redis.warn(
                "trust_anchors",
                "have no effect on a socket of this machine",
                "leave them out",
            );
        }
        StoreWay::Tls(_) | StoreWay::Unix(_) => {}
    }
    Some(Shared {
        address,
        user,
        password_file,
        trust_anchors,
    })
}

fn address(value: &Value<'_>) -> Result<StoreAddress, Problem> {
    let allowed = "\"rediss://host:port/database\", \"redis://host:port\" or \"unix:///path\"";
    value
        .text()?
        .parse()
        .map_err(|why: StoreAddressError| match why {
            StoreAddressError::Secret => Problem::Secret {
                why: why.to_string(),
                allowed: allowed.to_owned(),
            },
            StoreAddressError::Database | StoreAddressError::Host | StoreAddressError::Scheme => {
                Problem::invalid(why, allowed)
            }
        })
}

/// Looks into the file of the password.
///
/// # Errors
/// [`ConfigErrors`] if there is no password in it, or others can read it.
pub(super) fn check(loaded: &Loaded<Config>) -> Result<(), ConfigErrors> {
    let Some(shared) = &loaded.config.session.shared else {
        return Ok(());
    };
    let (Some(path), Err(why)) = (&shared.password_file, shared.password()) else {
        return Ok(());
    };
    let allowed = "a file of mode 600 with the password in its first line";
    Err(ConfigErrors(vec![ConfigError {
        place: loaded.place_of(path),
        value: Some(path.display().to_string()),
        problem: Problem::invalid(why, allowed),
    }]))
}

#[cfg(test)]
mod tests;
