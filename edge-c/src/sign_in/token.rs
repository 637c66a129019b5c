//! Signing in by an access token: the verifier says who it is, discovery where they are at home.

use std::sync::Arc;

use common::net::Domain;
use common::redact::Secret;
use common::runtime::clock;
use common::session::{Method, UserName};

use super::login_limit::Attempt;
use super::proofs::Proved;
use super::{EdgeConfigRequest, SignIn, SignInError, SignedOn};
use crate::discovery::ServedDomain;
use crate::home_cluster::{Home, HomeError};
use crate::tokens::{self, Accepted, TokenRefused, TokenVerifier};
use crate::uds::OnBehalf;
use crate::uds::answer::UserRecord;

/// The token of an `Authorization` field (RFC 6750 section 2.1), if it is of that scheme.
pub(super) fn token_of(field: Option<&Secret<String>>) -> Option<&str> {
    let (scheme, value) = field?.reveal().split_once(' ')?;
    let value = value.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !value.is_empty()).then_some(value)
}

impl SignIn {
    pub(super) async fn by_token(
        &self,
        verifier: &TokenVerifier,
        domain: &ServedDomain,
        token: &str,
        request: &EdgeConfigRequest,
    ) -> Result<SignedOn, SignInError> {
        let accepted = self.accept_token(verifier, domain, token, request).await?;
        let key = (domain.name.clone(), tokens::tag(token));
        let known = self.known_token(&key);
        let is_remembered = known.is_some();
        let proved = match known {
            Some(proved) => proved,
            None => {
                let on_behalf = &request.on_behalf;
                let proved = self.place(domain, &accepted, token, on_behalf).await?;
                let now = clock::now();
                let end = now + self.token_proof_age;
                self.token_proofs()
                    .renew(key, end, Arc::clone(&proved), now);
                proved
            }
        };
        Ok(SignedOn {
            proved,
            method: Method::Token,
            credential: tokens::bearer(token),
            until: accepted.until,
            is_remembered,
        })
    }

    fn known_token(&self, key: &(Domain, [u8; 32])) -> Option<Arc<Proved>> {
        let proofs = self.token_proofs();
        let (_, proved) = proofs.get(key, clock::now())?;
        Some(Arc::clone(proved))
    }

    /// Only a token that somebody inside has to be asked about counts as a try.
    async fn accept_token(
        &self,
        verifier: &TokenVerifier,
        domain: &ServedDomain,
        token: &str,
        request: &EdgeConfigRequest,
    ) -> Result<Accepted, SignInError> {
        let hint = request.hint.as_ref();
        let counted = if verifier.would_ask(&domain.name, token) {
            let user = hint.cloned().map_or_else(|| UserName::parse("-"), Ok);
            let user = user.map_err(|_| SignInError::UserUnknown)?;
            let attempt = Attempt::new(&domain.name, &user, &request.on_behalf);
            Some(self.limit.admit(attempt, request.device.clone())?)
        } else {
            None
        };
        let hint = hint.map(UserName::as_str);
        let verdict = verifier
            .verify(&domain.name, token, hint, &request.on_behalf)
            .await;
        if let Some(counted) = counted
            && matches!(verdict, Ok(_) | Err(TokenRefused::Unavailable { .. }))
        {
            counted.excuse();
        }
        verdict.map_err(SignInError::Token)
    }

    /// Where the token's user is at home, and what their own record says of their nodes.
    async fn place(
        &self,
        domain: &ServedDomain,
        accepted: &Accepted,
        token: &str,
        on_behalf: &OnBehalf,
    ) -> Result<Arc<Proved>, SignInError> {
        let home = match self.homes.remembered(domain, &accepted.user) {
            Some(home) => home,
            None => match self.homes.find(domain, &accepted.user, on_behalf).await {
                Ok(home) => home,
                Err(HomeError::Unknown) => return Err(SignInError::TokenUserUnknown),
                Err(error) => return Err(error.into()),
            },
        };
        let record = self.own_record(&home, token, on_behalf).await;
        self.learn(domain, &home, &record);
        Ok(Arc::new(Proved { home, record }))
    }

    /// The user's own record, if the home cluster takes the token too.
    async fn own_record(&self, home: &Home, token: &str, on_behalf: &OnBehalf) -> UserRecord {
        let field = tokens::bearer(token);
        let id = home.user.as_str();
        for node in self.homes.nodes_to_ask(home) {
            let record = self.uds.user(&node, id, &field, Some(on_behalf)).await;
            self.discovery.observe(&record, &node);
            match record {
                Ok(record) => return record,
                Err(error) if error.is_node_failure() => {
                    tracing::debug!(%error, "no user record from this node");
                }
                Err(error) => {
                    // Presence nodes of the configuration and DNS still serve.
                    tracing::debug!(%error, "no user record for this token");
                    break;
                }
            }
        }
        UserRecord::default()
    }
}
