//! From an admin request to its answer.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prometheus_client::encoding::text;
use serde_json::{Value, json};

use super::{Admin, page};
use crate::limits;
use crate::redact::Redacted;
use crate::runtime::drain::Cause;
use crate::telemetry::LogFilter;

type Answer = Response<Full<Bytes>>;

pub(super) async fn answer(admin: &Admin, request: Request<Incoming>) -> Answer {
    if let Err(why) = check_origin(admin, request.headers(), request.method()) {
        return plain(StatusCode::FORBIDDEN, why);
    }
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    match request.uri().path() {
        "/drain" if request.method() == Method::POST => start_drain(admin),
        "/drain" => refuse_method("POST"),
        "/log-filter" if request.method() == Method::PUT => set_filter(admin, request).await,
        "/log-name" if request.method() == Method::POST => log_name(request).await,
        "/log-name" => refuse_method("POST"),
        "/" | "/live" | "/log-filter" | "/metrics" | "/ready" | "/status" if !is_read => {
            refuse_method("GET, HEAD")
        }
        "/" => html(page::write(admin, &ready_json(admin))),
        "/live" => plain(StatusCode::OK, "live\n"),
        "/log-filter" => plain(StatusCode::OK, format!("{}\n", admin.log.filter())),
        "/metrics" => metrics(admin),
        "/ready" => ready(admin),
        "/status" => json_answer(StatusCode::OK, &(admin.status)()),
        _ => more(admin, &request).await,
    }
}

async fn more(admin: &Admin, request: &Request<Incoming>) -> Answer {
    let (path, query) = (request.uri().path(), request.uri().query());
    let answered = match &admin.more {
        Some(more) => more.answer(request.method(), path, query).await,
        None => None,
    };
    match answered {
        Some((status, body)) => json_answer(status, &body),
        None => plain(
            StatusCode::NOT_FOUND,
            "there are: / /live /ready /metrics /status /log-filter /log-name /drain\n",
        ),
    }
}

pub(super) fn too_slow() -> Answer {
    plain(StatusCode::REQUEST_TIMEOUT, "too slow\n")
}

/// A page of another site, opened in the operator's browser, can reach this listener in two ways: by a name of its own
/// that points here, or by a request that needs no permission. The first shows in `Host`, the second in `Origin`.
fn check_origin(admin: &Admin, fields: &HeaderMap, method: &Method) -> Result<(), &'static str> {
    let host = fields
        .get(HOST)
        .map(|host| host.to_str().unwrap_or_default());
    if host.is_some_and(|host| !is_own_host(admin, host)) {
        return Err("this Host is not one of mine; name it in admin.names\n");
    }
    let Some(origin) = fields.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let is_same = origin
        .strip_prefix("http://")
        .is_some_and(|at| Some(at) == host);
    if is_same || method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    Err("requests from pages of other sites are refused\n")
}

fn is_own_host(admin: &Admin, host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let is_named = |own: &crate::net::Domain| own.as_str().eq_ignore_ascii_case(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || admin.names.iter().any(is_named)
}

fn start_drain(admin: &Admin) -> Answer {
    let has_started = admin.drain.start(Cause::Admin);
    let body = json!({ "started_now": has_started, "in_flight": admin.drain.in_flight() });
    json_answer(StatusCode::ACCEPTED, &body)
}

/// What stands in this process's log for a user name or an address.
async fn log_name(request: Request<Incoming>) -> Answer {
    match text_of(request).await {
        Ok(text) => plain(StatusCode::OK, format!("{}\n", Redacted::new(text.trim()))),
        Err(refused) => refused,
    }
}

async fn text_of(request: Request<Incoming>) -> Result<String, Answer> {
    let body = Limited::new(request.into_body(), limits::ADMIN_BODY_BYTES_MAX);
    let Ok(body) = body.collect().await else {
        let answer = plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n");
        return Err(answer);
    };
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

async fn set_filter(admin: &Admin, request: Request<Incoming>) -> Answer {
    let text = match text_of(request).await {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let filter: LogFilter = match text.trim().parse() {
        Ok(filter) => filter,
        Err(error) => {
            let why = format!("the filter {error}; allowed: {}\n", LogFilter::ALLOWED);
            return plain(StatusCode::BAD_REQUEST, why);
        }
    };
    tracing::info!(%filter, "log filter changed");
    match admin.log.set_filter(filter) {
        Ok(()) => plain(StatusCode::OK, format!("{}\n", admin.log.filter())),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn metrics(admin: &Admin) -> Answer {
    let mut body = String::new();
    if let Err(error) = text::encode(&mut body, &admin.registry) {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
    }
    respond(
        StatusCode::OK,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        body,
    )
}

fn ready(admin: &Admin) -> Answer {
    let status = if admin.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, &ready_json(admin))
}

fn ready_json(admin: &Admin) -> Value {
    json!({
        "ready": admin.is_ready(),
        "draining": admin.is_draining(),
        "in_flight": admin.drain.in_flight(),
        "conditions": admin.readiness.to_json(),
    })
}

fn refuse_method(allowed: &'static str) -> Answer {
    let mut answer = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("allowed: {allowed}\n"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(status, "text/plain; charset=utf-8", body)
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    respond(status, "application/json", format!("{body:#}\n"))
}

fn html(body: String) -> Answer {
    let mut answer = respond(StatusCode::OK, "text/html; charset=utf-8", body);
    // The page runs no script and loads nothing; whatever slips into it must not either.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    answer
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    fields.insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

const CONTENT_SECURITY_POLICY: HeaderName = http::header::CONTENT_SECURITY_POLICY;
