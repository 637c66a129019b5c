//! The sealed snapshot: what lets a restart of edge-c sign nobody out. One `redb` file; crash-safe by itself.
//!
//! Every value is encrypted for its place, so the file tells how many sessions there were and when, not whose. A file that
//! is damaged, of another product or under another key is moved aside and a new one begun: the users sign in again. It
//! decides nothing: what is read goes to the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::limits;
use common::mra::cookie::Tombstone;
use common::session::{Session, SessionId};
use common::time::UnixTime;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _,
    WriteTransaction,
};

use super::database::{MakeDatabase, OpenError, SnapshotFile, snapshot_error};
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
    file: SnapshotFile,
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
        make: MakeDatabase,
    ) -> Result<(Self, Loaded), StateError> {
        let why = match Self::try_open(path, key, random, now, make) {
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
        Self::try_open(path, key, random, now, make).map_err(|error| match error {
            OpenError::State(error) => error,
            OpenError::Useless(why) => snapshot_error(path, why),
        })
    }

    fn try_open(
        path: &Path,
        key: &StateKey,
        random: &Arc<dyn Random>,
        now: UnixTime,
        make: MakeDatabase,
    ) -> Result<(Self, Loaded), OpenError> {
        let snapshot = Self {
            file: SnapshotFile::open(path, make)?,
            sealer: key.snapshot_sealer().map_err(seal_error(path))?,
            random: Arc::clone(random),
        };
        snapshot.recognise(path)?;
        let loaded = snapshot
            .file
            .with(|database| snapshot.load(database, now))?;
        Ok((snapshot, loaded))
    }

    /// Checks that the file is ours and under our key, or makes it so if it is new.
    fn recognise(&self, path: &Path) -> Result<(), OpenError> {
        let probe = self.seal(META, PROBE, PROBE).map_err(seal_error(path))?;
        let found = self.file.with(|database| find_or_begin(database, &probe))?;
        match found {
            Found::New => sync_parent(path)
                .map_err(|error| OpenError::State(snapshot_error(path, error.to_string()))),
            Found::Foreign => Err(OpenError::Useless(
                "it is not a session snapshot".to_owned(),
            )),
            Found::Probe(sealed) => self
                .open_value(META, PROBE, &sealed)
                .map(|_| ())
                .map_err(|_| OpenError::Useless("it is sealed under another state key".to_owned())),
        }
    }

    fn load(&self, database: &Database, now: UnixTime) -> Result<Loaded, redb::Error> {
        let mut loaded = Loaded::default();
        let transaction = database.begin_read()?;
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
        self.file
            .with(|database| {
                let transaction = database.begin_write()?;
                change(&transaction)?;
                transaction.commit()?;
                Ok(())
            })
            .map_err(|error| not_durable(&error))
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

enum Found {
    Foreign,
    New,
    Probe(Vec<u8>),
}

fn find_or_begin(database: &Database, probe: &[u8]) -> Result<Found, redb::Error> {
    let transaction = database.begin_write()?;
    if transaction.list_tables()?.next().is_some() {
        let found = read_probe(&transaction)?.map_or(Found::Foreign, Found::Probe);
        transaction.abort()?;
        return Ok(found);
    }
    transaction.open_table(META)?.insert(PROBE, probe)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(TOMBSTONES)?;
    transaction.commit()?;
    Ok(Found::New)
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

fn seal_error(path: &Path) -> impl Fn(SealError) -> OpenError + '_ {
    |error| OpenError::State(snapshot_error(path, error.to_string()))
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
