//! Challenges and credentials (RFC 3261 section 22, RFC 8760, RFC 8898): read, never changed.

use std::borrow::Cow;

use super::message::Fault;
use super::scan::{self, Scanner};
use crate::limits;

/// The schemes that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthScheme {
    /// Digest (RFC 3261 section 22.4).
    Digest,
    /// Bearer (RFC 8898).
    Bearer,
    /// Any other.
    Other,
}

/// Why a Bearer token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is genuine, and its time is over: the client refreshes it.
    Expired,
    /// Somebody made it up.
    Forged,
    /// It is of no issuer that counts here, for another service, or another user's.
    Refused,
    /// Nobody can say: the keys of its issuer are not at hand.
    Unavailable,
}

/// The value of an `Authorization`, `Proxy-Authorization`, `WWW-Authenticate` or `Proxy-Authenticate` header. Its parts may be
/// secrets: it has no `Debug` that shows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthValue<'a> {
    whole: &'a [u8],
    scheme: &'a [u8],
    rest: &'a [u8],
}

impl std::fmt::Debug for AuthValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthValue").finish_non_exhaustive()
    }
}

/// What a server asks for.
pub type Challenge<'a> = AuthValue<'a>;
/// What a client answers.
pub type Credentials<'a> = AuthValue<'a>;

/// One `name=value`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthParam<'a> {
    /// The whole of it as written, to be replaced or measured.
    pub whole: &'a [u8],
    /// The name in the letter case of the message.
    pub name: &'a [u8],
    /// The value without its quotes; escapes stay.
    pub value: &'a [u8],
}

impl std::fmt::Debug for AuthParam<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthParam").finish_non_exhaustive()
    }
}

impl<'a> AuthValue<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// [`Fault::Credentials`] if there is no scheme or its parameters can't be read, [`Fault::TooManyParameters`].
    pub fn parse(whole: &'a [u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(whole);
        let scheme = scanner.token();
        if scheme.is_empty() || !scanner.peek().is_none_or(scan::is_lws) {
            return Err(Fault::Credentials);
        }
        scanner.skip_lws();
        let value = Self {
            whole,
            scheme,
            rest: scanner.rest(),
        };
        if value.scheme() == AuthScheme::Digest {
            value.check()?;
        }
        Ok(value)
    }

    fn check(&self) -> Result<(), Fault> {
        let mut params = self.params();
        let count = params.by_ref().count();
        if count > limits::SIP_PARAMETERS_MAX {
            return Err(Fault::TooManyParameters);
        }
        if params.scanner.is_done() {
            Ok(())
        } else {
            Err(Fault::Credentials)
        }
    }

    /// The value as it was written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.whole
    }

    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> AuthScheme {
        if self.scheme.eq_ignore_ascii_case(b"Digest") {
            AuthScheme::Digest
        } else if self.scheme.eq_ignore_ascii_case(b"Bearer") {
            AuthScheme::Bearer
        } else {
            AuthScheme::Other
        }
    }

    /// The token of `Bearer` credentials.
    #[must_use]
    pub fn bearer_token(&self) -> Option<&'a [u8]> {
        let is_token = self.scheme() == AuthScheme::Bearer
            && !self.rest.is_empty()
            && !self
                .rest
                .iter()
                .any(|byte| scan::is_lws(*byte) || *byte == b',');
        is_token.then_some(self.rest)
    }

    /// The parameters in order, up to the first thing that is none.
    #[must_use]
    pub const fn params(&self) -> AuthParams<'a> {
        AuthParams {
            scanner: Scanner::new(self.rest),
        }
    }

    /// The value of the first parameter called `name`, without quotes; escapes stay.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params()
            .find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|param| param.value)
    }

    /// The same with escapes resolved: user names and realms for people.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let raw = self.param(name)?;
        if !raw.contains(&b'\\') {
            return Some(Cow::Borrowed(raw));
        }
        let mut plain = Vec::with_capacity(raw.len());
        let mut is_escaped = false;
        for byte in raw {
            if *byte == b'\\' && !is_escaped {
                is_escaped = true;
            } else {
                plain.push(*byte);
                is_escaped = false;
            }
        }
        Some(Cow::Owned(plain))
    }

    /// `username` of digest credentials.
    #[must_use]
    pub fn username(&self) -> Option<Cow<'a, [u8]>> {
        self.text("username")
    }

    /// `realm`.
    #[must_use]
    pub fn realm(&self) -> Option<Cow<'a, [u8]>> {
        self.text("realm")
    }

    /// `stale` of a challenge.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.param("stale")
            .is_some_and(|text| text.eq_ignore_ascii_case(b"true"))
    }
}

/// Parameters of a challenge or of credentials.
#[derive(Clone, Debug)]
pub struct AuthParams<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Iterator for AuthParams<'a> {
    type Item = AuthParam<'a>;

    fn next(&mut self) -> Option<AuthParam<'a>> {
        let before = self.scanner;
        let found = one(&mut self.scanner);
        if found.is_none() {
            self.scanner = before;
        }
        found
    }
}

fn one<'a>(scanner: &mut Scanner<'a>) -> Option<AuthParam<'a>> {
    // RFC 3261 asks for exactly one comma between two; empty elements are an error.
    let whole = scanner.rest();
    let name = scanner.token();
    if name.is_empty() || !scanner.eat_separator(b'=') {
        return None;
    }
    let value = match scanner.peek() {
        Some(b'"') => scan::unquoted(scanner.quoted()?),
        _ => scanner.take_while(|byte| !scan::is_lws(byte) && byte != b',' && byte != b'"'),
    };
    let length = whole.len().saturating_sub(scanner.rest().len());
    let whole = whole.get(..length)?;
    scanner.skip_lws();
    if scanner.eat_separator(b',') {
        // Something must follow.
        scanner.peek()?;
    } else if !scanner.is_done() {
        return None;
    }
    Some(AuthParam { whole, name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_credentials_are_read() {
        let value = AuthValue::parse(
            b"Digest username=\"al\\\"ice\", realm=\"lab.test\",\r\n nonce=\"a=b,c\", uri=\"sip:lab.test\", qop=auth, nc=00000001",
        )
        .unwrap();

        assert_eq!(value.scheme(), AuthScheme::Digest);
        assert_eq!(value.username().as_deref(), Some(&b"al\"ice"[..]));
        assert_eq!(value.param("NONCE"), Some(&b"a=b,c"[..]));
        assert_eq!(value.param("nc"), Some(&b"00000001"[..]));
        assert_eq!(value.params().count(), 6);
        assert_eq!(format!("{value:?}"), "AuthValue { .. }");
    }

    #[test]
    fn challenges_of_every_algorithm_are_read() {
        let value = AuthValue::parse(
            b"digest realm=\"x\", qop=\"auth,auth-int\", algorithm=SHA-512-256, stale=TRUE, nonce=\"\"",
        )
        .unwrap();

        assert_eq!(value.param("algorithm"), Some(&b"SHA-512-256"[..]));
        assert_eq!(value.param("qop"), Some(&b"auth,auth-int"[..]));
        assert!(value.is_stale());
    }

    #[test]
    fn a_bearer_token_is_one_word() {
        let bearer = AuthValue::parse(b"Bearer eyJhbGciOi.J9==").unwrap();
        assert_eq!(bearer.bearer_token(), Some(&b"eyJhbGciOi.J9=="[..]));

        let challenge =
            AuthValue::parse(b"Bearer authz_server=\"https://idp\", scope=\"sip\"").unwrap();
        assert_eq!(challenge.param("scope"), Some(&b"sip"[..]));
        assert_eq!(
            AuthValue::parse(b"Bearer a b").unwrap().bearer_token(),
            None
        );
    }

    #[test]
    fn broken_values_are_refused() {
        for text in [
            "",
            "Digest a",
            "Digest a=\"x",
            "Digest a=b,,c=d",
            "Digest a=b,",
            "Digest=x",
            "Digest a=b c=d",
        ] {
            assert_eq!(
                AuthValue::parse(text.as_bytes()),
                Err(Fault::Credentials),
                "{text}"
            );
        }
    }
}
