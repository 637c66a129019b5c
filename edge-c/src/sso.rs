//! Single sign-on at an issuer that only edge-c reaches: its pages and endpoints under the edge's own paths.
//!
//! Off unless `[sso]` lists pages. Stores nothing: codes, passwords and tokens pass through, and the log names none of them.
//!
//! ```text
//! /<B64(D)>/authorize | token | revoke | .well-known/..      ─▶ endpoint of the domain's issuer
//! /<B64(D)>/idp/<issuer>/<path>                              ─▶ that path on the issuer
//!      rate limit ─▶ page on the list ─▶ cookies under their own names ─▶ issuer ─▶ Location, cookies, links to the edge
//! ```

pub mod ask;
pub mod metrics;
mod page;
mod refresh;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use common::http::fields;
use common::http::target::Target;
use common::limits;
use common::link::preface::{self, Preface};
use common::mra::access::Refusal;
use common::mra::cookie;
use common::mra::edge_path::{SsoPage, encode_domain};
use common::net::{Domain, Origin};
use common::oauth::CookieScope;
use common::policy::allow_list::Url;
use common::policy::rate_limit::{Quota, SlidingWindows, network_of};
use common::runtime::body::Body;
use common::runtime::clock;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, HeaderName,
    LOCATION, ORIGIN, REFERER, VIA,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::tokens::{SsoRelay, SsoRule};
use crate::sessions::Sessions;
use crate::tokens::{FetchError, Issuer, TokenVerifier, collect, endpoint, https};
use metrics::{SsoMetrics, SsoOutcome};
use page::Outside;
use refresh::{Answer, Refresh, Unanswered};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Single sign-on, on or off.
#[derive(Debug)]
pub struct Sso {
    relay: ArcSwapOption<Relay>,
    tokens: Arc<TokenVerifier>,
    sessions: Sessions,
    /// All at once: a stolen edge-e names what client addresses it likes.
    permits: Semaphore,
    via: HeaderValue,
    metrics: SsoMetrics,
}

#[derive(Debug)]
struct Relay {
    rules: Vec<SsoRule>,
    limit: Mutex<SlidingWindows<IpAddr>>,
}

/// Why a client gets nothing of an issuer.
#[derive(Clone, Debug)]
pub struct SsoRefused {
    /// What the client is told.
    pub refusal: Refusal,
    /// For the log.
    pub reason: String,
    /// For the log.
    pub remedy: String,
    /// For the metric.
    pub outcome: SsoOutcome,
}

impl SsoRefused {
    fn new(
        outcome: SsoOutcome,
        refusal: Refusal,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            refusal,
            reason: reason.into(),
            remedy: remedy.into(),
            outcome,
        }
    }

    fn client(reason: &'static str) -> Self {
        let remedy = "none: the client is at fault";
        Self::new(SsoOutcome::BadRequest, Refusal::BadRequest, reason, remedy)
    }

    fn issuer(error: &FetchError) -> Self {
        Self::new(
            SsoOutcome::Unavailable,
            Refusal::OriginUnreachable,
            error.to_string(),
            "look whether the issuer runs and edge-c reaches it by verified TLS",
        )
    }
}

/// What a client asks for.
#[derive(Debug)]
pub struct SsoRequest<'a> {
    /// The domain of its path.
    pub domain: &'a Domain,
    /// Which page.
    pub page: SsoPage<'a>,
    /// The client and the id of its request.
    pub preface: Preface,
}

/// Where a request goes.
struct Destination {
    issuer: Arc<Issuer>,
    url: Url,
    /// Whether it is the token endpoint, where refresh tokens are spent.
    is_token_endpoint: bool,
    /// Endpoints may be called with the client's own secret; pages have no use for it.
    keeps_authorization: bool,
}

impl Sso {
    /// Relays what `relay` lists, to the issuers that `tokens` knows.
    #[must_use]
    pub fn new(
        relay: Option<&SsoRelay>,
        tokens: Arc<TokenVerifier>,
        sessions: Sessions,
        metrics: SsoMetrics,
    ) -> Self {
        let sso = Self {
            relay: ArcSwapOption::empty(),
            tokens,
            sessions,
            permits: Semaphore::new(limits::SSO_REQUESTS_MAX),
            via: HeaderValue::from_static("1.1 edge-c"),
            metrics,
        };
        sso.reconfigure(relay);
        sso
    }

    /// Takes other pages over; what addresses did until now is forgotten.
    pub fn reconfigure(&self, relay: Option<&SsoRelay>) {
        let open = |relay: &SsoRelay| {
            let quota = Quota {
                count: NonZeroU32::new(relay.rate_limit.count).unwrap_or(NonZeroU32::MIN),
                window: relay.rate_limit.window,
            };
            Arc::new(Relay {
                rules: relay.rules.clone(),
                limit: Mutex::new(SlidingWindows::new(quota, limits::SSO_ADDRESSES_MAX)),
            })
        };
        self.relay.store(relay.map(open));
    }

    /// Relays one request.
    ///
    /// # Errors
    /// [`SsoRefused`] with the answer for the client and the reason for the log.
    pub async fn answer(
        &self,
        request: &SsoRequest<'_>,
        head: request::Parts,
        body: Body,
    ) -> Result<Response<Body>, SsoRefused> {
        let answered = Box::pin(self.relay(request, head, body)).await;
        let outcome = match &answered {
            Ok(_) => SsoOutcome::Relayed,
            Err(refused) => refused.outcome,
        };
        self.metrics.requests.of(outcome).inc();
        answered
    }

    async fn relay(
        &self,
        request: &SsoRequest<'_>,
        mut head: request::Parts,
        body: Body,
    ) -> Result<Response<Body>, SsoRefused> {
        let relay = self.relay.load_full().ok_or_else(|| {
            let reason = "single sign-on is switched off";
            SsoRefused::new(
                SsoOutcome::Off,
                Refusal::NotFound,
                reason,
                "none, or add [sso]",
            )
        })?;
        relay.admit(request.preface.client.0.ip())?;
        let _permit = self.permits.try_acquire().map_err(|_| {
            let refusal = Refusal::Overloaded {
                retry_after: limits::LINK_DOWN_RETRY_AFTER,
            };
            let remedy = "look why the issuer is slow";
            SsoRefused::new(SsoOutcome::Overloaded, refusal, "too much at once", remedy)
        })?;
        let edge_host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let edge_host = edge_host.unwrap_or_default().to_owned();
        match request.page {
            SsoPage::Authorize { query } => {
                let query = query.unwrap_or_default();
                return self
                    .authorize(&relay, request.domain, &edge_host, query)
                    .await;
            }
            SsoPage::Metadata => {
                return self
                    .metadata(&relay, request.domain, &edge_host, &head)
                    .await;
            }
            SsoPage::Issuer { .. } | SsoPage::Revoke | SsoPage::Token => {}
        }
        let to = self.destination(&relay, request, &head).await?;
        relay.allow(&to.issuer.config().name, &to.url, head.method.as_str())?;
        let reading = timeout(
            limits::SSO_BODY_TIMEOUT,
            collect(body, limits::SSO_FORM_BYTES_MAX),
        );
        let body = match reading.await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(SsoRefused::client("the form is too long or broke off")),
            Err(_) => return Err(SsoRefused::client("the form came too slowly")),
        };
        let outside = Outside {
            edge_host: &edge_host,
            domain: request.domain,
            issuer: &to.issuer.config().name,
            origin: &to.url.origin,
        };
        self.prepare(&to, &outside, request.preface, &mut head)?;
        let response = self.send(&to, head, body).await?;
        outside.translate(&to.url, response, |url| {
            relay.allow(outside.issuer, url, "GET").is_ok()
        })
    }

    async fn send(
        &self,
        to: &Destination,
        head: request::Parts,
        form: Bytes,
    ) -> Result<Answer, SsoRefused> {
        let spent = to
            .is_token_endpoint
            .then(|| Refresh::read(&head.headers, &form));
        match spent.flatten() {
            None => {
                let answered = self.exchange(to, head, form).await;
                answered.map_err(|unanswered| unanswered.refused)
            }
            Some(refresh) => {
                let send = || self.exchange(to, head, form);
                refresh::in_turn(&self.sessions, &refresh, &self.metrics, send).await
            }
        }
    }

    async fn exchange(
        &self,
        to: &Destination,
        head: request::Parts,
        form: Bytes,
    ) -> Result<Answer, Unanswered> {
        let upstreams = self.tokens.fetcher().upstreams();
        let body = if form.is_empty() {
            Body::empty()
        } else {
            Body::bytes(form)
        };
        let request = Request::from_parts(head, body);
        let answered = async {
            let response = upstreams.send(&to.url.origin, request).await?;
            let (head, body) = response.into_parts();
            let body = collect(body, limits::SSO_PAGE_BYTES_MAX).await?;
            Ok::<_, FetchError>((head, body))
        };
        let timed = timeout(limits::SSO_ANSWER_TIMEOUT, answered).await;
        let (head, body) =
            timed
                .unwrap_or(Err(FetchError::Timeout))
                .map_err(|error| Unanswered {
                    is_sent: !matches!(error, FetchError::NotSent(_)),
                    refused: SsoRefused::issuer(&error),
                })?;
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            body,
        })
    }

    /// Makes the head for the issuer: its own cookies under their names, nothing of the edge.
    fn prepare(
        &self,
        to: &Destination,
        outside: &Outside<'_>,
        preface: Preface,
        head: &mut request::Parts,
    ) -> Result<(), SsoRefused> {
        let bad = |_| SsoRefused::client("a field can't be sent");
        let path = outside.path();
        let scope = CookieScope {
            name: outside.issuer,
            path: &path,
        };
        let sent = head.headers.get_all(COOKIE).iter();
        let cookies = scope.inwards(sent.filter_map(|value| value.to_str().ok()));
        head.uri = http::Uri::try_from(to.url.target.to_string())
            .map_err(|_| SsoRefused::client("the target can't be sent"))?;
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        let fields = &mut head.headers;
        fields::strip_hop_by_hop(fields);
        cookie::strip_fields(fields);
        for name in [COOKIE, REFERER, FORWARDED, http::header::CONTENT_LENGTH] {
            fields.remove(name);
        }
        if !to.keeps_authorization {
            fields.remove(AUTHORIZATION);
        }
        // Pages are read on their way back.
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(cookies) = cookies {
            fields.insert(COOKIE, HeaderValue::try_from(cookies).map_err(bad)?);
        }
        // A form of the issuer's own page comes from the edge as the browser sees it.
        if fields
            .get(ORIGIN)
            .is_some_and(|origin| *origin == *outside.base())
        {
            let own = page::base_of(&to.url.origin);
            fields.insert(ORIGIN, HeaderValue::try_from(own).map_err(bad)?);
        }
        let host = HeaderValue::try_from(to.url.origin.authority());
        fields.insert(HOST, host.map_err(bad)?);
        let client = preface.client.0.ip().to_string();
        fields.insert(X_FORWARDED_FOR, HeaderValue::try_from(client).map_err(bad)?);
        fields.append(VIA, self.via.clone());
        fields.insert(preface::TRACKING, preface::value(&preface.tracking));
        Ok(())
    }

    async fn destination(
        &self,
        relay: &Relay,
        request: &SsoRequest<'_>,
        head: &request::Parts,
    ) -> Result<Destination, SsoRefused> {
        match request.page {
            SsoPage::Issuer { name, target } => {
                let issuer = self.tokens.issuer(name);
                let issuer = issuer.filter(|issuer| issuer.serves(request.domain));
                let origin = relay.origin(name);
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
                let issuer = self.first_issuer(relay, request.domain)?;
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
    async fn authorize(
        &self,
        relay: &Relay,
        domain: &Domain,
        edge_host: &str,
        query: &str,
    ) -> Result<Response<Body>, SsoRefused> {
        check_authorization_request(query)?;
        let issuer = self.first_issuer(relay, domain)?;
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
        relay.allow(name, &url, "GET")?;
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
    fn first_issuer(&self, relay: &Relay, domain: &Domain) -> Result<Arc<Issuer>, SsoRefused> {
        let named = relay.rules.iter().map(|rule| &rule.issuer);
        let mut known = named.filter_map(|name| self.tokens.issuer(name));
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
    async fn metadata(
        &self,
        relay: &Relay,
        domain: &Domain,
        edge_host: &str,
        head: &request::Parts,
    ) -> Result<Response<Body>, SsoRefused> {
        if head.method != Method::GET {
            return Err(not_found("metadata is read with GET"));
        }
        let issuer = self.first_issuer(relay, domain)?;
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
                    let is_open = relay.allow(outside.issuer, &url, "GET").is_ok();
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

impl Relay {
    fn admit(&self, address: IpAddr) -> Result<(), SsoRefused> {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit
            .admit(network_of(address), clock::now())
            .map_err(|too_often| {
                let refusal = Refusal::TooManySignIns {
                    retry_after: too_often.retry_after,
                };
                let remedy = "raise [sso] rate_limit for large offices";
                let reason = "[sso] rate_limit exceeded";
                SsoRefused::new(SsoOutcome::RateLimited, refusal, reason, remedy)
            })
    }

    /// Whether a page is on the list.
    fn allow(&self, issuer: &str, url: &Url, method: &str) -> Result<(), SsoRefused> {
        let mut own = self.rules.iter().filter(|rule| *rule.issuer == *issuer);
        let is_allowed = own.any(|SsoRule { rule, .. }| {
            rule.url.origin == url.origin
                && rule.matches_target(&url.target)
                && rule.methods.contains(method)
        });
        if is_allowed {
            return Ok(());
        }
        let page = format!("https://{}{}", url.origin.authority(), url.target.path());
        let needed = format!(
            "to allow it: [[sso.rule]] issuer = \"{issuer}\", url = \"{page}\", match = \"exact\", methods = [\"{method}\"]"
        );
        let reason = "no [[sso.rule]] has the page";
        let (outcome, refusal) = (SsoOutcome::NotListed, Refusal::NotAllowed);
        Err(SsoRefused::new(outcome, refusal, reason, needed))
    }

    /// Where the pages of an issuer are.
    fn origin(&self, issuer: &str) -> Option<Origin> {
        let mut own = self.rules.iter().filter(|rule| *rule.issuer == *issuer);
        own.next().map(|rule| rule.rule.url.origin.clone())
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
