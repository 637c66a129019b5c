//! One value of a configuration file, and the types that it can be read as.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::duration;
use super::error::Problem;
use super::reader::{Context, FileKind, FileUse};
use crate::limits;
use crate::net::{Deployment, Domain, Host, HostPort};

/// A value, and where it stands.
#[derive(Debug)]
pub struct Value<'a> {
    context: &'a Context<'a>,
    key: String,
    found: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        key: String,
        found: &'a Spanned<DeValue<'a>>,
    ) -> Self {
        Self {
            context,
            key,
            found,
        }
    }

    /// Text that is not empty.
    ///
    /// # Errors
    /// [`Problem`] for another type, no text, or more than [`limits::CONFIG_TEXT_BYTES_MAX`].
    pub fn text(&self) -> Result<&str, Problem> {
        let found = self.found.get_ref();
        let text = found
            .as_str()
            .ok_or_else(|| wrong_type("text in quotes", found))?;
        if text.trim().is_empty() {
            return Err(Problem::invalid(
                "is empty",
                "some text, or leave the key out",
            ));
        }
        if text.len() > limits::CONFIG_TEXT_BYTES_MAX {
            let allowed = format!("at most {} bytes", limits::CONFIG_TEXT_BYTES_MAX);
            return Err(Problem::invalid("is too long", allowed));
        }
        Ok(text)
    }

    /// Text that reads as a `T`; `allowed` says what would.
    ///
    /// # Errors
    /// [`Problem`] with the reason that `T` gives.
    pub fn parsed<T>(&self, allowed: &str) -> Result<T, Problem>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.text()?
            .parse()
            .map_err(|error| Problem::invalid(error, allowed))
    }

    /// A DNS name.
    ///
    /// # Errors
    /// [`Problem`] if it is none.
    pub fn domain(&self) -> Result<Domain, Problem> {
        self.parsed("a DNS name such as \"edge1.example.com\"")
    }

    /// A DNS name with a dot in it, as certificates and clients need it.
    ///
    /// # Errors
    /// [`Problem`] if it is none, or an IP address, or a single label.
    pub fn full_name(&self) -> Result<Domain, Problem> {
        let allowed = "a full DNS name such as \"edge1.example.com\"";
        let name = self.domain()?;
        if !matches!(Host::parse(name.as_str()), Ok(Host::Name(_))) {
            return Err(Problem::invalid("is an address, not a name", allowed));
        }
        if name.parent().is_none() {
            return Err(Problem::invalid("is a single label", allowed));
        }
        Ok(name)
    }

    /// A DNS name or an IP address.
    ///
    /// # Errors
    /// [`Problem`] if it is neither.
    pub fn host(&self) -> Result<Host, Problem> {
        Host::parse(self.text()?)
            .map_err(|error| Problem::invalid(error, "a DNS name or an IP address, without a port"))
    }

    /// A host and a port.
    ///
    /// # Errors
    /// [`Problem`] if it is none.
    pub fn host_port(&self) -> Result<HostPort, Problem> {
        self.parsed("host:port, such as \"edge1.example.com:7001\" or \"[2001:db8::1]:7001\"")
    }

    /// An address and a port to listen on or to send to.
    ///
    /// # Errors
    /// [`Problem`] if it is none.
    pub fn socket_addr(&self) -> Result<SocketAddr, Problem> {
        let allowed = "address:port, such as \"192.0.2.1:8443\" or \"[::]:8443\"";
        self.parsed(allowed)
    }

    /// An IP address.
    ///
    /// # Errors
    /// [`Problem`] if it is none.
    pub fn ip_addr(&self) -> Result<IpAddr, Problem> {
        self.parsed("an IPv4 or IPv6 address")
    }

    /// A network, or a single address.
    ///
    /// # Errors
    /// [`Problem`] for anything else.
    pub fn ip_net(&self) -> Result<IpNet, Problem> {
        let allowed = "a network such as \"192.0.2.0/24\" or \"2001:db8::/48\", or an address";
        let text = self.text()?;
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address
            .or_else(|_| text.parse())
            .map_err(|_| Problem::invalid("is neither a network nor an address", allowed))
    }

    /// A range of UDP ports, both ends included, with room for a pair.
    ///
    /// # Errors
    /// [`Problem`] for anything else.
    pub fn port_range(&self) -> Result<RangeInclusive<u16>, Problem> {
        let allowed = "first and last port, such as \"16384-32766\"";
        let (first, last) = self
            .text()?
            .split_once('-')
            .ok_or_else(|| Problem::invalid("is no range of ports", allowed))?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first < last => Ok(first..=last),
            _ => Err(Problem::invalid("is no range of ports", allowed)),
        }
    }

    /// The name of a deployment: letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`Problem`] if it has other characters.
    pub fn deployment(&self) -> Result<Deployment, Problem> {
        let text = self.text()?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.len() > limits::DNS_LABEL_BYTES_MAX || !text.bytes().all(is_plain) {
            let allowed = "up to 63 letters, digits, '-' and '_'";
            return Err(Problem::invalid("is not a deployment name", allowed));
        }
        Ok(Deployment(text.into()))
    }

    /// A duration within a range.
    ///
    /// # Errors
    /// [`Problem`] if it is none or out of range.
    pub fn duration(&self, range: &RangeInclusive<Duration>) -> Result<Duration, Problem> {
        let found = self.found.get_ref();
        let text = match found.as_integer() {
            Some(number) => {
                return Err(Problem::invalid("has no unit", unit_hint(number.as_str())));
            }
            None => self.text()?,
        };
        let value =
            duration::parse(text).map_err(|error| Problem::invalid(error, duration::ALLOWED))?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (from, to) = (duration::Text(*range.start()), duration::Text(*range.end()));
        Err(Problem::invalid(
            "is out of range",
            format!("{from} to {to}"),
        ))
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// [`Problem`] if it is none or out of range.
    pub fn integer<T>(&self, range: &RangeInclusive<T>) -> Result<T, Problem>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let found = self.found.get_ref();
        let integer = found
            .as_integer()
            .ok_or_else(|| wrong_type("a whole number", found))?;
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|value| T::try_from(value).ok())
            .filter(|value| range.contains(value))
            .ok_or_else(|| {
                let allowed = format!("{} to {}", range.start(), range.end());
                Problem::invalid("is out of range", allowed)
            })
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`Problem`] for another type.
    pub fn boolean(&self) -> Result<bool, Problem> {
        let found = self.found.get_ref();
        found
            .as_bool()
            .ok_or_else(|| wrong_type("true or false, without quotes", found))
    }

    /// One of a few words.
    ///
    /// # Errors
    /// [`Problem`] for any other.
    pub fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Problem> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let quoted: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            Problem::invalid("is not one of the words allowed", quoted.join(", "))
        })
    }

    /// A path; a relative one starts at the folder of the configuration file.
    ///
    /// # Errors
    /// [`Problem`] if it is no text.
    pub fn path(&self) -> Result<PathBuf, Problem> {
        Ok(self.context.resolve(self.text()?))
    }

    /// A path to a file that must be there and hold `kind`.
    ///
    /// # Errors
    /// [`Problem`] if it is no text. The file itself is looked at after the whole configuration is read.
    pub fn file(&self, kind: FileKind) -> Result<PathBuf, Problem> {
        let path = self.path()?;
        let place = self.context.place(&self.key, Some(self.found.span().start));
        self.context.notes.borrow_mut().files.push(FileUse {
            place,
            path: path.clone(),
            kind,
        });
        Ok(path)
    }
}

pub(super) fn wrong_type(expected: &'static str, found: &DeValue<'_>) -> Problem {
    let found = match found {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::WrongType { expected, found }
}

/// The first line of a value, cut to a readable length.
pub(super) fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line
        .chars()
        .take(limits::CONFIG_VALUE_SHOWN_CHARS_MAX)
        .collect();
    if shown.len() < text.len() {
        shown.push_str(" ...");
    }
    shown
}

fn unit_hint(number: &str) -> String {
    format!("text with a unit, such as \"{number}s\" for {number} seconds")
}
