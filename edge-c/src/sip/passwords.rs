//! Hashes of passwords, for registrars whose phones edge-c authenticates itself: from a sealed file, and from users who
//! have signed in by password. No password is kept, and no hash in the clear on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use common::limits;
use common::redact::Secret;
use common::session::UserName;
use common::sip::digest::Algorithm;
use serde::{Deserialize, Serialize};

use crate::sessions::{SealedFile, SealedFileError};

/// H(user:realm:password) by each algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// `None` if it was added before there was such a hash.
    sha512_256: Option<Secret<String>>,
    sha256: Secret<String>,
    md5: Secret<String>,
}

impl Hashes {
    /// Hashes a password.
    #[must_use]
    pub fn of(user: &str, realm: &str, password: &str) -> Self {
        let hash = |algorithm: Algorithm| {
            let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
            Secret::new(algorithm.hash(&parts))
        };
        Self {
            sha512_256: Some(hash(Algorithm::Sha512256)),
            sha256: hash(Algorithm::Sha256),
            md5: hash(Algorithm::Md5),
        }
    }

    /// The one by `algorithm`, if it was kept.
    #[must_use]
    pub const fn by(&self, algorithm: Algorithm) -> Option<&Secret<String>> {
        match algorithm {
            Algorithm::Md5 => Some(&self.md5),
            Algorithm::Sha256 => Some(&self.sha256),
            Algorithm::Sha512256 => self.sha512_256.as_ref(),
        }
    }
}

/// What the sealed file holds, by user and realm.
#[derive(Debug, Default)]
pub struct Stored(BTreeMap<(String, String), Hashes>);

/// One line of the sealed file.
#[derive(Serialize, Deserialize)]
struct Line {
    user: String,
    realm: String,
    #[serde(default)]
    sha512_256: Option<String>,
    sha256: String,
    md5: String,
}

/// Why the sealed file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// It can't be read, opened or written.
    #[error(transparent)]
    File(#[from] SealedFileError),
    /// It holds as many as it may.
    #[error("there are {max} already, as many as there may be", max = limits::SIP_DIGESTS_MAX)]
    Full,
    /// It opens, and holds something else.
    #[error("the sealed file holds something else: was it written by another version?")]
    Malformed,
    /// A user or realm that no header could carry.
    #[error("a user or realm has 1 to {max} octets without control characters, quotation marks and backslashes", max = limits::SIP_DIGEST_NAME_BYTES_MAX)]
    Name,
}

impl Stored {
    /// Reads the file; nothing if there is none.
    ///
    /// # Errors
    /// [`StoredError`] if it is of no use.
    pub fn read(file: &SealedFile) -> Result<Self, StoredError> {
        let Some(plain) = file.read()? else {
            return Ok(Self::default());
        };
        let lines: Vec<Line> =
            serde_json::from_slice(&plain).map_err(|_| StoredError::Malformed)?;
        if lines.len() > limits::SIP_DIGESTS_MAX {
            return Err(StoredError::Full);
        }
        let entries = lines.into_iter().map(|line| {
            let hashes = Hashes {
                sha512_256: line.sha512_256.map(Secret::new),
                sha256: Secret::new(line.sha256),
                md5: Secret::new(line.md5),
            };
            ((line.user, line.realm), hashes)
        });
        Ok(Self(entries.collect()))
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// [`StoredError::File`] if it can't be written.
    pub fn write(&self, file: &SealedFile) -> Result<(), StoredError> {
        let lines = self.0.iter().map(|((user, realm), hashes)| Line {
            user: user.clone(),
            realm: realm.clone(),
            sha512_256: hashes.sha512_256.as_ref().map(|hash| hash.reveal().clone()),
            sha256: hashes.sha256.reveal().clone(),
            md5: hashes.md5.reveal().clone(),
        });
        let plain =
            serde_json::to_vec(&lines.collect::<Vec<_>>()).map_err(|_| StoredError::Malformed)?;
        let plain = zeroize::Zeroizing::new(plain);
        Ok(file.write(&plain)?)
    }

    /// Adds a user's password, or replaces it. Returns whether there was one.
    ///
    /// # Errors
    /// [`StoredError::Full`], or [`StoredError::Name`] for names that no header could carry.
    pub fn add(&mut self, user: &str, realm: &str, password: &str) -> Result<bool, StoredError> {
        if !is_name(user) || !is_name(realm) {
            return Err(StoredError::Name);
        }
        let key = (user.to_owned(), realm.to_owned());
        if self.0.len() >= limits::SIP_DIGESTS_MAX && !self.0.contains_key(&key) {
            return Err(StoredError::Full);
        }
        Ok(self
            .0
            .insert(key, Hashes::of(user, realm, password))
            .is_some())
    }

    /// Takes a user out. Returns whether there was one.
    pub fn remove(&mut self, user: &str, realm: &str) -> bool {
        self.0
            .remove(&(user.to_owned(), realm.to_owned()))
            .is_some()
    }

    /// Every user and realm, in order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .keys()
            .map(|(user, realm)| (user.as_str(), realm.as_str()))
    }

    fn hashes(&self, user: &str, realm: &str) -> Option<&Hashes> {
        self.0.get(&(user.to_owned(), realm.to_owned()))
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    (1..=limits::SIP_DIGEST_NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(is_plain)
}

/// Opens the sealed file beside the sessions.
///
/// # Errors
/// [`SealedFileError`] if folder or key can't be used.
pub fn sealed_file(session: &crate::config::Session) -> Result<SealedFile, SealedFileError> {
    let (folder, key) = (&session.state_dir, &session.key_file);
    SealedFile::open(folder, key, FILE, LABEL, limits::SIP_DIGEST_FILE_BYTES_MAX)
}

/// Its name in the state directory.
pub const FILE: &str = "sip-digest.sealed";
const LABEL: &[u8] = b"edge-c sip digest 1";

/// All hashes that are known now.
#[derive(Debug)]
pub struct Passwords {
    /// The realms that phones are asked in.
    realms: ArcSwap<Vec<Arc<str>>>,
    stored: ArcSwap<Stored>,
    /// Of users who signed in by password since the start. They count only while a session of theirs lives.
    learned: Mutex<BTreeMap<UserName, BTreeMap<Arc<str>, Hashes>>>,
}

impl Passwords {
    /// Knows what is stored.
    #[must_use]
    pub fn new(realms: Vec<Arc<str>>, stored: Stored) -> Self {
        Self {
            realms: ArcSwap::from_pointee(realms),
            stored: ArcSwap::from_pointee(stored),
            learned: Mutex::default(),
        }
    }

    /// Phones are asked in these realms from now on.
    pub fn set_realms(&self, realms: Vec<Arc<str>>) {
        self.realms.store(Arc::new(realms));
    }

    /// The file has changed.
    pub fn set_stored(&self, stored: Stored) {
        self.stored.store(Arc::new(stored));
    }

    /// A user has proved a password; `credential` is the `Authorization` that did.
    pub fn learn(&self, user: &UserName, credential: &Secret<String>) {
        let realms = self.realms.load();
        if realms.is_empty() {
            return;
        }
        let Some((name, password)) = basic(credential) else {
            return;
        };
        let hash = |realm: &Arc<str>| {
            (
                Arc::clone(realm),
                Hashes::of(&name, realm, password.reveal()),
            )
        };
        let hashes = realms.iter().map(hash).collect();
        let mut learned = self.learned();
        if learned.len() >= limits::SIGN_IN_USERS_MAX && !learned.contains_key(user) {
            learned.pop_first();
        }
        learned.insert(user.clone(), hashes);
    }

    /// Whether nothing was learned of a user since the start, so that the credential of a session is worth opening.
    #[must_use]
    pub fn is_unknown(&self, user: &UserName) -> bool {
        !self.realms.load().is_empty() && !self.learned().contains_key(user)
    }

    /// Forgets users who have no session any more.
    pub fn forget(&self, is_gone: impl Fn(&UserName) -> bool) {
        self.learned().retain(|user, _| !is_gone(user));
    }

    /// The hash of the sealed file.
    #[must_use]
    pub fn stored(&self, user: &str, realm: &str, algorithm: Algorithm) -> Option<Secret<String>> {
        let stored = self.stored.load();
        stored
            .hashes(user, realm)
            .and_then(|hashes| hashes.by(algorithm).cloned())
    }

    /// The hash of a user who signed in by password; it counts only while a session of the user lives.
    #[must_use]
    pub fn learned_of(
        &self,
        user: &UserName,
        realm: &str,
        algorithm: Algorithm,
    ) -> Option<Secret<String>> {
        let learned = self.learned();
        learned
            .get(user)?
            .get(realm)
            .and_then(|hashes| hashes.by(algorithm).cloned())
    }

    fn learned(&self) -> MutexGuard<'_, BTreeMap<UserName, BTreeMap<Arc<str>, Hashes>>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// User and password of a `Basic` value (RFC 7617).
fn basic(credential: &Secret<String>) -> Option<(String, Secret<String>)> {
    use base64::Engine as _;
    let (scheme, encoded) = credential.reveal().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let octets = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let octets = zeroize::Zeroizing::new(octets);
    let (user, password) = std::str::from_utf8(&octets).ok()?.split_once(':')?;
    Some((user.to_owned(), Secret::new(password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn hash(passwords: &Passwords, name: &str, realm: &str) -> Option<String> {
        let learned = passwords.learned_of(&user(name), realm, Algorithm::Md5);
        learned.map(|hash| hash.reveal().clone())
    }

    #[test]
    fn the_hash_is_that_of_rfc_2617() {
        let hashes = Hashes::of("Mufasa", "testrealm@host.com", "Circle Of Life");

        assert_eq!(
            hashes.by(Algorithm::Md5).unwrap().reveal(),
            "939e7578ed9e3c518a452acee763bce9"
        );
    }

    #[test]
    fn what_was_added_survives_a_restart_and_what_was_removed_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let key = folder.path().join("key");
            SealedFile::open(folder.path(), &key, "digest", LABEL, 10_000).unwrap()
        };
        let mut stored = Stored::read(&open()).unwrap();
        assert!(!stored.add("1001", "lab.test", "first").unwrap());
        assert!(stored.add("1001", "lab.test", "hunter2").unwrap());
        assert!(!stored.add("1002", "lab.test", "other").unwrap());
        assert!(stored.remove("1002", "lab.test"));
        stored.write(&open()).unwrap();

        let read = Stored::read(&open()).unwrap();

        assert_eq!(read.names().collect::<Vec<_>>(), [("1001", "lab.test")]);
        let passwords = Passwords::new(Vec::new(), read);
        let found = passwords
            .stored("1001", "lab.test", Algorithm::Sha256)
            .unwrap();
        let expected = Hashes::of("1001", "lab.test", "hunter2");
        let expected = expected.by(Algorithm::Sha256).unwrap();
        assert_eq!(found.reveal(), expected.reveal());
        assert!(
            passwords
                .stored("1001", "other.test", Algorithm::Md5)
                .is_none()
        );
    }

    #[test]
    fn names_that_no_header_could_carry_are_refused() {
        let mut stored = Stored::default();

        for name in ["", "a\"b", "a\\b", "a\r\nb"] {
            assert!(
                matches!(stored.add(name, "r", "p"), Err(StoredError::Name)),
                "{name:?}"
            );
            assert!(
                matches!(stored.add("u", name, "p"), Err(StoredError::Name)),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_proved_password_is_learned_for_every_realm_and_nothing_else_is() {
        let passwords = Passwords::new(vec!["a.test".into(), "b.test".into()], Stored::default());
        let basic = Secret::new("Basic YWxpY2U6aHVudGVyMg==".to_owned());

        passwords.learn(&user("alice"), &basic);
        passwords.learn(&user("bob"), &Secret::new("Bearer abc".to_owned()));

        for realm in ["a.test", "b.test"] {
            let expected = Hashes::of("alice", realm, "hunter2").md5.reveal().clone();
            assert_eq!(hash(&passwords, "Alice", realm), Some(expected));
        }
        assert_eq!(hash(&passwords, "bob", "a.test"), None);
        assert!(passwords.is_unknown(&user("bob")) && !passwords.is_unknown(&user("alice")));
        passwords.forget(|user| user.as_str() == "alice");
        assert!(passwords.is_unknown(&user("alice")));
    }

    #[test]
    fn without_realms_of_our_own_nothing_is_learned() {
        let passwords = Passwords::new(Vec::new(), Stored::default());

        passwords.learn(
            &user("alice"),
            &Secret::new("Basic YWxpY2U6aHVudGVyMg==".to_owned()),
        );

        assert!(!passwords.is_unknown(&user("alice")));
        assert_eq!(hash(&passwords, "alice", "a.test"), None);
    }
}
