//! URIs (RFC 3261 section 19.1, RFC 3966): located, never rewritten.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use memchr::{memchr, memchr2};

use super::message::Fault;
use super::param::Params;
use super::scan::{self, Class};
use crate::limits;
use crate::net::Host;

/// The schemes that a SIP element deals with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// `urn`, as in `urn:service:sos` (RFC 5031).
    Urn,
    /// Any other; a proxy answers 416.
    Other,
}

/// A URI in its parts. Of another scheme than `sip` and `sips` everything up to the first `;` is the user part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    whole: &'a [u8],
    scheme: Scheme,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    host_port: &'a [u8],
    params: Params<'a>,
    headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// Reads a whole URI, without `<` and `>`.
    ///
    /// # Errors
    /// [`Fault::Uri`] if it is none, [`Fault::UriTooLong`], [`Fault::TooManyParameters`].
    pub fn parse(whole: &'a [u8]) -> Result<Self, Fault> {
        Self::read(whole, Params::parse, |rest| {
            !rest.is_empty() && Class::URI.has_all(rest)
        })
    }

    /// What [`Self::parse`] has taken before: only looks for its parts.
    pub(super) fn known(whole: &'a [u8]) -> Option<Self> {
        Self::read(whole, |text| Ok(Params::known(text)), |_| true).ok()
    }

    fn read(
        whole: &'a [u8],
        params: impl FnOnce(&'a [u8]) -> Result<Params<'a>, Fault>,
        is_uri: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Self, Fault> {
        if whole.len() > limits::SIP_URI_BYTES_MAX {
            return Err(Fault::UriTooLong);
        }
        let colon = memchr(b':', whole).ok_or(Fault::Uri)?;
        let (name, rest) = whole.split_at_checked(colon).ok_or(Fault::Uri)?;
        let rest = rest.split_first().map_or(rest, |(_, rest)| rest);
        let scheme = scheme(name)?;
        if !is_uri(rest) {
            return Err(Fault::Uri);
        }
        match scheme {
            Scheme::Sip | Scheme::Sips => sip(whole, scheme, rest, params),
            Scheme::Tel | Scheme::Urn | Scheme::Other => opaque(whole, scheme, rest, params),
        }
    }

    /// The URI as it was written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.whole
    }

    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it is `sip` or `sips`.
    #[must_use]
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The user part as written, escapes and all, without the password; the number of a `tel` URI.
    #[must_use]
    pub const fn user(&self) -> Option<&'a [u8]> {
        self.user
    }

    /// The user part with its escapes resolved, for comparing.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'a, [u8]>> {
        self.user
            .map(|user| percent_encoding::percent_decode(user).into())
    }

    /// The password, which nobody should use (RFC 3261 section 19.1.1).
    #[must_use]
    pub const fn password(&self) -> Option<&'a [u8]> {
        self.password
    }

    /// The host as written, IPv6 in brackets; empty if the scheme has none.
    #[must_use]
    pub const fn host(&self) -> &'a [u8] {
        self.host
    }

    /// The host as a name or an address; `None` for what is neither.
    #[must_use]
    pub fn to_host(self) -> Option<Host> {
        to_host(self.host)
    }

    /// The port, if one is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host and port as written, to be replaced together.
    #[must_use]
    pub const fn host_port(&self) -> &'a [u8] {
        self.host_port
    }

    /// Its parameters.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// What stands behind `?`.
    #[must_use]
    pub const fn headers(&self) -> Option<&'a [u8]> {
        self.headers
    }

    /// The value of `transport`, in the letter case of the message.
    #[must_use]
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.params.value("transport")
    }

    /// Whether it names a loose router (RFC 3261 section 16.12).
    #[must_use]
    pub fn is_loose_router(&self) -> bool {
        self.params.has("lr")
    }

    /// Whether it is a GRUU (RFC 5627).
    #[must_use]
    pub fn is_gruu(&self) -> bool {
        self.params.has("gr")
    }

    /// Whether both mean the same (RFC 3261 section 19.1.4). Headers are compared as they are written.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.is_same_address(other)
            && params_agree(self.params, other.params)
            && params_agree(other.params, self.params)
            && self.headers == other.headers
    }

    /// Whether scheme, user, host and port agree; parameters and headers have no say.
    #[must_use]
    pub fn is_same_address(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && (self.scheme != Scheme::Other || self.whole == other.whole)
            && self.user_decoded() == other.user_decoded()
            && self.password == other.password
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }
}

fn scheme(name: &[u8]) -> Result<Scheme, Fault> {
    let is_scheme = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_scheme {
        return Err(Fault::Uri);
    }
    let known = [
        (&b"sip"[..], Scheme::Sip),
        (b"sips", Scheme::Sips),
        (b"tel", Scheme::Tel),
        (b"urn", Scheme::Urn),
    ];
    let found = known
        .iter()
        .find(|(text, _)| text.eq_ignore_ascii_case(name));
    Ok(found.map_or(Scheme::Other, |(_, scheme)| *scheme))
}

fn opaque<'a>(
    whole: &'a [u8],
    scheme: Scheme,
    rest: &'a [u8],
    read_params: impl FnOnce(&'a [u8]) -> Result<Params<'a>, Fault>,
) -> Result<Uri<'a>, Fault> {
    let (user, params) = match scheme {
        Scheme::Tel => split(rest, memchr(b';', rest)),
        Scheme::Sip | Scheme::Sips | Scheme::Urn | Scheme::Other => {
            (rest, rest.get(..0).unwrap_or_default())
        }
    };
    Ok(Uri {
        whole,
        scheme,
        user: Some(user),
        password: None,
        host: &[],
        port: None,
        host_port: &[],
        params: read_params(params)?,
        headers: None,
    })
}

fn sip<'a>(
    whole: &'a [u8],
    scheme: Scheme,
    rest: &'a [u8],
    read_params: impl FnOnce(&'a [u8]) -> Result<Params<'a>, Fault>,
) -> Result<Uri<'a>, Fault> {
    // The first `@`: a user part has none but escaped ones, and a second one makes the host invalid.
    let (userinfo, rest) = match memchr(b'@', rest) {
        None => (None, rest),
        Some(at) => {
            let (user, rest) = rest.split_at_checked(at).ok_or(Fault::Uri)?;
            (
                Some(user),
                rest.split_first().map_or(rest, |(_, rest)| rest),
            )
        }
    };
    let (user, password) = match userinfo {
        None => (None, None),
        Some([]) => return Err(Fault::Uri),
        Some(userinfo) => {
            let (user, password) = split(userinfo, memchr(b':', userinfo));
            (Some(user), password.split_first().map(|(_, text)| text))
        }
    };
    let (host_port, rest) = split(rest, memchr2(b';', b'?', rest));
    let (host, port) = host_and_port(host_port).ok_or(Fault::Uri)?;
    let (params, headers) = split(rest, memchr(b'?', rest));
    Ok(Uri {
        whole,
        scheme,
        user,
        password,
        host,
        port,
        host_port,
        params: read_params(params)?,
        headers: headers.split_first().map(|(_, text)| text),
    })
}

/// Cuts at `end`, if it was found; the rest begins with it.
fn split(text: &[u8], end: Option<usize>) -> (&[u8], &[u8]) {
    text.split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or((text, &[]))
}

/// A host and perhaps a port (RFC 3261 section 25.1, `hostport`).
pub(super) fn host_and_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_end = match text.first()? {
        b'[' => memchr(b']', text)?.saturating_add(1),
        _ => memchr(b':', text).unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(host_end)?;
    let host = scan::trim(host);
    if !is_host(host) {
        return None;
    }
    let rest = scan::trim(rest);
    let Some((colon, digits)) = rest.split_first() else {
        return Some((host, None));
    };
    let digits = scan::trim(digits);
    if *colon != b':' || digits.len() > 5 {
        return None;
    }
    let port = u16::try_from(scan::number(digits)?).ok()?;
    Some((host, Some(port)))
}

fn is_host(host: &[u8]) -> bool {
    if host.first() == Some(&b'[') {
        return v6(host).is_some();
    }
    !host.is_empty() && Class::HOST.has_all(host)
}

fn v6(host: &[u8]) -> Option<Ipv6Addr> {
    let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    str::from_utf8(inner).ok()?.parse().ok()
}

/// The address that a host is, if it is one.
pub(super) fn to_ip(host: &[u8]) -> Option<IpAddr> {
    match v6(host) {
        Some(v6) => Some(v6.into()),
        None => str::from_utf8(host).ok()?.parse().ok(),
    }
}

pub(super) fn to_host(host: &[u8]) -> Option<Host> {
    Host::parse(str::from_utf8(host).ok()?).ok()
}

/// Whether every parameter of `one` that has to stand in both, or stands in both, has one value.
fn params_agree(one: Params<'_>, other: Params<'_>) -> bool {
    one.iter().all(|param| {
        let name = str::from_utf8(param.name).unwrap_or_default();
        match other.find(name) {
            Some(theirs) => theirs.text().eq_ignore_ascii_case(param.text()),
            None => !["user", "ttl", "method", "maddr", "transport", "gr"]
                .iter()
                .any(|must| must.eq_ignore_ascii_case(name)),
        }
    })
}

#[cfg(test)]
mod tests;
