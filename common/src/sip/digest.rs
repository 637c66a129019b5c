//! Digest authentication by edge-c itself (RFC 8760, RFC 7616). Passes no credentials on and keeps none.

use std::net::IpAddr;

use crate::redact::Secret;
use crate::sip::identity::Aor;

/// The hash of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, asked for first.
    Sha256,
    /// MD5, for phones that know nothing else.
    Md5,
}

/// What the shell knows about users.
pub trait HashSource {
    /// H(username ":" realm ":" password) in lower-case hexadecimal; `None` if the user is unknown or this hash of the
    /// password is.
    fn ha1(&self, username: &str, realm: &str, algorithm: Algorithm) -> Option<Secret<String>>;

    /// Whether the user may register this AoR. The user part of the AoR is the user name by default.
    fn may_register(&self, username: &str, aor: &Aor) -> bool {
        aor.user() == username || aor.as_str() == username
    }

    /// Whether the user has a live HTTPS session, from `address` if there is one. `username` is that of the digest if
    /// the request has one, else the user part of the AoR.
    fn is_signed_in(&self, username: &str, address: Option<IpAddr>) -> bool;
}

/// Knows nobody: every registrar authenticates by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHashes;

impl HashSource for NoHashes {
    fn ha1(&self, _: &str, _: &str, _: Algorithm) -> Option<Secret<String>> {
        None
    }

    fn is_signed_in(&self, _: &str, _: Option<IpAddr>) -> bool {
        false
    }
}
