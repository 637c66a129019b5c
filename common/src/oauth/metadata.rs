//! Authorisation server metadata (RFC 8414, `OpenID` Connect Discovery 1.0): where an issuer's endpoints are.

use serde_json::{Map, Value};

use crate::limits;

/// An issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Map<String, Value>);

/// Why a document is not an issuer's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Somebody else's: believing it would let one issuer speak for another (RFC 8414 section 3.3).
    #[error("the metadata is of another issuer")]
    Issuer,
    /// No JSON object.
    #[error("the metadata can't be read")]
    Malformed,
    /// Over [`limits::METADATA_BYTES_MAX`].
    #[error("the metadata is longer than {} octets", limits::METADATA_BYTES_MAX)]
    TooLarge,
}

impl Metadata {
    /// Reads a document that must be about `issuer`, octet by octet.
    ///
    /// # Errors
    /// [`MetadataError`] if it isn't.
    pub fn read(json: &[u8], issuer: &str) -> Result<Self, MetadataError> {
        if json.len() > limits::METADATA_BYTES_MAX {
            return Err(MetadataError::TooLarge);
        }
        let members: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| MetadataError::Malformed)?;
        if members.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(MetadataError::Issuer);
        }
        Ok(Self(members))
    }

    /// A URL, such as `jwks_uri`.
    #[must_use]
    pub fn url(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The document for clients outside: URLs become what `outside` makes of them, and those that it makes nothing of
    /// go, with everything else that names a server.
    #[must_use]
    pub fn for_outside(&self, outside: impl Fn(&str, &str) -> Option<String>) -> String {
        let mut members = Map::new();
        for (name, value) in self.0.iter().filter(|(name, _)| !is_url(name)) {
            let is_issuer = name == "issuer";
            let kept = match value {
                Value::String(url) if !is_issuer && is_url(url) => {
                    outside(name, url).map(Value::String)
                }
                Value::Object(_) => None,
                Value::Array(all) if all.iter().any(|one| !is_plain(one)) => None,
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => Some(value.clone()),
            };
            if let Some(kept) = kept {
                members.insert(name.clone(), kept);
            }
        }
        Value::Object(members).to_string()
    }
}

/// Is it a URL, or so near to one that some client reads it as one? Browsers take `https:/host` and `//host` too.
fn is_url(text: &str) -> bool {
    let text = text.trim_start();
    let begins = |scheme: &str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    text.contains("//") || begins("http:") || begins("https:")
}

fn is_plain(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !is_url(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.example.com";

    fn document(issuer: &str) -> String {
        format!(
            r#"{{"issuer":"{issuer}","authorization_endpoint":"{ISSUER}/auth","token_endpoint":"{ISSUER}/token",
            "userinfo_endpoint":"https://inner.example.com/me","scopes_supported":["openid"],
            "mtls_endpoint_aliases":{{"token_endpoint":"https://m.example.com"}},"mixed":["a","https://x"],
            "claims_parameter_supported":false}}"#
        )
    }

    #[test]
    fn what_some_client_takes_for_a_url_does_not_go_out_either() {
        let document = format!(
            r#"{{"issuer":"{ISSUER}","a":"https:/m.example.com","b":"HTTPS:m.example.com","c":["//m.example.com"],
            "d":" http:&//m.example.com","//m.example.com":true,"scopes_supported":["https","openid"]}}"#
        );
        let metadata = Metadata::read(document.as_bytes(), ISSUER).unwrap();

        let outside = metadata.for_outside(|_, _| None);

        assert_eq!(
            outside,
            format!(r#"{{"issuer":"{ISSUER}","scopes_supported":["https","openid"]}}"#)
        );
    }

    #[test]
    fn clients_outside_see_endpoints_outside_and_no_other_server() {
        let metadata = Metadata::read(document(ISSUER).as_bytes(), ISSUER).unwrap();

        let outside = metadata.for_outside(|name, url| {
            let path = url.strip_prefix(ISSUER)?;
            Some(format!("https://edge.example.com/x{path}#{name}"))
        });

        assert_eq!(
            metadata.url("token_endpoint"),
            Some("https://idp.example.com/token")
        );
        assert_eq!(
            outside,
            r#"{"authorization_endpoint":"https://edge.example.com/x/auth#authorization_endpoint","claims_parameter_supported":false,"issuer":"https://idp.example.com","scopes_supported":["openid"],"token_endpoint":"https://edge.example.com/x/token#token_endpoint"}"#
        );
    }

    #[test]
    fn nobody_speaks_for_another_issuer() {
        for issuer in ["https://evil.example.com", "https://idp.example.com/", ""] {
            let read = Metadata::read(document(issuer).as_bytes(), ISSUER);
            assert_eq!(read, Err(MetadataError::Issuer), "{issuer}");
        }
        assert_eq!(Metadata::read(b"[]", ISSUER), Err(MetadataError::Malformed));
        let long = vec![b' '; limits::METADATA_BYTES_MAX + 1];
        assert_eq!(Metadata::read(&long, ISSUER), Err(MetadataError::TooLarge));
    }
}
