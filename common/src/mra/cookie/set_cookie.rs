//! The `Set-Cookie` field that hands a cookie to the client.
//!
//! `Expires` and a `Domain` that matches are what Jabber insists on, so both are always there; `SameSite` never is.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use super::{COOKIE_NAME, CookieValue};
use crate::net::Domain;

/// Writes the field value: `X-Auth=..; Expires=..; Domain=.example.com; Path=/; Secure; HttpOnly`. It is marked sensitive.
#[must_use]
pub fn set_cookie(cookie: &CookieValue, domain: &Domain) -> HeaderValue {
    // The expiry has 32 bits, so it is long before the year 9999 where the date format ends.
    let expires = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(cookie.expiry().0));
    let text = format!(
        "{COOKIE_NAME}={}; Expires={expires}; Domain=.{domain}; Path=/; Secure; HttpOnly",
        cookie.text()
    );
    // Letters, digits and the punctuation above: always a valid field value.
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The domain of the cookie where configuration names none: the parent of edge-e's own name, so that the client sends it
/// to that edge's peers too. A parent of one label would be a whole top-level domain; then it is edge-e's own name.
#[must_use]
pub fn cookie_domain(edge_name: &Domain) -> Domain {
    edge_name
        .parent()
        .filter(|parent| parent.as_str().contains('.'))
        .unwrap_or_else(|| edge_name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CoreId;
    use crate::mra::cookie::{FilterKey, KeyId};
    use crate::time::UnixTime;

    #[test]
    fn the_field_is_written_exactly_as_clients_expect_it() {
        let key_id = KeyId {
            core: CoreId(1),
            generation: 0,
        };
        // 9 May 2026, 20:21:31 UTC.
        let expiry = UnixTime(1_778_358_091);
        let cookie = CookieValue::issue(&FilterKey::new([1; 32]), key_id, expiry, [0; 18]);

        let value = set_cookie(&cookie, &Domain::parse("example.com").unwrap());

        assert_eq!(
            value.to_str().unwrap(),
            format!(
                "X-Auth={}; Expires=Sat, 09 May 2026 20:21:31 GMT; Domain=.example.com; Path=/; Secure; HttpOnly",
                cookie.text()
            )
        );
        assert!(value.is_sensitive());
    }

    #[test]
    fn the_domain_is_the_parent_of_the_edge_but_never_a_top_level_domain() {
        for (edge, domain) in [
            ("edge1.example.com", "example.com"),
            ("e.dmz.example.com", "dmz.example.com"),
            ("edge.com", "edge.com"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(
                cookie_domain(&Domain::parse(edge).unwrap()).as_str(),
                domain
            );
        }
    }
}
