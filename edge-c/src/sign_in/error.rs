//! Why a client gets no edge configuration, and what it is told.

use std::time::Duration;

use common::mra::access::Refusal;
use common::policy::rate_limit::TooOften;

use super::credentials::CredentialsError;
use crate::home_cluster::HomeError;
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
            Self::BadPassword | Self::Credentials(_) | Self::UserUnknown => Refusal::SignInRequired,
            Self::DomainUnknown => Refusal::DomainUnknown,
            Self::Home(HomeError::Unreachable(error))
                if error.reason == UdsFailure::AnswerTimeout =>
            {
                Refusal::OriginTimeout
            }
            Self::Home(_) | Self::NoEdge => Refusal::OriginUnreachable,
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
