//! Normalising is stable, and no origin reads another path into the result.

use crate::http::target::Target;

/// Text is read as a request target. What is accepted must be its own normal form, keep its query, and have the same
/// segments in every way that servers are known to read paths.
///
/// # Panics
/// If a promise of [`Target`] is broken.
pub fn http_target(data: &[u8]) {
    let Ok(raw) = str::from_utf8(data) else {
        return;
    };
    let Ok(target) = Target::parse(raw) else {
        return;
    };

    let text = target.to_string();
    let again = Target::parse(&text);
    assert_eq!(again.as_ref(), Ok(&target), "a normal form is its own");
    let query = raw.split_once('?').map(|(_, query)| query);
    assert_eq!(target.query(), query, "the query is never changed");

    let own = segments(target.path().as_bytes());
    for reading in READINGS {
        let read = reading(target.path().as_bytes());
        let theirs = segments(&read);
        assert_eq!(theirs.len(), own.len(), "{text} is read as {read:?}");
        for segment in theirs {
            let name = trimmed(segment);
            assert!(
                name.is_empty() || !name.iter().all(|byte| *byte == b'.'),
                "{text} is read as {read:?}"
            );
        }
    }
}

type Reading = fn(&[u8]) -> Vec<u8>;

/// Ways in which servers read a path, each worse than the one before.
const READINGS: [Reading; 4] = [
    decode,
    |path| decode(&decode(path)),
    |path| without_parameters(&decode(path)),
    |path| decode(&without_parameters(&decode(path))),
];

/// Both slashes part segments, as on Windows.
fn segments(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| matches!(byte, b'/' | b'\\')).collect()
}

/// File systems drop spaces at the end, careless parsers at the beginning too.
fn trimmed(segment: &[u8]) -> &[u8] {
    segment.trim_ascii()
}

/// Percent-decodes once; what is no escape stays.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escape = tail
            .first_chunk::<2>()
            .filter(|_| byte == b'%')
            .and_then(|digits| str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(value) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    out
}

/// Cuts `;` and what follows out of every segment, as servlet containers do, and a late `?` or `#` likewise.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for (at, segment) in path.split(|byte| *byte == b'/').enumerate() {
        if at > 0 {
            out.push(b'/');
        }
        let name = segment
            .split(|byte| matches!(byte, b';' | b'?' | b'#'))
            .next();
        out.extend_from_slice(name.unwrap_or_default());
    }
    out
}
