//! A message: its bytes, and where everything stands in them. Cheap to clone; nothing borrowed, nothing normalised.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

mod check;
mod fault;
mod index;
mod method;
mod read;

pub use fault::{Fault, ParseError};
pub use method::Method;
pub use read::{CSeq, Event, MediaType, Replaces, Values};

pub(super) use index::{Field, StartSpan};
pub(super) use read::seconds;

use super::name::Name;
use index::Index;

/// One whole message that was looked through once: its head is well-formed, the headers that every message has are there
/// once and can be read, as can every Via, Contact, Route, Record-Route, Path and Service-Route.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    index: Arc<Index>,
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// What is asked for.
        method: Method,
        /// Of whom, as written.
        uri: &'a [u8],
    },
    /// A response.
    Status {
        /// 100 to 699.
        code: u16,
        /// For people; may be empty.
        reason: &'a [u8],
    },
}

impl Message {
    /// Reads one whole message. Without a `Content-Length` the body is the rest of `bytes`; what follows a body that is
    /// shorter is cut off (RFC 3261 section 18.3).
    ///
    /// # Errors
    /// [`ParseError`] with the fault, the status to answer, and the message as far as it could be read.
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        let index = Index::of(&bytes)?;
        let mut message = Self {
            bytes,
            index: Arc::new(index),
        };
        match check::whole(&message) {
            Ok((end, tags)) => {
                message.bytes.truncate(end);
                // Nobody else has it yet.
                if let Some(index) = Arc::get_mut(&mut message.index) {
                    index.tags = Some(tags);
                }
                Ok(message)
            }
            Err(fault) => Err(ParseError::readable(fault, message)),
        }
    }

    /// How long the message with this head is, on a stream.
    pub(super) fn length_of(head: &[u8]) -> Result<usize, ParseError> {
        let index = Index::of(head)?;
        check::length(head, &index).map_err(|fault| {
            let bytes = Bytes::copy_from_slice(head);
            let index = Arc::new(index);
            ParseError::readable(fault, Self { bytes, index })
        })
    }

    /// The message as it came.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The first line.
    #[must_use]
    pub fn start(&self) -> Start<'_> {
        match &self.index.start {
            StartSpan::Request { method, uri, .. } => Start::Request {
                method: *method,
                uri: self.slice(uri),
            },
            StartSpan::Status { code, reason } => Start::Status {
                code: *code,
                reason: self.slice(reason),
            },
        }
    }

    /// The method of a request, or the method that a response answers.
    #[must_use]
    pub fn method(&self) -> Method {
        match &self.index.start {
            StartSpan::Request { method, .. } => *method,
            StartSpan::Status { .. } => self.cseq().method,
        }
    }

    /// The status code of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.index.start {
            StartSpan::Request { .. } => None,
            StartSpan::Status { code, .. } => Some(*code),
        }
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.status().is_none()
    }

    /// The body; empty if there is none.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body_start()..).unwrap_or_default()
    }

    /// The body without a copy.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        let start = self.body_start().min(self.bytes.len());
        self.bytes.slice(start..)
    }

    pub(super) fn body_start(&self) -> usize {
        usize::from(self.index.body)
    }

    /// Whether this is no part of a [`ParseError`]: then what it must have can be read without looking for faults.
    fn is_checked(&self) -> bool {
        self.index.tags.is_some()
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Where the first header begins: behind the first line.
    pub(super) fn headers_start(&self) -> usize {
        usize::from(self.index.headers)
    }

    /// Where the blank line begins: behind the last header.
    pub(super) fn headers_end(&self) -> usize {
        usize::from(self.index.blank)
    }

    pub(super) fn fields(&self, name: Name) -> impl Iterator<Item = &Field> {
        self.index.fields.iter().filter(move |f| f.name == name)
    }

    pub(super) fn slice(&self, span: &Range<u16>) -> &[u8] {
        let span = usize::from(span.start)..usize::from(span.end);
        self.bytes.get(span).unwrap_or_default()
    }

    /// Where a slice stands that was read from this message or a clone of it; `None` for bytes from elsewhere.
    pub(super) fn span_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part
            .as_ptr()
            .addr()
            .checked_sub(self.bytes.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= self.bytes.len()).then_some(start..end)
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Message {}

/// People's names and addresses stand in messages: only the kind and the size are shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Message");
        match self.start() {
            Start::Request { method, .. } => shown.field("method", &method),
            Start::Status { code, .. } => shown.field("status", &code),
        };
        shown
            .field("octets", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
