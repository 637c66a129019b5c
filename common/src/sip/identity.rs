//! Addresses of record in the form in which they are compared. Decides nothing about flows.

use std::fmt;
use std::sync::Arc;

use super::uri::Uri;
use crate::redact::Redacted;

/// An address of record: `user@host`, the host in lower case, without scheme, port and parameters.
///
/// Prints in redacted form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aor(Arc<str>);

impl Aor {
    /// Takes the parts of a SIP URI; `None` if they are not UTF-8.
    #[must_use]
    pub fn new(user: &[u8], host: &[u8]) -> Option<Self> {
        let user = std::str::from_utf8(user).ok()?;
        let host = std::str::from_utf8(host).ok()?;
        let mut text = String::with_capacity(user.len() + 1 + host.len());
        text.push_str(user);
        text.push('@');
        text.extend(host.chars().map(|c| c.to_ascii_lowercase()));
        Some(Self(text.into()))
    }

    /// Whether a URI is this AoR: user and host; of a `tel` URI the number.
    #[must_use]
    pub fn is(&self, uri: &Uri<'_>) -> bool {
        let Some(user) = uri.user_decoded() else {
            return false;
        };
        *user == *self.user().as_bytes()
            && (!uri.is_sip() || uri.host().eq_ignore_ascii_case(self.host().as_bytes()))
    }

    /// The AoR that a SIP URI names.
    #[must_use]
    pub fn of(uri: &Uri<'_>) -> Option<Self> {
        if !uri.is_sip() {
            return None;
        }
        Self::new(&uri.user_decoded()?, uri.host())
    }

    /// `user@host`. Personal data: not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    #[must_use]
    pub fn user(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(user, _)| user)
    }

    /// The part after the last `@`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, host)| host)
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Redacted::new(self.as_str()), f)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
