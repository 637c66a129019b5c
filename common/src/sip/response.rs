//! Answers made here, from the spans of the request (RFC 3261 section 8.2.6).

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::edit::Edit;
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
        // Of a malformed request only the first of a repeated header.
        let mut seen: SmallVec<[Name; 6]> = SmallVec::new();
        for field in &request.index().fields {
            let is_first = !seen.contains(&field.name);
            let is_copied = field.name == Name::Via || is_first && self.copies(field.name);
            if !is_copied {
                continue;
            }
            let whole = request.slice(&field.whole);
            match (field.name, self.source) {
                (Name::Via, Some(source)) if is_first => self.top_via(&mut out, whole, source),
                (Name::To, _) => self.to(&mut out, whole),
                _ => out.extend_from_slice(whole),
            }
            seen.push(field.name);
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

    const fn copies(&self, name: Name) -> bool {
        matches!(name, Name::From | Name::To | Name::CallId | Name::CSeq)
            || (matches!(name, Name::Timestamp) && self.code == 100)
    }

    fn top_via(&self, out: &mut Vec<u8>, whole: &[u8], source: SocketAddr) {
        // Only this header is wanted of the stamped message.
        let mut edit = Edit::new(self.request);
        edit.stamp_via(source);
        edit.finish_part(whole, out);
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

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "INVITE sip:b@x SIP/2.0\r\n\
        v: SIP/2.0/TLS a:5;rport;branch=z9hG4bK1, SIP/2.0/UDP c\r\n\
        Max-Forwards: 70\r\n\
        t: B\r\n <sip:b@x>\r\n\
        From: <sip:a@x>;tag=1\r\n\
        Timestamp: 54\r\n\
        i: 7\r\n\
        CSeq: 1 INVITE\r\n\
        Content-Length: 2\r\n\r\nhi";

    fn request() -> Message {
        Message::parse(Bytes::from_static(REQUEST.as_bytes())).unwrap()
    }

    #[test]
    fn an_answer_has_the_headers_of_its_request_as_they_were_written() {
        let request = request();

        let answer = build(
            &request,
            503,
            "",
            Some(b"abc"),
            &[(Name::RetryAfter, b"5\r\nX: y")],
        );

        let expected = "SIP/2.0 503 Service Unavailable\r\n\
            v: SIP/2.0/TLS a:5;rport;branch=z9hG4bK1, SIP/2.0/UDP c\r\n\
            t: B\r\n <sip:b@x>;tag=abc\r\n\
            From: <sip:a@x>;tag=1\r\n\
            i: 7\r\n\
            CSeq: 1 INVITE\r\n\
            Retry-After: 5  X: y\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(str::from_utf8(&answer), Ok(expected));
        let read = Message::parse(answer).unwrap();
        assert_eq!(read.status(), Some(503));
        assert_eq!(read.to_tag(), Some(&b"abc"[..]));
    }

    #[test]
    fn a_provisional_answer_copies_the_timestamp_and_stamps_the_via() {
        let request = request();

        let answer = Response::new(&request, 100)
            .source("192.0.2.7:4711".parse().unwrap())
            .to_bytes();

        let read = Message::parse(answer).unwrap();
        assert_eq!(read.value(Name::Timestamp), Some(&b"54"[..]));
        let vias: Vec<_> = read.values(Name::Via).collect();
        assert_eq!(
            vias,
            [
                &b"SIP/2.0/TLS a:5;rport=4711;branch=z9hG4bK1;received=192.0.2.7"[..],
                b"SIP/2.0/UDP c"
            ]
        );
        assert_eq!(read.to_tag(), None);
    }

    #[test]
    fn a_malformed_request_is_answered_if_it_can_be() {
        let parse = |text: String| Message::parse(text.into()).unwrap_err();

        let error = parse(REQUEST.replace("SIP/2.0\r\nv", "SIP/3.0\r\nv"));
        let answer = respond_to_malformed(&error, b"t1").unwrap();
        assert!(answer.starts_with(b"SIP/2.0 505 Version Not Supported\r\nv: "));
        assert!(Message::parse(answer).is_ok());

        let twice = parse(REQUEST.replace("i: 7\r\n", "i: 7\r\nCall-ID: 8\r\n"));
        let answer = respond_to_malformed(&twice, b"t1").unwrap();
        assert_eq!(Message::parse(answer).unwrap().call_id(), b"7");

        let ack = parse(
            REQUEST
                .replace("INVITE", "ACK")
                .replace("Length: 2", "Length: x"),
        );
        assert_eq!(respond_to_malformed(&ack, b"t1"), None);
        let insufficient = parse(REQUEST.replace("i: 7\r\n", ""));
        assert_eq!(insufficient.status(), 400);
        assert_eq!(respond_to_malformed(&insufficient, b"t1"), None);
    }
}
