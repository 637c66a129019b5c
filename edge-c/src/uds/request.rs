//! Writing requests to UDS: targets with encoded values, and our own fields.

use bytes::Bytes;
use common::net::HostPort;
use common::redact::Secret;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT, VIA};
use http::{HeaderValue, Method, Request};
use http_body_util::Empty;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{OnBehalf, UdsError, UdsFailure};

/// What goes along with a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) authorization: Option<&'a Secret<String>>,
    pub(super) on_behalf: Option<&'a OnBehalf>,
}

impl Call<'_> {
    pub(super) const ANONYMOUS: Self = Self {
        authorization: None,
        on_behalf: None,
    };
}

pub(super) fn request(
    node: &HostPort,
    target: &str,
    call: Call<'_>,
) -> Result<Request<Empty<Bytes>>, UdsFailure> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(HOST, node.to_string())
        .header(ACCEPT, "application/xml, text/xml")
        .header(USER_AGENT, "edge-c");
    if let Some(on_behalf) = call.on_behalf {
        request = request
            .header(VIA, "1.1 edge-c")
            .header("x-forwarded-for", on_behalf.client.0.ip().to_string())
            .header("x-tracking-id", on_behalf.tracking.to_string());
    }
    if let Some(authorization) = call.authorization {
        let mut value =
            HeaderValue::from_str(authorization.reveal()).map_err(|_| UdsFailure::Request)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Empty::new()).map_err(|_| UdsFailure::Request)
}

pub(super) fn user_target(node: &HostPort, user_id: &str, below: &str) -> Result<String, UdsError> {
    // As a path segment these would climb; no user has such an id.
    if matches!(user_id, "" | "." | "..") {
        return Err(UdsError {
            node: node.clone(),
            reason: UdsFailure::Request,
        });
    }
    Ok(format!("/cucm-uds/user/{}{below}", encode(user_id)))
}

pub(super) fn encode(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// Everything but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
