//! A small client of UDS, the user data services of UCM: HTTPS with verified names, bounded answers, deadlines.
//!
//! It asks one node; which node to ask next after a failure is decided by the caller.

pub mod answer;
mod pool;
mod request;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::id::TrackingId;
use common::limits;
use common::mra::access::Side;
use common::net::{ClientAddr, Host, HostPort};
use common::redact::{Redacted, Secret};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::{self, DialError, InsideTls};
use crate::discovery::NodeKind;
use crate::discovery::dns::{Dns, DnsError};
use crate::metrics::{DialOutcome, Metrics};
use answer::{AnswerError, ClusterUser, UserRecord};
use pool::{Connection, Pool};
use request::{Call, encode, request, user_target};

/// How long each step of one exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// TCP connection, all addresses together.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// From the request's first byte to the answer's last.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: limits::UDS_CONNECT_TIMEOUT,
            tls: limits::UDS_TLS_TIMEOUT,
            answer: limits::UDS_ANSWER_TIMEOUT,
        }
    }
}

/// For whom a request is made: named to UCM in `X-Forwarded-For` and `X-Tracking-Id`.
#[derive(Clone, Copy, Debug)]
pub struct OnBehalf {
    /// The client's address as edge-e saw it.
    pub client: ClientAddr,
    /// The id of the client's request.
    pub tracking: TrackingId,
}

/// How a user is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserQuery<'a> {
    /// By mail address.
    Email(Redacted<&'a str>),
    /// By user id.
    UserName(Redacted<&'a str>),
}

/// Which step of an exchange with a node failed, and on whose side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {reason}")]
pub struct UdsError {
    /// The node that was asked.
    pub node: HostPort,
    /// What went wrong.
    pub reason: UdsFailure,
}

/// Why an exchange with a node failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdsFailure {
    /// The answer is not what UDS says.
    #[error("the answer can't be used: {0}")]
    Answer(#[from] AnswerError),
    /// The answer took too long.
    #[error("no answer in time")]
    AnswerTimeout,
    /// No connection, or no verified TLS.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The name of the node could not be resolved.
    #[error("the name has no address: {0}")]
    Dns(#[from] DnsError),
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange broke off: {0}")]
    Http(String),
    /// The request could not be written, for instance because of a user id that no path can hold.
    #[error("the request can't be written")]
    Request,
    /// Another status than expected.
    #[error("the node answered {0}")]
    Status(StatusCode),
    /// The answer is longer than [`limits::UDS_ANSWER_BYTES_MAX`].
    #[error("the answer is too long")]
    TooLong,
}

impl UdsError {
    /// Whose fault it is.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self.reason {
            UdsFailure::Request => Side::Local,
            UdsFailure::Answer(_)
            | UdsFailure::AnswerTimeout
            | UdsFailure::Dial(_)
            | UdsFailure::Dns(_)
            | UdsFailure::Http(_)
            | UdsFailure::Status(_)
            | UdsFailure::TooLong => Side::Upstream,
        }
    }

    /// Whether the node itself can't serve anybody now, rather than not this request.
    #[must_use]
    pub fn is_node_failure(&self) -> bool {
        match &self.reason {
            UdsFailure::AnswerTimeout
            | UdsFailure::Dial(_)
            | UdsFailure::Dns(_)
            | UdsFailure::Http(_) => true,
            UdsFailure::Status(status) => *status == StatusCode::SERVICE_UNAVAILABLE,
            UdsFailure::Answer(_) | UdsFailure::Request | UdsFailure::TooLong => false,
        }
    }

    /// Whether the node refused the credentials that were sent.
    #[must_use]
    pub fn is_unauthorised(&self) -> bool {
        self.reason == UdsFailure::Status(StatusCode::UNAUTHORIZED)
    }
}

/// The client.
#[derive(Debug)]
pub struct Uds {
    tls: InsideTls,
    dns: Arc<Dns>,
    bind: Option<IpAddr>,
    timeouts: Timeouts,
    pool: Pool,
    metrics: Option<Metrics>,
}

impl Uds {
    /// Makes a client that verifies nodes with what `tls` is at the time, finds their addresses with `dns`, and connects from the inside
    /// address `bind` if there is one.
    #[must_use]
    pub fn new(tls: InsideTls, dns: Arc<Dns>, bind: Option<IpAddr>, timeouts: Timeouts) -> Self {
        Self {
            tls,
            dns,
            bind,
            timeouts,
            pool: Pool::default(),
            metrics: None,
        }
    }

    /// Counts dials from now on.
    #[must_use]
    pub fn counting(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The version of a node: the cheapest question, used as a probe.
    ///
    /// # Errors
    /// [`UdsError`] if the node could not be asked or did not answer as UDS.
    pub async fn version(&self, node: &HostPort) -> Result<String, UdsError> {
        self.ask(node, "/cucm-uds/version", Call::ANONYMOUS, answer::version)
            .await
    }

    /// Opens a TCP connection to a node that doesn't speak UDS, and closes it.
    ///
    /// # Errors
    /// [`UdsError`] if no connection came about.
    pub async fn touch(&self, node: &HostPort) -> Result<(), UdsError> {
        self.connect(node)
            .await
            .map(drop)
            .map_err(|reason| UdsError {
                node: node.clone(),
                reason,
            })
    }

    /// The nodes of the cluster that `node` belongs to.
    ///
    /// # Errors
    /// [`UdsError`] if the node could not be asked or did not answer as UDS.
    pub async fn servers(
        &self,
        node: &HostPort,
        on_behalf: Option<&OnBehalf>,
    ) -> Result<Vec<Host>, UdsError> {
        let call = Call {
            authorization: None,
            on_behalf,
        };
        self.ask(node, "/cucm-uds/servers", call, answer::servers)
            .await
    }

    /// Where a user is at home.
    ///
    /// # Errors
    /// [`UdsError`] if the node could not be asked or did not answer as UDS.
    pub async fn cluster_user(
        &self,
        node: &HostPort,
        query: UserQuery<'_>,
        on_behalf: Option<&OnBehalf>,
    ) -> Result<ClusterUser, UdsError> {
        let (key, value) = match query {
            UserQuery::Email(address) => ("email", address),
            UserQuery::UserName(name) => ("username", name),
        };
        let target = format!("/cucm-uds/clusterUser?{key}={}", encode(value.reveal()));
        let call = Call {
            authorization: None,
            on_behalf,
        };
        self.ask(node, &target, call, answer::cluster_user).await
    }

    /// Whether users of the cluster sign in by single sign-on.
    ///
    /// # Errors
    /// [`UdsError`] if the node could not be asked or does not say.
    pub async fn single_sign_on(&self, node: &HostPort) -> Result<bool, UdsError> {
        let target = "/ssosp/ws/public/singleSignOn";
        self.ask(node, target, Call::ANONYMOUS, answer::single_sign_on)
            .await
    }

    /// The names of a user's devices, asked with the user's own credentials: the proof of a password.
    ///
    /// # Errors
    /// [`UdsError`]; bad credentials are [`UdsError::is_unauthorised`].
    pub async fn devices(
        &self,
        node: &HostPort,
        user_id: &str,
        authorization: &Secret<String>,
        on_behalf: Option<&OnBehalf>,
    ) -> Result<Vec<String>, UdsError> {
        let target = user_target(node, user_id, "/devices")?;
        let call = Call {
            authorization: Some(authorization),
            on_behalf,
        };
        self.ask(node, &target, call, answer::devices).await
    }

    /// A user's own record.
    ///
    /// # Errors
    /// [`UdsError`]; bad credentials are [`UdsError::is_unauthorised`].
    pub async fn user(
        &self,
        node: &HostPort,
        user_id: &str,
        authorization: &Secret<String>,
        on_behalf: Option<&OnBehalf>,
    ) -> Result<UserRecord, UdsError> {
        let target = user_target(node, user_id, "")?;
        let call = Call {
            authorization: Some(authorization),
            on_behalf,
        };
        self.ask(node, &target, call, answer::user).await
    }

    async fn ask<T>(
        &self,
        node: &HostPort,
        target: &str,
        call: Call<'_>,
        read: fn(&[u8]) -> Result<T, AnswerError>,
    ) -> Result<T, UdsError> {
        let blame = |reason: UdsFailure| UdsError {
            node: node.clone(),
            reason,
        };
        let (status, body) = self.exchange(node, target, call).await.map_err(blame)?;
        if status != StatusCode::OK {
            return Err(blame(UdsFailure::Status(status)));
        }
        read(&body).map_err(|error| blame(error.into()))
    }

    async fn exchange(
        &self,
        node: &HostPort,
        target: &str,
        call: Call<'_>,
    ) -> Result<(StatusCode, Bytes), UdsFailure> {
        let permit = timeout(self.timeouts.answer, self.pool.permit(node))
            .await
            .map_err(|_| UdsFailure::AnswerTimeout)?;
        if let Some(connection) = self.pool.take(node, &self.tls.load_full()) {
            let request = request(node, target, call)?;
            match self.send(node, connection, request).await {
                // A kept connection may have been closed by the node meanwhile. All requests here are GET, so that
                // repeating one on a new connection is safe (RFC 9110 section 9.2.2).
                Err(UdsFailure::Http(_)) => {}
                done => return done,
            }
        }
        let dialled = self.dial(node).await;
        if let Some(metrics) = &self.metrics {
            let outcome = dialled.as_ref().map_or_else(outcome, |_| DialOutcome::Ok);
            metrics.dialled(Some(NodeKind::Ucm), outcome);
        }
        let connection = dialled?;
        let answer = self
            .send(node, connection, request(node, target, call)?)
            .await;
        drop(permit);
        answer
    }

    async fn send(
        &self,
        node: &HostPort,
        mut connection: Connection,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, Bytes), UdsFailure> {
        let exchange = async {
            let answer = connection.send(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), limits::UDS_ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| {
                    if error.is::<http_body_util::LengthLimitError>() {
                        UdsFailure::TooLong
                    } else {
                        UdsFailure::Http(error.to_string())
                    }
                })?;
            Ok((status, body.to_bytes()))
        };
        let answer = timeout(self.timeouts.answer, exchange)
            .await
            .map_err(|_| UdsFailure::AnswerTimeout)?;
        if answer.is_ok() {
            self.pool.keep(node, connection);
        }
        answer
    }

    async fn dial(&self, node: &HostPort) -> Result<Connection, UdsFailure> {
        let stream = self.connect(node).await?;
        let tls = self.tls.load_full();
        let verified_by = Arc::clone(&tls);
        let stream = dial::secure(stream, &node.host, tls, self.timeouts.tls).await?;
        Connection::open(stream, verified_by).await
    }

    async fn connect(&self, node: &HostPort) -> Result<TcpStream, UdsFailure> {
        let addresses = self.dns.addresses(&node.host).await?;
        let stream = dial::connect(&addresses, node.port, self.bind, self.timeouts.connect).await?;
        Ok(stream)
    }
}

const fn outcome(failure: &UdsFailure) -> DialOutcome {
    match failure {
        UdsFailure::Dial(error) => DialOutcome::failed(error),
        UdsFailure::Dns(_) => DialOutcome::Resolve,
        UdsFailure::AnswerTimeout => DialOutcome::TimedOut,
        UdsFailure::Answer(_)
        | UdsFailure::Http(_)
        | UdsFailure::Request
        | UdsFailure::Status(_)
        | UdsFailure::TooLong => DialOutcome::Refused,
    }
}

#[cfg(test)]
mod tests;
