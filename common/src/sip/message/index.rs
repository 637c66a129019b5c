//! One pass over a head: where the first line, each header, the blank line and the body stand.

use std::ops::Range;

use memchr::{memchr, memchr3};
use smallvec::SmallVec;

use super::{Fault, Method};
use crate::limits;
use crate::sip::name::Name;
use crate::sip::scan;
use crate::sip::uri::Uri;

/// Positions fit because of this.
const _: () = assert!(limits::SIP_HEAD_BYTES_MAX <= u16::MAX as usize);

/// Where everything stands.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Index {
    pub(in crate::sip) start: StartSpan,
    /// What is wrong with the first line.
    pub(super) start_fault: Option<Fault>,
    /// In the order of the message. Common messages have less than these; more are put aside.
    pub(in crate::sip) fields: SmallVec<[Field; 24]>,
    pub(super) headers: u16,
    pub(super) blank: u16,
    pub(super) body: u16,
    /// `None` until every value that a message must have, and every address and Via in it, was found to be well-formed.
    pub(super) tags: Option<Tags>,
}

/// The tags of From and To; empty if there are none.
#[derive(Clone, Debug)]
pub(super) struct Tags {
    pub(super) from: Range<u16>,
    pub(super) to: Range<u16>,
}

#[derive(Clone, Debug)]
pub(in crate::sip) enum StartSpan {
    Request {
        method: Method,
        token: Range<u16>,
        uri: Range<u16>,
    },
    Status {
        code: u16,
        reason: Range<u16>,
    },
}

/// One header field, with all its lines.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Field {
    pub(in crate::sip) name: Name,
    /// From the first octet of its name to the one behind its line end.
    pub(in crate::sip) whole: Range<u16>,
    /// Its name as written.
    pub(in crate::sip) text: Range<u16>,
    /// Its value without white space at both ends.
    pub(in crate::sip) value: Range<u16>,
}

impl Index {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Fault> {
        let head = bytes.get(..limits::SIP_HEAD_BYTES_MAX).unwrap_or(bytes);
        let is_cut = head.len() < bytes.len();
        let read = read(head);
        match read {
            Err(Fault::NoBlankLine) if is_cut => Err(Fault::HeadTooLong),
            _ => read,
        }
    }
}

fn read(head: &[u8]) -> Result<Index, Fault> {
    let mut lines = Lines { head, at: 0 };
    let (start, start_fault) = start(head, &lines.next_line()?)?;
    let headers = narrow(lines.at)?;
    let mut fields = SmallVec::new();
    loop {
        let blank = lines.at;
        let line = lines.next_field()?;
        if line.is_empty() {
            return Ok(Index {
                start,
                start_fault,
                fields,
                headers,
                blank: narrow(blank)?,
                body: narrow(lines.at)?,
                tags: None,
            });
        }
        if fields.len() == limits::SIP_HEADERS_MAX {
            return Err(Fault::TooManyHeaders);
        }
        fields.push(field(head, &line, lines.at)?);
    }
}

fn narrow(at: usize) -> Result<u16, Fault> {
    u16::try_from(at).map_err(|_| Fault::HeadTooLong)
}

pub(super) fn span(of: Range<usize>) -> Result<Range<u16>, Fault> {
    Ok(narrow(of.start)?..narrow(of.end)?)
}

/// The lines of a head, one after the other.
struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    /// The next line without its end.
    fn next_line(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let mut at = start;
        loop {
            let rest = self.head.get(at..).unwrap_or_default();
            let found = memchr3(b'\r', b'\n', 0, rest).ok_or(Fault::NoBlankLine)?;
            at = at.saturating_add(found);
            match (self.head.get(at), self.head.get(at.saturating_add(1))) {
                (Some(b'\r'), Some(b'\n')) => break,
                (Some(b'\r'), None) => return Err(Fault::NoBlankLine),
                // Looked at more closely when the field is whole.
                (Some(0), _) => at = at.saturating_add(1),
                _ => return Err(Fault::LineEnd),
            }
        }
        self.at = at.saturating_add(2);
        Ok(start..at)
    }

    /// The next line with those that continue it (RFC 3261 section 7.3.1).
    fn next_field(&mut self) -> Result<Range<usize>, Fault> {
        let mut line = self.next_line()?;
        while !line.is_empty() && matches!(self.head.get(self.at), Some(b' ' | b'\t')) {
            line.end = self.next_line()?.end;
        }
        if line.len() > limits::SIP_LINE_BYTES_MAX {
            return Err(Fault::HeadTooLong);
        }
        Ok(line)
    }
}

fn field(head: &[u8], line: &Range<usize>, end: usize) -> Result<Field, Fault> {
    let text = head.get(line.clone()).ok_or(Fault::Header)?;
    let colon = memchr(b':', text).ok_or(Fault::Header)?;
    let name = scan::trim(text.get(..colon).unwrap_or_default());
    let value = text.get(colon.saturating_add(1)..).unwrap_or_default();
    // A line that begins with white space continues the one before; the first header has none before it.
    let is_name = scan::is_all_token(name) && text.first() == name.first();
    if !is_name {
        return Err(Fault::Header);
    }
    if memchr(0, value).is_some() && !is_nul_quoted(value) {
        return Err(Fault::Nul);
    }
    let trimmed = scan::trim(value);
    let leading = value.iter().take_while(|byte| scan::is_lws(**byte));
    let before = leading.count();
    let start = line
        .start
        .saturating_add(colon)
        .saturating_add(1)
        .saturating_add(before);
    Ok(Field {
        name: Name::of(name),
        whole: span(line.start..end)?,
        text: span(line.start..line.start.saturating_add(name.len()))?,
        value: span(start..start.saturating_add(trimmed.len()))?,
    })
}

/// Whether every NUL is the second half of a quoted pair (RFC 3261 section 25.1).
fn is_nul_quoted(value: &[u8]) -> bool {
    let mut is_in_quotes = false;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_in_quotes = !is_in_quotes,
            b'\\' if is_in_quotes => drop(bytes.next()),
            0 => return false,
            _ => {}
        }
    }
    true
}

/// `Method SP Request-URI SP SIP-Version` or `SIP-Version SP Status-Code SP Reason-Phrase`, with single spaces. A fault here
/// does not end the reading: with the headers it can still be answered.
fn start(head: &[u8], line: &Range<usize>) -> Result<(StartSpan, Option<Fault>), Fault> {
    if line.len() > limits::SIP_LINE_BYTES_MAX {
        return Err(Fault::HeadTooLong);
    }
    let text = head.get(line.clone()).unwrap_or_default();
    if memchr(0, text).is_some() {
        return Err(Fault::Nul);
    }
    let (first, rest) = word(text);
    let rest_at = line.end.saturating_sub(rest.len());
    if is_version(first) {
        let (code, fault) = match status_code(first, rest) {
            Ok(code) => (code, None),
            Err(fault) => (0, Some(fault)),
        };
        let reason = span(rest_at.saturating_add(4).min(line.end)..line.end)?;
        return Ok((StartSpan::Status { code, reason }, fault));
    }
    let (uri, version) = word(rest);
    let fault = request_line(first, uri, version).err();
    let start = StartSpan::Request {
        method: Method::of(first),
        token: span(line.start..line.start.saturating_add(first.len()))?,
        uri: span(rest_at..rest_at.saturating_add(uri.len()))?,
    };
    Ok((start, fault))
}

/// What stands before and behind the first space.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.split_first().map_or(rest, |(_, rest)| rest))
}

fn is_version(text: &[u8]) -> bool {
    text.get(..4)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"))
}

fn request_line(method: &[u8], uri: &[u8], version: &[u8]) -> Result<(), Fault> {
    if !scan::is_all_token(method) || method.len() > limits::SIP_METHOD_BYTES_MAX {
        return Err(Fault::Method);
    }
    if !is_version(version) || version.contains(&b' ') {
        return Err(Fault::StartLine);
    }
    if version != b"SIP/2.0" {
        return Err(Fault::Version);
    }
    // RFC 3261 section 19.1.1: no headers in a Request-URI.
    if Uri::parse(uri)?.headers().is_some() {
        return Err(Fault::Uri);
    }
    Ok(())
}

fn status_code(version: &[u8], rest: &[u8]) -> Result<u16, Fault> {
    if version != b"SIP/2.0" {
        return Err(Fault::Version);
    }
    let (digits, reason) = rest.split_at_checked(3).ok_or(Fault::StatusCode)?;
    let code = scan::number(digits).and_then(|code| u16::try_from(code).ok());
    code.filter(|code| (100..700).contains(code) && reason.first() == Some(&b' '))
        .ok_or(Fault::StatusCode)
}
