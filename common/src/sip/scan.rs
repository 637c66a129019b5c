//! Reading bytes from the left, for every value of a header.

use memchr::memchr2;

/// Linear white space; a folded line is white space too (RFC 3261 section 7.3.1).
pub(super) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A character of a token (RFC 3261 section 25.1).
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
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
    !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte))
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
        self.take_while(is_token)
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
    let mut is_in_uri = false;
    while let Some(byte) = list.get(at) {
        match byte {
            b',' if !is_in_uri => return at,
            b'<' => is_in_uri = true,
            b'>' => is_in_uri = false,
            b'"' if !is_in_uri => {
                let inner = list.get(at.saturating_add(1)..).unwrap_or_default();
                let Some(length) = closing_quote(inner) else {
                    return list.len();
                };
                at = at.saturating_add(length).saturating_add(1);
            }
            _ => {}
        }
        at = at.saturating_add(1);
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
