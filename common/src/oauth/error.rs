//! Why a token is refused.

use crate::limits;

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum TokenError {
    /// Another algorithm than the issuer's: `none`, HMAC with a public key, and so on.
    #[error("the token is signed with an algorithm that its issuer does not use")]
    Algorithm,
    /// Made for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// The header asks for an extension.
    #[error("the token asks for an extension that is not supported")]
    Critical,
    /// Genuine, and over.
    #[error("the token has expired")]
    Expired,
    /// The issuer says that it is not good, or not any more.
    #[error("the issuer does not hold the token for active")]
    Inactive,
    /// Made by somebody else than it was verified for.
    #[error("the token is of another issuer")]
    Issuer,
    /// The name of the key is none.
    #[error("the name of the token's key is not a name")]
    KeyName,
    /// No form that is known.
    #[error("the token can't be read")]
    Malformed,
    /// Nothing says when it ends.
    #[error("the token never ends")]
    NoExpiry,
    /// Genuine, and of the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The claim that names the user is missing.
    #[error("the token names no user")]
    NoUser,
    /// The encrypted part can't be opened.
    #[error("the token's encrypted part can't be opened")]
    Sealed,
    /// Good, but not for this.
    #[error("the token lacks a scope")]
    Scope,
    /// The signature is of another key, or of other octets.
    #[error("the token's signature is wrong")]
    Signature,
    /// Over [`limits::TOKEN_BYTES_MAX`].
    #[error("the token is longer than {} octets", limits::TOKEN_BYTES_MAX)]
    TooLarge,
    /// Not an access token.
    #[error("the token is of another type")]
    Type,
    /// The issuer may have new keys.
    #[error("the token's key is not known")]
    UnknownKey,
}

impl TokenError {
    /// Whether somebody made this token up; an honest client's expired or misdirected one is not.
    #[must_use]
    pub const fn is_forged(self) -> bool {
        match self {
            Self::Algorithm | Self::Critical | Self::KeyName | Self::Sealed | Self::Signature => {
                true
            }
            Self::Audience
            | Self::Expired
            | Self::Inactive
            | Self::Issuer
            | Self::Malformed
            | Self::NoExpiry
            | Self::NotYetValid
            | Self::NoUser
            | Self::Scope
            | Self::TooLarge
            | Self::Type
            | Self::UnknownKey => false,
        }
    }
}
