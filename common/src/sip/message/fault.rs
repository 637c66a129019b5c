//! What is wrong with a message, and what to answer.

use super::{Message, Method};
use crate::sip::name::Name;

/// What is wrong. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The head has no end.
    #[error("the head has no end")]
    NoBlankLine,
    /// The head, or one of its lines, is over the limit.
    #[error("the head is too long")]
    HeadTooLong,
    /// Head and body together are over the limit.
    #[error("the message is too long")]
    TooLong,
    /// A carriage return or a line feed without the other.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// A NUL outside a quoted pair.
    #[error("a NUL in the head")]
    Nul,
    /// Neither a request line nor a status line.
    #[error("malformed start line")]
    StartLine,
    /// Another version than `SIP/2.0`.
    #[error("another version than SIP/2.0")]
    Version,
    /// The method is no token, or over the limit.
    #[error("malformed method")]
    Method,
    /// A status code that is not three digits from 100 to 699.
    #[error("malformed status code")]
    StatusCode,
    /// A header line without a name and a colon.
    #[error("malformed header")]
    Header,
    /// Too many header fields.
    #[error("too many header fields")]
    TooManyHeaders,
    /// A header that every message has is missing.
    #[error("{0} is missing")]
    Missing(Name),
    /// A header that a message has once is there twice.
    #[error("{0} is repeated")]
    Repeated(Name),
    /// The value of a header can't be read.
    #[error("malformed {0}")]
    Value(Name),
    /// Too many values of one header.
    #[error("too many values of {0}")]
    TooManyValues(Name),
    /// `CSeq` names another method than the request line.
    #[error("CSeq names another method")]
    CSeqMethod,
    /// The body is shorter than `Content-Length` says.
    #[error("the body is shorter than Content-Length")]
    BodyShort,
    /// `Content-Length` is not a short number, or two of them differ.
    #[error("malformed Content-Length")]
    ContentLength,
    /// No `Content-Length` on a stream.
    #[error("no Content-Length on a stream")]
    NoContentLength,
    /// A STUN message on a stream that is none, or too long.
    #[error("malformed STUN message")]
    Stun,
    /// A URI can't be read.
    #[error("malformed URI")]
    Uri,
    /// A URI is over the limit.
    #[error("a URI is too long")]
    UriTooLong,
    /// A Via can't be read.
    #[error("malformed Via")]
    Via,
    /// An address with a name can't be read.
    #[error("malformed address")]
    Address,
    /// A parameter can't be read.
    #[error("malformed parameter")]
    Parameter,
    /// Too many parameters.
    #[error("too many parameters")]
    TooManyParameters,
    /// Challenges or credentials can't be read.
    #[error("malformed credentials")]
    Credentials,
}

impl Fault {
    /// The status that a request with this fault is answered with.
    #[must_use]
    pub const fn status(self) -> u16 {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a new fault is a bad request too"
        )]
        match self {
            Self::Version => 505,
            Self::TooLong | Self::HeadTooLong | Self::TooManyHeaders => 513,
            Self::UriTooLong => 414,
            _ => 400,
        }
    }
}

/// A message that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ParseError {
    fault: Fault,
    message: Option<Message>,
}

impl ParseError {
    pub(in crate::sip) const fn readable(fault: Fault, message: Message) -> Self {
        Self {
            fault,
            message: Some(message),
        }
    }

    /// What is wrong.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// The status to answer, if it is answered at all. RFC 4475 section 3.1.2.18: an unknown method is not implemented,
    /// whatever else is wrong with it.
    #[must_use]
    pub fn status(&self) -> u16 {
        let is_unknown = |message: &Message| message.method() == Method::Other;
        if self.fault == Fault::CSeqMethod && self.message.as_ref().is_some_and(is_unknown) {
            return 501;
        }
        self.fault.status()
    }

    /// The message, if its head could be taken apart. Its values may be missing or unreadable.
    #[must_use]
    pub const fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }
}

impl From<Fault> for ParseError {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            message: None,
        }
    }
}
