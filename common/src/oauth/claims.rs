//! The claims of an access token (RFC 7519 section 4, RFC 9068), checked against what its issuer is configured for.

use serde::{Deserialize, Deserializer};

use super::compact::object;
use super::error::TokenError;
use super::rules::Rules;
use crate::limits;
use crate::redact::Redacted;
use crate::time::UnixTime;

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who: the value of the claim that the issuer is configured for. At most [`limits::USER_NAME_BYTES_MAX`] octets.
    pub user: Redacted<String>,
    /// Until when, if the token says so.
    pub expires: Option<UnixTime>,
}

/// One string or a list of them.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    Many(Vec<String>),
    One(String),
    #[default]
    None,
}

impl OneOrMany {
    fn values(&self) -> &[String] {
        match self {
            Self::Many(values) => values,
            Self::One(value) => std::slice::from_ref(value),
            Self::None => &[],
        }
    }
}

/// The claims that are checked. An `iss` that is a list, or a time that is text, makes the token unreadable.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    pub(super) iss: Option<String>,
    #[serde(default)]
    pub(super) aud: OneOrMany,
    #[serde(default, deserialize_with = "numeric_date")]
    pub(super) exp: Option<UnixTime>,
    #[serde(default, deserialize_with = "numeric_date")]
    pub(super) nbf: Option<UnixTime>,
    #[serde(default, deserialize_with = "numeric_date")]
    pub(super) iat: Option<UnixTime>,
    /// RFC 8693 section 4.2: words between blanks; some issuers write a list, some call it `scp`.
    #[serde(default)]
    pub(super) scope: OneOrMany,
    #[serde(default)]
    pub(super) scp: OneOrMany,
}

/// RFC 7519 section 2: seconds since 1970, perhaps with a fraction.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixTime>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    let Some(number) = number else {
        return Ok(None);
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(UnixTime(seconds)));
    }
    let is_time = |seconds: &f64| (0.0..=SECONDS_MAX).contains(seconds);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range just checked"
    )]
    let whole = |seconds: f64| UnixTime(seconds as u64);
    number
        .as_f64()
        .filter(is_time)
        .map(|seconds| Some(whole(seconds)))
        .ok_or_else(|| serde::de::Error::custom("not a time"))
}

/// 2^53: beyond it a floating-point number is not exact, and no token lives that long.
const SECONDS_MAX: f64 = 9_007_199_254_740_992.0;

impl Claims {
    pub(super) fn read(json: &[u8]) -> Result<Self, TokenError> {
        let claims: Self = object(json).ok_or(TokenError::Malformed)?;
        if claims.aud.values().len() > limits::TOKEN_AUDIENCES_MAX {
            return Err(TokenError::Malformed);
        }
        Ok(claims)
    }

    /// Checks everything but times: a token for somebody else is not even one that expired.
    pub(super) fn check_addressing(&self, rules: &Rules) -> Result<(), TokenError> {
        if let Some(issuer) = &rules.issuer
            && self.iss.as_ref() != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        let is_ours = |audience: &String| rules.audiences.contains(audience);
        if !rules.audiences.is_empty() && !self.aud.values().iter().any(is_ours) {
            return Err(TokenError::Audience);
        }
        let has = |wanted: &String| {
            let granted = self.scope.values().iter().chain(self.scp.values());
            granted
                .flat_map(|text| text.split(' '))
                .any(|word| word == wanted)
        };
        if !rules.scopes.iter().all(has) {
            return Err(TokenError::Scope);
        }
        Ok(())
    }

    pub(super) fn check_times(&self, rules: &Rules, now: UnixTime) -> Result<(), TokenError> {
        let latest = now.plus(rules.skew);
        if self.nbf.is_some_and(|from| from > latest) || self.iat.is_some_and(|at| at > latest) {
            return Err(TokenError::NotYetValid);
        }
        if self.exp.is_some_and(|end| end.plus(rules.skew) <= now) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// The user that a claim names.
pub(super) fn user(json: &[u8], claim: &str) -> Result<Redacted<String>, TokenError> {
    let claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|_| TokenError::Malformed)?;
    let name = claims.get(claim).and_then(serde_json::Value::as_str);
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.len() <= limits::USER_NAME_BYTES_MAX
            && !name.chars().any(char::is_control)
    };
    name.filter(is_name)
        .map(|name| Redacted::new(name.to_owned()))
        .ok_or(TokenError::NoUser)
}
