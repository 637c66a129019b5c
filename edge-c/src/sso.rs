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
mod destination;
mod forward;
mod listed;
pub mod metrics;
mod page;
mod refresh;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use common::limits;
use common::link::preface::Preface;
use common::mra::access::Refusal;
use common::mra::edge_path::SsoPage;
use common::net::Domain;
use common::runtime::body::Body;
use http::header::HOST;
use http::{HeaderValue, Response, request};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::tokens::SsoRelay;
use crate::sessions::Sessions;
use crate::tokens::{FetchError, TokenVerifier, collect};
use listed::Listed;
use metrics::{SsoMetrics, SsoOutcome};
use page::Outside;

/// Single sign-on, on or off.
#[derive(Debug)]
pub struct Sso {
    listed: ArcSwapOption<Listed>,
    tokens: Arc<TokenVerifier>,
    sessions: Sessions,
    /// All at once: a stolen edge-e names what client addresses it likes.
    permits: Semaphore,
    via: HeaderValue,
    metrics: SsoMetrics,
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
            listed: ArcSwapOption::empty(),
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
        let open = |relay: &SsoRelay| Arc::new(Listed::new(relay));
        self.listed.store(relay.map(open));
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
        let listed = self.listed.load_full().ok_or_else(|| {
            let reason = "single sign-on is switched off";
            SsoRefused::new(
                SsoOutcome::Off,
                Refusal::NotFound,
                reason,
                "none, or add [sso]",
            )
        })?;
        listed.admit(request.preface.client.0.ip())?;
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
                    .authorize(&listed, request.domain, &edge_host, query)
                    .await;
            }
            SsoPage::Metadata => {
                return self
                    .metadata(&listed, request.domain, &edge_host, &head)
                    .await;
            }
            SsoPage::Issuer { .. } | SsoPage::Revoke | SsoPage::Token => {}
        }
        let to = self.destination(&listed, request, &head).await?;
        listed.allow(&to.issuer.config().name, &to.url, head.method.as_str())?;
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
            listed.allow(outside.issuer, url, "GET").is_ok()
        })
    }
}
