//! Who is signed in, through which client, until when. Owns no socket, keeps no list and opens no seal.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::record::{RECORD_VERSION, RecordError};
use crate::limits;
pub use crate::mra::cookie::SessionId;
use crate::net::{ClientAddr, Deployment, Domain, Host};
use crate::redact::Redacted;
use crate::time::UnixTime;

mod record;

/// Why a text is not a user's or a device's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// A control character, which no field or log could carry.
    #[error("has a control character")]
    Control,
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// Over the limit in [`limits`].
    #[error("is too long")]
    TooLong,
}

/// The name a user signs in with, as the home cluster knows it.
///
/// Unified CM doesn't tell letter cases apart, so neither do comparison and hash here: else `Alice` would have another set
/// of limits and sessions than `alice`. It prints as a hash ([`Redacted`]).
#[derive(Clone)]
pub struct UserName {
    written: Arc<str>,
    folded: Arc<str>,
}

impl UserName {
    /// Takes a name as it was written.
    ///
    /// # Errors
    /// [`UserNameError`] if it is empty, too long or has control characters.
    pub fn parse(text: &str) -> Result<Self, UserNameError> {
        check_name(text, limits::USER_NAME_BYTES_MAX)?;
        let written: Arc<str> = text.into();
        let folded = text.to_lowercase();
        Ok(Self {
            folded: if folded == text {
                Arc::clone(&written)
            } else {
                folded.into()
            },
            written,
        })
    }

    /// The name as it was written, for the home cluster.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The name as it may stand in a log or on a page.
    #[must_use]
    pub fn redacted(&self) -> Redacted<&str> {
        Redacted::new(&self.folded)
    }
}

impl PartialEq for UserName {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for UserName {}

impl PartialOrd for UserName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UserName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded.cmp(&other.folded)
    }
}

impl std::hash::Hash for UserName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The device a client says it is, such as `CSFALICE`. Not proved; it prints as a hash, for it often is the user's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(Arc<str>);

impl DeviceName {
    /// Takes a name in any letter case; it is kept in upper case, as Unified CM does.
    ///
    /// # Errors
    /// [`UserNameError`] if it is empty, too long or has control characters.
    pub fn parse(text: &str) -> Result<Self, UserNameError> {
        check_name(text, limits::DEVICE_NAME_BYTES_MAX)?;
        Ok(Self(text.to_ascii_uppercase().into()))
    }

    /// The name in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted::new(self.as_str()).fmt(f)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check_name(text: &str, bytes_max: usize) -> Result<(), UserNameError> {
    if text.is_empty() {
        return Err(UserNameError::Empty);
    }
    if text.len() > bytes_max {
        return Err(UserNameError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(UserNameError::Control);
    }
    Ok(())
}

/// How the user proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A password, proved at the home cluster.
    Basic,
    /// An access token.
    Token,
}

impl Method {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Token => "token",
        }
    }
}

/// The Unified CM cluster where a user lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeCluster {
    /// The node that the look-up named.
    pub host: Host,
    /// All its nodes, at most [`limits::SESSION_NODES_MAX`].
    pub nodes: Vec<Host>,
}

/// The credential for the home cluster, encrypted. What opens it is held by nobody but the client and edge-c together.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCredential(pub Vec<u8>);

impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[sealed, {} octets]", self.0.len())
    }
}

/// One sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Under what it is kept: nothing that would let anybody in.
    pub id: SessionId,
    /// Who.
    pub user: UserName,
    /// Through which of the configured domains.
    pub domain: Domain,
    /// Whose rules and nodes apply.
    pub deployment: Deployment,
    /// Where the user lives.
    pub home: HomeCluster,
    /// How that was proved.
    pub method: Method,
    /// On which device, if the client said so.
    pub device: Option<DeviceName>,
    /// From where, as edge-e saw it at sign-in. Clients move: advisory.
    pub client: ClientAddr,
    /// Since when.
    pub created: UnixTime,
    /// Until when: from this second on it is over.
    pub expires: UnixTime,
    /// Where the credential may go: the user's own nodes, at most [`limits::SESSION_NODES_MAX`].
    pub nodes: Vec<Host>,
    /// The credential, if one was kept.
    pub credential: Option<SealedCredential>,
}

impl Session {
    /// Whether it is over.
    #[must_use]
    pub fn has_expired(&self, now: UnixTime) -> bool {
        self.expires <= now
    }

    /// Whether the user's credential may be sent to `host`.
    #[must_use]
    pub fn may_send_credential_to(&self, host: &Host) -> bool {
        self.nodes.contains(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_case_makes_no_other_user_and_is_kept_for_the_home_cluster() {
        let one = UserName::parse("Alice").unwrap();
        let two = UserName::parse("alice").unwrap();

        assert_eq!(one, two);
        assert_eq!(one.cmp(&two), std::cmp::Ordering::Equal);
        assert_eq!(one.as_str(), "Alice");
        assert_eq!(one.to_string(), two.to_string());
        assert_ne!(one, UserName::parse("bob").unwrap());
    }

    #[test]
    fn names_never_print_themselves() {
        let user = UserName::parse("alice").unwrap();
        let device = DeviceName::parse("CSFalice").unwrap();

        assert!(!format!("{user} {user:?}").contains("alice"));
        assert!(
            !format!("{device} {device:?}")
                .to_lowercase()
                .contains("alice")
        );
        assert_eq!(device.as_str(), "CSFALICE");
    }

    #[test]
    fn what_no_field_could_carry_is_no_name() {
        assert_eq!(UserName::parse(""), Err(UserNameError::Empty));
        assert_eq!(UserName::parse("a\nb"), Err(UserNameError::Control));
        assert_eq!(
            UserName::parse(&"x".repeat(513)),
            Err(UserNameError::TooLong)
        );
        assert_eq!(
            DeviceName::parse(&"x".repeat(129)),
            Err(UserNameError::TooLong)
        );
    }
}
