//! `get_edge_config`: a client proves its user's password and learns which servers there are.
//!
//! Issues no cookie and keeps no session: that is `sessions`. Keeps no password: good ones are remembered as a keyed hash.
//!
//! ```text
//! Authorization ─parse─▶ accepted lately? ──yes──────────────────────────▶ document
//!                          └─no─▶ one flight per credentials ─▶ login limit
//!                                   ─▶ home cluster ─▶ devices with the password ─▶ user record ─▶ document
//! ```

mod credentials;
mod document;
mod error;
mod login_limit;
mod proofs;
mod prove;
mod shared;
mod token;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use common::limits;
use common::mra::access::SsoQuery;
use common::mra::edge_config::{KnownService, ServiceName, SipRoute};
use common::net::{Deployment, Domain, Host};
use common::policy::fading::Fading;
use common::policy::rate_limit::Quota;
use common::redact::Secret;
use common::runtime::clock;
use common::session::{DeviceName, HomeCluster, Method, UserName};
use common::telemetry::ByLabel;
use common::time::UnixTime;
use percent_encoding::percent_decode_str;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::discovery::{Discovery, ServedDomain};
use crate::home_cluster::HomeClusters;
use crate::metrics::ClusterOutcome;
use crate::sessions::Sessions;
use crate::tokens::TokenVerifier;
use crate::uds::{OnBehalf, Uds};
use credentials::Credentials;
pub use credentials::CredentialsError;
pub use error::SignInError;
use login_limit::{Attempt, LoginLimit};
pub use proofs::EntropyError;
use proofs::{Proofs, Proved, Tag};
use shared::Shared;

/// How users sign in.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often UCM is asked about one user, device and address.
    pub login_limit: Quota,
    /// How long good credentials are believed; zero for never.
    pub credential_cache: Duration,
    /// The edges that clients may use, in the order in which they are told.
    pub edges: Vec<EdgePeer>,
}

/// What clients are told of one edge-e.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePeer {
    /// The name that clients use.
    pub name: Domain,
    /// Its public addresses, for the SIP route; if empty, the name stands there.
    pub advertised_addresses: Vec<IpAddr>,
    /// Public HTTPS port.
    pub https_port: u16,
    /// Public SIP port.
    pub sip_port: u16,
    /// Public XMPP port.
    pub xmpp_port: u16,
    /// The SIP route, where it isn't made of address and port.
    pub sip_route: Option<SipRoute>,
}

/// A client's question.
#[derive(Clone, Debug)]
pub struct EdgeConfigRequest {
    /// The domain of its path.
    pub domain: Domain,
    /// Its `Authorization` field.
    pub authorization: Option<Secret<String>>,
    /// The services it asks for: [`services_of`] its query.
    pub services: Vec<ServiceName>,
    /// The device it says it is, for the login limit.
    pub device: Option<DeviceName>,
    /// Whom its query names, if anybody: for tokens that say nothing themselves.
    pub hint: Option<UserName>,
    /// The name of the edge-e it came through.
    pub edge: Domain,
    /// Its address and the id of the request.
    pub on_behalf: OnBehalf,
}

/// A user who has proved who they are, and the answer.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The user id in the letter case of UCM.
    pub user: UserName,
    /// The domain signed in to.
    pub domain: Domain,
    /// Whose nodes and rules apply.
    pub deployment: Deployment,
    /// Where the user is at home.
    pub home: HomeCluster,
    /// How it was proved.
    pub method: Method,
    /// The user's own nodes: the only ones that may get the credential. At most [`limits::SESSION_NODES_MAX`].
    pub nodes: Vec<Host>,
    /// The value of `Authorization` for those nodes.
    pub credential: Secret<String>,
    /// When what was proved ends, if it does by itself.
    pub until: Option<UnixTime>,
    /// The XML document, of type [`common::mra::edge_config::CONTENT_TYPE`].
    pub document: String,
    /// Whether UCM wasn't asked, because it accepted the same credentials lately.
    pub is_remembered: bool,
}

/// Who has signed in, however.
struct SignedOn {
    proved: Arc<Proved>,
    method: Method,
    /// The value of `Authorization` for the user's own nodes.
    credential: Secret<String>,
    until: Option<UnixTime>,
    is_remembered: bool,
}

/// The homes and records of users whose tokens were accepted, by the token's hash.
type TokenProofs = Fading<(Domain, [u8; 32]), Arc<Proved>>;

/// The one proof of credentials that several requests wait for.
type Flight = OnceCell<Result<Arc<Proved>, SignInError>>;

/// Signs users in.
#[derive(Debug)]
pub struct SignIn {
    edges: Vec<EdgePeer>,
    live_edges: watch::Receiver<Arc<BTreeSet<Domain>>>,
    discovery: Arc<Discovery>,
    uds: Arc<Uds>,
    homes: HomeClusters,
    proofs: Proofs,
    limit: LoginLimit,
    /// Who knows what other nodes have counted, if there are any.
    sessions: Option<Sessions>,
    /// Judges tokens, where any count.
    tokens: Option<Arc<TokenVerifier>>,
    token_proofs: std::sync::Mutex<TokenProofs>,
    token_proof_age: Duration,
    /// Requests with the same credentials wait for one proof.
    flights: Shared<(Domain, Tag), Flight>,
    /// Proofs of different passwords by the same client go one after the other, so that the limit counts exactly.
    gates: Shared<Attempt, Mutex<()>>,
}

impl SignIn {
    /// Counts logins together with the nodes that share sessions.
    #[must_use]
    pub fn counting_with(mut self, sessions: Sessions) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Counts look-ups of home clusters from now on.
    #[must_use]
    pub fn counting(mut self, lookups: ByLabel<ClusterOutcome, Counter>) -> Self {
        self.homes = self.homes.counting(lookups);
        self
    }

    /// Lets users sign in by tokens too.
    #[must_use]
    pub fn with_tokens(mut self, verifier: Arc<TokenVerifier>) -> Self {
        self.tokens = Some(verifier);
        self
    }

    /// Who judges tokens, where any count.
    #[must_use]
    pub fn tokens(&self) -> Option<&TokenVerifier> {
        self.tokens.as_deref()
    }

    /// Whether users of the domain may sign in by tokens.
    #[must_use]
    pub fn takes_tokens(&self, domain: &Domain) -> bool {
        self.tokens
            .as_ref()
            .is_some_and(|tokens| tokens.serves(domain))
    }

    /// Signs users in at the clusters that `discovery` knows; `live_edges` are the names of edges with a live link.
    ///
    /// # Errors
    /// [`EntropyError`] if there is no random key for the credential cache.
    pub fn new(
        config: Config,
        discovery: Arc<Discovery>,
        uds: Arc<Uds>,
        live_edges: watch::Receiver<Arc<BTreeSet<Domain>>>,
    ) -> Result<Self, EntropyError> {
        Ok(Self {
            edges: config.edges,
            live_edges,
            homes: HomeClusters::new(Arc::clone(&discovery), Arc::clone(&uds)),
            discovery,
            uds,
            proofs: Proofs::new(config.credential_cache)?,
            limit: LoginLimit::new(config.login_limit),
            sessions: None,
            tokens: None,
            token_proofs: std::sync::Mutex::new(Fading::new(limits::SIGN_IN_USERS_MAX)),
            token_proof_age: config.credential_cache,
            flights: Shared::new(limits::SIGN_IN_FLIGHTS_MAX),
            gates: Shared::new(limits::SIGN_IN_FLIGHTS_MAX),
        })
    }

    /// Proves the credentials and answers `get_edge_config`.
    ///
    /// # Errors
    /// [`SignInError`] with the reason for the log and the answer for the client.
    pub async fn edge_config(&self, request: &EdgeConfigRequest) -> Result<Granted, SignInError> {
        let start = Instant::now();
        let granted = timeout(limits::SIGN_IN_DEADLINE, self.grant(request))
            .await
            .unwrap_or(Err(SignInError::Timeout));
        if let Err(SignInError::BadPassword | SignInError::UserUnknown) = granted {
            sleep_until(start + limits::SIGN_IN_REFUSAL_MIN).await;
        }
        granted
    }

    /// Notes that an inner node refused the user's stored credential: the password has changed.
    pub fn forget(&self, domain: &Domain, user: &UserName) {
        self.proofs.forget(domain, user);
    }

    async fn grant(&self, request: &EdgeConfigRequest) -> Result<Granted, SignInError> {
        let domain = self
            .discovery
            .domain(&request.domain)
            .ok_or(SignInError::DomainUnknown)?;
        let domain = &domain;
        let signed_on = self.sign_on(domain, request).await?;
        self.share_nodes().await;
        let proved = &signed_on.proved;
        let parts = document::Parts {
            domain,
            services: &request.services,
            home: &proved.home,
            edges: &self.edges,
            edge: &request.edge,
            live: &Arc::clone(&self.live_edges.borrow()),
        };
        let config = document::compose(&self.discovery, &parts)
            .await
            .map_err(|_| SignInError::NoEdge)?;
        Ok(Granted {
            user: proved.home.user.clone(),
            domain: domain.name.clone(),
            deployment: domain.deployment.clone(),
            home: HomeCluster {
                host: proved.home.node.host.clone(),
                nodes: proved.home.nodes.clone(),
            },
            method: signed_on.method,
            nodes: self.own_nodes(domain, proved),
            document: config.write(),
            credential: signed_on.credential,
            until: signed_on.until,
            is_remembered: signed_on.is_remembered,
        })
    }

    async fn sign_on(
        &self,
        domain: &ServedDomain,
        request: &EdgeConfigRequest,
    ) -> Result<SignedOn, SignInError> {
        let tokens = self
            .tokens
            .as_ref()
            .filter(|tokens| tokens.serves(&domain.name));
        if let (Some(verifier), Some(token)) =
            (tokens, token::token_of(request.authorization.as_ref()))
        {
            return self.by_token(verifier, domain, token, request).await;
        }
        let credentials = Credentials::parse(request.authorization.as_ref())?;
        let remembered = self.proofs.look_up(&domain.name, &credentials);
        let is_remembered = remembered.is_some();
        let proved = match remembered {
            Some(proved) => proved,
            None => self.share_proof(domain, &credentials, request).await?,
        };
        Ok(SignedOn {
            method: Method::Basic,
            credential: credentials.field_for(&proved.home.user),
            until: None,
            is_remembered,
            proved,
        })
    }

    /// The session that begins now may be used through another edge-c, which must know its nodes.
    async fn share_nodes(&self) {
        let shared = self.sessions.as_ref();
        if let Some(sessions) = shared.filter(|sessions| sessions.is_shared()) {
            let named = self.discovery.learned(clock::unix_now());
            sessions.name_nodes(named).await;
        }
    }

    fn token_proofs(&self) -> std::sync::MutexGuard<'_, TokenProofs> {
        self.token_proofs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes that may get the user's credential: home cluster, presence and voicemail.
    fn own_nodes(&self, domain: &ServedDomain, proved: &Proved) -> Vec<Host> {
        let unity = self.discovery.unity_nodes(&domain.deployment);
        let mut nodes: Vec<Host> = Vec::new();
        for host in proved
            .home
            .nodes
            .iter()
            .chain(&proved.record.im_and_presence)
            .chain(&unity)
        {
            if !nodes.contains(host) && nodes.len() < limits::SESSION_NODES_MAX {
                nodes.push(host.clone());
            }
        }
        nodes
    }
}

/// Whom the query of `get_edge_config` names, by user id or mail address; nobody if it can't be read.
#[must_use]
pub fn hint_of(query: Option<&str>) -> Option<UserName> {
    let query = SsoQuery::parse(query?).ok()?;
    let named = query.username.or(query.email)?;
    UserName::parse(named.reveal()).ok()
}

/// The services that the query of `get_edge_config` asks for; all that are known if it asks for none.
///
/// Names that can't be a service are passed over, as are those beyond [`limits::EDGE_CONFIG_SERVICES_MAX`].
#[must_use]
pub fn services_of(query: Option<&str>) -> Vec<ServiceName> {
    let mut services: Vec<ServiceName> = Vec::new();
    let values = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.strip_prefix("service_name="));
    for value in values {
        let Ok(text) = percent_decode_str(value).decode_utf8() else {
            continue;
        };
        let Ok(name) = ServiceName::parse(&text) else {
            continue;
        };
        if !services.contains(&name) && services.len() < limits::EDGE_CONFIG_SERVICES_MAX {
            services.push(name);
        }
    }
    if services.is_empty() {
        services.extend(KnownService::ALL.map(ServiceName::from));
    }
    services
}

#[cfg(test)]
mod tests;
