//! The verdict of a user's own home cluster: it gives the user's own record to whoever holds a good token of theirs.

use std::sync::Arc;

use common::net::Domain;
use common::oauth::{TokenError, Verified};
use common::redact::Redacted;
use common::session::UserName;
use http::StatusCode;

use super::bearer;
use crate::discovery::Discovery;
use crate::home_cluster::{HomeClusters, HomeError};
use crate::uds::{OnBehalf, Uds, UdsFailure};

/// Asks home clusters.
#[derive(Debug)]
pub struct SelfCall {
    discovery: Arc<Discovery>,
    uds: Arc<Uds>,
    homes: HomeClusters,
}

/// Why there is no verdict, or a bad one.
pub(super) enum Refused {
    Token(TokenError),
    Unavailable(String),
}

impl SelfCall {
    /// Asks those that `discovery` knows.
    #[must_use]
    pub fn new(discovery: Arc<Discovery>, uds: Arc<Uds>) -> Self {
        Self {
            homes: HomeClusters::new(Arc::clone(&discovery), Arc::clone(&uds)),
            discovery,
            uds,
        }
    }

    /// Whether the home cluster of whoever is called `user` takes the token for theirs.
    pub(super) async fn ask(
        &self,
        domain: &Domain,
        user: &str,
        token: &str,
        on_behalf: &OnBehalf,
    ) -> Result<Verified, Refused> {
        let login = UserName::parse(user).map_err(|_| Refused::Token(TokenError::NoUser))?;
        let Some(domain) = self.discovery.domain(domain) else {
            return Err(Refused::Unavailable("the domain is not served".to_owned()));
        };
        let home = match self.homes.remembered(&domain, &login) {
            Some(home) => home,
            None => match self.homes.find(&domain, &login, on_behalf).await {
                Ok(home) => home,
                // Like a token that isn't theirs: who exists is not for strangers.
                Err(HomeError::Unknown) => return Err(Refused::Token(TokenError::Inactive)),
                Err(error) => return Err(Refused::Unavailable(error.to_string())),
            },
        };
        let field = bearer(token);
        let mut last = String::new();
        for node in self.homes.nodes_to_ask(&home) {
            let id = home.user.as_str();
            let answer = self.uds.user(&node, id, &field, Some(on_behalf)).await;
            self.discovery.observe(&answer, &node);
            match answer {
                Ok(_) => {
                    return Ok(Verified {
                        user: Redacted::new(id.to_owned()),
                        expires: None,
                    });
                }
                Err(error) => match error.reason {
                    UdsFailure::Status(
                        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND,
                    ) => return Err(Refused::Token(TokenError::Inactive)),
                    UdsFailure::Answer(_)
                    | UdsFailure::AnswerTimeout
                    | UdsFailure::Dial(_)
                    | UdsFailure::Dns(_)
                    | UdsFailure::Http(_)
                    | UdsFailure::Request
                    | UdsFailure::Status(_)
                    | UdsFailure::TooLong => last = error.to_string(),
                },
            }
        }
        Err(Refused::Unavailable(last))
    }
}
