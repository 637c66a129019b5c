//! A small file in the state directory, sealed under edge-c's state key: written as a whole, read as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::random::{Random, SystemRandom, draw};
use super::seal::{SealError, Sealer};
use super::state_file::{self, StateError};

/// The file, which need not be there yet.
#[derive(Debug)]
pub struct SealedFile {
    path: PathBuf,
    sealer: Sealer,
    bytes_max: u64,
}

/// Why it can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SealedFileError {
    /// The system's error.
    #[error("{path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        why: io::Error,
    },
    /// Altered, or sealed under another key.
    #[error("{path} does not open with this state key: {why}")]
    Seal {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        why: SealError,
    },
    /// The state key can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Larger than edge-c writes.
    #[error("{path} is too large")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl SealedFile {
    /// The file `name` in `folder`, under a key derived from the state key in `key_file`, which is made if it is missing.
    /// It is read up to `bytes_max` octets.
    ///
    /// # Errors
    /// [`SealedFileError::State`] if key or folder can't be used.
    pub fn open(
        folder: &Path,
        key_file: &Path,
        name: &str,
        label: &'static [u8],
        bytes_max: u64,
    ) -> Result<Self, SealedFileError> {
        state_file::prepare_directory(folder)?;
        let key = state_file::read_or_create_key(key_file, &SystemRandom)?;
        let path = folder.join(name);
        let sealer = key.sealer(label).map_err(|why| SealedFileError::Seal {
            path: path.clone(),
            why,
        })?;
        Ok(Self {
            path,
            sealer,
            bytes_max,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; `None` if there is no such file.
    ///
    /// # Errors
    /// [`SealedFileError`] if it can't be read or opened.
    pub fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, SealedFileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(self.io(why)),
        };
        let mut sealed = Vec::new();
        let most = self.bytes_max.saturating_add(1);
        let read = file.take(most).read_to_end(&mut sealed);
        let read = read.map_err(|why| self.io(why))?;
        if u64::try_from(read).unwrap_or(u64::MAX) > self.bytes_max {
            return Err(SealedFileError::TooLarge {
                path: self.path.clone(),
            });
        }
        let opened = self
            .sealer
            .open(PLACE, &sealed)
            .map_err(|why| self.seal(why))?;
        Ok(Some(opened))
    }

    /// Replaces what is in it: whoever reads sees the old or the new, and a crash leaves one of them.
    ///
    /// # Errors
    /// [`SealedFileError`] if it can't be written; it is as it was then.
    pub fn write(&self, plain: &[u8]) -> Result<(), SealedFileError> {
        let random: &dyn Random = &SystemRandom;
        let sealed = self
            .sealer
            .seal(PLACE, plain, random)
            .map_err(|why| self.seal(why))?;
        let suffix: [u8; 8] = draw(random).map_err(|why| self.seal(why.into()))?;
        let draft = self
            .path
            .with_extension(format!("new-{:016x}", u64::from_be_bytes(suffix)));
        let written = write_draft(&draft, &sealed)
            .and_then(|()| fs::rename(&draft, &self.path))
            .and_then(|()| state_file::sync_parent(&self.path));
        if written.is_err() && fs::remove_file(&draft).is_err() {
            tracing::debug!("the draft of a sealed file was not there to be removed");
        }
        written.map_err(|why| self.io(why))
    }

    fn io(&self, why: io::Error) -> SealedFileError {
        SealedFileError::Io {
            path: self.path.clone(),
            why,
        }
    }

    fn seal(&self, why: SealError) -> SealedFileError {
        SealedFileError::Seal {
            path: self.path.clone(),
            why,
        }
    }
}

fn write_draft(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

/// Each file has a key of its own, so there is nothing to tell apart by place.
const PLACE: &[u8] = b"file";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn file(folder: &Path, label: &'static [u8]) -> SealedFile {
        SealedFile::open(folder, &folder.join("key"), "secrets.sealed", label, 1000).unwrap()
    }

    #[test]
    fn what_was_written_reads_back_and_only_under_its_own_key() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(folder.path(), b"one");
        assert!(one.read().unwrap().is_none());

        one.write(b"first").unwrap();
        one.write(b"hunter2").unwrap();

        let again = file(folder.path(), b"one");
        assert_eq!(again.read().unwrap().unwrap().as_slice(), b"hunter2");
        assert!(matches!(
            file(folder.path(), b"two").read(),
            Err(SealedFileError::Seal { .. })
        ));
        let on_disk = fs::read(one.path()).unwrap();
        assert!(!on_disk.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(fs::metadata(one.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "no draft is left"
        );
    }

    #[test]
    fn a_file_that_is_altered_or_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(folder.path(), b"one");

        fs::write(one.path(), b"not sealed at all, but long enough to be").unwrap();
        assert!(matches!(one.read(), Err(SealedFileError::Seal { .. })));
        fs::write(one.path(), vec![0; 1001]).unwrap();
        assert!(matches!(one.read(), Err(SealedFileError::TooLarge { .. })));
    }
}
