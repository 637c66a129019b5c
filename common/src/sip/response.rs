//! Answers made here, from the spans of the request (RFC 3261 section 8.2.6).

use std::net::SocketAddr;

use bytes::Bytes;

use super::message::{Message, Method, ParseError};
use super::name::Name;

/// The answer `code` to `request`: Via, From, To, Call-ID and `CSeq` as they came, the tag added to a To that has none, the
/// `extra` headers, no body. An empty `reason` means the usual one.
#[must_use]
pub fn build(
    request: &Message,
    code: u16,
    reason: &str,
    to_tag: Option<&[u8]>,
    extra: &[(Name, &[u8])],
) -> Bytes {
    let mut response = Response::new(request, code).reason(reason);
    if let Some(tag) = to_tag {
        response = response.to_tag(tag);
    }
    for (name, value) in extra {
        response = response.header(*name, value);
    }
    response.to_bytes()
}

/// The answer to a request that can't be read: what its fault says. `None` if there is nothing to answer: a response, an
/// ACK, or so little of a request that nobody would know the answer.
#[must_use]
pub fn respond_to_malformed(error: &ParseError, to_tag: &[u8]) -> Option<Bytes> {
    let request = error.message()?;
    let is_answered = request.is_request() && request.method() != Method::Ack;
    let is_known = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq]
        .iter()
        .all(|name| request.has(*name));
    (is_answered && is_known).then(|| {
        Response::new(request, error.status())
            .to_tag(to_tag)
            .to_bytes()
    })
}

/// An answer in the making.
#[derive(Debug)]
pub struct Response<'a> {
    request: &'a Message,
    code: u16,
    reason: &'a str,
    to_tag: Option<&'a [u8]>,
    source: Option<SocketAddr>,
    extra: Vec<u8>,
    body: &'a [u8],
}

impl<'a> Response<'a> {
    /// With the usual reason, without a body.
    #[must_use]
    pub const fn new(request: &'a Message, code: u16) -> Self {
        Self {
            request,
            code,
            reason: "",
            to_tag: None,
            source: None,
            extra: Vec::new(),
            body: &[],
        }
    }

    /// Another text for people.
    #[must_use]
    pub const fn reason(mut self, reason: &'a str) -> Self {
        self.reason = reason;
        self
    }

    /// Adds the tag to a To that has none; a 100 needs none.
    #[must_use]
    #[expect(clippy::wrong_self_convention, reason = "`To` is the header")]
    pub const fn to_tag(mut self, tag: &'a [u8]) -> Self {
        self.to_tag = Some(tag);
        self
    }

    /// Says in the topmost Via where the request came from, as [`super::edit::Edit::stamp_via`] does.
    #[must_use]
    pub const fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Adds a header; line ends in it become spaces.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let plain = |byte: &u8| match byte {
            b'\r' | b'\n' => b' ',
            other => *other,
        };
        self.extra.extend(name.as_ref().iter().map(plain));
        self.extra.extend_from_slice(b": ");
        self.extra.extend(value.as_ref().iter().map(plain));
        self.extra.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a body and what it is.
    #[must_use]
    pub fn body(self, content_type: &str, body: &'a [u8]) -> Self {
        let mut response = self.header(Name::ContentType, content_type);
        response.body = body;
        response
    }

    /// The message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let request = self.request;
        let mut out = Vec::with_capacity(request.headers_end().saturating_add(self.body.len()));
        let reason = match self.reason {
            "" => reason_phrase(self.code),
            reason => reason,
        };
        put(
            &mut out,
            &[b"SIP/2.0 ", self.code.to_string().as_bytes(), b" "],
        );
        out.extend(reason.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        out.extend_from_slice(b"\r\n");
        let mut is_first_via = true;
        for field in &request.index().fields {
            let whole = request.slice(&field.whole);
            if field.name == Name::Via && is_first_via {
                is_first_via = false;
                self.top_via(&mut out, whole);
            } else if field.name == Name::To {
                self.to(&mut out, whole);
            } else if is_copied(field.name) || (field.name == Name::Timestamp && self.code == 100) {
                out.extend_from_slice(whole);
            }
        }
        out.extend_from_slice(&self.extra);
        let length = self.body.len().to_string();
        put(
            &mut out,
            &[
                b"Content-Length: ",
                length.as_bytes(),
                b"\r\n\r\n",
                self.body,
            ],
        );
        out.into()
    }

    fn top_via(&self, out: &mut Vec<u8>, whole: &[u8]) {
        match self.source {
            None => out.extend_from_slice(whole),
            Some(source) => {
                // Only this header is wanted of the stamped message.
                let mut edit = super::edit::Edit::new(self.request);
                edit.stamp_via(source);
                edit.finish_part(whole, out);
            }
        }
    }

    fn to(&self, out: &mut Vec<u8>, whole: &[u8]) {
        let has_tag = self.request.to_tag().is_some();
        match self.to_tag {
            Some(tag) if !has_tag => {
                let line = whole.strip_suffix(b"\r\n").unwrap_or(whole);
                put(out, &[super::scan::trim(line), b";tag=", tag, b"\r\n"]);
            }
            _ => out.extend_from_slice(whole),
        }
    }
}

const fn is_copied(name: Name) -> bool {
    matches!(name, Name::Via | Name::From | Name::CallId | Name::CSeq)
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The usual text of a status code (RFC 3261 section 21 and the IANA registry); by its class if it has none.
#[must_use]
pub const fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match code / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}
