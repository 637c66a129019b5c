//! What an issuer answers, as a client outside gets it: places, cookies and links turned to the edge.

use bytes::Bytes;
use common::http::fields;
use common::http::target::Target;
use common::link::preface;
use common::mra::access::Refusal;
use common::mra::edge_path::encode_domain;
use common::net::{Domain, Origin};
use common::oauth::{CookieScope, replace_origin};
use common::policy::allow_list::Url;
use common::runtime::body::Body;
use http::Response;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, LOCATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY,
};

use super::SsoRefused;
use super::metrics::SsoOutcome;
use super::refresh::Answer;

/// Fields that would speak for the edge's own name, or to the browser about all of it.
const NOT_FOR_CLIENTS: [HeaderName; 4] = [
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("public-key-pins"),
    STRICT_TRANSPORT_SECURITY,
];

/// An issuer's place on the edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside<'a> {
    /// Name and port of the edge, as the client wrote them.
    pub(super) edge_host: &'a str,
    pub(super) domain: &'a Domain,
    pub(super) issuer: &'a str,
    pub(super) origin: &'a Origin,
}

impl Outside<'_> {
    /// The edge's own origin.
    pub(super) fn base(&self) -> String {
        format!("https://{}", self.edge_host)
    }

    /// Where the issuer's root is on the edge, without a slash at the end.
    pub(super) fn path(&self) -> String {
        format!("/{}/idp/{}", encode_domain(self.domain), self.issuer)
    }

    /// The URL outside of a page of the issuer.
    pub(super) fn url(&self, url: &Url) -> String {
        format!("{}{}{}", self.base(), self.path(), url.target)
    }

    /// Makes the client's answer of the issuer's to a request for `asked`.
    pub(super) fn translate(
        &self,
        asked: &Url,
        answer: Answer,
        is_allowed: impl Fn(&Url) -> bool,
    ) -> Result<Response<Body>, SsoRefused> {
        let Answer {
            status,
            mut fields,
            body,
        } = answer;
        fields::strip_hop_by_hop(&mut fields);
        preface::strip(&mut fields);
        for name in NOT_FOR_CLIENTS {
            fields.remove(name);
        }
        self.translate_cookies(&mut fields);
        self.translate_location(asked, &mut fields, is_allowed)?;
        self.translate_policy(&mut fields);
        let body = self.translate_page(&fields, body);
        fields.remove(CONTENT_LENGTH);
        let mut response = Response::new(Body::bytes(body));
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        Ok(response)
    }

    fn translate_cookies(&self, fields: &mut HeaderMap) {
        let path = self.path();
        let scope = CookieScope {
            name: self.issuer,
            path: &path,
        };
        let set = fields.get_all(SET_COOKIE).iter();
        let outside = set
            .filter_map(|value| scope.outwards(value.to_str().ok()?))
            .filter_map(|text| HeaderValue::try_from(text).ok());
        let outside: Vec<_> = outside.collect();
        fields.remove(SET_COOKIE);
        for value in outside {
            fields.append(SET_COOKIE, value);
        }
    }

    /// A place on the issuer becomes one on the edge; another one is the client's own redirect address.
    fn translate_location(
        &self,
        asked: &Url,
        fields: &mut HeaderMap,
        is_allowed: impl Fn(&Url) -> bool,
    ) -> Result<(), SsoRefused> {
        let Some(location) = fields.get(LOCATION) else {
            return Ok(());
        };
        let unusable = |reason: &'static str| {
            let remedy = "look at the issuer: where does it send clients?";
            let refusal = Refusal::OriginUnreachable;
            SsoRefused::new(SsoOutcome::Unavailable, refusal, reason, remedy)
        };
        let text = location
            .to_str()
            .map_err(|_| unusable("its Location is not text"))?;
        let Some((url, fragment)) = absolute(text, asked) else {
            return Ok(());
        };
        if url.origin != *self.origin {
            return Ok(());
        }
        if !is_allowed(&url) {
            let page = format!("{}{}", base_of(&url.origin), url.target.path());
            let remedy = format!(
                "to allow it: [[sso.rule]] issuer = \"{}\", url = \"{page}\", match = \"exact\"",
                self.issuer
            );
            let reason = "the issuer sends the client to a page that no [[sso.rule]] has";
            let (outcome, refusal) = (SsoOutcome::NotListed, Refusal::NotAllowed);
            return Err(SsoRefused::new(outcome, refusal, reason, remedy));
        }
        let outside = format!("{}{fragment}", self.url(&url));
        let outside =
            HeaderValue::try_from(outside).map_err(|_| unusable("its Location can't be sent"))?;
        fields.insert(LOCATION, outside);
        Ok(())
    }

    fn translate_policy(&self, fields: &mut HeaderMap) {
        let Some(policy) = fields.get(CONTENT_SECURITY_POLICY) else {
            return;
        };
        let translated = policy.to_str().ok().map(|policy| self.links(policy));
        if let Some(Ok(value)) = translated.map(HeaderValue::try_from) {
            fields.insert(CONTENT_SECURITY_POLICY, value);
        }
    }

    /// Links in pages; nothing else is looked into.
    fn translate_page(&self, fields: &HeaderMap, body: Bytes) -> Bytes {
        let kind = fields.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_page = kind.is_some_and(|kind| {
            let kind = kind.to_ascii_lowercase();
            kind.starts_with("text/html") || kind.starts_with("application/xhtml")
        });
        if !is_page || fields.contains_key(CONTENT_ENCODING) {
            return body;
        }
        match std::str::from_utf8(&body) {
            Ok(page) => Bytes::from(self.links(page)),
            Err(_) => body,
        }
    }

    fn links(&self, text: &str) -> String {
        let outside = format!("{}{}", self.base(), self.path());
        replace_origin(text, &base_of(self.origin), &outside)
    }
}

/// `https://host` with the port where it isn't the usual one.
pub(super) fn base_of(origin: &Origin) -> String {
    format!("{}://{}", origin.scheme.as_str(), origin.authority())
}

/// The URL that a `Location` means (RFC 3986 section 5.2), and its fragment; nothing for other schemes.
fn absolute<'t>(text: &'t str, asked: &Url) -> Option<(Url, &'t str)> {
    let at = text.find('#').unwrap_or(text.len());
    let (text, fragment) = text.split_at_checked(at)?;
    if text.contains("://") {
        return Url::parse(text).ok().map(|url| (url, fragment));
    }
    let is_other_scheme = text
        .split(['/', '?'])
        .next()
        .is_some_and(|first| first.contains(':'));
    if text.starts_with("//") || is_other_scheme {
        return None;
    }
    let path = asked.target.path();
    let target = if text.starts_with('/') {
        text.to_owned()
    } else if text.is_empty() || text.starts_with('?') {
        format!("{path}{text}")
    } else {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{text}")
    };
    let target = Target::parse(&target).ok()?.into_owned();
    let origin = asked.origin.clone();
    Some((Url { origin, target }, fragment))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn value(text: &str) -> HeaderValue {
        HeaderValue::try_from(text).unwrap()
    }

    fn translate(fields: &[(HeaderName, &str)], body: &str) -> Result<Response<Body>, SsoRefused> {
        let asked = url("https://idp.test:9443/a/b?c=d");
        let domain = domain("example.com");
        let outside = Outside {
            edge_host: "edge1.test:8443",
            domain: &domain,
            issuer: "corp",
            origin: &asked.origin,
        };
        let mut all = HeaderMap::new();
        for (name, text) in fields {
            all.append(name, value(text));
        }
        let answer = Answer {
            status: StatusCode::OK,
            fields: all,
            body: Bytes::from(body.to_owned()),
        };
        outside.translate(&asked, answer, |url| url.target.path() != "/hidden")
    }

    fn place(text: &str) -> String {
        let Ok(response) = translate(&[(LOCATION, text)], "") else {
            return "refused".to_owned();
        };
        response.headers()[LOCATION].to_str().unwrap().to_owned()
    }

    const BASE: &str = "https://edge1.test:8443/ZXhhbXBsZS5jb20/idp/corp";

    #[test]
    fn places_on_the_issuer_become_places_on_the_edge() {
        for (inside, outside) in [
            ("https://idp.test:9443/x?y=z#frag", "/x?y=z#frag"),
            ("/x", "/x"),
            ("x/y", "/a/x/y"),
            ("../x", "/x"),
            ("?e=f", "/a/b?e=f"),
        ] {
            assert_eq!(place(inside), format!("{BASE}{outside}"), "{inside}");
        }
    }

    #[test]
    fn places_elsewhere_are_the_clients_own_and_stay() {
        for text in [
            "http://127.0.0.1/callback?code=1",
            "jabber://callback?code=1",
            "com.example.app:/callback?code=1",
            "https://idp.test/x",
            "//other.test/x",
        ] {
            assert_eq!(place(text), text);
        }
        for text in ["/hidden", "https://idp.test:9443/hidden"] {
            assert_eq!(place(text), "refused");
        }
    }

    #[test]
    fn fields_that_speak_for_the_whole_edge_do_not_pass() {
        let response = translate(
            &[
                (STRICT_TRANSPORT_SECURITY, "max-age=1; includeSubDomains"),
                (HeaderName::from_static("clear-site-data"), "\"cookies\""),
                (HeaderName::from_static("alt-svc"), "h3=\":443\""),
                (SET_COOKIE, "X-Auth=fixed; Path=/; Domain=.test"),
                (CONTENT_SECURITY_POLICY, "form-action https://idp.test:9443"),
            ],
            "",
        )
        .unwrap();

        let fields = response.headers();
        assert_eq!(fields.len(), 2, "{fields:?}");
        let cookie = fields[SET_COOKIE].to_str().unwrap();
        assert!(cookie.starts_with("sso.corp.X-Auth=fixed; Path=/ZXhhbXBsZS5jb20/idp/corp/;"));
        assert_eq!(
            fields[CONTENT_SECURITY_POLICY],
            format!("form-action {BASE}").as_str()
        );
    }

    #[tokio::test]
    async fn links_in_pages_are_turned_and_other_content_is_not_looked_into() {
        use http_body_util::BodyExt as _;
        let link = "<a href=\"https://idp.test:9443/x\">";
        for (kind, expected) in [
            ("text/html; charset=utf-8", format!("<a href=\"{BASE}/x\">")),
            ("image/svg+xml", link.to_owned()),
        ] {
            let response = translate(&[(CONTENT_TYPE, kind), (CONTENT_LENGTH, "1")], link).unwrap();

            assert!(!response.headers().contains_key(CONTENT_LENGTH));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected.as_bytes(), "{kind}");
        }
    }
}
