//! One `[[issuer]]`: which tokens are its own, and what judges them. Asks nobody.

use std::sync::Arc;

use common::net::Domain;
use common::oauth::{KeySet, SealKey, Shape, TokenError, Verified};
use common::session::UserName;

use super::jwks::Jwks;
use super::{Accepted, TokenRefused, Verdict};
use crate::config::tokens::{self as config, IssuerKind};

/// One `[[issuer]]`.
#[derive(Debug)]
pub struct Issuer {
    pub(super) config: config::Issuer,
    pub(super) backend: Backend,
}

/// How its tokens are judged.
#[derive(Debug)]
pub(super) enum Backend {
    Introspection,
    Jwks(Jwks),
    Static { keys: KeySet, seal: Option<SealKey> },
    Uds,
}

impl Issuer {
    pub(super) fn open(config: &config::Issuer) -> Result<Self, String> {
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
    pub(super) fn takes(&self, shape: &Shape) -> bool {
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
    pub(super) const fn asks(&self) -> bool {
        matches!(self.backend, Backend::Introspection | Backend::Uds)
    }

    pub(super) fn refused(&self, error: TokenError) -> TokenRefused {
        TokenRefused::Token {
            issuer: Arc::clone(&self.config.name),
            error,
        }
    }

    pub(super) fn unavailable(&self, why: impl std::fmt::Display) -> TokenRefused {
        TokenRefused::Unavailable {
            issuer: Arc::clone(&self.config.name),
            why: why.to_string(),
        }
    }

    pub(super) fn accepted(&self, verified: &Verified) -> Verdict {
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
