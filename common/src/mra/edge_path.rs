//! The path on 8443: `/<B64(domain)>/<verb>` or `/<B64(domain/protocol/host/port)>/<path>` (reference section 2).
//!
//! Says what the client asks for; decides nothing. The origin-form target behind the first segment is
//! handed on as it came: `http::target` reads it.

use std::num::NonZeroU16;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::limits;
use crate::mra::access::Verb;
use crate::net::{Domain, Host, Origin, Scheme};

/// What a path on 8443 asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgePath<'a> {
    /// An inner origin's resource.
    Proxied {
        /// The service domain.
        domain: Domain,
        /// Whom the client wants to reach.
        origin: Origin,
        /// Path and query for the origin, as they came; starts with `/`.
        target: &'a str,
    },
    /// Single sign-on: a page or an endpoint of an issuer of tokens.
    Sso {
        /// The service domain.
        domain: Domain,
        /// Which page.
        page: SsoPage<'a>,
    },
    /// Something the edge itself answers.
    Verb {
        /// The service domain.
        domain: Domain,
        /// Which verb.
        verb: Verb,
        /// What follows `?`, as it came.
        query: Option<&'a str>,
    },
}

/// A page or an endpoint of an issuer of tokens, as it is called on the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SsoPage<'a> {
    /// `authorize`: where a sign-in starts (RFC 6749 section 3.1).
    Authorize {
        /// What follows `?`, as it came.
        query: Option<&'a str>,
    },
    /// `idp/<issuer>/<path>`: the issuer's own pages.
    Issuer {
        /// The issuer's name.
        name: &'a str,
        /// Path and query on the issuer, as they came; starts with `/`.
        target: &'a str,
    },
    /// `.well-known/oauth-authorization-server` or `.well-known/openid-configuration` (RFC 8414).
    Metadata,
    /// `revoke` (RFC 7009).
    Revoke,
    /// `token` (RFC 6749 section 3.2).
    Token,
}

impl<'a> SsoPage<'a> {
    /// Reads what follows the domain; nothing if it is none of these.
    fn parse(rest: &'a str) -> Option<Self> {
        if let Some(page) = rest.strip_prefix("idp/") {
            let (name, target) = page.split_at_checked(page.find('/')?)?;
            let is_plain = !name.is_empty() && !name.contains('?');
            return is_plain.then_some(Self::Issuer { name, target });
        }
        let (name, query) = match rest.split_once('?') {
            Some((name, query)) => (name, Some(query)),
            None => (rest, None),
        };
        match name {
            "authorize" | "authorize/" => Some(Self::Authorize { query }),
            ".well-known/oauth-authorization-server" | ".well-known/openid-configuration" => {
                Some(Self::Metadata)
            }
            "revoke" => Some(Self::Revoke),
            "token" => Some(Self::Token),
            _ => None,
        }
    }
}

/// Why a path is not an edge path. Each is answered 404, but for a client error that says what to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgePathError {
    /// The first segment is not base64 of ASCII text.
    #[error("the first path segment is not base64 of ASCII text")]
    Encoding,
    /// Neither one nor four fields.
    #[error("the first path segment has neither one field nor four (domain/protocol/host/port)")]
    Fields,
    /// The domain is not a DNS name.
    #[error("the domain in the first path segment is not a DNS name")]
    Domain,
    /// Protocol, host or port of the origin can't be.
    #[error("the origin in the first path segment is not http or https, a host and a port")]
    Origin,
    /// One field, and no verb that is known.
    #[error("no such edge verb")]
    Verb,
    /// Longer than any real one.
    #[error("the first path segment is too long")]
    TooLong,
}

/// Reads both alphabets once `-` and `_` are mapped, padded or not, trailing bits of any value.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Writes what stock clients write: standard alphabet, no padding. Names, ports and slashes in ASCII
/// never encode to `+` or `/`, so the segment can't be split by its own base64.
const UNPADDED: GeneralPurpose = base64::engine::general_purpose::STANDARD_NO_PAD;

impl<'a> EdgePath<'a> {
    /// Reads the path and query of a request.
    ///
    /// # Errors
    /// [`EdgePathError`] says what it is not.
    pub fn parse(path_and_query: &'a str) -> Result<Self, EdgePathError> {
        let rest = path_and_query
            .strip_prefix('/')
            .ok_or(EdgePathError::Encoding)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (segment, rest) = rest.split_at(end);
        let mut buffer = [0; limits::EDGE_SEGMENT_DECODED_BYTES_MAX];
        let fields = decode(segment, &mut buffer)?;
        match fields.split_once('/') {
            None => verb(fields, rest),
            Some((domain, origin)) => proxied(domain, origin, rest),
        }
    }

    /// The service domain.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        match self {
            Self::Proxied { domain, .. } | Self::Sso { domain, .. } | Self::Verb { domain, .. } => {
                domain
            }
        }
    }
}

/// `/<B64(domain)>` as clients write it, for links back to the edge.
#[must_use]
pub fn encode_domain(domain: &Domain) -> String {
    UNPADDED.encode(domain.as_str())
}

/// The segment that stands for `origin` in a path on the edge.
#[must_use]
pub fn encode_origin(domain: &Domain, origin: &Origin) -> String {
    let Origin { scheme, host, port } = origin;
    let text = format!("{domain}/{}/{host}/{port}", scheme.as_str());
    UNPADDED.encode(text)
}

fn decode<'b>(segment: &str, buffer: &'b mut [u8]) -> Result<&'b str, EdgePathError> {
    let mut standard = [0_u8; limits::EDGE_SEGMENT_BYTES_MAX];
    let standard = standard
        .get_mut(..segment.len())
        .ok_or(EdgePathError::TooLong)?;
    for (to, from) in standard.iter_mut().zip(segment.bytes()) {
        *to = match from {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
    }
    let len = LENIENT
        .decode_slice(standard, buffer)
        .map_err(|_| EdgePathError::Encoding)?;
    let decoded = buffer.get(..len).filter(|bytes| !bytes.is_empty());
    decoded
        .filter(|bytes| bytes.is_ascii())
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or(EdgePathError::Encoding)
}

fn verb<'a>(domain: &str, rest: &'a str) -> Result<EdgePath<'a>, EdgePathError> {
    let domain = Domain::parse(domain).map_err(|_| EdgePathError::Domain)?;
    let rest = rest.strip_prefix('/').ok_or(EdgePathError::Verb)?;
    if let Some(page) = SsoPage::parse(rest) {
        return Ok(EdgePath::Sso { domain, page });
    }
    let (name, query) = match rest.split_once('?') {
        Some((name, query)) => (name, Some(query)),
        None => (rest, None),
    };
    let verb = Verb::parse(name).ok_or(EdgePathError::Verb)?;
    Ok(EdgePath::Verb {
        domain,
        verb,
        query,
    })
}

fn proxied<'a>(domain: &str, origin: &str, rest: &'a str) -> Result<EdgePath<'a>, EdgePathError> {
    let mut fields = origin.split('/');
    let (Some(scheme), Some(host), Some(port), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(EdgePathError::Fields);
    };
    let domain = Domain::parse(domain).map_err(|_| EdgePathError::Domain)?;
    let scheme = Scheme::parse(scheme).ok_or(EdgePathError::Origin)?;
    let host = Host::parse(host).map_err(|_| EdgePathError::Origin)?;
    let port = parse_port(port).ok_or(EdgePathError::Origin)?;
    let target = match rest.as_bytes().first() {
        Some(b'/') => rest,
        // `/<segment>` and `/<segment>?query` name the origin's root.
        None => "/",
        Some(_) => return Err(EdgePathError::Origin),
    };
    Ok(EdgePath::Proxied {
        domain,
        origin: Origin { scheme, host, port },
        target,
    })
}

/// A port in plain digits: `u16::from_str` alone would take `+443`.
fn parse_port(text: &str) -> Option<NonZeroU16> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// What the fuzz target checks: whatever is read, is written and read back as the same.
#[cfg(any(test, feature = "test-util"))]
#[expect(
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a fuzz target reports by panicking"
)]
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(EdgePath::Proxied {
        domain,
        origin,
        target,
    }) = EdgePath::parse(text)
    else {
        return;
    };
    let written = format!("/{}{target}", encode_origin(&domain, &origin));
    let again = EdgePath::parse(&written);
    if again
        != Ok(EdgePath::Proxied {
            domain,
            origin,
            target,
        })
    {
        panic!("{text:?} was read, written as {written:?} and read as {again:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> String {
        match EdgePath::parse(text) {
            Ok(EdgePath::Proxied {
                domain,
                origin,
                target,
            }) => format!("{domain} {origin} {target}"),
            other => format!("{other:?}"),
        }
    }

    fn path(fields: &str, rest: &str) -> String {
        format!("/{}{rest}", UNPADDED.encode(fields))
    }

    #[test]
    fn the_examples_of_the_reference_are_read() {
        assert_eq!(
            EdgePath::parse("/ZXhhbXBsZS5jb20/get_edge_config?service_name=_cisco-uds"),
            Ok(EdgePath::Verb {
                domain: Domain::parse("example.com").unwrap(),
                verb: Verb::GetEdgeConfig,
                query: Some("service_name=_cisco-uds"),
            })
        );
        assert_eq!(
            origin("/ZXhhbXBsZS5jb20vaHR0cHMvY3VjbS5leGFtcGxlLmNvbS84NDQz/cucm-uds/version?x=1"),
            "example.com https://cucm.example.com:8443 /cucm-uds/version?x=1"
        );
    }

    #[test]
    fn both_alphabets_and_any_padding_are_read() {
        let domain = Ok(Domain::parse("example.com").unwrap());
        for segment in ["ZXhhbXBsZS5jb20", "ZXhhbXBsZS5jb20="] {
            let path = format!("/{segment}/get_edge_sso/");
            assert_eq!(
                EdgePath::parse(&path).map(|p| p.domain().clone()),
                domain,
                "{segment}"
            );
        }
        // "a.example/http/[2001:db8::1]/80" holds no character that differs; "~" and "?" would, and no name has them.
        assert_eq!(
            origin(&path("a.example/http/[2001:db8::1]/80", "/")),
            "a.example http://[2001:db8::1]:80 /"
        );
    }

    #[test]
    fn the_pages_of_single_sign_on_are_read() {
        let page = |rest: &str| match EdgePath::parse(&path("d.test", rest)) {
            Ok(EdgePath::Sso { page, .. }) => format!("{page:?}"),
            other => format!("{other:?}"),
        };
        for (rest, expected) in [
            ("/authorize?a=b", "Authorize { query: Some(\"a=b\") }"),
            ("/token", "Token"),
            ("/revoke", "Revoke"),
            ("/.well-known/openid-configuration", "Metadata"),
            ("/.well-known/oauth-authorization-server", "Metadata"),
            (
                "/idp/corp/login?x=1",
                "Issuer { name: \"corp\", target: \"/login?x=1\" }",
            ),
            ("/idp/corp", "Err(Verb)"),
            ("/idp//x", "Err(Verb)"),
            ("/idp?/x", "Err(Verb)"),
            ("/token/", "Err(Verb)"),
            ("/.well-known/", "Err(Verb)"),
        ] {
            assert_eq!(page(rest), expected, "{rest}");
        }
    }

    #[test]
    fn an_origin_without_a_path_means_its_root() {
        assert_eq!(
            origin(&path("d.test/https/h.test/443", "")),
            "d.test https://h.test:443 /"
        );
        assert_eq!(
            EdgePath::parse(&path("d.test/https/h.test/443", "?x")),
            Err(EdgePathError::Origin)
        );
    }

    #[test]
    fn what_is_not_an_edge_path_says_why() {
        for (path, error) in [
            ("".to_owned(), EdgePathError::Encoding),
            ("/".to_owned(), EdgePathError::Encoding),
            ("/%%%/get_edge_config".to_owned(), EdgePathError::Encoding),
            (path("d.test", ""), EdgePathError::Verb),
            (path("d.test", "/nothing"), EdgePathError::Verb),
            (path("d.test", "/get_edge_config/more"), EdgePathError::Verb),
            (path("d..test", "/get_edge_config"), EdgePathError::Domain),
            (path("d.test/https", "/"), EdgePathError::Fields),
            (path("d.test/https/h.test", "/"), EdgePathError::Fields),
            (path("d.test/https/h.test/1/2", "/"), EdgePathError::Fields),
            (path("d.test/ftp/h.test/21", "/"), EdgePathError::Origin),
            (path("d.test/https/h.test/0", "/"), EdgePathError::Origin),
            (path("d.test/https/h.test/+443", "/"), EdgePathError::Origin),
            (
                path("d.test/https/h.test/70000", "/"),
                EdgePathError::Origin,
            ),
            (
                path("d.test/https/u@h.test/443", "/"),
                EdgePathError::Origin,
            ),
            (path("d.test/https/127.1/443", "/"), EdgePathError::Origin),
            (format!("/{}/", "A".repeat(2000)), EdgePathError::TooLong),
        ] {
            assert_eq!(EdgePath::parse(&path), Err(error), "{path}");
        }
    }

    #[test]
    fn written_origins_read_back() {
        fuzz(path("d.test/https/h.test/8443", "/a?b").as_bytes());
        fuzz(b"/ZXhhbXBsZS5jb20vaHR0cHMvY3VjbS5leGFtcGxlLmNvbS84NDQz/x");
    }
}
