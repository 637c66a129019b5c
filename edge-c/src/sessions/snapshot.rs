//! The sealed snapshot: what lets a restart of edge-c sign nobody out. One `redb` file; crash-safe by itself.
//!
//! Every value is encrypted for its place, so the file tells how many sessions there were and when, not whose. A file that
//! is damaged, of another product or under another key is moved aside and a new one begun: the users sign in again. It
//! decides nothing: what is read goes to the store.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::limits;
use common::mra::cookie::Tombstone;
use common::session::{Session, SessionId};
use common::time::UnixTime;
use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    TableHandle as _, WriteTransaction,
};

use super::key_ring::KeyRing;
use super::random::Random;
use super::seal::{SealError, Sealer, StateKey};
use super::state_file::{StateError, sync_parent};
use super::store::StoreError;

/// What a snapshot held.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) sessions: Vec<Session>,
    pub(super) tombstones: Vec<Tombstone>,
    pub(super) ring: Option<KeyRing>,
    /// Records that have expired or can't be read: to be deleted.
    pub(super) stale_sessions: Vec<SessionId>,
    /// The same of tombstones.
    pub(super) stale_tombstones: Vec<SessionId>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Snapshot {
    database: Database,
    sealer: Sealer,
    random: Arc<dyn Random>,
}

impl Snapshot {
    /// Opens the file and reads it; if it is of no use, moves it aside and begins another.
    ///
    /// # Errors
    /// [`StateError`] if it is in use by another process, or if the fault is not in the file.
    pub(super) fn open(
        path: &Path,
        key: &StateKey,
        random: &Arc<dyn Random>,
        now: UnixTime,
    ) -> Result<(Self, Loaded), StateError> {
        let why = match Self::try_open(path, key, random, now) {
            Ok(opened) => return Ok(opened),
            Err(OpenError::State(error)) => return Err(error),
            Err(OpenError::Useless(why)) => why,
        };
        let aside = name_aside(path, now);
        fs::rename(path, &aside)
            .and_then(|()| sync_parent(path))
            .map_err(|error| snapshot_error(path, format!("{why}; moving it aside: {error}")))?;
        tracing::warn!(
            path = %path.display(),
            moved_to = %aside.display(),
            reason = %why,
            "session snapshot is of no use and was moved aside; users sign in again"
        );
        Self::try_open(path, key, random, now).map_err(|error| match error {
            OpenError::State(error) => error,
            OpenError::Useless(why) => snapshot_error(path, why),
        })
    }

    fn try_open(
        path: &Path,
        key: &StateKey,
        random: &Arc<dyn Random>,
        now: UnixTime,
    ) -> Result<(Self, Loaded), OpenError> {
        // A damaged file may lead the database into a panic; it is then as useless as any other.
        catch_unwind(AssertUnwindSafe(|| {
            let snapshot = Self {
                database: open_database(path)?,
                sealer: key.snapshot_sealer().map_err(seal_error(path))?,
                random: Arc::clone(random),
            };
            snapshot.recognise(path)?;
            let loaded = snapshot
                .load(now)
                .map_err(|error| open_error(path, &error))?;
            Ok((snapshot, loaded))
        }))
        .unwrap_or_else(|_| Err(OpenError::Useless("it is damaged".to_owned())))
    }

    /// Checks that the file is ours and under our key, or makes it so if it is new.
    fn recognise(&self, path: &Path) -> Result<(), OpenError> {
        let database_error = |error: redb::Error| open_error(path, &error);
        let transaction = self
            .database
            .begin_write()
            .map_err(|error| database_error(error.into()))?;
        let is_new = transaction
            .list_tables()
            .map_err(|error| database_error(error.into()))?
            .next()
            .is_none();
        if is_new {
            let probe = self.seal(META, PROBE, PROBE).map_err(seal_error(path))?;
            self.begin(transaction, &probe).map_err(database_error)?;
            return sync_parent(path)
                .map_err(|error| OpenError::State(snapshot_error(path, error.to_string())));
        }
        let probe = read_probe(&transaction).map_err(database_error)?;
        transaction
            .abort()
            .map_err(|error| database_error(error.into()))?;
        match probe {
            None => Err(OpenError::Useless(
                "it is not a session snapshot".to_owned(),
            )),
            Some(sealed) => self
                .open_value(META, PROBE, &sealed)
                .map(|_| ())
                .map_err(|_| OpenError::Useless("it is sealed under another state key".to_owned())),
        }
    }

    fn begin(&self, transaction: WriteTransaction, probe: &[u8]) -> Result<(), redb::Error> {
        transaction.open_table(META)?.insert(PROBE, probe)?;
        transaction.open_table(SESSIONS)?;
        transaction.open_table(TOMBSTONES)?;
        transaction.commit()?;
        Ok(())
    }

    fn load(&self, now: UnixTime) -> Result<Loaded, redb::Error> {
        let mut loaded = Loaded::default();
        let transaction = self.database.begin_read()?;
        for row in transaction
            .open_table(TOMBSTONES)?
            .iter()?
            .take(limits::TOMBSTONES_MAX)
        {
            let (key, value) = row?;
            let Some(id) = session_id(key.value()) else {
                continue;
            };
            let tombstone = self
                .open_value(TOMBSTONES, key.value(), value.value())
                .ok()
                .and_then(|octets| read_tombstone(id, &octets))
                .filter(|tombstone| tombstone.until > now);
            match tombstone {
                Some(tombstone) => loaded.tombstones.push(tombstone),
                None => loaded.stale_tombstones.push(id),
            }
        }
        for row in transaction
            .open_table(SESSIONS)?
            .iter()?
            .take(limits::SESSIONS_MAX)
        {
            let (key, value) = row?;
            let Some(id) = session_id(key.value()) else {
                continue;
            };
            let session = self
                .open_value(SESSIONS, key.value(), value.value())
                .ok()
                .and_then(|octets| Session::decode(id, &octets).ok())
                .filter(|session| !session.has_expired(now));
            match session {
                Some(session) => loaded.sessions.push(session),
                None => loaded.stale_sessions.push(id),
            }
        }
        loaded.ring = transaction
            .open_table(META)?
            .get(RING)?
            .and_then(|sealed| self.open_value(META, RING, sealed.value()).ok())
            .and_then(|octets| KeyRing::decode(&octets));
        Ok(loaded)
    }

    /// Writes tombstones and removes their sessions; on disk when it returns.
    pub(super) fn bury(&self, tombstones: &[Tombstone]) -> Result<(), StoreError> {
        let rows: Vec<_> = tombstones
            .iter()
            .map(|tombstone| {
                let key = tombstone.id.0;
                let until = tombstone.until.0.to_be_bytes();
                self.seal(TOMBSTONES, &key, &until)
                    .map(|value| (key, value))
            })
            .collect::<Result<_, _>>()
            .map_err(|error| not_durable(&error))?;
        self.commit(|transaction| {
            let mut buried = transaction.open_table(TOMBSTONES)?;
            let mut sessions = transaction.open_table(SESSIONS)?;
            for (key, value) in &rows {
                buried.insert(key.as_slice(), value.as_slice())?;
                sessions.remove(key.as_slice())?;
            }
            Ok(())
        })
    }

    /// Writes how `changed` sessions are now, by `current`, and drops tombstones that have expired.
    pub(super) fn write(
        &self,
        changed: &[SessionId],
        expired_tombstones: &[SessionId],
        current: impl Fn(&SessionId) -> Option<Arc<Session>>,
    ) -> Result<(), StoreError> {
        self.commit(|transaction| {
            let mut sessions = transaction.open_table(SESSIONS)?;
            for id in changed {
                // Looked at inside the transaction: nothing older can be written after it.
                let sealed = current(id).and_then(|session| self.seal_session(&session));
                match sealed {
                    Some(value) => sessions.insert(id.0.as_slice(), value.as_slice())?,
                    None => sessions.remove(id.0.as_slice())?,
                };
            }
            let mut buried = transaction.open_table(TOMBSTONES)?;
            for id in expired_tombstones {
                buried.remove(id.0.as_slice())?;
            }
            Ok(())
        })
    }

    /// Keeps the filter keys; on disk when it returns.
    pub(super) fn write_ring(&self, ring: &KeyRing) -> Result<(), StoreError> {
        let plain = ring
            .encode()
            .ok_or_else(|| StoreError::NotDurable("the filter keys".to_owned()))?;
        let sealed = self
            .seal(META, RING, &plain)
            .map_err(|error| not_durable(&error))?;
        self.commit(|transaction| {
            transaction
                .open_table(META)?
                .insert(RING, sealed.as_slice())?;
            Ok(())
        })
    }

    // redb commits with fsync unless told otherwise.
    fn commit(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let committed = self
            .database
            .begin_write()
            .map_err(redb::Error::from)
            .and_then(|transaction| {
                change(&transaction)?;
                transaction.commit().map_err(redb::Error::from)
            });
        committed.map_err(|error| not_durable(&error))
    }

    fn seal_session(&self, session: &Session) -> Option<Vec<u8>> {
        let plain = session.encode().ok()?;
        self.seal(SESSIONS, &session.id.0, &plain).ok()
    }

    fn seal(&self, table: Table, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let place = place(table, key);
        self.sealer.seal(&place, plain, self.random.as_ref())
    }

    fn open_value(
        &self,
        table: Table,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, SealError> {
        self.sealer.open(&place(table, key), sealed)
    }
}

enum OpenError {
    State(StateError),
    Useless(String),
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| OpenError::State(snapshot_error(path, error.to_string())))?;
    let mut database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)
        .map_err(|error| open_error(path, &error.into()))?;
    // Reads trust the pages; this is the one time that their checksums are looked at.
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => tracing::warn!(path = %path.display(), "session snapshot was repaired"),
        Err(error) => return Err(open_error(path, &error.into())),
    }
    Ok(database)
}

fn read_probe(transaction: &WriteTransaction) -> Result<Option<Vec<u8>>, redb::Error> {
    let is_ours = transaction
        .list_tables()?
        .any(|table| table.name() == META.name());
    if !is_ours {
        return Ok(None);
    }
    let table = transaction.open_table(META)?;
    let probe = table.get(PROBE)?.map(|sealed| sealed.value().to_vec());
    Ok(probe)
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

fn seal_error(path: &Path) -> impl Fn(SealError) -> OpenError + '_ {
    |error| OpenError::State(snapshot_error(path, error.to_string()))
}

fn snapshot_error(path: &Path, why: String) -> StateError {
    StateError::Snapshot {
        path: path.to_owned(),
        why,
    }
}

fn not_durable(error: &impl std::fmt::Display) -> StoreError {
    StoreError::NotDurable(error.to_string())
}

fn name_aside(path: &Path, now: UnixTime) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".bad-{now}"));
    name.into()
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), b"/", key].concat()
}

fn session_id(key: &[u8]) -> Option<SessionId> {
    key.try_into().ok().map(SessionId)
}

fn read_tombstone(id: SessionId, octets: &[u8]) -> Option<Tombstone> {
    let until = octets.try_into().ok().map(u64::from_be_bytes)?;
    Some(Tombstone {
        id,
        until: UnixTime(until),
    })
}

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Table = TableDefinition::new("meta");
const SESSIONS: Table = TableDefinition::new("sessions");
const TOMBSTONES: Table = TableDefinition::new("tombstones");
const PROBE: &[u8] = b"edge-c sessions 1";
const RING: &[u8] = b"filter keys";
/// Writes touch few pages; the rest is read once, at the start.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
