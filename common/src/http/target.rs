//! The origin-form request target (RFC 9112 section 3.2.1), read strictly and normalised once.
//!
//! One form is matched against the allow list and the same form is sent to the origin, so a rule can't be widened by an
//! origin that reads the path another way. What more than one reading exists for is refused, not guessed. This module
//! knows neither schemes nor hosts (that is [`crate::net::Origin`]), and it never changes a query.
//!
//! What is done to a path, in this order:
//!
//! 1. escapes: unreserved characters are decoded, the hexadecimal digits of all others are upper case, and the few
//!    characters that RFC 3986 doesn't allow but clients send (`{`, `|`, `"` ..) are escaped;
//! 2. empty segments (`//`) are dropped, then `.` and `..` are resolved; above the root is an error.
//!
//! Refused: an escaped `/`, `\` raw or escaped, control characters raw or escaped, anything but ASCII, a raw space or
//! `#`, `%` without two hexadecimal digits, escapes of escapes, overlong UTF-8, and segments that some origins read as
//! dot segments (`..;x`, `..%20`, `...`).

use std::borrow::Cow;
use std::fmt;

use crate::limits;

/// Why a request target is refused. The client is to blame in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// `..` segments lead above the root.
    #[error("leads above the root")]
    AboveRoot,
    /// A backslash, raw or as `%5c`: some origins read it as a slash.
    #[error("has a backslash")]
    Backslash,
    /// A control character or NUL, raw or escaped.
    #[error("has a control character")]
    Control,
    /// A segment that some origins read as `.` or `..`: dots with parameters, with spaces, or more than two.
    #[error("has a segment that looks like a disguised dot segment")]
    DisguisedDots,
    /// An escaped `%` before two hexadecimal digits: a second decoding would find another escape.
    #[error("is percent-encoded twice")]
    DoubleEncoded,
    /// `%2f`: an origin may or may not read it as a separator.
    #[error("has an encoded slash")]
    EncodedSlash,
    /// `%` without two hexadecimal digits.
    #[error("has '%' without two hexadecimal digits")]
    Escape,
    /// `#`: a fragment is never sent (RFC 9110 section 7.1).
    #[error("has a fragment")]
    Fragment,
    /// A byte outside ASCII that is not percent-encoded.
    #[error("has a character outside ASCII")]
    NonAscii,
    /// Does not start with `/`: absolute, authority or asterisk form (RFC 9112 section 3.2).
    #[error("does not start with '/'")]
    NotOriginForm,
    /// Escaped bytes that are an overlong form in UTF-8, such as `%c0%af`.
    #[error("has overlong UTF-8")]
    Overlong,
    /// A raw space.
    #[error("has a space")]
    Space,
    /// Over [`limits::TARGET_BYTES_MAX`], as received or once normalised.
    #[error("is longer than {max} octets", max = limits::TARGET_BYTES_MAX)]
    TooLong,
}

/// A request target in its one normalised form: a path and perhaps a query.
///
/// Invariant: `Target::parse(&target.to_string())` gives the same target without an allocation. Hence no public fields.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target<'a> {
    path: Cow<'a, str>,
    query: Option<Cow<'a, str>>,
}

impl<'a> Target<'a> {
    /// Reads and normalises `raw`. Allocates only where the path was not in its normal form.
    ///
    /// # Errors
    /// [`TargetError`] for everything that more than one reading exists for.
    pub fn parse(raw: &'a str) -> Result<Self, TargetError> {
        if raw.len() > limits::TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        if !raw.starts_with('/') {
            return Err(TargetError::NotOriginForm);
        }
        let (path, query) = match raw.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (raw, None),
        };
        query.map_or(Ok(()), check_query)?;

        let path = canonical_escapes(path)?;
        check_escapes(&path)?;
        let path = resolve_segments(path)?;

        let query_bytes = query.map_or(0, |query| query.len().saturating_add(1));
        if path.len().saturating_add(query_bytes) > limits::TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        Ok(Self {
            path,
            query: query.map(Cow::Borrowed),
        })
    }

    /// The normalised path; starts with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the first `?`, byte for byte; `Some("")` if nothing does.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The same target, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Target<'static> {
        Target {
            path: Cow::Owned(self.path.into_owned()),
            query: self.query.map(|query| Cow::Owned(query.into_owned())),
        }
    }
}

/// Writes the target as it goes on the wire.
impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.query
            .as_ref()
            .map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

/// Leaves the query out: it may hold names and tokens.
impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({:?}", self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| {
            write!(f, " and a query of {} octets", query.len())
        })?;
        f.write_str(")")
    }
}

fn check_query(query: &str) -> Result<(), TargetError> {
    query.bytes().try_for_each(|byte| match byte {
        b' ' => Err(TargetError::Space),
        b'#' => Err(TargetError::Fragment),
        0x00..=0x1f | 0x7f => Err(TargetError::Control),
        0x80.. => Err(TargetError::NonAscii),
        _ => Ok(()),
    })
}

/// Step 1: every escape in its one form. Borrowed where nothing changed.
fn canonical_escapes(path: &str) -> Result<Cow<'_, str>, TargetError> {
    let mut out: Option<String> = None;
    let mut rest = path;
    // Runs of plain characters are passed over at once.
    while let Some(run) = rest.bytes().position(|byte| !is_plain(byte)) {
        let (plain, special) = rest.split_at_checked(run).ok_or(TargetError::NonAscii)?;
        let (piece, consumed) = match special.as_bytes() {
            [b'%', tail @ ..] => (escaped(triple(tail)?)?, 3),
            [raw, ..] => (unescaped(*raw)?, 1),
            [] => break,
        };
        let (source, tail) = special
            .split_at_checked(consumed)
            .ok_or(TargetError::Escape)?;
        if out.is_none() && piece.as_str() != source {
            let done = path.len().saturating_sub(rest.len());
            let mut owned = String::with_capacity(path.len());
            owned.push_str(path.get(..done).unwrap_or_default());
            out = Some(owned);
        }
        if let Some(out) = &mut out {
            out.push_str(plain);
            out.push_str(piece.as_str());
        }
        rest = tail;
    }
    Ok(match out {
        Some(mut out) => {
            out.push_str(rest);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(path),
    })
}

/// One character of a normalised path: itself, or `%` and two digits.
struct Piece {
    bytes: [u8; 3],
    len: usize,
}

impl Piece {
    const fn plain(byte: u8) -> Self {
        Self {
            bytes: [byte, 0, 0],
            len: 1,
        }
    }

    fn escape(byte: u8) -> Self {
        Self {
            bytes: [b'%', hex_digit(byte >> 4), hex_digit(byte & 0xf)],
            len: 3,
        }
    }

    fn as_str(&self) -> &str {
        // Only ASCII is ever put in.
        self.bytes
            .get(..self.len)
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// The normal form of the escape of `value`.
fn escaped(value: u8) -> Result<Piece, TargetError> {
    match value {
        b'/' => Err(TargetError::EncodedSlash),
        b'\\' => Err(TargetError::Backslash),
        0x00..=0x1f | 0x7f => Err(TargetError::Control),
        // RFC 3986 section 6.2.2.2
        unreserved if is_unreserved(unreserved) => Ok(Piece::plain(unreserved)),
        other => Ok(Piece::escape(other)),
    }
}

/// The normal form of the raw character `byte`.
fn unescaped(byte: u8) -> Result<Piece, TargetError> {
    match byte {
        b' ' => Err(TargetError::Space),
        b'#' => Err(TargetError::Fragment),
        b'\\' => Err(TargetError::Backslash),
        0x00..=0x1f | 0x7f => Err(TargetError::Control),
        0x80.. => Err(TargetError::NonAscii),
        plain if is_plain(plain) => Ok(Piece::plain(plain)),
        // `"`, `<`, `>`, `[`, `]`, `^`, `` ` ``, `{`, `|`, `}`
        other => Ok(Piece::escape(other)),
    }
}

/// Refuses escapes that mean something else to an origin that decodes twice or accepts broken UTF-8. `path` went through
/// [`canonical_escapes`], so that `%25%32%65` is seen as the `%252e` that it is.
fn check_escapes(path: &str) -> Result<(), TargetError> {
    for (at, _) in path.match_indices('%') {
        let after = path.as_bytes().get(at..).unwrap_or_default();
        match after {
            [b'%', b'2', b'5', high, low, ..] => {
                let second = hex_value(*high).zip(hex_value(*low));
                if second.is_some_and(|(high, low)| !is_harmless(high << 4 | low)) {
                    return Err(TargetError::DoubleEncoded);
                }
            }
            // Two octets are too many for anything below U+0080, three below U+0800, four below U+10000.
            [b'%', b'C', b'0' | b'1', ..]
            | [b'%', b'E', b'0', b'%', b'8' | b'9', ..]
            | [b'%', b'F', b'0', b'%', b'8', ..] => return Err(TargetError::Overlong),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a second decoding that finds this character changes nothing about the structure of the path.
const fn is_harmless(byte: u8) -> bool {
    is_unreserved(byte) && byte != b'.'
}

/// What a segment means in step 2.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Current,
    Empty,
    Name,
    Parent,
}

impl Segment {
    fn of(text: &str) -> Result<Self, TargetError> {
        match text {
            "" => Ok(Self::Empty),
            "." => Ok(Self::Current),
            ".." => Ok(Self::Parent),
            name if is_disguised(name) => Err(TargetError::DisguisedDots),
            _ => Ok(Self::Name),
        }
    }
}

/// Whether some origin reads this segment as dots: servlet containers cut `;` and what follows, others decode first and
/// then cut at `?` or `#`, and some file systems drop trailing spaces and surplus dots.
fn is_disguised(segment: &str) -> bool {
    if !segment.starts_with('.') && !segment.starts_with("%20") {
        return false;
    }
    let cuts = [";", "%3B", "%3F", "%23"];
    let stem = cuts.iter().fold(segment, |stem, cut| {
        stem.split_once(cut).map_or(stem, |(stem, _)| stem)
    });
    let mut rest = stem;
    let mut has_dot = false;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            has_dot = true;
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("%20") {
            rest = tail;
        } else {
            return false;
        }
    }
    has_dot
}

/// Step 2: no empty segment but a last one, no dot segment (RFC 3986 section 5.2.4). Borrowed where nothing changed.
fn resolve_segments(path: Cow<'_, str>) -> Result<Cow<'_, str>, TargetError> {
    let body = path.strip_prefix('/').unwrap_or(&path);
    let mut segments = body.split('/').peekable();
    let mut is_normal = true;
    while let Some(segment) = segments.next() {
        is_normal &= match Segment::of(segment)? {
            Segment::Name => true,
            Segment::Empty => segments.peek().is_none(),
            Segment::Current | Segment::Parent => false,
        };
    }
    if is_normal {
        return Ok(path);
    }

    let mut out = String::with_capacity(path.len());
    let mut last = Segment::Empty;
    for segment in body.split('/') {
        last = Segment::of(segment)?;
        match last {
            Segment::Current | Segment::Empty => {}
            Segment::Name => {
                out.push('/');
                out.push_str(segment);
            }
            Segment::Parent => {
                let parent = out.rfind('/').ok_or(TargetError::AboveRoot)?;
                out.truncate(parent);
            }
        }
    }
    if last != Segment::Name {
        out.push('/');
    }
    Ok(Cow::Owned(out))
}

/// The value of the two hexadecimal digits after a `%`.
fn triple(after: &[u8]) -> Result<u8, TargetError> {
    let [high, low, ..] = after else {
        return Err(TargetError::Escape);
    };
    hex_value(*high)
        .zip(hex_value(*low))
        .map(|(high, low)| high << 4 | low)
        .ok_or(TargetError::Escape)
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'A' - 10 + value,
    }
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What stands for itself in a path: RFC 3986 section 3.3, `pchar` without escapes, and the slash.
fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).is_some_and(|plain| *plain)
}

/// By look-up, as every character of every request goes through here.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[byte as usize] = is_pchar_or_slash(byte);
        }
        byte += 1;
    }
    table
};

const fn is_pchar_or_slash(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests;
