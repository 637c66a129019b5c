//! The compact serialisation of JWS (RFC 7515 section 7.1), and the header of it. Nothing read here is believed yet.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::TokenError;
use crate::limits;

/// The name of a key: looked up in a map and nothing else, never a path or a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(Arc<str>);

impl Kid {
    /// Takes a name of at most [`limits::TOKEN_KID_BYTES_MAX`] characters that no path and no query needs.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:=+@".contains(&b);
        let is_name = !text.is_empty()
            && text.len() <= limits::TOKEN_KID_BYTES_MAX
            && text.bytes().all(is_plain)
            && !text.contains("..");
        is_name.then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of token a text is, before anything of it is verified: good for choosing whom to ask, and for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JWS that says whose it is.
    Of {
        /// Its `iss`.
        issuer: String,
    },
    /// Neither of the others: a reference that only its issuer understands.
    Opaque,
    /// The self-describing form: a JWS around a JWE.
    SelfDescribing,
}

/// A header's text as far as it counts. What may name other keys (`jku`, `jwk`, `x5u`, `x5c`) is not even read.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default)]
    pub(super) typ: Option<String>,
    #[serde(default)]
    pub(super) kid: Option<String>,
    /// RFC 7515 section 4.1.11: extensions that must be understood; none is.
    #[serde(default)]
    pub(super) crit: Option<IgnoredAny>,
    /// RFC 7797: an unencoded payload, which would be signed over other octets.
    #[serde(default)]
    pub(super) b64: Option<IgnoredAny>,
}

/// The parts of a JWS, unverified.
pub(super) struct Compact<'a> {
    pub(super) header: Header,
    /// Header and payload as they are signed.
    pub(super) signed: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Compact<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = object(&decode(header)?).ok_or(TokenError::Malformed)?;
        Ok(Self {
            header,
            signed,
            payload,
            signature,
        })
    }

    pub(super) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }
}

/// Reads a JSON object. A list would do for `serde`, with the members in order.
pub(super) fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}

pub(super) fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}

#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    private: Option<IgnoredAny>,
}

/// Says what kind of token a text is.
#[must_use]
pub fn shape(token: &str) -> Shape {
    let outline = Compact::parse(token)
        .and_then(|compact| compact.payload())
        .ok()
        .and_then(|payload| object::<Outline>(&payload));
    match outline {
        Some(Outline {
            private: Some(IgnoredAny),
            ..
        }) => Shape::SelfDescribing,
        Some(Outline {
            iss: Some(issuer), ..
        }) => Shape::Of { issuer },
        Some(Outline { .. }) | None => Shape::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{payload}.c2ln")
    }

    #[test]
    fn the_shape_is_told_without_believing_it() {
        let header = r#"{"alg":"RS256"}"#;
        let of = |payload| shape(&token(header, payload));

        let issuer = "https://idp.example.com".to_owned();
        assert_eq!(
            of(r#"{"iss":"https://idp.example.com"}"#),
            Shape::Of { issuer }
        );
        assert_eq!(of(r#"{"private":"a..b.c.d"}"#), Shape::SelfDescribing);
        for opaque in ["[]", "{}", r#"{"iss":["a","b"]}"#, "{"] {
            assert_eq!(of(opaque), Shape::Opaque, "{opaque}");
        }
        for opaque in ["", "abc", "a.b", "a.b.c", "a.b.c.d", "....."] {
            assert_eq!(shape(opaque), Shape::Opaque, "{opaque}");
        }
    }

    #[test]
    fn a_header_with_one_field_twice_is_refused() {
        let twice = token(r#"{"alg":"RS256","alg":"none"}"#, "{}");

        assert_eq!(
            Compact::parse(&twice).map(|_| ()),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn a_key_name_is_no_path_and_no_url() {
        for good in ["k1", "cluster1:9f86d081", "a.b~c_d-e=", "me@idp"] {
            assert!(Kid::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "../../etc/passwd",
            "a..b",
            "https://evil.example/jwks",
            "a/b",
            "a\\b",
            "a b",
            "k1\0",
            "' OR 1=1",
            "k%2f",
            "|id",
            "\u{e9}",
            &"k".repeat(limits::TOKEN_KID_BYTES_MAX + 1),
        ] {
            assert_eq!(Kid::parse(bad), None, "{bad}");
        }
    }
}
