//! The verdict on a signed token: algorithm pinned, key by name, then every claim. Pure: keys and time are arguments.

use std::time::Duration;

use super::algorithm::Algorithm;
use super::claims::{self, Claims, Verified};
use super::compact::{Compact, Kid};
use super::key_set::KeySet;
use super::sealed::{self, SealKey};
use crate::limits;
use crate::time::UnixTime;

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
    /// How far clocks may differ, at most [`limits::TOKEN_SKEW_MAX`].
    pub skew: Duration,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum TokenError {
    /// Another algorithm than the issuer's: `none`, HMAC with a public key, and so on.
    #[error("the token is signed with an algorithm that its issuer does not use")]
    Algorithm,
    /// Made for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// The header asks for an extension.
    #[error("the token asks for an extension that is not supported")]
    Critical,
    /// Genuine, and over.
    #[error("the token has expired")]
    Expired,
    /// The issuer says that it is not good, or not any more.
    #[error("the issuer does not hold the token for active")]
    Inactive,
    /// Made by somebody else than it was verified for.
    #[error("the token is of another issuer")]
    Issuer,
    /// The name of the key is none.
    #[error("the name of the token's key is not a name")]
    KeyName,
    /// No form that is known.
    #[error("the token can't be read")]
    Malformed,
    /// Nothing says when it ends.
    #[error("the token never ends")]
    NoExpiry,
    /// Genuine, and of the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The claim that names the user is missing.
    #[error("the token names no user")]
    NoUser,
    /// The encrypted part can't be opened.
    #[error("the token's encrypted part can't be opened")]
    Sealed,
    /// Good, but not for this.
    #[error("the token lacks a scope")]
    Scope,
    /// The signature is of another key, or of other octets.
    #[error("the token's signature is wrong")]
    Signature,
    /// Over [`limits::TOKEN_BYTES_MAX`].
    #[error("the token is longer than {} octets", limits::TOKEN_BYTES_MAX)]
    TooLarge,
    /// Not an access token.
    #[error("the token is of another type")]
    Type,
    /// The issuer may have new keys.
    #[error("the token's key is not known")]
    UnknownKey,
}

impl TokenError {
    /// Whether somebody made this token up; an honest client's expired or misdirected one is not.
    #[must_use]
    pub const fn is_forged(self) -> bool {
        match self {
            Self::Algorithm | Self::Critical | Self::KeyName | Self::Sealed | Self::Signature => {
                true
            }
            Self::Audience
            | Self::Expired
            | Self::Inactive
            | Self::Issuer
            | Self::Malformed
            | Self::NoExpiry
            | Self::NotYetValid
            | Self::NoUser
            | Self::Scope
            | Self::TooLarge
            | Self::Type
            | Self::UnknownKey => false,
        }
    }
}

/// Verifies a token. With `seal`, the form is the self-describing one: the claims are encrypted inside the signed part.
///
/// The signature comes first, so that every other verdict is about a genuine token of this issuer.
///
/// # Errors
/// [`TokenError`]; with [`TokenError::UnknownKey`] it is worth while to look for new keys.
pub fn verify(
    token: &str,
    keys: &KeySet,
    seal: Option<&SealKey>,
    rules: &Rules,
    now: UnixTime,
) -> Result<Verified, TokenError> {
    let compact = Compact::parse(token)?;
    let header = &compact.header;
    // RFC 8725 section 3.1: the header chooses among what is configured, and nothing else.
    let named = header.alg.parse::<Algorithm>();
    let algorithm = named.map_err(|_| TokenError::Algorithm)?;
    if !rules.algorithms.contains(&algorithm) {
        return Err(TokenError::Algorithm);
    }
    if header.crit.is_some() || header.b64.is_some() {
        return Err(TokenError::Critical);
    }
    let kid = match &header.kid {
        Some(text) => Some(Kid::parse(text).ok_or(TokenError::KeyName)?),
        None => None,
    };
    keys.check(kid.as_ref(), algorithm, compact.signed, compact.signature)?;
    check_type(header.typ.as_deref(), &rules.types)?;
    let payload = compact.payload()?;
    let payload = match seal {
        None => payload,
        Some(seal) => sealed::open(&payload, seal)?,
    };
    let claims = Claims::read(&payload)?;
    claims.check_addressing(rules)?;
    let expires = claims.exp.ok_or(TokenError::NoExpiry)?;
    claims.check_times(rules, now)?;
    Ok(Verified {
        user: claims::user(&payload, &rules.user_claim)?,
        expires: Some(expires),
    })
}

/// RFC 7515 section 4.1.9: `application/` may be left out, and letter case does not count.
fn check_type(typ: Option<&str>, allowed: &[String]) -> Result<(), TokenError> {
    let typ = typ.unwrap_or_default().to_ascii_lowercase();
    let short = typ.strip_prefix("application/").unwrap_or(&typ);
    if allowed.iter().any(|one| one == short) {
        Ok(())
    } else {
        Err(TokenError::Type)
    }
}

#[cfg(test)]
mod tests;
