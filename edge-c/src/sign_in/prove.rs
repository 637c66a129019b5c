//! Proving a password: who is asked, in which order, and what is counted.

use std::sync::Arc;

use common::policy::rate_limit::TooOften;
use common::session::DeviceName;
use http::StatusCode;

use super::credentials::Credentials;
use super::login_limit::Attempt;
use super::proofs::Proved;
use super::{EdgeConfigRequest, SignIn, SignInError};
use crate::discovery::{Node, NodeKind, ServedDomain};
use crate::home_cluster::{Home, HomeError};
use crate::sessions::CountedLogin;
use crate::uds::answer::UserRecord;
use crate::uds::{OnBehalf, UdsError, UdsFailure};

impl SignIn {
    /// Proves credentials, or waits for another request that proves the same.
    pub(super) async fn share_proof(
        &self,
        domain: &ServedDomain,
        credentials: &Credentials,
        request: &EdgeConfigRequest,
    ) -> Result<Arc<Proved>, SignInError> {
        let tag = self.proofs.tag(&credentials.login, credentials);
        let flight = self
            .flights
            .join((domain.name.clone(), tag))
            .ok_or(SignInError::Overloaded)?;
        // Whoever waits takes over when the one who proves goes away.
        flight
            .get_or_init(|| self.prove(domain, credentials, request))
            .await
            .clone()
    }

    async fn prove(
        &self,
        domain: &ServedDomain,
        credentials: &Credentials,
        request: &EdgeConfigRequest,
    ) -> Result<Arc<Proved>, SignInError> {
        let attempt = Attempt::new(&domain.name, &credentials.login, &request.on_behalf);
        let gate = self
            .gates
            .join(attempt.clone())
            .ok_or(SignInError::Overloaded)?;
        let turn = gate.lock().await;
        let counted = self.limit.admit(attempt.clone(), request.device.clone())?;
        let everywhere = self.count_everywhere(&attempt, request.device.as_ref());
        let everywhere = match everywhere.await {
            Ok(everywhere) => everywhere,
            Err(too_often) => {
                counted.excuse();
                return Err(too_often.into());
            }
        };
        let outcome = self.ask_home(domain, credentials, &request.on_behalf).await;
        if let Ok(proved) = &outcome {
            self.proofs.accept(&domain.name, credentials, proved);
        }
        match &outcome {
            Ok(_) | Err(SignInError::BadPassword | SignInError::UserUnknown) => drop(counted),
            Err(_) => {
                counted.excuse();
                if let Some(everywhere) = everywhere {
                    everywhere.excuse().await;
                }
            }
        }
        // Only now may the next one look at the count.
        drop(turn);
        outcome
    }

    async fn count_everywhere(
        &self,
        attempt: &Attempt,
        device: Option<&DeviceName>,
    ) -> Result<Option<CountedLogin>, TooOften> {
        match &self.sessions {
            Some(sessions) => self.limit.admit_everywhere(sessions, attempt, device).await,
            None => Ok(None),
        }
    }

    /// Finds the home and asks it; a remembered home that refuses is looked up afresh, for the user may have moved.
    async fn ask_home(
        &self,
        domain: &ServedDomain,
        credentials: &Credentials,
        on_behalf: &OnBehalf,
    ) -> Result<Arc<Proved>, SignInError> {
        let login = &credentials.login;
        let Some(home) = self.homes.remembered(domain, login) else {
            let home = self.homes.find(domain, login, on_behalf).await?;
            return self.ask_nodes(domain, home, credentials, on_behalf).await;
        };
        let node = home.node.clone();
        let refusal = match self.ask_nodes(domain, home, credentials, on_behalf).await {
            Err(refusal @ (SignInError::BadPassword | SignInError::UserUnknown)) => refusal,
            done => return done,
        };
        self.homes.forget(domain, login);
        let home = self.homes.find(domain, login, on_behalf).await?;
        if home.node == node {
            return Err(refusal);
        }
        self.ask_nodes(domain, home, credentials, on_behalf).await
    }

    /// Asks one node of the home cluster after the other until one says yes or no.
    async fn ask_nodes(
        &self,
        domain: &ServedDomain,
        home: Arc<Home>,
        credentials: &Credentials,
        on_behalf: &OnBehalf,
    ) -> Result<Arc<Proved>, SignInError> {
        let field = credentials.field_for(&home.user);
        let id = home.user.as_str();
        let mut last = None;
        for node in self.homes.nodes_to_ask(&home) {
            let devices = self.uds.devices(&node, id, &field, Some(on_behalf)).await;
            self.discovery.observe(&devices, &node);
            let Err(error) = devices else {
                let record = self.uds.user(&node, id, &field, Some(on_behalf)).await;
                let record = record.unwrap_or_else(|error| {
                    // The proof stands; presence nodes of the configuration and DNS still serve.
                    tracing::debug!(%error, "no user record");
                    UserRecord::default()
                });
                self.learn(domain, &home, &record);
                return Ok(Arc::new(Proved { home, record }));
            };
            match verdict(&error) {
                Some(refusal) => return Err(refusal),
                None => last = Some(error),
            }
        }
        // A home has at least its own node, so there is an error.
        Err(last.map_or(SignInError::UserUnknown, |error| {
            SignInError::Home(HomeError::Unreachable(error))
        }))
    }

    /// Remembers the nodes that the user's record names.
    pub(super) fn learn(&self, domain: &ServedDomain, home: &Home, record: &UserRecord) {
        let presence = record.im_and_presence.iter().map(|host| Node {
            kind: NodeKind::ImPresence,
            host: host.clone(),
            port: None,
            deployment: domain.deployment.clone(),
        });
        // UCM nodes serve files too; only another server is news.
        let files = record
            .profile_server
            .iter()
            .filter(|server| !home.nodes.contains(&server.host))
            .map(|server| Node {
                kind: NodeKind::Tftp,
                host: server.host.clone(),
                port: (!FILE_PORTS.contains(&server.port)).then_some(server.port),
                deployment: domain.deployment.clone(),
            });
        self.discovery.learn(presence.chain(files));
    }
}

/// What a failed proof says of the user, or nothing if another node has to be asked.
fn verdict(error: &UdsError) -> Option<SignInError> {
    match error.reason {
        UdsFailure::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Some(SignInError::BadPassword)
        }
        UdsFailure::Status(StatusCode::NOT_FOUND) | UdsFailure::Request => {
            Some(SignInError::UserUnknown)
        }
        UdsFailure::Answer(_)
        | UdsFailure::AnswerTimeout
        | UdsFailure::Dial(_)
        | UdsFailure::Dns(_)
        | UdsFailure::Http(_)
        | UdsFailure::Status(_)
        | UdsFailure::TooLong => None,
    }
}

/// Ports of files over HTTP on UCM and TFTP nodes.
const FILE_PORTS: [u16; 3] = [6970, 6971, 6972];
