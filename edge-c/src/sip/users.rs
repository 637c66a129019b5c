//! What SIP asks about users: whether they are signed in, and the hashes of their passwords.

use std::net::IpAddr;
use std::sync::Arc;

use common::redact::Secret;
use common::runtime::clock;
use common::session::UserName;
use common::sip::digest::{Algorithm, HashSource};
use common::sip::identity::Aor;

use super::passwords::Passwords;
use crate::sessions::Sessions;

/// Users by their sessions and passwords.
#[derive(Debug)]
pub struct Users {
    sessions: Sessions,
    passwords: Arc<Passwords>,
}

impl Users {
    /// Asks these.
    #[must_use]
    pub const fn new(sessions: Sessions, passwords: Arc<Passwords>) -> Self {
        Self {
            sessions,
            passwords,
        }
    }
}

impl HashSource for Users {
    fn ha1(&self, username: &str, realm: &str, algorithm: Algorithm) -> Option<Secret<String>> {
        let stored = self.passwords.stored(username, realm, algorithm);
        stored.or_else(|| {
            let user = UserName::parse(username).ok()?;
            // A password proved long ago is not one that counts now.
            let is_live = self.sessions.is_signed_in(&user, None, clock::unix_now());
            let learned = is_live.then(|| self.passwords.learned_of(&user, realm, algorithm));
            learned.flatten()
        })
    }

    fn is_signed_in(&self, username: &str, address: Option<IpAddr>) -> bool {
        let user = UserName::parse(username);
        user.is_ok_and(|user| {
            self.sessions
                .is_signed_in(&user, address, clock::unix_now())
        })
    }
}

/// Whether nobody is signed in any more for whom a connection speaks.
#[must_use]
pub fn is_gone(sessions: &Sessions, aor: &Aor) -> bool {
    let user = UserName::parse(aor.user());
    user.is_ok_and(|user| !sessions.is_signed_in(&user, None, clock::unix_now()))
}
