//! The verdict on a signed token: algorithm pinned, key by name, then every claim. Pure: keys and time are arguments.

use super::algorithm::Algorithm;
use super::claims::{self, Claims, Verified};
use super::compact::{Compact, Kid};
use super::error::TokenError;
use super::key_set::KeySet;
use super::rules::Rules;
use super::sealed::{self, SealKey};
use crate::time::UnixTime;

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
