//! Where in a message body the session description stands: the whole body, or one part of a `multipart/mixed`
//! (RFC 2046 section 5.1). Everything around it stays as it came.

use std::ops::Range;

use crate::limits;

/// Why the description in a body can't be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A multipart body without boundary, or whose parts don't end.
    #[error("the multipart body can't be taken apart")]
    Multipart,
    /// Multipart in multipart, deeper than [`limits::MULTIPART_DEPTH_MAX`].
    #[error("multipart bodies are nested too deep")]
    TooDeep,
    /// Two descriptions: the peer may take the other one.
    #[error("the body has more than one session description")]
    TooMany,
}

/// The place of a description in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The description.
    pub description: Range<usize>,
    /// The digits of the part's own `Content-Length`, if it has one: they must follow the description.
    pub length: Option<Range<usize>>,
}

/// Finds the description in a body of that `Content-Type`; `None` if there is none.
///
/// # Errors
/// [`BodyError`] if it is a multipart body that two readers could read differently.
pub fn locate(content_type: &[u8], body: &[u8]) -> Result<Option<Place>, BodyError> {
    if is_type(content_type, b"application/sdp") {
        return Ok(Some(Place {
            description: 0..body.len(),
            length: None,
        }));
    }
    if !is_type(content_type, b"multipart/mixed")
        && !is_type(content_type, b"multipart/alternative")
    {
        return Ok(None);
    }
    let mut found = Vec::new();
    search(content_type, body, 0..body.len(), 1, &mut found)?;
    if found.len() > 1 {
        return Err(BodyError::TooMany);
    }
    Ok(found.pop())
}

/// The body with another description in its place.
#[must_use]
pub fn replace(body: &[u8], place: &Place, description: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + description.len());
    let mut at = 0;
    if let Some(length) = &place.length {
        out.extend_from_slice(body.get(at..length.start).unwrap_or_default());
        out.extend_from_slice(description.len().to_string().as_bytes());
        at = length.end;
    }
    out.extend_from_slice(body.get(at..place.description.start).unwrap_or_default());
    out.extend_from_slice(description);
    out.extend_from_slice(body.get(place.description.end..).unwrap_or_default());
    out
}

/// Looks through the parts of a multipart body that stands at `within`.
fn search(
    content_type: &[u8],
    body: &[u8],
    within: Range<usize>,
    depth: usize,
    found: &mut Vec<Place>,
) -> Result<(), BodyError> {
    if depth > limits::MULTIPART_DEPTH_MAX {
        return Err(BodyError::TooDeep);
    }
    let boundary = parameter(content_type, b"boundary").ok_or(BodyError::Multipart)?;
    for part in parts(body, within, boundary)? {
        let head = body.get(part.head.clone()).unwrap_or_default();
        let Some(kind) = field(head, b"content-type", b"c") else {
            continue; // text/plain by default
        };
        let kind = head.get(kind).unwrap_or_default();
        if is_type(kind, b"application/sdp") {
            let length = field(head, b"content-length", b"l");
            let length = length.map(|at| part.head.start + at.start..part.head.start + at.end);
            found.push(Place {
                description: part.content,
                length,
            });
        } else if kind.len() > 10
            && kind
                .get(..10)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
        {
            search(kind, body, part.content, depth + 1, found)?;
        }
    }
    Ok(())
}

/// One part of a multipart body.
struct Part {
    head: Range<usize>,
    content: Range<usize>,
}

fn parts(body: &[u8], within: Range<usize>, boundary: &[u8]) -> Result<Vec<Part>, BodyError> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut start = within.start;
    let text = body.get(within).unwrap_or_default();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        if let Some(is_last) = delimiter(line, boundary) {
            if let Some(begun) = open {
                if parts.len() >= limits::MULTIPART_PARTS_MAX {
                    return Err(BodyError::Multipart);
                }
                parts.push(part(body, begun, start));
            }
            if is_last {
                return Ok(parts);
            }
            open = Some(end);
        }
        start = end;
    }
    Err(BodyError::Multipart)
}

/// Whether a line is a delimiter, and then whether it is the last one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    match rest.trim_ascii_end() {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// The part between two delimiter lines; the line end before the second belongs to that (RFC 2046 section 5.1.1).
fn part(body: &[u8], start: usize, end: usize) -> Part {
    let text = body.get(start..end).unwrap_or_default();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let head_end = at;
        at += line.len();
        if line.trim_ascii_end().is_empty() {
            return Part {
                head: start..start + head_end,
                content: start + at..start + text.len(),
            };
        }
    }
    Part {
        head: start..start + text.len(),
        content: start + text.len()..start + text.len(),
    }
}

/// The place of a field's value in the head of a part, by its long or short name. Folded lines are not understood.
fn field(head: &[u8], long: &[u8], short: &[u8]) -> Option<Range<usize>> {
    let mut start = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':');
        if let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at)) {
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short) {
                let value = value.strip_prefix(b":").unwrap_or(value);
                let from = start + line.len() - value.trim_ascii_start().len();
                return Some(from..from + value.trim_ascii().len());
            }
        }
        start += line.len();
    }
    None
}

/// Whether a `Content-Type` names that type, whatever its parameters.
fn is_type(content_type: &[u8], name: &[u8]) -> bool {
    let bare = content_type.split(|byte| *byte == b';').next();
    bare.is_some_and(|bare| bare.trim_ascii().eq_ignore_ascii_case(name))
}

/// A parameter of a `Content-Type`, without its quotes.
fn parameter<'t>(content_type: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let mut rest = content_type;
    loop {
        // Always at a `;` outside of quotes, or before the first one.
        let at = rest.iter().position(|byte| *byte == b';')?;
        let (_, parameter) = rest.split_at_checked(at + 1)?;
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let (key, value) = parameter.split_at_checked(equals)?;
        let value = value.strip_prefix(b"=")?.trim_ascii_start();
        let (value, after) = match value.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted.iter().position(|byte| *byte == b'"')?;
                quoted.split_at_checked(end)?
            }
            None => {
                let end = value.iter().position(|byte| *byte == b';');
                value.split_at_checked(end.unwrap_or(value.len()))?
            }
        };
        if key.trim_ascii().eq_ignore_ascii_case(name) {
            let value = value.trim_ascii_end();
            return (!value.is_empty()).then_some(value);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &[u8] = b"multipart/mixed; type=\"a;boundary=wrong\";boundary=\"b1\"";

    fn mixed(inner: &str) -> Vec<u8> {
        format!(
            "preamble\r\n--b1\r\nContent-Type: application/isup; version=itu-t92+\r\n\r\n\x01\x02\n--b\r\n\
             --b1\r\nContent-Type: {inner}\r\n--b1--\r\nepilogue"
        )
        .into_bytes()
    }

    #[test]
    fn a_plain_description_is_the_whole_body() {
        let place = locate(b"Application/SDP ;charset=utf-8", b"v=0")
            .unwrap()
            .unwrap();

        assert_eq!(place.description, 0..3);
        assert_eq!(locate(b"text/plain", b"v=0"), Ok(None));
    }

    #[test]
    fn only_the_description_of_a_multipart_body_is_replaced() {
        let body = mixed("application/sdp\r\n\r\nv=0\r\ns=-\r\n");

        let place = locate(MIXED, &body).unwrap().unwrap();
        let replaced = replace(&body, &place, b"v=0\r\n");

        assert_eq!(&body[place.description], b"v=0\r\ns=-\r\n");
        assert_eq!(
            String::from_utf8(replaced).unwrap(),
            String::from_utf8(mixed("application/sdp\r\n\r\nv=0\r\n")).unwrap()
        );
    }

    #[test]
    fn the_length_of_a_part_follows_its_description() {
        let body = mixed("application/sdp\r\nContent-Length:  13 \r\n\r\nv=0\r\ns=-");

        let place = locate(MIXED, &body).unwrap().unwrap();
        let replaced = replace(&body, &place, b"v=0");

        let expected = mixed("application/sdp\r\nContent-Length:  3 \r\n\r\nv=0");
        assert_eq!(String::from_utf8(replaced), String::from_utf8(expected));
    }

    #[test]
    fn a_description_is_found_one_level_deeper_and_no_further() {
        let nested = |depth: usize| {
            let mut body =
                "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--\r\n".to_owned();
            for level in 1..depth {
                body = format!(
                    "--{level}\r\nc: multipart/alternative;boundary={}\r\n\r\n{body}\r\n--{level}--\r\n",
                    if level == 1 {
                        "x".to_owned()
                    } else {
                        (level - 1).to_string()
                    },
                );
            }
            let outermost = if depth == 1 {
                "x".to_owned()
            } else {
                (depth - 1).to_string()
            };
            locate(
                format!("multipart/mixed;boundary={outermost}").as_bytes(),
                body.as_bytes(),
            )
            .map(|place| place.map(|p| body.as_bytes()[p.description].to_vec()))
        };

        assert_eq!(nested(1), Ok(Some(b"v=0".to_vec())));
        assert_eq!(nested(2), Ok(Some(b"v=0".to_vec())));
        assert_eq!(nested(3), Err(BodyError::TooDeep));
    }

    #[test]
    fn bodies_that_can_be_read_in_two_ways_are_refused() {
        let twice =
            mixed("application/sdp\r\n\r\nv=0\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0");

        assert_eq!(locate(MIXED, &twice), Err(BodyError::TooMany));
        assert_eq!(
            locate(
                MIXED,
                b"--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
            ),
            Err(BodyError::Multipart)
        );
        assert_eq!(
            locate(b"multipart/mixed", b"--\r\n"),
            Err(BodyError::Multipart)
        );
    }
}
