//! Names, ports and origins as types. Nothing here looks a name up.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// The address a client connected from, as edge-e saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddr(pub SocketAddr);

/// Why a name is not a DNS name (RFC 1035 section 2.3.1, with `_` allowed as SRV names need it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or an empty label.
    #[error("has an empty label")]
    EmptyLabel,
    /// A character that is neither a letter, a digit, `-` nor `_`.
    #[error("has a character that is not a letter, digit, '-' or '_'")]
    Character,
    /// A label that starts or ends with `-`.
    #[error("has a label that starts or ends with '-'")]
    Hyphen,
    /// A label over 63 or a name over 253 octets.
    #[error("is longer than DNS allows (63 octets a label, 253 in all)")]
    TooLong,
}

/// A DNS name in lower case, without the trailing dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

impl Domain {
    /// Reads a name in any letter case, with or without the trailing dot.
    ///
    /// # Errors
    /// [`NameError`] if it is not a DNS name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > limits::DNS_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        name.split('.').try_for_each(check_label)?;
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its first label, or `None` for a single label.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0
            .split_once('.')
            .map(|(_, parent)| Self(parent.into()))
    }
}

fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label.len() > limits::DNS_LABEL_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    if !label
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        return Err(NameError::Character);
    }
    Ok(())
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Domain {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.as_ref().to_owned()
    }
}

/// The host of an origin: a DNS name or an IP literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(Domain),
    /// An address; IPv6 is written in brackets.
    Address(IpAddr),
}

impl Host {
    /// Reads a DNS name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// [`NameError`] if it is neither an address nor a name. A name whose last label is all digits is refused: some
    /// resolvers would read it as an IPv4 address in an unusual form (`127.1`).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let literal = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(v6) = literal {
            return v6
                .parse::<Ipv6Addr>()
                .map(|a| Self::Address(a.into()))
                .map_err(|_| NameError::Character);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = Domain::parse(text)?;
        let last = name.as_str().rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if is_number {
            Err(NameError::Character)
        } else {
            Ok(Self::Name(name))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// The scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `http`, port 80 by default.
    Http,
    /// `https`, port 443 by default.
    Https,
}

impl Scheme {
    /// Reads `http` or `https` in any letter case.
    #[must_use]
    pub const fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else {
            None
        }
    }

    /// The lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant when none is written.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port (RFC 9110 section 4.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Name or address.
    pub host: Host,
    /// Never zero.
    pub port: NonZeroU16,
}

impl Origin {
    /// `host:port`, or just `host` where the port is the scheme's own (RFC 9110 section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port.get() == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

/// A host and a port, as configuration and SRV answers name servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address.
    pub host: Host,
    /// TCP or UDP port.
    pub port: u16,
}

/// Why `host:port` could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// The host part is not a name or address.
    #[error("the host {0}")]
    Host(#[from] NameError),
    /// No `:port`, or not a number from 1 to 65535.
    #[error("needs a port from 1 to 65535 after the last ':'")]
    Port,
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError::Port)?;
        let port = port
            .parse::<NonZeroU16>()
            .map_err(|_| HostPortError::Port)?;
        Ok(Self {
            host: Host::parse(host)?,
            port: port.get(),
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The name of a deployment: a partition of domains and inner nodes that don't reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deployment(pub Arc<str>);

impl Deployment {
    /// The deployment of everything that names none.
    #[must_use]
    pub fn standard() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_lose_their_trailing_dot() {
        assert_eq!(
            Domain::parse("Edge1.Example.COM.").unwrap().as_str(),
            "edge1.example.com"
        );
        assert_eq!(
            Domain::parse("edge1.example.com")
                .unwrap()
                .parent()
                .unwrap()
                .as_str(),
            "example.com"
        );
    }

    #[test]
    fn what_is_not_a_name_says_why() {
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            ("-a.b", NameError::Hyphen),
            ("a b", NameError::Character),
            ("a/b", NameError::Character),
            ("ä.example", NameError::Character),
        ] {
            assert_eq!(Domain::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(NameError::TooLong));
    }

    #[test]
    fn hosts_are_names_or_addresses_never_number_like_names() {
        assert_eq!(
            Host::parse("[2001:db8::1]").unwrap().to_string(),
            "[2001:db8::1]"
        );
        assert_eq!(
            Host::parse("2001:db8::1").unwrap().to_string(),
            "[2001:db8::1]"
        );
        assert_eq!(Host::parse("192.0.2.1").unwrap().to_string(), "192.0.2.1");
        assert!(Host::parse("127.1").is_err());
        assert!(Host::parse("0x7f000001").is_err());
        assert!(Host::parse("[zz]").is_err());
    }

    #[test]
    fn an_authority_leaves_the_default_port_out() {
        let origin = |port| Origin {
            scheme: Scheme::Https,
            host: Host::parse("cucm.example.com").unwrap(),
            port: NonZeroU16::new(port).unwrap(),
        };

        assert_eq!(origin(443).authority(), "cucm.example.com");
        assert_eq!(origin(8443).authority(), "cucm.example.com:8443");
    }

    #[test]
    fn host_and_port_are_split_at_the_last_colon() {
        assert_eq!("[::1]:7001".parse::<HostPort>().unwrap().port, 7001);
        assert_eq!("edge:0".parse::<HostPort>(), Err(HostPortError::Port));
        assert_eq!("edge".parse::<HostPort>(), Err(HostPortError::Port));
    }
}
