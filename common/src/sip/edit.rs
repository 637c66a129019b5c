//! What is to change in a message, applied in one pass: whatever no edit names goes on byte for byte.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;
use smallvec::SmallVec;

use super::message::{Field, Message, StartSpan};
use super::name::Name;
use super::scan::Elements;

/// A list of changes to one message.
///
/// Values to replace or drop are named by the slices that were read from the message (or from a clone of it): an edit knows
/// where they stand. A slice from elsewhere changes nothing. Names are a [`Name`] or a text; line ends in a name or a value
/// become spaces, so that no value can add a header.
#[derive(Debug)]
pub struct Edit<'a> {
    message: &'a Message,
    /// What is put in, all in one buffer.
    text: SmallVec<[u8; 512]>,
    changes: SmallVec<[Change; 8]>,
    /// List elements to drop: the number of the field, and where the element stands.
    dropped: SmallVec<[(usize, Range<usize>); 4]>,
    body: Option<Bytes>,
}

/// Replaces a part of the message, which is empty for an insertion, by a part of the text.
#[derive(Clone, Debug)]
struct Change {
    at: Range<usize>,
    text: Range<usize>,
}

/// Bytes that text is written to.
struct Text<'a, A: smallvec::Array<Item = u8>>(&'a mut SmallVec<A>);

impl<A: smallvec::Array<Item = u8>> fmt::Write for Text<'_, A> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl<'a> Edit<'a> {
    /// Changes nothing yet.
    #[must_use]
    pub fn new(message: &'a Message) -> Self {
        Self {
            message,
            text: SmallVec::new(),
            changes: SmallVec::new(),
            dropped: SmallVec::new(),
            body: None,
        }
    }

    /// Puts a header in front of all others; the last one put in front stands behind the earlier ones.
    pub fn insert_top(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.insert_line(
            self.message.headers_start(),
            name.as_ref(),
            &[value.as_ref()],
        )
    }

    /// Puts a header in front of the first one of that name, or in front of all if there is none: a Via, a Path, a
    /// Record-Route on top of the others.
    pub fn insert_before(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        let name = name.as_ref();
        let first = self.fields_called(name).next();
        let at = match first {
            Some((_, field)) => usize::from(field.whole.start),
            None => self.message.headers_start(),
        };
        self.insert_line(at, name, &[value.as_ref()])
    }

    /// Puts a header behind all others.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.insert_line(self.message.headers_end(), name.as_ref(), &[value.as_ref()])
    }

    /// Puts a Via on top.
    pub fn push_via(&mut self, value: impl AsRef<[u8]>) -> &mut Self {
        self.insert_before(Name::Via, value)
    }

    /// Takes the topmost Via off, alone in its header or not.
    pub fn pop_via(&mut self) -> &mut Self {
        self.drop_first(Name::Via)
    }

    /// Says in the topmost Via where the message came from: `rport` if it was asked for, and `received` then or if the host is
    /// another than the source (RFC 3261 section 18.2.1, RFC 3581 section 4).
    pub fn stamp_via(&mut self, source: SocketAddr) -> &mut Self {
        let Some(via) = self.message.top_via() else {
            return self;
        };
        let rport = via.params().find("rport");
        let is_asked = rport.is_some();
        if let Some(rport) = rport {
            self.write_over(rport.whole, format_args!("rport={}", source.port()));
        }
        let ip = source.ip().to_canonical();
        if let Some(received) = via.params().find("received") {
            return self.write_over(received.whole, format_args!("received={ip}"));
        }
        if (is_asked || via.host_ip() != Some(ip))
            && let Some(at) = self.span(via.as_bytes())
        {
            self.change_to(at.end..at.end, format_args!(";received={ip}"));
        }
        self
    }

    /// Takes the first value of a list header off: a Route that was followed.
    pub fn drop_first(&mut self, name: Name) -> &mut Self {
        match self.message.values(name).next() {
            Some(value) => self.drop_value(value),
            None => self,
        }
    }

    /// Takes one value of a list header off, and the header with it if it has no other.
    pub fn drop_value(&mut self, value: &[u8]) -> &mut Self {
        let Some(span) = self.span(value) else {
            return self;
        };
        let mut fields = self.message.index().fields.iter();
        let holds = |field: &Field| {
            usize::from(field.value.start) <= span.start && span.end <= usize::from(field.value.end)
        };
        if let Some(number) = fields.position(holds) {
            self.dropped.push((number, span));
        }
        self
    }

    /// Puts other bytes where a part of the message stands: a value, a parameter, a URI, a host.
    pub fn replace(&mut self, part: &[u8], with: impl AsRef<[u8]>) -> &mut Self {
        if let Some(at) = self.span(part) {
            self.change(at, &[with.as_ref()]);
        }
        self
    }

    /// Puts bytes directly behind a part of the message: a parameter behind a value.
    pub fn add_behind(&mut self, part: &[u8], what: impl AsRef<[u8]>) -> &mut Self {
        if let Some(at) = self.span(part) {
            self.change(at.end..at.end, &[what.as_ref()]);
        }
        self
    }

    /// Gives the first header of that name another value, or adds the header on top. Others of that name stay.
    pub fn set(&mut self, name: Name, value: impl AsRef<[u8]>) -> &mut Self {
        let first = self.message.fields(name).next();
        match first.map(|field| field.value.clone()) {
            Some(at) => self.change(
                usize::from(at.start)..usize::from(at.end),
                &[value.as_ref()],
            ),
            None => self.insert_line(
                self.message.headers_start(),
                name.as_ref(),
                &[value.as_ref()],
            ),
        }
    }

    /// Sets `Max-Forwards`.
    pub fn set_max_forwards(&mut self, hops: u8) -> &mut Self {
        let mut digits = SmallVec::<[u8; 4]>::new();
        write!(Text(&mut digits), "{hops}").ok(); // writing to memory can't fail
        self.set(Name::MaxForwards, digits)
    }

    /// Takes every header of that name off.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> &mut Self {
        let whole: SmallVec<[Range<u16>; 8]> = self
            .fields_called(name.as_ref())
            .map(|(_, field)| field.whole.clone())
            .collect();
        for at in whole {
            self.change(usize::from(at.start)..usize::from(at.end), &[]);
        }
        self
    }

    /// Takes the one field off that has this value, or has it among others.
    pub fn remove_field_of(&mut self, value: &[u8]) -> &mut Self {
        let Some(span) = self.span(value) else {
            return self;
        };
        let holds = |field: &&Field| {
            usize::from(field.value.start) <= span.start && span.end <= usize::from(field.value.end)
        };
        let found = self.message.index().fields.iter().find(holds);
        if let Some(at) = found.map(|field| field.whole.clone()) {
            self.change(usize::from(at.start)..usize::from(at.end), &[]);
        }
        self
    }

    /// Sets the Request-URI; a response has none.
    pub fn replace_start_uri(&mut self, uri: impl AsRef<[u8]>) -> &mut Self {
        if let StartSpan::Request { uri: at, .. } = &self.message.index().start {
            let at = usize::from(at.start)..usize::from(at.end);
            self.change(at, &[uri.as_ref()]);
        }
        self
    }

    /// Sets the body, and `Content-Length` with it.
    pub fn set_body(&mut self, body: Bytes) -> &mut Self {
        self.remove(Name::ContentLength);
        let length = body.len().to_string();
        self.append(Name::ContentLength, length);
        self.body = Some(body);
        self
    }

    /// Sets the body and what it is.
    pub fn set_typed_body(&mut self, content_type: impl AsRef<[u8]>, body: Bytes) -> &mut Self {
        self.set(Name::ContentType, content_type).set_body(body)
    }

    /// Writes the changed message behind what is in `out`.
    pub fn finish(self, out: &mut Vec<u8>) {
        let bytes = self.message.as_bytes();
        let end = match self.body {
            Some(_) => self.message.body_start(),
            None => bytes.len(),
        };
        let body = self.body.clone().unwrap_or_default();
        out.reserve(
            bytes
                .len()
                .saturating_add(self.text.len())
                .saturating_add(body.len()),
        );
        self.write(0..end, out);
        out.extend_from_slice(&body);
    }

    /// Writes only a part of the message, with its changes.
    pub(super) fn finish_part(self, part: &[u8], out: &mut Vec<u8>) {
        if let Some(span) = self.span(part) {
            self.write(span, out);
        }
    }

    fn write(mut self, part: Range<usize>, out: &mut Vec<u8>) {
        self.resolve_dropped();
        // Insertions before what stands at their place; otherwise in the order in which they were asked for.
        self.changes
            .sort_by_key(|change| (change.at.start, !change.at.is_empty()));
        let bytes = self.message.as_bytes();
        let mut at = part.start;
        for change in &self.changes {
            // Two changes of one place: the first counts.
            if change.at.start < at {
                continue;
            }
            out.extend_from_slice(bytes.get(at..change.at.start).unwrap_or_default());
            out.extend_from_slice(self.text.get(change.text.clone()).unwrap_or_default());
            at = change.at.end;
        }
        out.extend_from_slice(bytes.get(at..part.end).unwrap_or_default());
    }

    /// The changed message.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        let mut out = Vec::new();
        self.finish(&mut out);
        out.into()
    }

    fn write_over(&mut self, part: &[u8], with: fmt::Arguments<'_>) -> &mut Self {
        if let Some(at) = self.span(part) {
            self.change_to(at, with);
        }
        self
    }

    /// Only with text of our own making: line ends stay.
    fn change_to(&mut self, at: Range<usize>, with: fmt::Arguments<'_>) {
        let start = self.text.len();
        Text(&mut self.text).write_fmt(with).ok(); // writing to memory can't fail
        let text = start..self.text.len();
        self.changes.push(Change { at, text });
    }

    fn fields_called(&self, name: &[u8]) -> impl Iterator<Item = (usize, &'a Field)> {
        let message = self.message;
        let known = Name::of(name);
        let name: SmallVec<[u8; 32]> = name.into();
        let fields = message.index().fields.iter().enumerate();
        fields.filter(move |(_, field)| {
            field.name == known
                && (known != Name::Other || message.slice(&field.text).eq_ignore_ascii_case(&name))
        })
    }

    fn span(&self, part: &[u8]) -> Option<Range<usize>> {
        let span = self.message.span_of(part);
        debug_assert!(span.is_some(), "a slice of another message");
        span
    }

    fn insert_line(&mut self, at: usize, name: &[u8], value: &[&[u8]]) -> &mut Self {
        let start = self.text.len();
        self.put(name);
        self.text.extend_from_slice(b": ");
        for part in value {
            self.put(part);
        }
        self.text.extend_from_slice(b"\r\n");
        let text = start..self.text.len();
        self.changes.push(Change { at: at..at, text });
        self
    }

    fn change(&mut self, at: Range<usize>, with: &[&[u8]]) -> &mut Self {
        let start = self.text.len();
        for part in with {
            self.put(part);
        }
        let text = start..self.text.len();
        self.changes.push(Change { at, text });
        self
    }

    fn put(&mut self, part: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(part);
        if memchr2(b'\r', b'\n', part).is_none() {
            return;
        }
        for byte in self.text.iter_mut().skip(start) {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// Elements go with one comma each; a header that loses all of them goes as a whole.
    fn resolve_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        let mut fields: SmallVec<[usize; 4]> = dropped.iter().map(|(field, _)| *field).collect();
        fields.sort_unstable();
        fields.dedup();
        for number in fields {
            let Some(field) = self.message.index().fields.get(number) else {
                continue;
            };
            let is_dropped = |span: &Range<usize>| dropped.contains(&(number, span.clone()));
            let elements: SmallVec<[Range<usize>; 8]> =
                Elements::new(self.message.slice(&field.value))
                    .filter(|element| !element.is_empty())
                    .filter_map(|element| self.message.span_of(element))
                    .collect();
            if elements.iter().all(is_dropped) {
                let whole = usize::from(field.whole.start)..usize::from(field.whole.end);
                self.change(whole, &[]);
                continue;
            }
            self.drop_elements(&elements, is_dropped);
        }
    }

    fn drop_elements(
        &mut self,
        elements: &[Range<usize>],
        is_dropped: impl Fn(&Range<usize>) -> bool,
    ) {
        let mut kept_before: Option<usize> = None;
        let mut run: Option<Range<usize>> = None;
        for element in elements {
            if is_dropped(element) {
                let start = run.map_or(element.start, |run| run.start);
                run = Some(start..element.end);
                continue;
            }
            if let Some(run) = run.take() {
                self.change(run.start..element.start, &[]);
            }
            kept_before = Some(element.end);
        }
        if let (Some(run), Some(before)) = (run, kept_before) {
            self.change(before..run.end, &[]);
        }
    }
}

#[cfg(test)]
mod tests;
