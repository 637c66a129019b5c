//! Questions to issuers: over verified TLS, bounded in time and size. Judges no answer but its status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::limits;
use common::net::Scheme;
use common::oauth::{Metadata, MetadataError};
use common::policy::allow_list::Url;
use common::runtime::body::Body;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, timeout};

use crate::config::tokens::{Client, Issuer};
use crate::upstream::http::{UpstreamError, Upstreams};

/// Why an issuer gave no answer that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The connection broke while the answer came.
    #[error("the answer broke off")]
    Broken,
    /// The client's secret can't be read.
    #[error("{0}")]
    Client(String),
    /// The metadata is not this issuer's.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Neither the configuration nor the metadata says where.
    #[error(
        "there is no {0}: neither the configuration nor the issuer's metadata has an https URL"
    )]
    NoEndpoint(&'static str),
    /// There was no connection, so the issuer got nothing.
    #[error("{0}")]
    NotSent(String),
    /// The request could not be written.
    #[error("the request can't be written")]
    Request,
    /// Another status than expected.
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    /// No answer in time.
    #[error("no answer within {} s", limits::ISSUER_ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// The answer is over its limit.
    #[error("the answer is too long")]
    TooLong,
    /// The connection broke, or the answer is not one.
    #[error("{0}")]
    Upstream(String),
}

impl From<UpstreamError> for FetchError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Busy
            | UpstreamError::Dial(_)
            | UpstreamError::Full
            | UpstreamError::Resolve(_) => Self::NotSent(error.to_string()),
            UpstreamError::Http(_) | UpstreamError::Timeout(_) => Self::Upstream(error.to_string()),
        }
    }
}

/// Reaches issuers.
#[derive(Debug)]
pub struct Fetcher {
    upstreams: Arc<Upstreams>,
    /// By issuer; at most [`limits::ISSUERS_MAX`] of a configuration, and those of the one before.
    metadata: Mutex<BTreeMap<String, (Arc<Metadata>, Instant)>>,
}

impl Fetcher {
    /// Reaches them through these.
    #[must_use]
    pub const fn new(upstreams: Arc<Upstreams>) -> Self {
        Self {
            upstreams,
            metadata: Mutex::new(BTreeMap::new()),
        }
    }

    /// The servers that are asked.
    #[must_use]
    pub const fn upstreams(&self) -> &Arc<Upstreams> {
        &self.upstreams
    }

    pub(super) fn forget_connections(&self) {
        self.upstreams.forget_connections();
        self.lock().clear();
    }

    /// The issuer's metadata: what was read lately, or else what it says now; if it is away, what it said last.
    pub(crate) async fn metadata(&self, issuer: &Issuer) -> Result<Arc<Metadata>, FetchError> {
        let name = issuer
            .rules
            .issuer
            .clone()
            .ok_or(FetchError::NoEndpoint("issuer"))?;
        let known = self.lock().get(&name).cloned();
        if let Some((metadata, read)) = &known
            && read.elapsed() < limits::METADATA_AGE
        {
            return Ok(Arc::clone(metadata));
        }
        match self.read_metadata(&name).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                let mut all = self.lock();
                if all.len() >= 2 * limits::ISSUERS_MAX {
                    all.clear();
                }
                all.insert(name, (Arc::clone(&metadata), Instant::now()));
                Ok(metadata)
            }
            Err(error) => known.map(|(metadata, _)| metadata).ok_or(error),
        }
    }

    /// RFC 8414 section 3, and where `OpenID` Connect puts it.
    async fn read_metadata(&self, issuer: &str) -> Result<Metadata, FetchError> {
        let url = https(issuer).ok_or(FetchError::NoEndpoint("metadata"))?;
        let path = url.target.path().trim_end_matches('/');
        let base = format!("https://{}", url.origin.authority());
        let places = [
            format!("{base}/.well-known/oauth-authorization-server{path}"),
            format!("{base}{path}/.well-known/openid-configuration"),
        ];
        let mut last = FetchError::NoEndpoint("metadata");
        for place in places {
            let url = https(&place).ok_or(FetchError::Request)?;
            match self.get(&url, limits::METADATA_BYTES_MAX).await {
                Ok(json) => return Ok(Metadata::read(&json, issuer)?),
                Err(error @ FetchError::Status(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// GETs a document.
    pub(super) async fn get(&self, url: &Url, bytes_max: usize) -> Result<Bytes, FetchError> {
        let (status, body) = self
            .exchange(url, Method::GET, None, String::new(), bytes_max)
            .await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(FetchError::Status(status))
        }
    }

    /// POSTs a form as `client`, and returns an answer of 200.
    pub(crate) async fn form(
        &self,
        url: &Url,
        client: Option<&Client>,
        fields: &[(&str, &str)],
    ) -> Result<Bytes, FetchError> {
        let mut pairs: Vec<_> = fields
            .iter()
            .map(|(name, value)| pair(name, value))
            .collect();
        let mut authorization = None;
        if let Some(client) = client {
            match client.secret().map_err(FetchError::Client)? {
                // RFC 6749 section 2.3.1: both are encoded as in a form before they become a Basic value.
                Some(secret) => {
                    let text = format!("{}:{}", encode(&client.id), encode(secret.reveal()));
                    authorization = Some(format!("Basic {}", STANDARD.encode(text)));
                }
                None => pairs.push(pair("client_id", &client.id)),
            }
        }
        let form = pairs.join("&");
        let max = limits::INTROSPECTION_BYTES_MAX;
        let (status, body) = self
            .exchange(url, Method::POST, authorization, form, max)
            .await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(FetchError::Status(status))
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        method: Method,
        authorization: Option<String>,
        form: String,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.target.to_string())
            .header(HOST, url.origin.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "edge-c");
        if let Some(text) = authorization {
            let mut value = HeaderValue::try_from(text).map_err(|_| FetchError::Request)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let body = if form.is_empty() {
            Body::empty()
        } else {
            request = request.header(CONTENT_TYPE, FORM);
            Body::from(form)
        };
        let request = request.body(body).map_err(|_| FetchError::Request)?;
        let exchange = async {
            let response = self.upstreams.send(&url.origin, request).await?;
            let (head, body) = response.into_parts();
            let body = collect(body, bytes_max).await?;
            Ok((head.status, body))
        };
        let answered = timeout(limits::ISSUER_ANSWER_TIMEOUT, exchange).await;
        answered.unwrap_or(Err(FetchError::Timeout))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Arc<Metadata>, Instant)>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a body to its end.
pub(crate) async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, FetchError> {
    let collected = Limited::new(body, bytes_max).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                FetchError::TooLong
            } else {
                FetchError::Broken
            }
        })
}

/// An https URL, or nothing.
pub(crate) fn https(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (url.origin.scheme == Scheme::Https).then_some(url)
}

fn pair(name: &str, value: &str) -> String {
    format!("{name}={}", encode(value))
}

/// Everything but the unreserved characters of RFC 3986 section 2.3.
pub(crate) fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The type of a form.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
