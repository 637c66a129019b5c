//! What is counted of tokens and issuers.

use common::oauth::TokenError;
use common::telemetry::Named;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Accepted, TokenRefused};

common::label! {
    /// What was found out about a token.
    pub enum TokenOutcome as "outcome" {
        /// Good.
        Accepted = "accepted",
        /// An algorithm that the issuer does not use.
        BadAlgorithm = "bad_algorithm",
        /// Claims that don't fit: issuer, scope, user.
        BadClaims = "bad_claims",
        /// The signature or the encrypted part is wrong.
        BadSignature = "bad_signature",
        /// Judged a moment ago.
        Cached = "cached",
        /// Genuine, and over.
        Expired = "expired",
        /// The issuer says no.
        Inactive = "inactive",
        /// No form that is known.
        Malformed = "malformed",
        /// Genuine, and of the future.
        NotYetValid = "not_yet_valid",
        /// The issuer could not be asked.
        Unavailable = "unavailable",
        /// A key that the issuer does not publish.
        UnknownKey = "unknown_key",
        /// For another service.
        WrongAudience = "wrong_audience",
        /// Not an access token.
        WrongType = "wrong_type",
    }
}

impl TokenOutcome {
    pub(super) const fn of(verdict: &Result<Accepted, TokenRefused>) -> Self {
        match verdict {
            Ok(_) => Self::Accepted,
            Err(TokenRefused::NoIssuer) => Self::BadClaims,
            Err(TokenRefused::Unavailable { .. }) => Self::Unavailable,
            Err(TokenRefused::Token { error, .. }) => match error {
                TokenError::Algorithm | TokenError::Critical => Self::BadAlgorithm,
                TokenError::Audience => Self::WrongAudience,
                TokenError::Expired => Self::Expired,
                TokenError::Inactive => Self::Inactive,
                TokenError::Issuer
                | TokenError::NoExpiry
                | TokenError::NoUser
                | TokenError::Scope => Self::BadClaims,
                TokenError::KeyName | TokenError::Malformed | TokenError::TooLarge => {
                    Self::Malformed
                }
                TokenError::NotYetValid => Self::NotYetValid,
                TokenError::Sealed | TokenError::Signature => Self::BadSignature,
                TokenError::Type => Self::WrongType,
                TokenError::UnknownKey => Self::UnknownKey,
            },
        }
    }
}

common::label! {
    /// How a question to an issuer ended.
    pub enum FetchOutcome as "outcome" {
        /// No usable answer.
        Failed = "failed",
        /// Answered.
        Ok = "ok",
    }
}

/// What is counted of tokens. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct TokenMetrics {
    verdicts: Named<Counter>,
    fetches: Named<Counter>,
    keys_age: Named<Gauge>,
}

impl TokenMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            verdicts: Named::register(
                registry,
                "token_verdicts",
                "What was found out about access tokens, by issuer",
                "issuer",
            ),
            fetches: Named::register(
                registry,
                "issuer_requests",
                "Questions to issuers: keys, metadata, introspection, exchange",
                "issuer",
            ),
            keys_age: Named::register(
                registry,
                "issuer_keys_age_seconds",
                "How old the keys of an issuer are, or for how long none came; above 600 it is away",
                "issuer",
            ),
        }
    }

    /// Makes the series that alerts ask for exist before anything is counted.
    pub(super) fn announce(&self, issuer: &str) {
        for outcome in [FetchOutcome::Ok, FetchOutcome::Failed] {
            drop(self.fetches.of_both(issuer, outcome));
        }
        for outcome in [TokenOutcome::Accepted, TokenOutcome::BadSignature] {
            drop(self.verdicts.of_both(issuer, outcome));
        }
    }

    pub(super) fn verdict(&self, issuer: &str, outcome: TokenOutcome) {
        self.verdicts.of_both(issuer, outcome).inc();
    }

    pub(crate) fn fetched(&self, issuer: &str, is_ok: bool) {
        let outcome = if is_ok {
            FetchOutcome::Ok
        } else {
            FetchOutcome::Failed
        };
        self.fetches.of_both(issuer, outcome).inc();
    }

    pub(crate) fn keys_age(&self, issuer: &str, seconds: u64) {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.keys_age.of(issuer).set(seconds);
    }
}
