//! The admin listener: is it alive, is it ready, what does it count, what does it log, and stop it in order.
//!
//! | request | answer |
//! |---|---|
//! | `GET /live` | 200 as long as the process runs its tasks |
//! | `GET /ready` | 200, or 503 with the conditions that are not met and what to do |
//! | `GET /metrics` | every metric, in `OpenMetrics` text |
//! | `GET /status` | JSON for programs |
//! | `GET /` | the same for people |
//! | `GET /log-filter`, `PUT /log-filter` | what is logged |
//! | `POST /drain` | starts an orderly stop |
//! | anything else | what the product answers beside: [`More`] |
//!
//! It asks nobody who they are, so it belongs on loopback or behind a packet filter. What it does defend against is a
//! web page in the operator's own browser: a foreign `Host` (DNS rebinding) and a foreign `Origin` are refused.
//! Plain HTTP/1.1 on hyper: seven routes need no framework, and its own connection gives bounds and deadlines.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::drain::{Drain, Signal};
use super::supervise::Supervisor;
use super::telemetry::LogControl;
use crate::limits;
use crate::net::Domain;

mod answer;
mod page;
mod readiness;

pub use readiness::{Condition, Readiness};

/// Makes the status object whenever somebody asks.
pub type StatusSource = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Status and JSON in a while; `None` for a path that is not known.
pub type Answering<'a> =
    Pin<Box<dyn Future<Output = Option<(StatusCode, serde_json::Value)>> + Send + 'a>>;

/// What a product answers beside what every product does.
pub trait More: Send + Sync {
    /// Status and JSON for a request; `None` if it knows no such path.
    fn answer<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
        query: Option<&'a str>,
    ) -> Answering<'a>;
}

/// Everything that the admin listener shows and changes.
#[derive(Clone)]
pub struct Admin {
    /// The name of the program, for the page.
    pub product: &'static str,
    /// Names besides IP addresses and `localhost` that a `Host` field may have.
    pub names: Vec<Domain>,
    /// What is counted.
    pub registry: Arc<Registry>,
    /// Whether traffic may come.
    pub readiness: Readiness,
    /// What is going on.
    pub status: StatusSource,
    /// What is logged.
    pub log: LogControl,
    /// The orderly stop.
    pub drain: Drain,
    /// What the product answers beside.
    pub more: Option<Arc<dyn More>>,
}

impl Admin {
    /// Whether traffic may come now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready() && !self.is_draining()
    }

    fn is_draining(&self) -> bool {
        self.drain.signal().is_draining()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("product", &self.product)
            .finish_non_exhaustive()
    }
}

/// Answers on `listener` until the drain is over: a process that drains can still be asked how it goes.
///
/// # Errors
/// None so far; a failed accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    supervisor: Supervisor,
) -> Result<(), Infallible> {
    let admin = Arc::new(admin);
    let signal = admin.drain.signal();
    let permits = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    loop {
        // Never closed, so this never fails; a full house waits in the backlog.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        // Both branches are cancel safe.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = signal.over() => return Ok(()),
        };
        match accepted {
            Ok((socket, _)) => {
                let connection = connection(socket, Arc::clone(&admin), signal.clone());
                drop(supervisor.spawn("admin_connection", async move {
                    connection.await;
                    drop(permit);
                }));
            }
            Err(error) => {
                tracing::warn!(reason = %error, "admin: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, admin: Arc<Admin>, signal: Signal) {
    let service = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(answer_in_time(&admin, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    // Dropping the connection ends it: at most one answer is cut, at the very end of the process.
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::debug!(reason = %error, "admin: connection ended");
        },
        () = signal.over() => {}
    }
}

async fn answer_in_time(admin: &Admin, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let deadline = limits::ADMIN_REQUEST_DEADLINE;
    let answered = tokio::time::timeout(deadline, answer::answer(admin, request)).await;
    answered.unwrap_or_else(|_| answer::too_slow())
}

/// How long a failed accept waits: out of file descriptors, trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
