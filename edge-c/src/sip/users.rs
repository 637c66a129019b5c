//! What SIP asks about users: whether they are signed in, the hashes of their passwords, and whether tokens are theirs.

use std::net::IpAddr;
use std::sync::Arc;

use common::net::Domain;
use common::oauth::TokenError;
use common::redact::Secret;
use common::runtime::clock;
use common::session::UserName;
use common::sip::auth::TokenFault;
use common::sip::digest::{Algorithm, HashSource};
use common::sip::identity::Aor;

use super::passwords::Passwords;
use crate::sessions::Sessions;
use crate::tokens::{TokenRefused, TokenVerifier};

/// Users by their sessions and passwords.
#[derive(Debug)]
pub struct Users {
    sessions: Sessions,
    passwords: Arc<Passwords>,
    /// Judges tokens, where any count.
    tokens: Option<Arc<TokenVerifier>>,
}

impl Users {
    /// Asks these.
    #[must_use]
    pub const fn new(sessions: Sessions, passwords: Arc<Passwords>) -> Self {
        Self {
            sessions,
            passwords,
            tokens: None,
        }
    }

    /// Asks these about tokens too.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<TokenVerifier>) -> Self {
        self.tokens = Some(tokens);
        self
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

    fn check_token(&self, aor: &Aor, token: &str) -> Result<(), TokenFault> {
        let tokens = self.tokens.as_ref().ok_or(TokenFault::Unavailable)?;
        let domain = Domain::parse(aor.host()).map_err(|_| TokenFault::Refused)?;
        let accepted = tokens
            .verify_now(&domain, token)
            .map_err(|refused| fault_of(&refused))?;
        // Issuers call people by their user id, or by their mail address.
        let names = [aor.user(), aor.as_str()].map(UserName::parse);
        if names.contains(&Ok(accepted.user)) {
            Ok(())
        } else {
            Err(TokenFault::Refused)
        }
    }

    fn authorization_server(&self, aor: &Aor) -> Option<String> {
        let domain = Domain::parse(aor.host()).ok()?;
        self.tokens.as_ref()?.authorization_server(&domain)
    }
}

const fn fault_of(refused: &TokenRefused) -> TokenFault {
    match refused {
        TokenRefused::NoIssuer => TokenFault::Refused,
        TokenRefused::Unavailable { .. } => TokenFault::Unavailable,
        TokenRefused::Token {
            error: TokenError::Expired,
            ..
        } => TokenFault::Expired,
        TokenRefused::Token { error, .. } if error.is_forged() => TokenFault::Forged,
        TokenRefused::Token { .. } => TokenFault::Refused,
    }
}

/// Whether nobody is signed in any more for whom a connection speaks.
#[must_use]
pub fn is_gone(sessions: &Sessions, aor: &Aor) -> bool {
    let user = UserName::parse(aor.user());
    let now = clock::unix_now();
    user.is_ok_and(|user| sessions.signed_in_until(&user, now).is_none())
}
