//! `Location` fields that point to inner servers, rewritten to their form at the edge where the user may go there.

use common::mra::edge_path::encode_origin;
use common::net::Origin;
use common::policy::allow_list::{self, AllowList, Url};
use common::session::Session;
use common::time::UnixTime;
use http::header::{HeaderMap, HeaderValue, LOCATION};

/// Rewrites the field, or leaves it as it is: for a place that is not allowed, or that is no inner URL at all.
pub(super) fn rewrite(
    fields: &mut HeaderMap,
    edge_host: Option<&HeaderValue>,
    origin: &Origin,
    session: &Session,
    list: &AllowList,
    now: UnixTime,
) {
    let Some(edge_host) = edge_host.and_then(|host| host.to_str().ok()) else {
        return;
    };
    let Some(text) = fields.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let Some(url) = absolute(text, origin) else {
        return;
    };
    let request = allow_list::Request {
        method: "GET",
        origin: &url.origin,
        target: &url.target,
        deployment: &session.deployment,
        now,
    };
    if !list.trial(&request).is_allowed() {
        return;
    }
    let segment = encode_origin(&session.domain, &url.origin);
    if let Ok(value) = HeaderValue::try_from(format!("https://{edge_host}/{segment}{}", url.target))
    {
        fields.insert(LOCATION, value);
    }
}

/// The URL that the field means: absolute as it stands, or a path on the origin that sent it.
fn absolute(text: &str, origin: &Origin) -> Option<Url> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let base = if is_path {
        origin.to_string()
    } else {
        String::new()
    };
    Url::parse(&format!("{base}{text}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Url::parse("https://ucm.test:8443/").unwrap().origin
    }

    #[test]
    fn a_path_is_one_on_the_same_origin() {
        let url = absolute("/a/b?c=d", &origin()).unwrap();

        assert_eq!(url.to_string(), "https://ucm.test:8443/a/b?c=d");
    }

    #[test]
    fn an_absolute_url_is_taken_as_it_stands_and_anything_else_is_left_alone() {
        assert!(absolute("http://other.test/x", &origin()).is_some());
        assert!(absolute("//other.test/x", &origin()).is_none());
        assert!(absolute("x/y", &origin()).is_none());
        assert!(absolute("mailto:a@b", &origin()).is_none());
    }
}
