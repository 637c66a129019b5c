//! What a request must look like before anything else is asked: the refusals against smuggling, as a pure decision.
//!
//! hyper has parsed and framed the message; what it is lenient about is refused here.

use common::http::fields;
use common::limits;
use common::mra::access::Refusal;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

/// Decides whether the head of a request is in order.
///
/// # Errors
/// The [`Refusal`] to answer with, and what is wrong for the log.
pub fn check(
    method: &Method,
    uri: &Uri,
    version: Version,
    head: &HeaderMap,
) -> Result<(), (Refusal, &'static str)> {
    let bad = |reason| Err((Refusal::BadRequest, reason));
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err((Refusal::Unsupported, "CONNECT and TRACE are not proxied"));
    }
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > limits::EDGE_TARGET_BYTES_MAX {
        return bad("the request target is too long");
    }
    if head.len() > limits::HTTP_FIELDS_MAX || fields::bytes(head) > limits::HTTP_FIELDS_BYTES_MAX {
        return Err((Refusal::HeadTooLarge, "the head is too large"));
    }
    if fields::asks_for_upgrade(head) {
        return bad("Upgrade is refused");
    }
    if head.get_all(HOST).iter().nth(1).is_some() {
        return bad("more than one Host field");
    }
    if head.contains_key(TRANSFER_ENCODING) && head.contains_key(CONTENT_LENGTH) {
        return bad("both Transfer-Encoding and Content-Length");
    }
    if head.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return bad("more than one Content-Length field");
    }
    let host = head.get(HOST).map(http::HeaderValue::as_bytes);
    match version {
        Version::HTTP_2 => match (uri.authority(), host) {
            (None, None) => bad("no authority"),
            (Some(authority), Some(host))
                if !host.eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
            {
                bad(":authority and Host differ")
            }
            _ => Ok(()),
        },
        _ if uri.authority().is_some() || uri.scheme().is_some() => {
            bad("the request target is in absolute form")
        }
        Version::HTTP_11 if host.is_none_or(<[u8]>::is_empty) => bad("no Host field"),
        Version::HTTP_11 | Version::HTTP_10 => Ok(()),
        _ => bad("not HTTP/1.0, 1.1 or 2"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn verdict(request: http::request::Builder) -> Option<&'static str> {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let verdict = check(&head.method, &head.uri, head.version, &head.headers);
        verdict.err().map(|(_, reason)| reason)
    }

    fn get(uri: &str) -> http::request::Builder {
        Request::get(uri).header("host", "edge.test")
    }

    #[test]
    fn an_ordinary_request_passes() {
        assert_eq!(verdict(get("/a")), None);
        let h2 = Request::get("https://edge.test/a").version(Version::HTTP_2);
        assert_eq!(verdict(h2), None);
        let h1_0 = Request::get("/a").version(Version::HTTP_10);
        assert_eq!(verdict(h1_0), None);
    }

    #[test]
    fn what_the_link_could_not_carry_is_refused_here() {
        let fields = |count| (1..count).fold(get("/a"), |request, _| request.header("x-many", "1"));
        let value = |bytes| get("/a").header("x-large", "a".repeat(bytes));
        let target = |bytes| {
            get(&format!(
                "/{}?{}",
                "a".repeat(bytes / 2),
                "b".repeat(bytes / 2)
            ))
        };
        let large = Some("the head is too large");

        assert_eq!(verdict(fields(limits::HTTP_FIELDS_MAX)), None);
        assert_eq!(verdict(fields(limits::HTTP_FIELDS_MAX + 1)), large);
        assert_eq!(verdict(value(limits::HTTP_FIELDS_BYTES_MAX - 100)), None);
        assert_eq!(verdict(value(limits::HTTP_FIELDS_BYTES_MAX)), large);
        assert_eq!(verdict(target(limits::EDGE_TARGET_BYTES_MAX - 10)), None);
        assert_eq!(
            verdict(target(limits::EDGE_TARGET_BYTES_MAX)),
            Some("the request target is too long")
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (request, reason) in [
            (
                get("/a").method("CONNECT"),
                "CONNECT and TRACE are not proxied",
            ),
            (
                get("/a").method("TRACE"),
                "CONNECT and TRACE are not proxied",
            ),
            (
                get("http://edge.test/a"),
                "the request target is in absolute form",
            ),
            (
                get("/a").header("host", "other.test"),
                "more than one Host field",
            ),
            (Request::get("/a"), "no Host field"),
            (Request::get("/a").header("host", ""), "no Host field"),
            (get("/a").header("upgrade", "h2c"), "Upgrade is refused"),
            (
                get("/a")
                    .header("transfer-encoding", "chunked")
                    .header("content-length", "3"),
                "both Transfer-Encoding and Content-Length",
            ),
            (
                get("/a")
                    .header("content-length", "3")
                    .header("content-length", "3"),
                "more than one Content-Length field",
            ),
            (
                Request::get("https://edge.test/a")
                    .version(Version::HTTP_2)
                    .header("host", "other.test"),
                ":authority and Host differ",
            ),
        ] {
            assert_eq!(verdict(request), Some(reason));
        }
    }
}
