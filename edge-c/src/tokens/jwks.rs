//! The keys that an issuer publishes: fetched ahead of their age, at once for a name that is not known, by one request for
//! all who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::limits;
use common::oauth::{KeyCache, KeySet, Rules, TokenError, Verified, verify};
use common::policy::allow_list::Url;
use common::runtime::clock;

use super::endpoint;
use super::fetch::{FetchError, Fetcher};
use super::metrics::TokenMetrics;
use crate::config::tokens::{Issuer, IssuerKind};

/// Keys, and who fetches them.
#[derive(Debug)]
pub(super) struct Jwks {
    /// Where there are no keys yet, they are as old as this.
    opened: Instant,
    cache: Mutex<KeyCache>,
    /// Whoever holds it fetches; the others wait for what comes.
    turn: tokio::sync::Mutex<()>,
    /// Somebody who could not wait met a key name that is not known.
    is_wanted: AtomicBool,
}

/// Why there is no verdict, or a bad one.
pub(super) enum Refused {
    NoKeys(String),
    Token(TokenError),
}

/// For whom and through whom keys are fetched.
pub(super) type Fetching<'a> = (&'a Issuer, &'a Fetcher, &'a TokenMetrics);

impl Jwks {
    /// Knows no keys yet.
    pub(super) fn new() -> Self {
        Self {
            opened: clock::now(),
            cache: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            is_wanted: AtomicBool::new(false),
        }
    }

    /// The keys that there are, without fetching any.
    pub(super) fn at_hand(&self) -> Option<Arc<KeySet>> {
        self.cache().keys(clock::now()).cloned()
    }

    /// Judges by the keys at hand; `None` without any. Keys for a name that is not known are fetched soon after.
    pub(super) fn verify_now(
        &self,
        token: &str,
        rules: &Rules,
    ) -> Option<Result<Verified, TokenError>> {
        let keys = self.at_hand()?;
        let verified = verify(token, &keys, None, rules, clock::unix_now());
        if verified == Err(TokenError::UnknownKey) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        Some(verified)
    }

    pub(super) async fn verify(
        &self,
        token: &str,
        fetching: Fetching<'_>,
    ) -> Result<Verified, Refused> {
        let rules = &fetching.0.rules;
        let keys = self.keys(fetching).await.map_err(Refused::NoKeys)?;
        let judge = |keys: &KeySet| verify(token, keys, None, rules, clock::unix_now());
        match judge(&keys) {
            Err(TokenError::UnknownKey) => {
                let newer = self.newer_than(&keys, fetching).await;
                let again = newer.map_or(Err(TokenError::UnknownKey), |keys| judge(&keys));
                again.map_err(Refused::Token)
            }
            verdict => verdict.map_err(Refused::Token),
        }
    }

    pub(super) async fn refresh_if_due(
        &self,
        issuer: &Issuer,
        fetcher: &Fetcher,
        metrics: &TokenMetrics,
    ) {
        let now = clock::now();
        let age = self.cache().age(now);
        let age = age.unwrap_or_else(|| now.saturating_duration_since(self.opened));
        metrics.keys_age(&issuer.name, age.as_secs());
        let is_wanted = self.is_wanted.swap(false, Ordering::Relaxed);
        let begins = {
            let mut cache = self.cache();
            cache.begin(now) || (is_wanted && cache.begin_for_unknown_key(now))
        };
        if begins {
            let _turn = self.turn.lock().await;
            drop(self.fetch((issuer, fetcher, metrics)).await);
        }
    }

    async fn keys(&self, fetching: Fetching<'_>) -> Result<Arc<KeySet>, String> {
        if let Some(keys) = self.at_hand() {
            return Ok(keys);
        }
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have brought them.
        if let Some(keys) = self.at_hand() {
            return Ok(keys);
        }
        let begins = self.cache().begin(clock::now());
        if !begins {
            return Err("its keys could not be fetched a moment ago".to_owned());
        }
        self.fetch(fetching)
            .await
            .map_err(|error| error.to_string())
    }

    /// Other keys than these, if there are any by now or can be had.
    async fn newer_than(&self, known: &Arc<KeySet>, fetching: Fetching<'_>) -> Option<Arc<KeySet>> {
        let _turn = self.turn.lock().await;
        let current = self.at_hand()?;
        if !Arc::ptr_eq(&current, known) {
            return Some(current);
        }
        let begins = self.cache().begin_for_unknown_key(clock::now());
        if !begins {
            return None;
        }
        self.fetch(fetching).await.ok()
    }

    /// Fetches; only for whoever has the turn.
    async fn fetch(
        &self,
        (issuer, fetcher, metrics): Fetching<'_>,
    ) -> Result<Arc<KeySet>, FetchError> {
        let fetched = fetch(issuer, fetcher).await;
        metrics.fetched(&issuer.name, fetched.is_ok());
        match fetched {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let was_stale = {
                    let mut cache = self.cache();
                    let now = clock::now();
                    let was_stale = cache.is_stale(now);
                    cache.fetched(Arc::clone(&keys), now);
                    was_stale
                };
                metrics.keys_age(&issuer.name, 0);
                if was_stale {
                    tracing::info!(issuer = %issuer.name, keys = keys.len(), "keys of the issuer are known");
                } else {
                    tracing::debug!(issuer = %issuer.name, keys = keys.len(), "keys of the issuer fetched");
                }
                Ok(keys)
            }
            Err(error) => {
                let failures = self.cache().failed();
                // One line when it begins; the metric says how long it lasts.
                if failures == 1 {
                    tracing::warn!(side = "upstream", issuer = %issuer.name, reason = %error,
                        remedy = "look whether the issuer runs and edge-c reaches it by verified TLS",
                        "keys of the issuer can't be fetched; those of before serve on");
                }
                Err(error)
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(issuer: &Issuer, fetcher: &Fetcher) -> Result<KeySet, FetchError> {
    let url: Url = match &issuer.kind {
        IssuerKind::Jwks { url: Some(url) } => url.clone(),
        IssuerKind::Jwks { url: None }
        | IssuerKind::Introspection { .. }
        | IssuerKind::Static { .. }
        | IssuerKind::Uds => {
            let metadata = fetcher.metadata(issuer).await?;
            endpoint(&metadata, "jwks_uri")?
        }
    };
    let json = fetcher.get(&url, limits::JWKS_BYTES_MAX).await?;
    KeySet::from_jwks(&json).map_err(|error| FetchError::Upstream(format!("the key set {error}")))
}
