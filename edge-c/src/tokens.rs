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
mod jwks;
pub mod metrics;
mod self_call;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use common::limits;
use common::net::Domain;
use common::oauth::{
    IntrospectionError, KeySet, Metadata, SealKey, Shape, TokenError, Verified, introspected,
    shape, verify,
};
use common::redact::Secret;
use common::runtime::clock;
use common::session::UserName;
use common::time::UnixTime;
use tokio::time::Instant;

use crate::config::tokens::{self as config, IssuerKind};
use crate::home_cluster::expiring::Expiring;
use crate::uds::OnBehalf;
use exchange::Exchanged;
pub use fetch::{FetchError, Fetcher};
pub(crate) use fetch::{collect, https};
use jwks::Jwks;
use metrics::{TokenMetrics, TokenOutcome};
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

/// Why a token opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// No `[[issuer]]` is responsible.
    #[error("the token is of no [[issuer]] of this domain")]
    NoIssuer,
    /// The issuer could not be asked, or its keys could not be had.
    #[error("issuer {issuer}: {why}")]
    Unavailable {
        /// The name of the issuer.
        issuer: Arc<str>,
        /// What went wrong.
        why: String,
    },
    /// Not a good token.
    #[error("issuer {issuer}: {error}")]
    Token {
        /// The name of the issuer.
        issuer: Arc<str>,
        /// Why.
        error: TokenError,
    },
}

impl TokenRefused {
    /// What the operator can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NoIssuer => "add an [[issuer]] for it if you trust it",
            Self::Unavailable { .. } => {
                "look whether the issuer runs and edge-c reaches it by verified TLS"
            }
            Self::Token { error, .. } => match error {
                TokenError::Expired => "none: the client refreshes its token, or signs in again",
                TokenError::NotYetValid => {
                    "compare the clocks of edge-c and the issuer, or raise clock_skew"
                }
                TokenError::Audience => "compare aud of the token with audiences of the [[issuer]]",
                TokenError::Type => "compare typ of the token with token_types of the [[issuer]]",
                TokenError::Algorithm => {
                    "none, if nobody changed the issuer; else set algorithms of the [[issuer]]"
                }
                TokenError::NoUser => {
                    "compare the token's claims with user_claim of the [[issuer]]"
                }
                TokenError::Scope => "compare scope of the token with scopes of the [[issuer]]",
                TokenError::UnknownKey => "look whether the issuer publishes the key",
                TokenError::Critical
                | TokenError::Inactive
                | TokenError::Issuer
                | TokenError::KeyName
                | TokenError::Malformed
                | TokenError::NoExpiry
                | TokenError::Sealed
                | TokenError::Signature
                | TokenError::TooLarge => "none: the client must get another token",
            },
        }
    }

    /// Whether somebody made the token up.
    #[must_use]
    pub const fn is_forged(&self) -> bool {
        match self {
            Self::NoIssuer | Self::Unavailable { .. } => false,
            Self::Token { error, .. } => error.is_forged(),
        }
    }
}

type Verdict = Result<Accepted, TokenRefused>;
type Tag = [u8; 32];

/// Verifies tokens. One for the process.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: ArcSwap<Vec<Arc<Issuer>>>,
    fetcher: Fetcher,
    self_call: SelfCall,
    verdicts: Mutex<Expiring<(Domain, Tag), Verdict>>,
    exchanged: Mutex<Exchanged>,
    metrics: TokenMetrics,
}

/// One `[[issuer]]`.
#[derive(Debug)]
pub struct Issuer {
    config: config::Issuer,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Introspection,
    Jwks(Jwks),
    Static { keys: KeySet, seal: Option<SealKey> },
    Uds,
}

impl Issuer {
    fn open(config: &config::Issuer) -> Result<Self, String> {
        let backend = match &config.kind {
            IssuerKind::Introspection { .. } => Backend::Introspection,
            IssuerKind::Jwks { .. } => Backend::Jwks(Jwks::new()),
            IssuerKind::Static {
                keys,
                decryption_key,
            } => {
                let mut all = KeySet::default();
                for path in keys {
                    all.merge(config::read_keys(path)?);
                }
                let seal = decryption_key.as_ref().map(config::read_seal_key);
                Backend::Static {
                    keys: all,
                    seal: seal.transpose()?,
                }
            }
            IssuerKind::Uds => Backend::Uds,
        };
        Ok(Self {
            config: config.clone(),
            backend,
        })
    }

    /// What it is configured as.
    #[must_use]
    pub const fn config(&self) -> &config::Issuer {
        &self.config
    }

    /// Whether it vouches for users of the domain.
    #[must_use]
    pub fn serves(&self, domain: &Domain) -> bool {
        self.config.domains.is_empty() || self.config.domains.contains(domain)
    }

    /// Whether a token of this shape is this issuer's to judge.
    fn takes(&self, shape: &Shape) -> bool {
        match (&self.backend, shape) {
            (Backend::Jwks(_) | Backend::Static { seal: None, .. }, Shape::Of { issuer }) => {
                self.config.rules.issuer.as_ref() == Some(issuer)
            }
            (Backend::Static { seal: Some(_), .. }, Shape::SelfDescribing) => true,
            // A signed token of an issuer that is asked about each one is still its own.
            (Backend::Introspection, Shape::Of { issuer }) => self
                .config
                .rules
                .issuer
                .as_ref()
                .is_none_or(|own| own == issuer),
            (Backend::Introspection, Shape::Opaque) | (Backend::Uds, _) => true,
            (Backend::Jwks(_) | Backend::Static { .. }, _)
            | (Backend::Introspection, Shape::SelfDescribing) => false,
        }
    }

    /// Whether a token costs somebody inside a question.
    const fn asks(&self) -> bool {
        matches!(self.backend, Backend::Introspection | Backend::Uds)
    }

    fn refused(&self, error: TokenError) -> TokenRefused {
        TokenRefused::Token {
            issuer: Arc::clone(&self.config.name),
            error,
        }
    }

    fn unavailable(&self, why: impl std::fmt::Display) -> TokenRefused {
        TokenRefused::Unavailable {
            issuer: Arc::clone(&self.config.name),
            why: why.to_string(),
        }
    }

    fn accepted(&self, verified: &Verified) -> Verdict {
        let user = UserName::parse(verified.user.reveal());
        Ok(Accepted {
            issuer: Arc::clone(&self.config.name),
            user: user.map_err(|_| self.refused(TokenError::NoUser))?,
            until: verified
                .expires
                .map(|expires| expires.plus(self.config.extra_time)),
        })
    }
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
            verdicts: Mutex::new(Expiring::new(limits::TOKEN_VERDICTS_MAX)),
            exchanged: Mutex::new(Expiring::new(limits::TOKEN_VERDICTS_MAX)),
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
        *self.verdicts() = Expiring::new(limits::TOKEN_VERDICTS_MAX);
        *self.exchanged() = Expiring::new(limits::TOKEN_VERDICTS_MAX);
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
        let Some(issuer) = self.responsible(domain, token) else {
            return Err(TokenRefused::NoIssuer);
        };
        let tag = tag(token);
        if let Some(verdict) = self.remembered(domain, &tag) {
            self.metrics
                .verdict(&issuer.config.name, TokenOutcome::Cached);
            return verdict;
        }
        let verdict = self.judge(&issuer, domain, token, hint, on_behalf).await;
        self.settle(&issuer, domain, tag, verdict)
    }

    /// Judges a token by the keys at hand, without asking anybody: for where nobody can wait.
    ///
    /// # Errors
    /// [`TokenRefused`]; [`TokenRefused::Unavailable`] where somebody would have to be asked.
    pub fn verify_now(&self, domain: &Domain, token: &str) -> Verdict {
        let Some(issuer) = self.responsible(domain, token) else {
            return Err(TokenRefused::NoIssuer);
        };
        let tag = tag(token);
        if let Some(verdict) = self.remembered(domain, &tag) {
            self.metrics
                .verdict(&issuer.config.name, TokenOutcome::Cached);
            return verdict;
        }
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
        self.verdicts().get(&key, Instant::now()).cloned()
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
            let now = Instant::now();
            let key = (domain.clone(), tag);
            let (end, kept) = (now + kept_for, verdict.clone());
            self.verdicts().insert(key, kept, end, now);
        }
        verdict
    }

    fn verdicts(&self) -> MutexGuard<'_, Expiring<(Domain, Tag), Verdict>> {
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
