//! `Cookie` fields (RFC 6265 section 4.2): finding the edge's cookies in them and taking them out again.
//!
//! Both use the same splitting, so what edge-e read as the edge's cookie is exactly what an origin doesn't get. Works on
//! octets: a neighbour's cookie may hold what is not UTF-8.

use bytes::Bytes;
use http::header::{COOKIE, HeaderMap, HeaderValue};

use super::COOKIE_NAME;
use crate::limits;

/// The values of the edge's cookies in a request, as sent, at most [`limits::COOKIE_CANDIDATES_MAX`].
pub fn candidates(fields: &HeaderMap) -> impl Iterator<Item = &str> {
    fields
        .get_all(COOKIE)
        .into_iter()
        .flat_map(|field| split(field.as_bytes()))
        .filter_map(edge_cookie_value)
        .take(limits::COOKIE_CANDIDATES_MAX)
        // What isn't text isn't a cookie of ours, but it was one of the tries.
        .map(|value| std::str::from_utf8(value).unwrap_or_default())
}

/// What [`strip`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stripped {
    /// No cookie of the edge in it.
    Unchanged,
    /// The field without the edge's cookies; all others byte for byte as they were.
    Changed(Bytes),
    /// Nothing else was in it: the field goes.
    Empty,
}

/// Takes the edge's cookies out of one `Cookie` field.
#[must_use]
pub fn strip(field: &[u8]) -> Stripped {
    if !split(field).any(|pair| edge_cookie_value(pair).is_some()) {
        return Stripped::Unchanged;
    }
    let mut kept: Vec<u8> = Vec::with_capacity(field.len());
    for pair in split(field).filter(|pair| edge_cookie_value(pair).is_none()) {
        if kept.is_empty() {
            kept.extend_from_slice(trim(pair));
        } else {
            kept.push(b';');
            kept.extend_from_slice(pair);
        }
    }
    if kept.iter().all(|octet| is_blank(*octet) || *octet == b';') {
        Stripped::Empty
    } else {
        Stripped::Changed(kept.into())
    }
}

/// Takes the edge's cookies out of a request that goes to an origin.
pub fn strip_fields(fields: &mut HeaderMap) {
    let is_clean = fields
        .get_all(COOKIE)
        .into_iter()
        .all(|field| strip(field.as_bytes()) == Stripped::Unchanged);
    if is_clean {
        return;
    }
    let kept: Vec<HeaderValue> = fields
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|field| match strip(field.as_bytes()) {
            Stripped::Unchanged => Some(field.clone()),
            // Octets of a valid field value, only fewer: this can't fail.
            Stripped::Changed(octets) => HeaderValue::from_maybe_shared(octets).ok(),
            Stripped::Empty => None,
        })
        .collect();
    fields.remove(COOKIE);
    for value in kept {
        fields.append(COOKIE, value);
    }
}

/// Whether a `Set-Cookie` field from an origin would take the place of the edge's cookie at the client.
#[must_use]
pub fn sets_edge_cookie(set_cookie: &[u8]) -> bool {
    split(set_cookie)
        .next()
        .is_some_and(|pair| edge_cookie_value(pair).is_some())
}

fn split(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|octet| *octet == b';')
}

/// The value, if the pair is a cookie of the edge. Blanks around name and value are not part of them, because origins
/// that are more lenient than RFC 6265 read it so.
fn edge_cookie_value(pair: &[u8]) -> Option<&[u8]> {
    let equals = pair.iter().position(|octet| *octet == b'=')?;
    let (name, value) = pair.split_at_checked(equals)?;
    if trim(name) == COOKIE_NAME.as_bytes() {
        value.split_first().map(|(_, value)| trim(value))
    } else {
        None
    }
}

fn trim(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets
        && is_blank(*first)
    {
        octets = rest;
    }
    while let [rest @ .., last] = octets
        && is_blank(*last)
    {
        octets = rest;
    }
    octets
}

const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

#[cfg(any(test, feature = "test-util"))]
pub(super) fn fuzz_strip(octets: &[u8]) {
    let others = |field: &[u8]| -> Vec<Vec<u8>> {
        split(field)
            .filter(|pair| edge_cookie_value(pair).is_none())
            .map(|pair| trim(pair).to_vec())
            .collect()
    };
    match strip(octets) {
        Stripped::Unchanged => {}
        Stripped::Empty => assert!(others(octets).iter().all(Vec::is_empty), "nothing lost"),
        Stripped::Changed(kept) => {
            assert_eq!(strip(&kept), Stripped::Unchanged, "nothing of ours is left");
            let filled = |pairs: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                pairs.into_iter().filter(|pair| !pair.is_empty()).collect()
            };
            assert_eq!(
                filled(others(&kept)),
                filled(others(octets)),
                "nothing lost"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stripped(field: &str) -> Option<String> {
        match strip(field.as_bytes()) {
            Stripped::Unchanged => Some(field.to_owned()),
            Stripped::Changed(kept) => Some(String::from_utf8(kept.to_vec()).unwrap()),
            Stripped::Empty => None,
        }
    }

    #[test]
    fn only_the_edge_cookie_is_taken_out() {
        for (field, kept) in [
            ("X-Auth=v", None),
            ("X-Auth=v;", None),
            ("X-Auth=v; X-Auth=w", None),
            ("a=1; X-Auth=v", Some("a=1")),
            ("X-Auth=v; a=1", Some("a=1")),
            ("a=1; X-Auth=v; b=2", Some("a=1; b=2")),
            ("a=1;X-Auth=v;b=2", Some("a=1;b=2")),
            ("a=1; X-Auth = v ; b=\"2 3\"", Some("a=1; b=\"2 3\"")),
            ("X-Auth=v; a=1; X-Auth=w;  b=2 ", Some("a=1;  b=2 ")),
            ("a=1; x-auth=v", Some("a=1; x-auth=v")),
            ("a=X-Auth=v", Some("a=X-Auth=v")),
            ("X-Authentic=v; NX-Auth=w", Some("X-Authentic=v; NX-Auth=w")),
            ("X-Auth", Some("X-Auth")),
            ("", Some("")),
        ] {
            assert_eq!(stripped(field).as_deref(), kept, "{field:?}");
        }
    }

    #[test]
    fn a_request_without_other_cookies_loses_the_field() {
        let mut fields = HeaderMap::new();
        fields.append(COOKIE, HeaderValue::from_static("X-Auth=v"));
        fields.append("accept", HeaderValue::from_static("*/*"));

        strip_fields(&mut fields);

        assert!(!fields.contains_key(COOKIE));
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn several_fields_keep_their_order_and_their_odd_octets() {
        let odd = HeaderValue::from_bytes(b"a=\xff\xfe; b=2").unwrap();
        let mut fields = HeaderMap::new();
        fields.append(COOKIE, odd.clone());
        fields.append(COOKIE, HeaderValue::from_static("X-Auth=v; c=3"));
        fields.append(COOKIE, HeaderValue::from_static("X-Auth=w"));
        fields.append(COOKIE, HeaderValue::from_static("d=4"));

        strip_fields(&mut fields);

        let kept: Vec<_> = fields.get_all(COOKIE).into_iter().collect();
        assert_eq!(kept, [odd.as_bytes(), b"c=3", b"d=4"]);
    }

    #[test]
    fn candidates_are_found_in_every_field_and_are_four_at_most() {
        let mut fields = HeaderMap::new();
        fields.append(
            COOKIE,
            HeaderValue::from_static("a=1; X-Auth=one; X-Auth=two"),
        );
        fields.append(COOKIE, HeaderValue::from_bytes(b"X-Auth=\xff").unwrap());
        fields.append(COOKIE, HeaderValue::from_static("X-Auth=four;X-Auth=five"));

        let found: Vec<_> = candidates(&fields).collect();

        assert_eq!(found, ["one", "two", "", "four"]);
    }

    #[test]
    fn an_origin_that_sets_a_cookie_of_our_name_is_noticed() {
        assert!(sets_edge_cookie(b"X-Auth=evil; Path=/"));
        assert!(sets_edge_cookie(b" X-Auth =evil"));
        assert!(!sets_edge_cookie(b"JSESSIONID=1; X-Auth=2"));
    }

    proptest! {
        #[test]
        fn other_cookies_survive_byte_for_byte(
            before in proptest::collection::vec("[a-z]{1,5}=[!-:<-~]{0,9}", 0..4),
            after in proptest::collection::vec("[a-z]{1,5}=[!-:<-~]{0,9}", 0..4),
            ours in "[A-Za-z0-9_-]{0,64}",
        ) {
            let others: Vec<_> = before.iter().chain(&after).cloned().collect();
            let edge = format!("X-Auth={ours}");
            let field: Vec<_> = before.iter().chain([&edge]).chain(&after).cloned().collect();

            let expected = (!others.is_empty()).then(|| others.join("; "));
            prop_assert_eq!(stripped(&field.join("; ")), expected);
        }

        #[test]
        fn arbitrary_fields_lose_nothing_but_ours(pieces in proptest::collection::vec(
            prop_oneof![Just("X-Auth=".to_owned()), Just("X-Auth".to_owned()), "[;= \ta\u{e9}\"]{0,4}"], 0..12)
        ) {
            fuzz_strip(pieces.concat().as_bytes());
        }
    }
}
