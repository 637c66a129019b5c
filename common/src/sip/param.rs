//! Parameters: `;name=value` behind a URI, an address, a Via or a media type (RFC 3261 section 25.1).

use super::message::Fault;
use super::scan::{self, Class, Scanner};
use crate::limits;

/// Parameters where they stand; reading one looks through the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    text: &'a [u8],
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// From its name to the end of its value, as written.
    pub whole: &'a [u8],
    /// Its name, in the letter case of the message; compare without case.
    pub name: &'a [u8],
    /// Its value as written, with quotes if it has any; `None` without `=`.
    pub value: Option<&'a [u8]>,
}

impl<'a> Param<'a> {
    /// The value without its quotes; empty if there is none.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        scan::unquoted(self.value.unwrap_or_default())
    }
}

impl<'a> Params<'a> {
    /// Reads a text that is empty or begins with `;`. Values may be quoted strings.
    ///
    /// # Errors
    /// [`Fault::Parameter`] if it has an empty parameter or anything that is not one, [`Fault::TooManyParameters`].
    pub fn parse(text: &'a [u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(text);
        scanner.skip_lws();
        let mut count = 0_usize;
        while !scanner.is_done() {
            one(&mut scanner).ok_or(Fault::Parameter)?;
            count = count.saturating_add(1);
            if count > limits::SIP_PARAMETERS_MAX {
                return Err(Fault::TooManyParameters);
            }
        }
        Ok(Self { text })
    }

    /// What [`Self::parse`] has taken before.
    pub(super) const fn known(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// The text, from the first `;`; empty without parameters.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// All of them in order.
    #[must_use]
    pub const fn iter(&self) -> Iter<'a> {
        Iter {
            scanner: Scanner::new(self.text),
        }
    }

    /// The first one called `name`, in any letter case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Param<'a>> {
        self.iter()
            .find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether there is one called `name`, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of the first one called `name`, without quotes; empty if it has none.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.find(name).map(|param| param.text())
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = Param<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Params<'a> {
    type Item = Param<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Parameters in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        one(&mut self.scanner)
    }
}

/// `;name`, `;name=token`, `;name="string"`, `;name=[v6]`, with white space anywhere between.
fn one<'a>(scanner: &mut Scanner<'a>) -> Option<Param<'a>> {
    if !scanner.eat_separator(b';') {
        return None;
    }
    let whole = scanner.rest();
    let name = scanner.take_all(Class::PARAMETER_NAME);
    if name.is_empty() {
        return None;
    }
    let value = if scanner.eat_separator(b'=') {
        Some(value(scanner)?)
    } else {
        None
    };
    let length = whole.len().saturating_sub(scanner.rest().len());
    let whole = whole.get(..length).unwrap_or_default();
    scanner.skip_lws();
    matches!(scanner.peek(), None | Some(b';')).then_some(Param { whole, name, value })
}

fn value<'a>(scanner: &mut Scanner<'a>) -> Option<&'a [u8]> {
    if scanner.peek() == Some(b'"') {
        return scanner.quoted();
    }
    Some(scanner.take_all(Class::PARAMETER_VALUE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params<'_> {
        Params::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_are_read_with_and_without_quotes_and_white_space() {
        let params = params(";a=1 ; B =\r\n \"x;y\\\"z\";lr;m=[::1]");

        assert_eq!(params.value("A"), Some(&b"1"[..]));
        assert_eq!(params.value("b"), Some(&b"x;y\\\"z"[..]));
        assert_eq!(params.value("lr"), Some(&b""[..]));
        assert!(params.has("LR") && !params.has("l"));
        assert_eq!(params.value("m"), Some(&b"[::1]"[..]));
        assert_eq!(params.iter().count(), 4);
    }

    #[test]
    fn empty_and_broken_parameters_are_refused() {
        for text in [
            ";;", ";", ";a;", ";a=\"x", ";a b", "a", ";=1", ";a=<", ";a,b",
        ] {
            assert_eq!(
                Params::parse(text.as_bytes()),
                Err(Fault::Parameter),
                "{text}"
            );
        }
        let many = ";a".repeat(limits::SIP_PARAMETERS_MAX + 1);
        assert_eq!(
            Params::parse(many.as_bytes()),
            Err(Fault::TooManyParameters)
        );
    }

    #[test]
    fn a_parameter_knows_where_it_stands() {
        let param = params(";x=1;rport ;y").find("rport").unwrap();

        assert_eq!(param.whole, b"rport");
    }
}
