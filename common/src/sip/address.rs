//! Addresses with a name: From, To, Contact, Route and their like (RFC 3261 section 20.10).

use super::message::Fault;
use super::param::Params;
use super::scan::{self, Class, Scanner};
use super::uri::Uri;

/// A URI, perhaps with a display name before it and parameters behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    whole: &'a [u8],
    display: Option<&'a [u8]>,
    uri: Uri<'a>,
    params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value. Without `<` and `>` a `;` begins the header's parameters, and a `?` or `,` has no place (RFC 3261
    /// section 20).
    ///
    /// # Errors
    /// [`Fault::Address`] if it is none, or what [`Uri::parse`] and [`Params::parse`] say.
    pub fn parse(whole: &'a [u8]) -> Result<Self, Fault> {
        Self::read(whole, Uri::parse, Params::parse)
    }

    /// What [`Self::parse`] has taken before: only looks for its parts.
    pub(super) fn known(whole: &'a [u8]) -> Option<Self> {
        let uri = |text| Uri::known(text).ok_or(Fault::Uri);
        Self::read(whole, uri, |text| Ok(Params::known(text))).ok()
    }

    fn read(
        whole: &'a [u8],
        uri: impl FnOnce(&'a [u8]) -> Result<Uri<'a>, Fault>,
        params: impl FnOnce(&'a [u8]) -> Result<Params<'a>, Fault>,
    ) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(whole);
        let display = display_name(&mut scanner).ok_or(Fault::Address)?;
        if scanner.eat(b'<') {
            let uri = uri(scanner.take_until(b'>'))?;
            if !scanner.eat(b'>') {
                return Err(Fault::Address);
            }
            let params = params(scanner.rest())?;
            return Ok(Self {
                whole,
                display,
                uri,
                params,
            });
        }
        if display.is_some() {
            return Err(Fault::Address);
        }
        let text = scan::trim(scanner.take_until(b';'));
        if text.contains(&b'?') || text.contains(&b',') {
            return Err(Fault::Address);
        }
        let uri = uri(text)?;
        let params = params(scanner.rest())?;
        Ok(Self {
            whole,
            display,
            uri,
            params,
        })
    }

    /// The value as it was written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.whole
    }

    /// The display name as written, with its quotes; never empty.
    #[must_use]
    pub const fn display(&self) -> Option<&'a [u8]> {
        self.display
    }

    /// The URI; its `as_bytes` is what an edit replaces.
    #[must_use]
    pub const fn uri(&self) -> Uri<'a> {
        self.uri
    }

    /// The parameters of the header, not those of the URI.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The tag of a From or To.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// `expires` of a Contact; `None` if it is not a number.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        super::message::seconds(self.params.value("expires")?)
    }
}

/// A Contact value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: every binding (RFC 3261 section 10.2.2).
    Any,
    /// One address.
    Address(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// As [`NameAddr::parse`].
    pub fn parse(whole: &'a [u8]) -> Result<Self, Fault> {
        if whole == b"*" {
            return Ok(Self::Any);
        }
        NameAddr::parse(whole).map(Self::Address)
    }

    /// The address, unless it is `*`.
    #[must_use]
    pub const fn address(&self) -> Option<NameAddr<'a>> {
        match self {
            Self::Any => None,
            Self::Address(address) => Some(*address),
        }
    }
}

/// Takes what stands before `<`. The outer `None` says that it is no display name; nothing is taken if no `<` comes.
fn display_name<'a>(scanner: &mut Scanner<'a>) -> Option<Option<&'a [u8]>> {
    if scanner.peek() == Some(b'"') {
        let quoted = scanner.quoted()?;
        scanner.skip_lws();
        return (scanner.peek() == Some(b'<')).then_some(Some(quoted));
    }
    let before = *scanner;
    let name = scan::trim(scanner.take_all(Class::DISPLAY_NAME));
    if scanner.peek() == Some(b'<') {
        return Some((!name.is_empty()).then_some(name));
    }
    *scanner = before;
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_uris_and_parameters_are_kept_apart() {
        let one = address("\"A. <x> \\\" B\" <sip:a@b;lr?x=y>;tag=1;expires=60");
        assert_eq!(one.display(), Some(&b"\"A. <x> \\\" B\""[..]));
        assert_eq!(one.uri().as_bytes(), b"sip:a@b;lr?x=y");
        assert_eq!(one.tag(), Some(&b"1"[..]));
        assert_eq!(one.expires(), Some(60));

        let other = address("sip:a@b;tag=2");
        assert_eq!(other.uri().as_bytes(), b"sip:a@b");
        assert_eq!(other.tag(), Some(&b"2"[..]));

        assert_eq!(address("caller<sip:a@b>").display(), Some(&b"caller"[..]));
        assert_eq!(address("<sip:a@b>").display(), None);
        assert_eq!(
            address("Tom \u{fc} B <sip:a@b>").display().map(<[u8]>::len),
            Some(8)
        );
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "<sip:a@b",
            "\"x <sip:a@b>",
            "\"x\" sip:a@b",
            "Bell, A <sip:a@b>",
            "< sip:a@b >",
            "x sip:a@b",
            "sip:a@b?x=y",
            "<sip:a@b> x",
            "<sip:a@b>;;",
            "*",
        ] {
            assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Contact::parse(b"*"), Ok(Contact::Any));
    }
}
