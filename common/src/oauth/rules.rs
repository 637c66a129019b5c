//! What is asked of an issuer's tokens.

use std::time::Duration;

use super::algorithm::Algorithm;

/// What the tokens of one issuer must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `iss`, compared octet by octet; `None` only for forms that have none.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; empty only for forms that have none.
    pub audiences: Vec<String>,
    /// All of these must be in `scope`.
    pub scopes: Vec<String>,
    /// Signed with one of these, whatever the key set says.
    pub algorithms: Vec<Algorithm>,
    /// `typ` of the header, in lower case without `application/`: tells access tokens from ID tokens (RFC 9068 section 2.1).
    pub types: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// How far clocks may differ, at most [`TOKEN_SKEW_MAX`](crate::limits::TOKEN_SKEW_MAX).
    pub skew: Duration,
}
