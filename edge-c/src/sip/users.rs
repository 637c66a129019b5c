//! What SIP asks about users: whether they are signed in, and the hashes of their passwords.

use std::net::IpAddr;

use common::redact::Secret;
use common::runtime::clock;
use common::session::UserName;
use common::sip::digest::{Algorithm, HashSource};
use common::sip::identity::Aor;

use crate::sessions::Sessions;

/// Users by their sessions.
#[derive(Debug)]
pub struct Users {
    sessions: Sessions,
}

impl Users {
    /// Asks `sessions`.
    #[must_use]
    pub const fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

impl HashSource for Users {
    fn ha1(&self, _: &str, _: &str, _: Algorithm) -> Option<Secret<String>> {
        None
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
