//! A rule, its URL and where it came from.

use std::fmt;
use std::num::NonZeroU16;

use crate::http::target::{Target, TargetError};
use crate::net::{Deployment, Host, NameError, Origin, Scheme};
use crate::policy::allow_list::{MethodSet, NodeKind, Request};
use crate::time::UnixTime;

/// Why a text is not a URL that a rule can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The host is neither a DNS name nor an address.
    #[error("the host {0}")]
    Host(NameError),
    /// Not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Neither `http://` nor `https://`.
    #[error("does not start with \"http://\" or \"https://\"")]
    Scheme,
    /// The path or query.
    #[error("the path or query {0}")]
    Target(#[from] TargetError),
    /// `user@host` or `user:password@host`.
    #[error("has a user name before the host")]
    UserName,
    /// `*` in the host.
    #[error("host wildcards are not supported: write one rule for each host")]
    Wildcard,
}

/// An absolute `http` or `https` URL: the origin and the normalised target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// Scheme, host, port (the scheme's own if none is written).
    pub origin: Origin,
    /// Path (`/` if none is written) and query.
    pub target: Target<'static>,
}

impl Url {
    /// Reads and normalises `text`.
    ///
    /// # Errors
    /// [`UrlError`] names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (origin, target) = split(text)?;
        let target = read_target(target)?;
        Ok(Self { origin, target })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.origin.scheme.as_str();
        write!(f, "{scheme}://{}{}", self.origin.authority(), self.target)
    }
}

/// Cuts a URL into its origin and the raw rest, which may be empty.
///
/// # Errors
/// [`UrlError`] for everything but the target.
pub fn split(text: &str) -> Result<(Origin, &str), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let scheme = Scheme::parse(scheme).ok_or(UrlError::Scheme)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).ok_or(UrlError::Scheme)?;
    if authority.contains('@') {
        return Err(UrlError::UserName);
    }
    if authority.contains('*') {
        return Err(UrlError::Wildcard);
    }
    // An IPv6 literal has colons of its own and must stand in brackets (RFC 3986 section 3.2.2).
    let after_host = authority.rfind(']').map_or(0, |at| at.saturating_add(1));
    let (host, port) = match authority.get(after_host..).and_then(|rest| rest.find(':')) {
        Some(at) => {
            let colon = after_host.saturating_add(at);
            let (host, port) = authority.split_at_checked(colon).ok_or(UrlError::Port)?;
            (host, port.strip_prefix(':'))
        }
        None => (authority, None),
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<NonZeroU16>().map_err(|_| UrlError::Port)?
        }
        Some(_) => return Err(UrlError::Port),
        None => NonZeroU16::new(scheme.default_port()).ok_or(UrlError::Port)?,
    };
    let host = Host::parse(host).map_err(UrlError::Host)?;
    Ok((Origin { scheme, host, port }, target))
}

/// Reads what [`split`] left: `https://host` and `https://host?query` mean the root (RFC 3986 section 6.2.3).
///
/// # Errors
/// [`TargetError`] from [`Target::parse`].
pub fn read_target(raw: &str) -> Result<Target<'static>, TargetError> {
    if raw.starts_with('/') {
        Target::parse(raw).map(Target::into_owned)
    } else {
        Target::parse(&format!("/{raw}")).map(Target::into_owned)
    }
}

/// How a rule's URL is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Match {
    /// The path is equal.
    Exact,
    /// The path begins with the rule's.
    Prefix,
}

impl Match {
    /// Reads `exact` or `prefix`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "exact" => Some(Self::Exact),
            "prefix" => Some(Self::Prefix),
            _ => None,
        }
    }

    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
        }
    }
}

/// Where a rule came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleSource {
    /// A discovered or configured node brought it along; nobody can edit it.
    Automatic(NodeKind),
    /// The administrator's file.
    File {
        /// Where it begins, counted from 1.
        line: usize,
    },
}

/// One rule of the allow list. Valid by construction of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which origin, and which path there.
    pub url: Url,
    /// How the path is compared.
    pub matching: Match,
    /// Which methods; the file's default set is already filled in.
    pub methods: MethodSet,
    /// Whether the rule names its methods itself, rather than by the default set.
    pub has_own_methods: bool,
    /// For users of which deployment.
    pub deployment: Deployment,
    /// From this point on the rule allows nothing.
    pub expires: Option<UnixTime>,
    /// Whether a client's own `Authorization` field goes to the origin. Never with `http`.
    pub forward_authorization: bool,
    /// For people.
    pub description: String,
    /// Where the rule came from.
    pub source: RuleSource,
}

impl Rule {
    /// Whether path and query match; origin and deployment are the caller's business.
    #[must_use]
    pub fn matches_target(&self, target: &Target<'_>) -> bool {
        let (path, own) = (target.path(), self.url.target.path());
        match (self.matching, self.url.target.query()) {
            (Match::Exact, None) => path == own,
            (Match::Prefix, None) => path.starts_with(own),
            (Match::Exact, query) => path == own && target.query() == query,
            (Match::Prefix, Some(query)) => {
                path == own && target.query().is_some_and(|asked| asked.starts_with(query))
            }
        }
    }

    /// Whether the rule allows nothing any more.
    #[must_use]
    pub fn has_expired(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether this rule, alone and naively read, allows `request`. The compiled list gives the same answer faster.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>) -> bool {
        self.url.origin == *request.origin
            && self.deployment == *request.deployment
            && self.matches_target(request.target)
            && self.methods.contains(request.method)
            && !self.has_expired(request.now)
    }
}

/// Names the rule for people: where it stands, and its URL.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            RuleSource::Automatic(kind) => write!(f, "of the {} node: ", kind.as_str())?,
            RuleSource::File { line } => write!(f, "at line {line}: ")?,
        }
        write!(f, "{} {}", self.matching.as_str(), self.url)
    }
}

/// `text` as a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_into_its_normal_form() {
        for (text, expected) in [
            ("https://host.example.com", "https://host.example.com/"),
            (
                "HTTPS://Host.Example.COM.:443/a",
                "https://host.example.com/a",
            ),
            ("http://host:80/a/../b?c=%zz", "http://host/b?c=%zz"),
            ("http://host:8080?x", "http://host:8080/?x"),
            ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443/"),
            ("https://[::1]/", "https://[::1]/"),
            ("https://192.0.2.1/%61", "https://192.0.2.1/a"),
        ] {
            let url = Url::parse(text).unwrap();

            assert_eq!(url.to_string(), expected);
            assert_eq!(Url::parse(expected).unwrap(), url);
        }
    }

    #[test]
    fn what_is_no_url_says_which_part() {
        for (text, error) in [
            ("host/a", UrlError::Scheme),
            ("ftp://host/a", UrlError::Scheme),
            ("//host/a", UrlError::Scheme),
            ("https://alice@host/", UrlError::UserName),
            ("https://*.example.com/", UrlError::Wildcard),
            ("https://host:0/", UrlError::Port),
            ("https://host:/", UrlError::Port),
            ("https://host:+1/", UrlError::Port),
            ("https://host:65536/", UrlError::Port),
            ("https://2001:db8::1/", UrlError::Port),
            ("https:///a", UrlError::Host(NameError::EmptyLabel)),
            ("https://a\\b/", UrlError::Host(NameError::Character)),
            ("https://[::1]x/", UrlError::Host(NameError::Character)),
            ("https://host/#x", UrlError::Target(TargetError::Fragment)),
            ("https://host#x", UrlError::Target(TargetError::Fragment)),
            (
                "https://host/%2f",
                UrlError::Target(TargetError::EncodedSlash),
            ),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }
}
