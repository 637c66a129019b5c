//! Header fields that belong to one connection only, and what a proxy does to the rest (RFC 9110 section 7.6).

use http::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that never cross a hop, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that `Connection` may not take away: a client could hide from the inside what the edge has judged.
const PROTECTED: [HeaderName; 2] = [COOKIE, HOST];

/// Removes what belongs to the connection the message came on.
///
/// `Transfer-Encoding` goes because hyper frames the message anew from its parsed body; `Expect` because hyper answers
/// it when the body is asked for.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    // Most messages have none of them; a look at each name costs less than a dozen look-ups.
    if !fields.keys().any(is_of_connection) {
        return;
    }
    if fields.contains_key(CONNECTION) {
        for name in named_by_connection(fields) {
            fields.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
    fields.remove(EXPECT);
}

fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "expect"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn named_by_connection(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let options = values.flat_map(|value| value.split(','));
    options
        .filter_map(|option| HeaderName::try_from(option.trim()).ok())
        .filter(|name| !PROTECTED.contains(name) && *name != http::header::CONTENT_LENGTH)
        .collect()
}

/// Joins several `Cookie` fields into one, as HTTP/1.1 wants it (RFC 9113 section 8.2.3).
pub fn join_cookies(fields: &mut HeaderMap) {
    if fields.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = fields
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // The parts were valid field values, and "; " keeps them so.
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        fields.insert(COOKIE, joined);
    }
}

/// What the fields take in a head of HTTP/1.1, line ends included.
#[must_use]
pub fn bytes(fields: &HeaderMap) -> usize {
    let lines = fields.iter().map(|(name, value)| {
        let text = name.as_str().len().saturating_add(value.len());
        text.saturating_add(": \r\n".len())
    });
    lines.fold(0, usize::saturating_add)
}

/// Whether the message asks to leave HTTP.
#[must_use]
pub fn asks_for_upgrade(fields: &HeaderMap) -> bool {
    fields.contains_key(UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name, value);
        }
        fields
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut head = fields(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-end", "2"),
        ]);

        strip_hop_by_hop(&mut head);

        assert_eq!(head, fields(&[("x-end", "2")]));
    }

    #[test]
    fn each_of_them_is_removed_when_it_is_alone() {
        for name in HOP_BY_HOP.into_iter().chain([EXPECT]) {
            let mut head = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("a"))]);

            strip_hop_by_hop(&mut head);

            assert!(head.is_empty(), "{name}");
        }
    }

    #[test]
    fn connection_can_not_hide_cookie_host_or_length() {
        let mut head = fields(&[
            ("connection", "cookie, host, content-length"),
            ("cookie", "a=1"),
            ("host", "h"),
            ("content-length", "3"),
        ]);

        strip_hop_by_hop(&mut head);

        assert_eq!(
            head,
            fields(&[("cookie", "a=1"), ("host", "h"), ("content-length", "3")])
        );
    }

    #[test]
    fn cookies_split_by_http2_are_joined() {
        let mut head = fields(&[("cookie", "a=1"), ("cookie", "b=2")]);

        join_cookies(&mut head);

        assert_eq!(head, fields(&[("cookie", "a=1; b=2")]));
    }
}
