//! Why a token opens nothing, whose fault that is, and what an operator can do.

use std::sync::Arc;

use common::oauth::TokenError;

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
