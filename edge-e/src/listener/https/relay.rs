//! Onto the link, and what comes back.

use common::http::fields;
use common::id::TrackingId;
use common::limits;
use common::link::preface::{self, Preface};
use common::runtime::body::Body;
use common::runtime::exchange;
use common::runtime::http_pool::SendError;
use common::telemetry::Direction;
use http::header::HOST;
use http::{HeaderValue, Request, Response, request};
use hyper::body::Incoming;

use super::Connection;
use super::refused::{Refused, link_down};
use crate::cores::Core;

impl Connection {
    pub(super) async fn relay(
        &self,
        core: &Core,
        tracking: TrackingId,
        mut head: request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refused> {
        prepare(
            &mut head,
            Preface {
                client: self.client,
                tracking,
            },
        );
        // A safe request without a body can be sent again when a link breaks under it (RFC 9110 section 9.2.2).
        let is_repeatable = head.method.is_safe() && http_body::Body::is_end_stream(&body);
        let bytes = &self.https.front.metrics.requests.body_bytes;
        if !is_repeatable {
            let body = Body::stream(body).with_meter(bytes.of(Direction::Up));
            return self.relay_by_pool(core, tracking, head, Some(body)).await;
        }
        match core.exchanges().ask(&head).await {
            Ok(exchange::Answer::Whole(response)) => {
                let down = bytes.of(Direction::Down);
                let response = response.map(|body| Body::bytes(body).with_meter(down));
                return Ok(response);
            }
            Ok(exchange::Answer::Elsewhere(token)) => preface::fetch_kept(&mut head.headers, token),
            Err(exchange::NoAnswer) => {}
        }
        self.relay_by_pool(core, tracking, head, None).await
    }

    /// Sends the request on a connection that it has for itself. Without a body it may be sent again.
    async fn relay_by_pool(
        &self,
        core: &Core,
        tracking: TrackingId,
        head: request::Parts,
        body: Option<Body>,
    ) -> Result<Response<Body>, Refused> {
        let mut spare = body.is_none().then(|| head.clone());
        let mut request = Request::from_parts(head, body.unwrap_or_else(Body::empty));
        for _ in 0..=limits::LINK_RETRIES_MAX {
            let mut lease = core
                .lease()
                .await
                .map_err(|_| link_down("no connection to the core is free"))?;
            match lease.send(request).await {
                Ok(response) => {
                    let down = self
                        .https
                        .front
                        .metrics
                        .requests
                        .body_bytes
                        .of(Direction::Down);
                    let stream = |body| Body::stream(body).with_lease(lease).with_meter(down);
                    return Ok(response.map(stream));
                }
                Err(SendError {
                    request: Some(unsent),
                    ..
                }) => request = *unsent,
                Err(SendError {
                    error,
                    request: None,
                }) => {
                    tracing::debug!(side = "link", tracking_id = %tracking, reason = %error, "link broke under a request");
                    let Some(mut again) = spare.take() else {
                        return Err(link_down("the link broke under the request"));
                    };
                    // What was kept may have been handed out.
                    again.headers.remove(preface::KEPT);
                    request = Request::from_parts(again, Body::empty());
                }
            }
        }
        Err(link_down("every link connection broke"))
    }
}

/// Makes the head of the request on the link: origin-form target, one Host, one Cookie, the preface.
fn prepare(head: &mut request::Parts, preface: Preface) {
    if let Some(host) = head
        .uri
        .authority()
        .and_then(|a| HeaderValue::try_from(a.as_str()).ok())
    {
        head.headers.entry(HOST).or_insert(host);
    }
    fields::strip_hop_by_hop(&mut head.headers);
    fields::join_cookies(&mut head.headers);
    preface.write(&mut head.headers);
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = head.uri.path_and_query().cloned();
    head.uri = http::Uri::from_parts(uri).unwrap_or_default();
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
}
