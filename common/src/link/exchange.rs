//! Frames of a link connection that carries many short exchanges: a request without a body, an answer with a small one.
//!
//! edge-e asks, edge-c answers, in any order, matched by number. What is not short goes over a pooled connection: an
//! answer that turns out to be long is kept for the one who fetches it there by its token. So there is nothing to flow
//! control here, and what waits on one connection is bounded by [`limits::EXCHANGES_MAX`] short messages.
//!
//! A frame: number (u32), kind (u8), length of what follows (u24), then
//! - request: method (u8 and text), target (u16 and text), fields;
//! - answer: status (u16), fields, and the rest is the body;
//! - elsewhere: token (u64), 0 if the answer was not kept;
//! - cancel: nothing.
//!
//! Fields: count (u16), then name (u8 and text) and value (u16 and bytes) of each.

#![warn(clippy::arithmetic_side_effects)]

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::limits;

/// One frame, as read.
#[derive(Debug)]
pub struct Frame {
    /// The exchange it belongs to.
    pub number: u32,
    /// What it says.
    pub message: Message,
}

/// What a frame says.
#[derive(Debug)]
pub enum Message {
    /// edge-e asks. The body is empty.
    Request {
        /// A safe method.
        method: Method,
        /// In origin form.
        target: Bytes,
        /// With the preface.
        fields: HeaderMap,
    },
    /// edge-c answers.
    Answer {
        /// As the origin sent it.
        status: StatusCode,
        /// As the origin sent them.
        fields: HeaderMap,
        /// All of it.
        body: Bytes,
    },
    /// edge-c has an answer that is too long; fetched by this token, or by asking again.
    Elsewhere(Option<u64>),
    /// edge-e does not want the answer any more.
    Cancel,
}

/// What came is not a frame: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame on the link can't be read")]
pub struct Unreadable;

/// The message is longer than a frame: it takes another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

const REQUEST: u8 = 1;
const ANSWER: u8 = 2;
const ELSEWHERE: u8 = 3;
const CANCEL: u8 = 4;
const HEAD_BYTES: usize = 8;

/// Appends a request.
///
/// # Errors
/// [`TooLong`]; nothing is appended then.
pub fn write_request(
    number: u32,
    method: &Method,
    target: &str,
    fields: &HeaderMap,
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    write(number, REQUEST, out, |out| {
        out.put_u8(short(method.as_str().len())?);
        out.put_slice(method.as_str().as_bytes());
        out.put_u16(long(target.len())?);
        out.put_slice(target.as_bytes());
        write_fields(fields, out)
    })
}

/// Appends an answer.
///
/// # Errors
/// [`TooLong`]; nothing is appended then.
pub fn write_answer(
    number: u32,
    status: StatusCode,
    fields: &HeaderMap,
    body: &[u8],
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    write(number, ANSWER, out, |out| {
        out.put_u16(status.as_u16());
        write_fields(fields, out)?;
        out.put_slice(body);
        Ok(())
    })
}

/// Appends the notice that the answer is to be had elsewhere.
pub fn write_elsewhere(number: u32, token: Option<u64>, out: &mut BytesMut) {
    put_head(number, ELSEWHERE, 8, out);
    out.put_u64(token.unwrap_or(0));
}

/// Appends the notice that an answer is not wanted any more.
pub fn write_cancel(number: u32, out: &mut BytesMut) {
    put_head(number, CANCEL, 0, out);
}

/// Takes the next frame out of what has arrived; `None` until it is there whole.
///
/// # Errors
/// [`Unreadable`].
pub fn read(arrived: &mut BytesMut) -> Result<Option<Frame>, Unreadable> {
    let Some((mut head, rest)) = arrived.split_at_checked(HEAD_BYTES) else {
        return Ok(None);
    };
    let number = head.get_u32();
    let kind = head.get_u8();
    let length = usize::try_from(head.get_uint(3)).map_err(|_| Unreadable)?;
    if length > limits::EXCHANGE_FRAME_BYTES_MAX {
        return Err(Unreadable);
    }
    if rest.len() < length {
        return Ok(None);
    }
    arrived.advance(HEAD_BYTES);
    let mut rest = arrived.split_to(length).freeze();
    let message = match kind {
        REQUEST => {
            let method = take(&mut rest, Width::One)?;
            let target = take(&mut rest, Width::Two)?;
            Message::Request {
                method: Method::from_bytes(&method).map_err(|_| Unreadable)?,
                target,
                fields: read_fields(&mut rest)?,
            }
        }
        ANSWER => {
            let status = rest.try_get_u16().map_err(|_| Unreadable)?;
            Message::Answer {
                status: StatusCode::from_u16(status).map_err(|_| Unreadable)?,
                fields: read_fields(&mut rest)?,
                body: std::mem::take(&mut rest),
            }
        }
        ELSEWHERE => {
            let token = rest.try_get_u64().map_err(|_| Unreadable)?;
            Message::Elsewhere(Some(token).filter(|token| *token != 0))
        }
        CANCEL => Message::Cancel,
        _ => return Err(Unreadable),
    };
    if rest.is_empty() {
        Ok(Some(Frame { number, message }))
    } else {
        Err(Unreadable)
    }
}

fn write(
    number: u32,
    kind: u8,
    out: &mut BytesMut,
    content: impl FnOnce(&mut BytesMut) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let start = out.len();
    put_head(number, kind, 0, out);
    let written = content(out).and_then(|()| {
        let length = out.len().saturating_sub(start).saturating_sub(HEAD_BYTES);
        if length > limits::EXCHANGE_FRAME_BYTES_MAX {
            return Err(TooLong);
        }
        let length = u32::try_from(length).map_err(|_| TooLong)?.to_be_bytes();
        let field = out.get_mut(start..).and_then(|frame| frame.get_mut(5..8));
        if let (Some(field), [_, length @ ..]) = (field, length) {
            field.copy_from_slice(&length);
        }
        Ok(())
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn put_head(number: u32, kind: u8, length: u8, out: &mut BytesMut) {
    out.put_u32(number);
    out.put_slice(&[kind, 0, 0, length]);
}

fn write_fields(fields: &HeaderMap, out: &mut BytesMut) -> Result<(), TooLong> {
    out.put_u16(long(fields.len())?);
    for (name, value) in fields {
        out.put_u8(short(name.as_str().len())?);
        out.put_slice(name.as_str().as_bytes());
        out.put_u16(long(value.len())?);
        out.put_slice(value.as_bytes());
    }
    Ok(())
}

fn short(length: usize) -> Result<u8, TooLong> {
    length.try_into().map_err(|_| TooLong)
}

fn long(length: usize) -> Result<u16, TooLong> {
    length.try_into().map_err(|_| TooLong)
}

fn read_fields(rest: &mut Bytes) -> Result<HeaderMap, Unreadable> {
    let count = usize::from(rest.try_get_u16().map_err(|_| Unreadable)?);
    if count > limits::HTTP_FIELDS_READ_MAX {
        return Err(Unreadable);
    }
    let mut fields = HeaderMap::with_capacity(count);
    for _ in 0..count {
        let name = take(rest, Width::One)?;
        let value = take(rest, Width::Two)?;
        let name = HeaderName::from_bytes(&name).map_err(|_| Unreadable)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Unreadable)?;
        fields.try_append(name, value).map_err(|_| Unreadable)?;
    }
    Ok(fields)
}

/// Octets of a length.
#[derive(Clone, Copy)]
enum Width {
    One,
    Two,
}

fn take(rest: &mut Bytes, width: Width) -> Result<Bytes, Unreadable> {
    let length = match width {
        Width::One => rest.try_get_u8().map(usize::from),
        Width::Two => rest.try_get_u16().map(usize::from),
    };
    let length = length.map_err(|_| Unreadable)?;
    if length > rest.len() {
        return Err(Unreadable);
    }
    Ok(rest.split_to(length))
}

/// What is read is written and read back as the same, and nothing panics.
///
/// # Panics
/// If not.
#[cfg(any(test, feature = "test-util"))]
pub fn fuzz(bytes: &[u8]) {
    let mut arrived = BytesMut::from(bytes);
    while let Ok(Some(frame)) = read(&mut arrived) {
        let mut again = BytesMut::new();
        let number = frame.number;
        let written = match &frame.message {
            Message::Request {
                method,
                target,
                fields,
            } => match std::str::from_utf8(target) {
                Ok(target) => write_request(number, method, target, fields, &mut again),
                Err(_) => continue,
            },
            Message::Answer {
                status,
                fields,
                body,
            } => write_answer(number, *status, fields, body, &mut again),
            Message::Elsewhere(token) => {
                write_elsewhere(number, *token, &mut again);
                Ok(())
            }
            Message::Cancel => {
                write_cancel(number, &mut again);
                Ok(())
            }
        };
        assert_eq!(written, Ok(()), "{frame:?} is not too long");
        let read_back = read(&mut again);
        let (before, after) = (format!("{frame:?}"), format!("{read_back:?}"));
        // The order of fields of different names may change once.
        let is_same = matches!(&read_back, Ok(Some(back)) if is_same(&frame, back));
        assert!(is_same && again.is_empty(), "{before} came back as {after}");
    }
}

#[cfg(any(test, feature = "test-util"))]
fn is_same(one: &Frame, other: &Frame) -> bool {
    let is_same = match (&one.message, &other.message) {
        (
            Message::Request {
                method: a,
                target: b,
                fields: c,
            },
            Message::Request {
                method: x,
                target: y,
                fields: z,
            },
        ) => a == x && b == y && c == z,
        (
            Message::Answer {
                status: a,
                fields: b,
                body: c,
            },
            Message::Answer {
                status: x,
                fields: y,
                body: z,
            },
        ) => a == x && b == y && c == z,
        (Message::Elsewhere(a), Message::Elsewhere(x)) => a == x,
        (Message::Cancel, Message::Cancel) => true,
        (
            Message::Request { .. }
            | Message::Answer { .. }
            | Message::Elsewhere(_)
            | Message::Cancel,
            _,
        ) => false,
    };
    one.number == other.number && is_same
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HOST, SET_COOKIE};

    fn fields() -> HeaderMap {
        HeaderMap::from_iter([
            (HOST, HeaderValue::from_static("edge.test")),
            (SET_COOKIE, HeaderValue::from_static("a=1")),
            (SET_COOKIE, HeaderValue::from_static("b=2")),
            (
                HeaderName::from_static("x-odd"),
                HeaderValue::from_bytes(b"\xff").unwrap(),
            ),
        ])
    }

    #[test]
    fn what_is_written_is_read_however_it_is_cut() {
        let mut out = BytesMut::new();
        write_request(7, &Method::GET, "/a?b", &fields(), &mut out).unwrap();
        write_answer(8, StatusCode::NOT_FOUND, &fields(), b"body", &mut out).unwrap();
        write_elsewhere(9, Some(5), &mut out);
        write_elsewhere(10, None, &mut out);
        write_cancel(11, &mut out);

        let mut arrived = BytesMut::new();
        let mut frames = Vec::new();
        for byte in out {
            arrived.put_u8(byte);
            frames.extend(read(&mut arrived).unwrap());
        }

        let texts: Vec<String> = frames.iter().map(|frame| format!("{frame:?}")).collect();
        assert_eq!(texts.len(), 5, "{texts:#?}");
        let [request, answer, kept, lost, cancel] = &frames[..] else {
            unreachable!()
        };
        assert!(matches!(&request.message,
            Message::Request { method, target, fields: read }
                if method == Method::GET && target == "/a?b" && *read == fields()));
        assert!(matches!(&answer.message,
            Message::Answer { status, fields: read, body }
                if *status == 404 && *read == fields() && body == "body"));
        assert!(matches!(kept.message, Message::Elsewhere(Some(5))));
        assert!(matches!(lost.message, Message::Elsewhere(None)));
        assert!(matches!(cancel.message, Message::Cancel));
        let numbers: Vec<u32> = frames.iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, [7, 8, 9, 10, 11]);
    }

    #[test]
    fn what_is_too_long_leaves_nothing_behind() {
        let mut out = BytesMut::from(&b"before"[..]);
        let body = vec![0; limits::EXCHANGE_FRAME_BYTES_MAX];
        let target = "/".repeat(70_000);

        let answer = write_answer(1, StatusCode::OK, &fields(), &body, &mut out);
        let request = write_request(1, &Method::GET, &target, &fields(), &mut out);

        assert_eq!((answer, request), (Err(TooLong), Err(TooLong)));
        assert_eq!(out, "before");
    }

    #[test]
    fn junk_is_refused_and_never_waited_for() {
        for junk in [
            &b"\0\0\0\x01\x09\0\0\0"[..],
            b"\0\0\0\x01\x01\xff\xff\xff",
            b"\0\0\0\x01\x04\0\0\x01x",
            b"\0\0\0\x01\x02\0\0\x02\0\x01",
            b"\0\0\0\x01\x01\0\0\x04\x09GET",
        ] {
            let read = read(&mut BytesMut::from(junk));
            assert!(matches!(read, Err(Unreadable)), "{junk:?}: {read:?}");
        }
    }
}
