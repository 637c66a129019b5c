//! The answer of an introspection endpoint (RFC 7662 section 2.2). The issuer's word is the verdict; it still is checked
//! for whom and until when.

use serde::Deserialize;

use super::claims::{self, Claims, Verified};
use super::compact::object;
use super::error::TokenError;
use super::rules::Rules;
use crate::limits;
use crate::time::UnixTime;

/// Why an answer is no verdict, or a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectionError {
    /// Not an answer of introspection: the issuer's fault, not the token's.
    #[error("the issuer's answer is not one of introspection")]
    Answer,
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
}

#[derive(Deserialize)]
struct Activity {
    active: bool,
}

/// Reads an answer.
///
/// # Errors
/// [`IntrospectionError`] if it can't be read or the token is not good.
pub fn introspected(
    json: &[u8],
    rules: &Rules,
    now: UnixTime,
) -> Result<Verified, IntrospectionError> {
    if json.len() > limits::INTROSPECTION_BYTES_MAX {
        return Err(IntrospectionError::Answer);
    }
    let Activity { active } = object(json).ok_or(IntrospectionError::Answer)?;
    if !active {
        return Err(TokenError::Inactive.into());
    }
    let claims = Claims::read(json).map_err(|_| IntrospectionError::Answer)?;
    // RFC 7662 leaves `iss` and `aud` out if the issuer likes; what is there must be right.
    let rules = Rules {
        issuer: rules.issuer.clone().filter(|_| claims.iss.is_some()),
        ..rules.clone()
    };
    claims.check_addressing(&rules)?;
    claims.check_times(&rules, now)?;
    Ok(Verified {
        user: claims::user(json, &rules.user_claim)?,
        expires: claims.exp,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: UnixTime = UnixTime(1_000_000);

    fn rules() -> Rules {
        Rules {
            issuer: Some("https://idp.example.com".to_owned()),
            audiences: vec!["urn:edge".to_owned()],
            scopes: Vec::new(),
            algorithms: Vec::new(),
            types: Vec::new(),
            user_claim: "username".to_owned(),
            skew: Duration::from_secs(5),
        }
    }

    #[test]
    fn an_active_token_names_its_user_and_its_end() {
        let json = br#"{"active":true,"username":"alice","aud":["urn:edge"],"exp":1000600,"x":{}}"#;

        let verified = introspected(json, &rules(), NOW).unwrap();

        assert_eq!(verified.user.reveal(), "alice");
        assert_eq!(verified.expires, Some(UnixTime(1_000_600)));
    }

    #[test]
    fn a_bad_answer_says_whose_fault_it_is() {
        use TokenError as E;
        for (json, error) in [
            (
                r#"{"active":false}"#,
                IntrospectionError::Token(E::Inactive),
            ),
            (
                r#"{"active":true,"username":"alice","aud":"urn:other"}"#,
                IntrospectionError::Token(E::Audience),
            ),
            (
                r#"{"active":true,"username":"alice"}"#,
                IntrospectionError::Token(E::Audience),
            ),
            (
                r#"{"active":true,"username":"a","aud":"urn:edge","iss":"https://evil.example"}"#,
                IntrospectionError::Token(E::Issuer),
            ),
            (
                r#"{"active":true,"username":"a","aud":"urn:edge","exp":999995}"#,
                IntrospectionError::Token(E::Expired),
            ),
            (
                r#"{"active":true,"username":"a","aud":"urn:edge","nbf":1000006}"#,
                IntrospectionError::Token(E::NotYetValid),
            ),
            (
                r#"{"active":true,"aud":"urn:edge"}"#,
                IntrospectionError::Token(E::NoUser),
            ),
            (r#"{"active":"true"}"#, IntrospectionError::Answer),
            (r#"{"active":1}"#, IntrospectionError::Answer),
            ("{}", IntrospectionError::Answer),
            ("<html>", IntrospectionError::Answer),
            (
                r#"{"active":true,"username":"a","aud":"urn:edge","exp":"soon"}"#,
                IntrospectionError::Answer,
            ),
        ] {
            let found = introspected(json.as_bytes(), &rules(), NOW);
            assert_eq!(found, Err(error), "{json}");
        }
        let long = vec![b' '; limits::INTROSPECTION_BYTES_MAX + 1];
        assert_eq!(
            introspected(&long, &rules(), NOW),
            Err(IntrospectionError::Answer)
        );
    }
}
