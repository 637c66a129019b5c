//! Access tokens: whose they are, and whether they are good. One verifier, four ways: published keys, keys in files,
//! introspection, and asking the user's home cluster.
//!
//! Issues no session and keeps no token: of a verdict it keeps the token's SHA-256.
//!
//! ```text
//! token ─shape─▶ issuer ─▶ verdict of a moment ago? ──yes──▶ Accepted | TokenRefused
//!                            └─no─▶ keys at hand (fetched ahead, or for an unknown name) | the issuer | the home cluster
//! ```

mod exchange;
mod fetch;
mod issuer;
mod jwks;
pub mod metrics;
mod refused;
mod self_call;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use common::limits;
use common::net::Domain;
use common::oauth::{
    IntrospectionError, Metadata, TokenError, Verified, introspected, shape, verify,
};
use common::policy::fading::Fading;
use common::redact::Secret;
use common::runtime::clock;
use common::session::UserName;
use common::time::UnixTime;

use crate::config::tokens::{self as config, IssuerKind};
use crate::uds::OnBehalf;
use exchange::Exchanged;
pub use fetch::{FetchError, Fetcher};
pub(crate) use fetch::{collect, https};
use issuer::Backend;
pub use issuer::Issuer;
use metrics::{TokenMetrics, TokenOutcome};
pub use refused::TokenRefused;
pub use self_call::SelfCall;

/// A token that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The name of its issuer.
    pub issuer: Arc<str>,
    /// Who, as the issuer calls them: an id or a mail address.
    pub user: UserName,
    /// The latest end of what it opens: the token's own, and the issuer's extra time.
    pub until: Option<UnixTime>,
}

type Verdict = Result<Accepted, TokenRefused>;
type Tag = [u8; 32];

/// Verifies tokens. One for the process.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: ArcSwap<Vec<Arc<Issuer>>>,
    fetcher: Fetcher,
    self_call: SelfCall,
    verdicts: Mutex<Fading<(Domain, Tag), Verdict>>,
    exchanged: Mutex<Exchanged>,
    metrics: TokenMetrics,
}

impl TokenVerifier {
    /// Verifies tokens of these issuers.
    ///
    /// # Errors
    /// A text about a file that can't be read.
    pub fn new(
        issuers: &[config::Issuer],
        fetcher: Fetcher,
        self_call: SelfCall,
        metrics: TokenMetrics,
    ) -> Result<Self, String> {
        let verifier = Self {
            issuers: ArcSwap::default(),
            fetcher,
            self_call,
            verdicts: Mutex::new(Fading::new(limits::TOKEN_VERDICTS_MAX)),
            exchanged: Mutex::new(Fading::new(limits::TOKEN_VERDICTS_MAX)),
            metrics,
        };
        verifier.take_over(verifier.open(issuers)?);
        Ok(verifier)
    }

    /// Opens other issuers; those that are as they were are the same, with their keys.
    ///
    /// # Errors
    /// A text about a file that can't be read.
    pub fn open(&self, issuers: &[config::Issuer]) -> Result<Vec<Arc<Issuer>>, String> {
        let known = self.issuers.load();
        let open = |config: &config::Issuer| {
            let same = known.iter().find(|issuer| {
                // Files are read anew: what they hold may have changed.
                issuer.config == *config && matches!(issuer.backend, Backend::Jwks(_))
            });
            same.map_or_else(
                || Issuer::open(config).map(Arc::new),
                |issuer| Ok(Arc::clone(issuer)),
            )
        };
        issuers.iter().map(open).collect()
    }

    /// Believes these issuers and no other from now on; all verdicts are forgotten.
    pub fn take_over(&self, opened: Vec<Arc<Issuer>>) {
        for issuer in &opened {
            self.metrics.announce(&issuer.config.name);
        }
        self.issuers.store(Arc::new(opened));
        *self.verdicts() = Fading::new(limits::TOKEN_VERDICTS_MAX);
        *self.exchanged() = Fading::new(limits::TOKEN_VERDICTS_MAX);
        self.fetcher.forget_connections();
    }

    /// Whether any issuer vouches for users of the domain.
    #[must_use]
    pub fn serves(&self, domain: &Domain) -> bool {
        self.issuers
            .load()
            .iter()
            .any(|issuer| issuer.serves(domain))
    }

    /// The issuer that users of a domain get tokens from, by its URL (RFC 8414): the first one that has one.
    #[must_use]
    pub fn authorization_server(&self, domain: &Domain) -> Option<String> {
        let issuers = self.issuers.load();
        let serving = issuers.iter().filter(|issuer| issuer.serves(domain));
        let mut urls = serving.filter_map(|issuer| issuer.config.rules.issuer.clone());
        urls.find(|url| url.starts_with("https://"))
    }

    /// The issuer of that name.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<Arc<Issuer>> {
        let issuers = self.issuers.load();
        let found = issuers.iter().find(|issuer| *issuer.config.name == *name);
        found.map(Arc::clone)
    }

    /// Who reaches issuers.
    #[must_use]
    pub const fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Whether [`Self::verify`] would ask somebody inside about this token: then it counts as a sign-in that was tried.
    #[must_use]
    pub fn would_ask(&self, domain: &Domain, token: &str) -> bool {
        let issuer = self.responsible(domain, token);
        issuer.is_some_and(|issuer| issuer.asks()) && self.remembered(domain, &tag(token)).is_none()
    }

    /// Judges a token. `hint` is whom the client says it is for: of use only where the token itself says nothing.
    ///
    /// # Errors
    /// [`TokenRefused`] with the reason for the log.
    pub async fn verify(
        &self,
        domain: &Domain,
        token: &str,
        hint: Option<&str>,
        on_behalf: &OnBehalf,
    ) -> Verdict {
        let (issuer, tag) = match self.begin(domain, token) {
            ControlFlow::Continue(begun) => begun,
            ControlFlow::Break(verdict) => return verdict,
        };
        let verdict = self.judge(&issuer, domain, token, hint, on_behalf).await;
        self.settle(&issuer, domain, tag, verdict)
    }

    /// Judges a token by the keys at hand, without asking anybody: for where nobody can wait.
    ///
    /// # Errors
    /// [`TokenRefused`]; [`TokenRefused::Unavailable`] where somebody would have to be asked.
    pub fn verify_now(&self, domain: &Domain, token: &str) -> Verdict {
        let (issuer, tag) = match self.begin(domain, token) {
            ControlFlow::Continue(begun) => begun,
            ControlFlow::Break(verdict) => return verdict,
        };
        let rules = &issuer.config.rules;
        let verdict = match &issuer.backend {
            Backend::Jwks(jwks) => match jwks.verify_now(token, rules) {
                Some(verified) => verified.map_err(|error| issuer.refused(error)),
                None => Err(issuer.unavailable("its keys have not been fetched yet")),
            },
            Backend::Static { keys, seal } => {
                verify(token, keys, seal.as_ref(), rules, clock::unix_now())
                    .map_err(|error| issuer.refused(error))
            }
            Backend::Introspection | Backend::Uds => {
                Err(issuer.unavailable("would have to be asked, and nobody can wait here"))
            }
        };
        let verdict = verdict.and_then(|verified| issuer.accepted(&verified));
        self.settle(&issuer, domain, tag, verdict)
    }

    /// Fetches keys ahead of their age, for as long as it is polled.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let issuers = Arc::clone(&self.issuers.load());
            for issuer in issuers.iter() {
                if let Backend::Jwks(jwks) = &issuer.backend {
                    jwks.refresh_if_due(&issuer.config, &self.fetcher, &self.metrics)
                        .await;
                }
            }
        }
    }

    /// Whose token it is, unless there is a verdict already.
    fn begin(&self, domain: &Domain, token: &str) -> ControlFlow<Verdict, (Arc<Issuer>, Tag)> {
        let Some(issuer) = self.responsible(domain, token) else {
            return ControlFlow::Break(Err(TokenRefused::NoIssuer));
        };
        let tag = tag(token);
        let Some(verdict) = self.remembered(domain, &tag) else {
            return ControlFlow::Continue((issuer, tag));
        };
        self.metrics
            .verdict(&issuer.config.name, TokenOutcome::Cached);
        ControlFlow::Break(verdict)
    }

    /// The one issuer whose token it is, by what the token says of itself.
    fn responsible(&self, domain: &Domain, token: &str) -> Option<Arc<Issuer>> {
        let shape = shape(token);
        let issuers = self.issuers.load();
        let serving = issuers.iter().filter(|issuer| issuer.serves(domain));
        let mut takers = serving.filter(|issuer| issuer.takes(&shape));
        takers.next().map(Arc::clone)
    }

    async fn judge(
        &self,
        issuer: &Issuer,
        domain: &Domain,
        token: &str,
        hint: Option<&str>,
        on_behalf: &OnBehalf,
    ) -> Verdict {
        let rules = &issuer.config.rules;
        let verified = match &issuer.backend {
            Backend::Jwks(jwks) => {
                let fetching = (&issuer.config, &self.fetcher, &self.metrics);
                jwks.verify(token, fetching)
                    .await
                    .map_err(|refused| match refused {
                        jwks::Refused::Token(error) => issuer.refused(error),
                        jwks::Refused::NoKeys(why) => issuer.unavailable(why),
                    })
            }
            Backend::Static { keys, seal } => {
                verify(token, keys, seal.as_ref(), rules, clock::unix_now())
                    .map_err(|error| issuer.refused(error))
            }
            Backend::Introspection => self.introspect(issuer, token).await,
            Backend::Uds => {
                let user = hint.ok_or_else(|| issuer.refused(TokenError::NoUser))?;
                let called = self.self_call.ask(domain, user, token, on_behalf).await;
                called.map_err(|refused| match refused {
                    self_call::Refused::Token(error) => issuer.refused(error),
                    self_call::Refused::Unavailable(why) => issuer.unavailable(why),
                })
            }
        };
        issuer.accepted(&verified?)
    }

    /// RFC 7662 section 2.
    async fn introspect(&self, issuer: &Issuer, token: &str) -> Result<Verified, TokenRefused> {
        let config = &issuer.config;
        let unavailable = |error: FetchError| issuer.unavailable(error);
        let url = match &config.kind {
            IssuerKind::Introspection { url: Some(url) } => url.clone(),
            IssuerKind::Introspection { url: None }
            | IssuerKind::Jwks { .. }
            | IssuerKind::Static { .. }
            | IssuerKind::Uds => {
                let metadata = self.fetcher.metadata(config).await.map_err(unavailable)?;
                endpoint(&metadata, "introspection_endpoint").map_err(unavailable)?
            }
        };
        let form = [("token", token), ("token_type_hint", "access_token")];
        let answer = self.fetcher.form(&url, config.client.as_ref(), &form).await;
        self.metrics.fetched(&config.name, answer.is_ok());
        let json = answer.map_err(unavailable)?;
        introspected(&json, &config.rules, clock::unix_now()).map_err(|error| match error {
            IntrospectionError::Answer => issuer.unavailable(error),
            IntrospectionError::Token(error) => issuer.refused(error),
        })
    }

    fn remembered(&self, domain: &Domain, tag: &Tag) -> Option<Verdict> {
        let key = (domain.clone(), *tag);
        let verdicts = self.verdicts();
        let (_, verdict) = verdicts.get(&key, clock::now())?;
        Some(verdict.clone())
    }

    /// Counts a verdict and keeps it for a while.
    fn settle(&self, issuer: &Issuer, domain: &Domain, tag: Tag, verdict: Verdict) -> Verdict {
        let outcome = TokenOutcome::of(&verdict);
        self.metrics.verdict(&issuer.config.name, outcome);
        let kept_for = match &verdict {
            Ok(accepted) => {
                let most = if issuer.asks() {
                    limits::TOKEN_ANSWER_AGE_MAX
                } else {
                    limits::TOKEN_VERDICT_AGE_MAX
                };
                let left = accepted.until.map(|until| until.since(clock::unix_now()));
                left.map_or(most, |left| {
                    // Extra time is the session's, not the token's.
                    left.saturating_sub(issuer.config.extra_time).min(most)
                })
            }
            // The rest costs nobody anything, or mends itself at any moment.
            Err(TokenRefused::Token {
                error: TokenError::Inactive,
                ..
            }) => limits::TOKEN_REFUSAL_AGE,
            Err(_) => Duration::ZERO,
        };
        if !kept_for.is_zero() {
            let now = clock::now();
            let key = (domain.clone(), tag);
            let (end, kept) = (now + kept_for, verdict.clone());
            self.verdicts().renew(key, end, kept, now);
        }
        verdict
    }

    fn verdicts(&self) -> MutexGuard<'_, Fading<(Domain, Tag), Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenVerifier {
    fn exchanged(&self) -> MutexGuard<'_, Exchanged> {
        self.exchanged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint of an issuer's metadata; it must be https.
pub(crate) fn endpoint(
    metadata: &Metadata,
    name: &'static str,
) -> Result<common::policy::allow_list::Url, FetchError> {
    let text = metadata.url(name).ok_or(FetchError::NoEndpoint(name))?;
    https(text).ok_or(FetchError::NoEndpoint(name))
}

/// What stands for a token where the token itself must not be kept.
#[must_use]
pub(crate) fn tag(token: &str) -> Tag {
    tag_of(token.as_bytes())
}

/// The same for any octets.
#[must_use]
pub(crate) fn tag_of(octets: &[u8]) -> Tag {
    let digest = digest::digest(&digest::SHA256, octets);
    digest.as_ref().try_into().unwrap_or_default()
}

/// The value of `Authorization` that shows a token.
#[must_use]
pub(crate) fn bearer(token: &str) -> Secret<String> {
    Secret::new(format!("Bearer {token}"))
}

/// How often it is looked whether keys are due.
const TICK: Duration = Duration::from_secs(1);
