//! Why a client gets no edge configuration, and what it is told.

use std::time::Duration;

use common::mra::access::Refusal;
use common::oauth::TokenError;
use common::policy::rate_limit::TooOften;

use super::credentials::CredentialsError;
use crate::home_cluster::HomeError;
use crate::metrics::SignInOutcome;
use crate::tokens::TokenRefused;
use crate::uds::UdsFailure;

/// Why a client gets no edge configuration. The client learns only the status of [`Self::refusal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// UCM refused the credentials.
    #[error("the password is wrong")]
    BadPassword,
    /// There are no credentials that could be proved.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The domain is not served.
    #[error("the domain is not served")]
    DomainUnknown,
    /// The home cluster could not be found or asked.
    #[error("the home cluster can't be asked: {0}")]
    Home(HomeError),
    /// Too many sign-ins are under way.
    #[error("too many sign-ins are under way")]
    Overloaded,
    /// No edge can be named to the client.
    #[error("no edge is configured")]
    NoEdge,
    /// The whole took too long.
    #[error("the sign-in took too long")]
    Timeout,
    /// The token opens nothing.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// The token is good, and no cluster knows its user.
    #[error("no cluster knows the token's user")]
    TokenUserUnknown,
    /// The login limit.
    #[error(transparent)]
    TooOften(#[from] TooOften),
    /// No cluster knows the user.
    #[error("the user is unknown")]
    UserUnknown,
}

impl SignInError {
    /// The answer to the client; a wrong password, an unknown user and missing credentials are all alike.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::BadPassword
            | Self::Credentials(_)
            | Self::Token(TokenRefused::NoIssuer | TokenRefused::Token { .. })
            | Self::TokenUserUnknown
            | Self::UserUnknown => Refusal::SignInRequired,
            Self::DomainUnknown => Refusal::DomainUnknown,
            Self::Home(HomeError::Unreachable(error))
                if error.reason == UdsFailure::AnswerTimeout =>
            {
                Refusal::OriginTimeout
            }
            Self::Home(_) | Self::NoEdge | Self::Token(TokenRefused::Unavailable { .. }) => {
                Refusal::OriginUnreachable
            }
            Self::Overloaded => Refusal::Overloaded {
                retry_after: RETRY_AFTER,
            },
            Self::Timeout => Refusal::OriginTimeout,
            Self::TooOften(limit) => Refusal::TooManySignIns {
                retry_after: limit.retry_after,
            },
        }
    }
}

impl SignInError {
    /// What the operator can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::BadPassword | Self::UserUnknown => {
                "none, if the user mistyped; else compare the user id with UCM and look at ILS"
            }
            Self::Credentials(CredentialsError::Missing) => "none: every client begins so",
            Self::Credentials(_) => "none: the client must send Basic credentials",
            Self::DomainUnknown => "add a [[domain]] if it is yours",
            Self::Home(_) => {
                "look whether the UCM nodes run and their certificates verify: `edge-c doctor`"
            }
            Self::Overloaded => "none: clients come again",
            Self::NoEdge => "add an [[edge]]",
            Self::Token(refused) => refused.remedy(),
            Self::TokenUserUnknown => {
                "compare the token's user_claim with user ids and mail addresses of UCM"
            }
            Self::Timeout => "look why the UCM nodes or the inside DNS are slow",
            Self::TooOften(_) => {
                "look which device repeats a wrong password, or raise [sign_in] login_limit"
            }
        }
    }

    /// Whether somebody tried credentials that are wrong, as who guesses does; to have none yet is not.
    #[must_use]
    pub const fn is_wrong_guess(&self) -> bool {
        match self {
            Self::BadPassword | Self::UserUnknown => true,
            Self::Token(refused) => refused.is_forged(),
            Self::Credentials(_)
            | Self::DomainUnknown
            | Self::Home(_)
            | Self::Overloaded
            | Self::NoEdge
            | Self::Timeout
            | Self::TokenUserUnknown
            | Self::TooOften(_) => false,
        }
    }

    /// What the client's token lacks, for the challenge (RFC 6750 section 3.1).
    #[must_use]
    pub const fn token_fault(&self) -> Option<&'static str> {
        match self {
            Self::Token(TokenRefused::Token {
                error: TokenError::Expired,
                ..
            }) => Some("the token has expired"),
            Self::Token(TokenRefused::NoIssuer | TokenRefused::Token { .. })
            | Self::TokenUserUnknown => Some("the token is not good here"),
            Self::BadPassword
            | Self::Credentials(_)
            | Self::DomainUnknown
            | Self::Home(_)
            | Self::NoEdge
            | Self::Overloaded
            | Self::Timeout
            | Self::Token(TokenRefused::Unavailable { .. })
            | Self::TooOften(_)
            | Self::UserUnknown => None,
        }
    }

    /// The label in metrics.
    #[must_use]
    pub const fn outcome(&self) -> SignInOutcome {
        match self {
            Self::BadPassword | Self::UserUnknown | Self::TokenUserUnknown => {
                SignInOutcome::BadCredentials
            }
            Self::Token(refused) => match refused {
                TokenRefused::Token {
                    error: TokenError::Expired,
                    ..
                } => SignInOutcome::ExpiredToken,
                TokenRefused::NoIssuer | TokenRefused::Token { .. } => SignInOutcome::BadToken,
                TokenRefused::Unavailable { .. } => SignInOutcome::Unavailable,
            },
            Self::Credentials(CredentialsError::Missing) => SignInOutcome::Challenged,
            Self::Credentials(_) | Self::DomainUnknown => SignInOutcome::BadRequest,
            Self::Home(_) | Self::NoEdge | Self::Overloaded | Self::Timeout => {
                SignInOutcome::Unavailable
            }
            Self::TooOften(_) => SignInOutcome::RateLimited,
        }
    }
}

impl From<HomeError> for SignInError {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Unknown => Self::UserUnknown,
            HomeError::Nodes(_) | HomeError::Unreachable(_) => Self::Home(error),
        }
    }
}

/// When a refused sign-in may come again: flights end within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);
