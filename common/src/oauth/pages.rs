//! An issuer's own pages as clients outside see them: cookies in a name space of their own, links to the edge.
//!
//! A cookie of an issuer is called `sso.<issuer>.<name>` outside and lives below the issuer's path on the edge. So no other
//! server behind the edge can set one for it or see it, and an issuer can't set the edge's own.

use std::fmt;

use crate::limits;

/// The name space of one issuer's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieScope<'a> {
    /// The issuer's name in paths: letters, digits and `-`.
    pub name: &'a str,
    /// Its path on the edge, without a slash at the end.
    pub path: &'a str,
}

/// The beginning of all such names.
const NAMESPACE: &str = "sso.";

impl CookieScope<'_> {
    /// The `Set-Cookie` for the client, made of the issuer's; `None` if it can't be one.
    #[must_use]
    pub fn outwards(&self, set_cookie: &str) -> Option<String> {
        if set_cookie.len() > limits::SSO_COOKIE_BYTES_MAX {
            return None;
        }
        let mut parts = set_cookie.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if !is_token(name) || !value.bytes().all(is_cookie_octet) {
            return None;
        }
        let mut path = "/";
        let mut kept = String::new();
        for part in parts {
            let (attribute, text) = part.split_once('=').unwrap_or((part, ""));
            match attribute.to_ascii_lowercase().as_str() {
                "path" if is_path(text) => path = text,
                "expires" | "max-age" if text.bytes().all(is_attribute_octet) => {
                    kept.push_str("; ");
                    kept.push_str(part);
                }
                // `Lax`, as every issuer's flow needs; what else an issuer says is for its own name.
                _ => {}
            }
        }
        let (scope, base) = (self.name, self.path);
        Some(format!(
            "{NAMESPACE}{scope}.{name}={value}; Path={base}{path}{kept}; Secure; HttpOnly; SameSite=Lax"
        ))
    }

    /// The `Cookie` field for the issuer, made of the client's: its own ones, under their own names.
    #[must_use]
    pub fn inwards<'c>(&self, fields: impl Iterator<Item = &'c str>) -> Option<String> {
        let prefix = format!("{NAMESPACE}{}.", self.name);
        let mut field = String::new();
        let pairs = fields.flat_map(|field| field.split(';')).map(str::trim);
        for pair in pairs.filter_map(|pair| pair.strip_prefix(&prefix)) {
            if field.len().saturating_add(pair.len()) > limits::SSO_COOKIE_BYTES_MAX {
                break;
            }
            if !field.is_empty() {
                field.push_str("; ");
            }
            field.push_str(pair);
        }
        (!field.is_empty()).then_some(field)
    }

    /// Whether a `Set-Cookie` of another server reaches into the name space of issuers.
    #[must_use]
    pub fn is_taken(set_cookie: &[u8]) -> bool {
        set_cookie
            .trim_ascii_start()
            .get(..NAMESPACE.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(NAMESPACE.as_bytes()))
    }
}

impl fmt::Display for CookieScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAMESPACE}{}", self.name)
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_token_octet = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_token_octet)
}

/// RFC 6265 section 4.1.1, and what browsers take besides.
const fn is_cookie_octet(b: u8) -> bool {
    b > b' ' && b < 0x7f && b != b';' && b != b','
}

const fn is_attribute_octet(b: u8) -> bool {
    b >= b' ' && b < 0x7f && b != b';'
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(is_cookie_octet)
}

/// A page with every link to `origin` turned into one to `outside`. Only whole origins: `https://idp.example.com.evil`
/// and `https://idp.example.com:444` are other ones.
#[must_use]
pub fn replace_origin(page: &str, origin: &str, outside: &str) -> String {
    let mut replaced = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(origin) {
        replaced.push_str(before);
        let goes_on = |b: u8| b.is_ascii_alphanumeric() || b"-._:@".contains(&b);
        let is_whole = !after.bytes().next().is_some_and(goes_on);
        replaced.push_str(if is_whole { outside } else { origin });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: CookieScope<'_> = CookieScope {
        name: "corp",
        path: "/ZXhhbXBsZS5jb20/idp/corp",
    };

    #[test]
    fn an_issuers_cookie_lives_below_its_path_and_under_its_name() {
        let outside = SCOPE
            .outwards("_session=a.b-c; path=/interaction; expires=Sat, 21 Nov 2026 10:00:00 GMT; samesite=none; domain=example.com")
            .unwrap();

        assert_eq!(
            outside,
            "sso.corp._session=a.b-c; Path=/ZXhhbXBsZS5jb20/idp/corp/interaction; \
             expires=Sat, 21 Nov 2026 10:00:00 GMT; Secure; HttpOnly; SameSite=Lax"
        );
        let fields = [
            "X-Auth=secret; sso.corp._session=a.b-c",
            "sso.other.x=1; sso.corp.y=2",
        ];
        assert_eq!(
            SCOPE.inwards(fields.into_iter()).as_deref(),
            Some("_session=a.b-c; y=2")
        );
        assert_eq!(SCOPE.inwards(["X-Auth=secret; y=2"].into_iter()), None);
    }

    #[test]
    fn no_issuer_fixes_the_edges_own_cookie_and_no_server_an_issuers() {
        let fixed = SCOPE
            .outwards("X-Auth=attacker; Path=/; Domain=.example.com")
            .unwrap();
        assert!(fixed.starts_with("sso.corp.X-Auth=attacker; Path=/ZXhhbXBsZS5jb20/idp/corp/; "));

        assert!(CookieScope::is_taken(b" SSO.corp._session=fixed; Path=/"));
        assert!(!CookieScope::is_taken(b"_session=1"));
        assert!(!CookieScope::is_taken(b"sso"));
    }

    #[test]
    fn what_is_no_cookie_is_dropped() {
        for bad in [
            "", "novalue", "=x", "a b=c", "a=b c", "a=\u{e9}", "a\r\nb=c",
        ] {
            assert_eq!(SCOPE.outwards(bad), None, "{bad}");
        }
        assert_eq!(SCOPE.outwards(&format!("a={}", "x".repeat(9_000))), None);
        let odd = SCOPE.outwards("a=b; path=relative; max-age=5").unwrap();
        assert_eq!(
            odd,
            "sso.corp.a=b; Path=/ZXhhbXBsZS5jb20/idp/corp/; max-age=5; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn links_to_the_issuer_lead_to_the_edge_and_others_stay() {
        let origin = "https://idp.example.com";
        let page = r#"<form action="https://idp.example.com/x"> https://idp.example.com
            https://idp.example.com.evil/ https://idp.example.com:444/ https://idp.example.comet/"#;

        let outside = replace_origin(page, origin, "https://edge/p");

        assert_eq!(
            outside,
            r#"<form action="https://edge/p/x"> https://edge/p
            https://idp.example.com.evil/ https://idp.example.com:444/ https://idp.example.comet/"#
        );
    }
}
