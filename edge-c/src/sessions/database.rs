//! The `redb` file under the snapshot: opening it, and opening it again. Knows nothing of what is in it.
//!
//! After one failed write `redb` refuses every further one until the file is opened anew, so a disk that was full for a
//! moment would end the snapshot for good. Here the next use opens it again. A damaged file may lead `redb` into a panic
//! (seen for a quarter of random damage); that counts as a failure like any other.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{Builder, Database, DatabaseError};

use super::state_file::StateError;

/// Makes a database of a file; tests put one in its place that fails on demand.
pub(super) type MakeDatabase = fn(File) -> Result<Database, DatabaseError>;

/// A database file that heals.
pub(super) struct SnapshotFile {
    path: PathBuf,
    make: MakeDatabase,
    // `None` after a failure. One user at a time is no loss: `redb` has one writer.
    database: Mutex<Option<Database>>,
}

/// Why a file can't be used.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Something around the file.
    State(StateError),
    /// The file itself, with the reason.
    Useless(String),
}

impl SnapshotFile {
    pub(super) fn open(path: &Path, make: MakeDatabase) -> Result<Self, OpenError> {
        let database = guarded(|| open_database(path, make))?;
        Ok(Self {
            path: path.to_owned(),
            make,
            database: Mutex::new(Some(database)),
        })
    }

    /// Does `work` with the database.
    ///
    /// # Errors
    /// Its error, or why the database could not be opened again after an earlier one.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, OpenError> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = place.take();
        let (database, done) = guarded(|| {
            let database = match taken {
                Some(database) => database,
                None => open_database(&self.path, self.make)?,
            };
            let done = work(&database).map_err(|error| open_error(&self.path, &error))?;
            Ok((database, done))
        })?;
        *place = Some(database);
        Ok(done)
    }
}

// Sound: what a panic leaves half done is the database handle, and that is dropped.
fn guarded<T>(work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(OpenError::Useless("it is damaged".to_owned())))
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotFile").field(&self.path).finish()
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Useless(why) => f.write_str(why),
        }
    }
}

/// What is used outside of tests.
pub(super) fn make_database(file: File) -> Result<Database, DatabaseError> {
    Builder::new().set_cache_size(CACHE_BYTES).create_file(file)
}

fn open_database(path: &Path, make: MakeDatabase) -> Result<Database, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| OpenError::State(snapshot_error(path, error.to_string())))?;
    let mut database = make(file).map_err(|error| open_error(path, &error.into()))?;
    // Reads trust the pages; this is the one time that their checksums are looked at.
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => tracing::warn!(path = %path.display(), "session snapshot was repaired"),
        Err(error) => return Err(open_error(path, &error.into())),
    }
    Ok(database)
}

/// Whether the fault is in the file or around it.
fn open_error(path: &Path, error: &redb::Error) -> OpenError {
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return OpenError::State(StateError::InUse {
            path: path.to_owned(),
        });
    }
    if let redb::Error::Io(io_error) = error
        && !matches!(
            io_error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        )
    {
        return OpenError::State(snapshot_error(path, io_error.to_string()));
    }
    OpenError::Useless(error.to_string())
}

pub(super) fn snapshot_error(path: &Path, why: String) -> StateError {
    StateError::Snapshot {
        path: path.to_owned(),
        why,
    }
}

/// Writes touch few pages; the rest is read once, at the start.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use redb::StorageBackend;
    use redb::backends::FileBackend;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// While it is set, databases made by [`make_faulty`] find the disk full.
    pub(in crate::sessions) static DISK_IS_FULL: AtomicBool = AtomicBool::new(false);

    #[derive(Debug)]
    struct Faulty(FileBackend);

    impl Faulty {
        fn room(&self) -> Result<&FileBackend, io::Error> {
            if DISK_IS_FULL.load(Ordering::SeqCst) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Ok(&self.0)
        }
    }

    impl StorageBackend for Faulty {
        fn len(&self) -> Result<u64, io::Error> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.room()?.set_len(len)
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            self.room()?.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            self.room()?.write(offset, data)
        }
    }

    pub(in crate::sessions) fn make_faulty(file: File) -> Result<Database, DatabaseError> {
        Builder::new().create_with_backend(Faulty(FileBackend::new(file)?))
    }
}
