//! The state directory and the file with edge-c's state key in it. Knows nothing of what is sealed with that key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::random::{Random, RandomError, draw};
use super::seal::{STATE_KEY_BYTES, SealError, StateKey};

/// Why edge-c can't use its state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory isn't there and can't be made.
    #[error("the state directory {path} cannot be used: {why}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        why: io::Error,
    },
    /// Another process holds it.
    #[error("{path} is in use by another process; each edge-c needs a state directory of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The key file can't be read or made.
    #[error("the state key {path} cannot be used: {why}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        why: io::Error,
    },
    /// The key file has another length.
    #[error("the state key {path} has {octets} octets; it must have exactly {STATE_KEY_BYTES}")]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// How many it has (one more than wanted stands for any number over it).
        octets: usize,
    },
    /// The key file can be read by others.
    #[error(
        "the state key {path} has mode {mode:03o}; others may not read or write it: chmod 600 {path}"
    )]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
    /// No random octets for a new key.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The crypto library refuses the key, which it never should.
    #[error("the state key cannot be used: {0}")]
    Seal(#[from] SealError),
    /// The snapshot can't be read or written, for a reason outside of it.
    #[error("the session snapshot {path} cannot be used: {why}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
}

/// Makes the directory if it is missing, for this user alone.
///
/// # Errors
/// [`StateError::Directory`].
pub(super) fn prepare_directory(path: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|why| StateError::Directory {
            path: path.to_owned(),
            why,
        })
}

/// Reads the key, or makes one if there is no such file.
///
/// # Errors
/// [`StateError`] if the file can't be used: read by others, of another length, not readable, not writable.
pub(super) fn read_or_create_key(path: &Path, random: &dyn Random) -> Result<StateKey, StateError> {
    match File::open(path) {
        Ok(file) => read_key(path, file),
        Err(why) if why.kind() == io::ErrorKind::NotFound => create_key(path, random),
        Err(why) => Err(key_error(path, why)),
    }
}

fn read_key(path: &Path, file: File) -> Result<StateKey, StateError> {
    // Of the opened file, not of the path: nobody can exchange it in between.
    let mode = file.metadata().map_err(|why| key_error(path, why))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StateError::KeyMode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(STATE_KEY_BYTES + 1));
    file.take(STATE_KEY_BYTES as u64 + 1)
        .read_to_end(&mut octets)
        .map_err(|why| key_error(path, why))?;
    octets
        .as_slice()
        .try_into()
        .map(StateKey::new)
        .map_err(|_| StateError::KeyLength {
            path: path.to_owned(),
            octets: octets.len(),
        })
}

/// Written under another name first, so that a crash leaves either no key or a whole one; linked, not renamed, so that
/// two processes that start together end up with one key.
fn create_key(path: &Path, random: &dyn Random) -> Result<StateKey, StateError> {
    let octets: Zeroizing<[u8; STATE_KEY_BYTES]> = Zeroizing::new(draw(random)?);
    let suffix: [u8; 8] = draw(random)?;
    let draft = path.with_extension(format!("new-{:016x}", u64::from_be_bytes(suffix)));
    let linked = write_draft(&draft, octets.as_slice()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Ok(()) => {
            removed
                .and_then(|()| sync_parent(path))
                .map_err(|why| key_error(path, why))?;
            Ok(StateKey::new(*octets))
        }
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
            let file = File::open(path).map_err(|why| key_error(path, why))?;
            read_key(path, file)
        }
        Err(why) => Err(key_error(path, why)),
    }
}

fn write_draft(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

fn key_error(path: &Path, why: io::Error) -> StateError {
    StateError::Key {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::SystemRandom;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn key_octets(path: &Path) -> Vec<u8> {
        fs::read(path).unwrap()
    }

    #[test]
    fn a_missing_key_is_made_for_this_user_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state");
        prepare_directory(&state).unwrap();
        let path = state.join("state.key");

        read_or_create_key(&path, &SystemRandom).unwrap();
        let made = key_octets(&path);
        read_or_create_key(&path, &SystemRandom).unwrap();

        assert_eq!(made.len(), 32);
        assert_eq!(key_octets(&path), made);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.key");
        for mode in [0o640, 0o604, 0o660, 0o666] {
            fs::write(&path, [7; 32]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();

            let error = read_or_create_key(&path, &SystemRandom).unwrap_err();

            let text = error.to_string();
            assert!(text.contains(&format!("mode {mode:03o}")), "{text}");
            assert!(text.contains("chmod 600"), "{text}");
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.key");
        for length in [0, 31, 33, 4_000] {
            fs::write(&path, vec![7; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

            let error = read_or_create_key(&path, &SystemRandom).unwrap_err();

            assert!(matches!(error, StateError::KeyLength { .. }), "{error}");
            assert_eq!(key_octets(&path).len(), length);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();

        let error = prepare_directory(&file.join("state")).unwrap_err();

        assert!(error.to_string().contains("file/state"), "{error}");
    }
}
