//! Where a request for a page goes, and the two pages that the edge answers by itself: the way to the authorisation page, and
//! the metadata.

use std::sync::Arc;

use common::http::target::Target;
use common::mra::access::Refusal;
use common::mra::edge_path::{SsoPage, encode_domain};
use common::net::Domain;
use common::policy::allow_list::Url;
use common::runtime::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};

use super::listed::Listed;
use super::metrics::SsoOutcome;
use super::page::Outside;
use super::{Sso, SsoRefused, SsoRequest};
use crate::tokens::{Issuer, endpoint, https};

/// Where a request goes.
pub(super) struct Destination {
    pub(super) issuer: Arc<Issuer>,
    pub(super) url: Url,
    /// Whether it is the token endpoint, where refresh tokens are spent.
    pub(super) is_token_endpoint: bool,
    /// Endpoints may be called with the client's own secret; pages have no use for it.
    pub(super) keeps_authorization: bool,
}

impl Sso {
    pub(super) async fn destination(
        &self,
        listed: &Listed,
        request: &SsoRequest<'_>,
        head: &request::Parts,
    ) -> Result<Destination, SsoRefused> {
        match request.page {
            SsoPage::Issuer { name, target } => {
                let issuer = self.tokens.issuer(name);
                let issuer = issuer.filter(|issuer| issuer.serves(request.domain));
                let origin = listed.origin(name);
                let (Some(issuer), Some(origin)) = (issuer, origin) else {
                    return Err(not_found("no such issuer"));
                };
                let target = Target::parse(target)
                    .map_err(|_| SsoRefused::client("the path has two readings"))?;
                let url = Url {
                    origin,
                    target: target.into_owned(),
                };
                self.check_page(&issuer, &url, head).await?;
                Ok(Destination {
                    issuer,
                    url,
                    is_token_endpoint: false,
                    keeps_authorization: false,
                })
            }
            SsoPage::Token | SsoPage::Revoke => {
                check_form(head)?;
                let issuer = self.first_issuer(listed, request.domain)?;
                let endpoints = &issuer.config().endpoints;
                let is_token_endpoint = matches!(request.page, SsoPage::Token);
                let url = if is_token_endpoint {
                    let own = endpoints.token.clone();
                    self.endpoint(&issuer, own, "token_endpoint").await?
                } else {
                    let own = endpoints.revocation.clone();
                    self.endpoint(&issuer, own, "revocation_endpoint").await?
                };
                Ok(Destination {
                    issuer,
                    url,
                    is_token_endpoint,
                    keeps_authorization: true,
                })
            }
            SsoPage::Authorize { .. } | SsoPage::Metadata => {
                Err(not_found("the edge answers this by itself"))
            }
        }
    }

    /// Sends the client to the authorisation page below the issuer's path, where the issuer's cookies are.
    pub(super) async fn authorize(
        &self,
        listed: &Listed,
        domain: &Domain,
        edge_host: &str,
        query: &str,
    ) -> Result<Response<Body>, SsoRefused> {
        check_authorization_request(query)?;
        let issuer = self.first_issuer(listed, domain)?;
        let url = self.authorization_page(&issuer).await?;
        let target = format!("{}?{query}", url.target.path());
        let target = Target::parse(&target)
            .map_err(|_| SsoRefused::client("the query can't be sent"))?
            .into_owned();
        let url = Url {
            origin: url.origin,
            target,
        };
        let name = &issuer.config().name;
        listed.allow(name, &url, "GET")?;
        let outside = Outside {
            edge_host,
            domain,
            issuer: name,
            origin: &url.origin,
        };
        let place = HeaderValue::try_from(outside.url(&url))
            .map_err(|_| SsoRefused::client("the query can't be sent"))?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(LOCATION, place);
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
        Ok(response)
    }

    async fn authorization_page(&self, issuer: &Issuer) -> Result<Url, SsoRefused> {
        let own = issuer.config().endpoints.authorization.clone();
        self.endpoint(issuer, own, "authorization_endpoint").await
    }

    /// The authorisation page asks for the same under its own path.
    async fn check_page(
        &self,
        issuer: &Issuer,
        url: &Url,
        head: &request::Parts,
    ) -> Result<(), SsoRefused> {
        let page = self.authorization_page(issuer).await?;
        if page.origin != url.origin || page.target.path() != url.target.path() {
            return Ok(());
        }
        if head.method != Method::GET {
            return Err(SsoRefused::client("authorisation is asked for with GET"));
        }
        check_authorization_request(url.target.query().unwrap_or_default())
    }

    /// The issuer at which users of a domain sign in: the first one with pages.
    fn first_issuer(&self, listed: &Listed, domain: &Domain) -> Result<Arc<Issuer>, SsoRefused> {
        let mut known = listed.issuers().filter_map(|name| self.tokens.issuer(name));
        let found = known.find(|issuer| issuer.serves(domain));
        found.ok_or_else(|| not_found("no issuer of the domain has an [[sso.rule]]"))
    }

    async fn endpoint(
        &self,
        issuer: &Issuer,
        own: Option<Url>,
        name: &'static str,
    ) -> Result<Url, SsoRefused> {
        if let Some(url) = own {
            return Ok(url);
        }
        let metadata = self.tokens.fetcher().metadata(issuer.config()).await;
        metadata
            .and_then(|metadata| endpoint(&metadata, name))
            .map_err(|error| SsoRefused::issuer(&error))
    }

    /// The issuer's metadata, with the edge's own URLs for what clients may use.
    pub(super) async fn metadata(
        &self,
        listed: &Listed,
        domain: &Domain,
        edge_host: &str,
        head: &request::Parts,
    ) -> Result<Response<Body>, SsoRefused> {
        if head.method != Method::GET {
            return Err(not_found("metadata is read with GET"));
        }
        let issuer = self.first_issuer(listed, domain)?;
        let metadata = self.tokens.fetcher().metadata(issuer.config()).await;
        let metadata = metadata.map_err(|error| SsoRefused::issuer(&error))?;
        let base = format!("https://{edge_host}/{}", encode_domain(domain));
        let document = metadata.for_outside(|name, url| {
            let url = https(url)?;
            match name {
                "authorization_endpoint" => Some(format!("{base}/authorize")),
                "token_endpoint" => Some(format!("{base}/token")),
                "revocation_endpoint" => Some(format!("{base}/revoke")),
                _ => {
                    let outside = Outside {
                        edge_host,
                        domain,
                        issuer: &issuer.config().name,
                        origin: &url.origin,
                    };
                    let is_open = listed.allow(outside.issuer, &url, "GET").is_ok();
                    is_open.then(|| outside.url(&url))
                }
            }
        });
        let mut response = Response::new(Body::from(document));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        Ok(response)
    }
}

/// RFC 9700 section 2.1: a code with PKCE by S256, and each parameter once (RFC 6749 section 3.1).
fn check_authorization_request(query: &str) -> Result<(), SsoRefused> {
    let values = |name: &str| {
        let pairs = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let own: Vec<_> = pairs.filter(|(key, _)| *key == name).collect();
        own
    };
    let is_once = |name: &str, wanted: &str| matches!(values(name).as_slice(), [(_, value)] if *value == wanted);
    if !is_once("response_type", "code") {
        return Err(SsoRefused::client("only response_type=code is relayed"));
    }
    let has_challenge = matches!(values("code_challenge").as_slice(),
        [(_, value)] if (43..=128).contains(&value.len()));
    if !has_challenge || !is_once("code_challenge_method", "S256") {
        return Err(SsoRefused::client("there is no PKCE challenge by S256"));
    }
    if values("redirect_uri").len() > 1 || values("client_id").len() != 1 {
        return Err(SsoRefused::client(
            "client_id or redirect_uri is not there once",
        ));
    }
    Ok(())
}

fn check_form(head: &request::Parts) -> Result<(), SsoRefused> {
    let is_form = |fields: &HeaderMap| {
        let text = fields
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        text.is_some_and(|text| {
            let (kind, _) = text.split_once(';').unwrap_or((text, ""));
            kind.trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
    };
    if head.method != Method::POST || !is_form(&head.headers) {
        return Err(SsoRefused::client("the endpoint takes a form by POST"));
    }
    Ok(())
}

fn not_found(reason: &'static str) -> SsoRefused {
    SsoRefused::new(
        SsoOutcome::NotListed,
        Refusal::NotFound,
        reason,
        "none, or look at [sso]",
    )
}
