//! Reading bytes from the left, for every value of a header.

use memchr::{memchr, memchr2, memchr3};

/// What an octet may be part of, as bits: one look-up where there would be a comparison for each character.
static CLASSES: [u8; 256] = classes();

/// A set of octets, as bits of [`CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// A token (RFC 3261 section 25.1).
    pub(super) const TOKEN: Self = Self(1);
    /// The name of a parameter: a token, and what URIs allow beyond it (`param-unreserved`).
    pub(super) const PARAMETER_NAME: Self = Self(1 << 1);
    /// The value of a parameter. Octets above ASCII are taken as they are.
    pub(super) const PARAMETER_VALUE: Self = Self(1 << 2);
    /// A URI: no white space, no controls, nothing that would end an address. Octets above ASCII pass.
    pub(super) const URI: Self = Self(1 << 3);
    /// The name of a host, or an IPv4 address.
    pub(super) const HOST: Self = Self(1 << 4);
    /// A display name without quotes: tokens and white space; octets above ASCII are a common sin that misleads nobody.
    pub(super) const DISPLAY_NAME: Self = Self(1 << 5);

    pub(super) fn has(self, byte: u8) -> bool {
        let class = CLASSES.get(usize::from(byte));
        class.is_some_and(|class| class & self.0 != 0)
    }

    /// Whether all of them are in it.
    pub(super) fn has_all(self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.has(*byte))
    }
}

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut rest: &mut [u8] = &mut classes;
    let mut byte = 0_u8;
    while let Some((class, behind)) = rest.split_first_mut() {
        *class = class_of(byte);
        rest = behind;
        byte = byte.wrapping_add(1);
    }
    classes
}

const fn class_of(byte: u8) -> u8 {
    let is_token = byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        );
    let is_name = is_token || matches!(byte, b'[' | b']' | b'/' | b':' | b'&' | b'$' | b'(' | b')');
    let is_value = is_name
        || matches!(
            byte,
            b'=' | b'@' | b'#' | b'{' | b'}' | b'|' | b'^' | 0x80..
        );
    let is_uri = byte > b' ' && byte != 0x7f && !matches!(byte, b'<' | b'>' | b'"');
    let is_host = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_display = is_token || is_lws(byte) || byte >= 0x80;
    let mut class = 0;
    if is_token {
        class |= Class::TOKEN.0;
    }
    if is_name {
        class |= Class::PARAMETER_NAME.0;
    }
    if is_value {
        class |= Class::PARAMETER_VALUE.0;
    }
    if is_uri {
        class |= Class::URI.0;
    }
    if is_host {
        class |= Class::HOST.0;
    }
    if is_display {
        class |= Class::DISPLAY_NAME.0;
    }
    class
}

/// Linear white space; a folded line is white space too (RFC 3261 section 7.3.1).
pub(super) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without white space at both ends.
pub(super) const fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Whether this is one token and nothing else.
pub(super) fn is_all_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && Class::TOKEN.has_all(bytes)
}

/// A number in decimal digits only; `None` if it is not one or does not fit.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A place in a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) const fn peek(&self) -> Option<u8> {
        match self.rest {
            [first, ..] => Some(*first),
            [] => None,
        }
    }

    /// Takes `byte` if it is the next one.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes `byte` with white space around it.
    pub(super) fn eat_separator(&mut self, byte: u8) -> bool {
        let before = *self;
        self.skip_lws();
        if self.eat(byte) {
            self.skip_lws();
            return true;
        }
        *self = before;
        false
    }

    pub(super) fn skip_lws(&mut self) {
        self.take_while(is_lws);
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte));
        self.take(end.unwrap_or(self.rest.len()))
    }

    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// A token, which may be empty.
    pub(super) fn token(&mut self) -> &'a [u8] {
        self.take_all(Class::TOKEN)
    }

    /// As long as there are octets of that kind.
    pub(super) fn take_all(&mut self, class: Class) -> &'a [u8] {
        self.take_while(|byte| class.has(byte))
    }

    /// Up to `byte`, which stays; everything if there is none.
    pub(super) fn take_until(&mut self, byte: u8) -> &'a [u8] {
        self.take(memchr(byte, self.rest).unwrap_or(self.rest.len()))
    }

    /// A quoted string with its quotes; `None`, and nothing taken, if none begins here or it has no end.
    pub(super) fn quoted(&mut self) -> Option<&'a [u8]> {
        let inner = self.rest.strip_prefix(b"\"")?;
        let end = closing_quote(inner)?;
        Some(self.take(end.saturating_add(2)))
    }
}

/// Where the quote that ends a quoted string stands, counted from behind the one that begins it.
pub(super) fn closing_quote(inner: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        let found = memchr2(b'"', b'\\', inner.get(at..)?)?;
        at = at.saturating_add(found);
        if inner.get(at) == Some(&b'"') {
            return Some(at);
        }
        at = at.saturating_add(2);
    }
}

/// What stands between the quotes, or the text itself if there are none. Escapes stay.
pub(super) fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(text)
}

/// The elements of a comma list, trimmed; commas in quotes and between `<` and `>` part nothing. Empty elements come too.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Elements<'a> {
    pub(super) const fn new(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = element_end(rest);
        let (element, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        self.rest = tail.split_first().map(|(_, tail)| tail);
        Some(trim(element))
    }
}

fn element_end(list: &[u8]) -> usize {
    let mut at = 0_usize;
    while let Some(rest) = list.get(at..)
        && let Some(found) = memchr3(b',', b'<', b'"', rest)
    {
        at = at.saturating_add(found);
        let inner = list.get(at.saturating_add(1)..).unwrap_or_default();
        let length = match list.get(at) {
            Some(b'<') => memchr(b'>', inner),
            Some(b'"') => closing_quote(inner),
            _ => return at,
        };
        let Some(length) = length else {
            return list.len();
        };
        at = at.saturating_add(length).saturating_add(2);
    }
    list.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(list: &str) -> Vec<&str> {
        let elements = Elements::new(list.as_bytes());
        elements.map(|e| str::from_utf8(e).unwrap()).collect()
    }

    #[test]
    fn commas_in_quotes_and_addresses_part_nothing() {
        assert_eq!(
            elements("\"A, \\\"B\" <sip:a,b@c>;x=\"1,2\" , <sip:d>"),
            ["\"A, \\\"B\" <sip:a,b@c>;x=\"1,2\"", "<sip:d>"]
        );
        assert_eq!(elements("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(elements(""), [""]);
        assert_eq!(elements("\"never closed, x"), ["\"never closed, x"]);
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"0070"), Some(70));
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let mut scanner = Scanner::new(br#""a\"b\\" rest"#);

        assert_eq!(scanner.quoted(), Some(&br#""a\"b\\""#[..]));
        assert_eq!(scanner.rest(), b" rest");
        assert_eq!(Scanner::new(br#""a\""#).quoted(), None);
    }
}
