//! The simulator's typed handle as HTTP, for scripts beside a standalone inner world.
//!
//! | request | does |
//! |---|---|
//! | `GET /seen`, `DELETE /seen` | lists the requests as JSON; lists and forgets |
//! | `POST /faults` with a [`Fault`] as JSON, `DELETE /faults` | injects; clears |
//! | `POST /nodes/{host}/off`, `/on` | switches a node |
//! | `PUT /users/{id}/password` with the password | changes it |
//! | `PUT /tokens/{token}` with a user id, `DELETE /tokens/{token}` | makes a token good; bad |

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::StatusCode;

use super::{Fault, Simulator};
use crate::http_server::{self, Answer, HttpServer, Received};

/// The control endpoint; ends when dropped.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    _server: HttpServer,
}

impl Control {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a loopback port.
    pub fn start(simulator: &Arc<Simulator>, address: SocketAddr) -> Result<Self> {
        anyhow::ensure!(
            address.ip().is_loopback(),
            "the control endpoint must be on loopback, not {address}"
        );
        let listener = simulator.place.listen(address)?;
        let address = listener.local_addr()?;
        let runtime = simulator.runtime.as_ref().context("the runtime is gone")?;
        let weak = Arc::downgrade(simulator);
        let handler = Arc::new(move |request: &Received| {
            let Some(simulator) = weak.upgrade() else {
                return Answer::empty(StatusCode::SERVICE_UNAVAILABLE);
            };
            simulator.control(request).unwrap_or_else(|error| {
                let text = format!("{error:#}\n");
                Answer::new(StatusCode::BAD_REQUEST, "text/plain", text)
            })
        });
        let tls = http_server::tls(None);
        let server = HttpServer::start(runtime.handle(), listener, tls, handler)?;
        Ok(Self {
            address,
            _server: server,
        })
    }
}

impl Simulator {
    fn control(&self, request: &Received) -> Result<Answer> {
        let body = || std::str::from_utf8(&request.body).context("needs text");
        let steps: Vec<&str> = request.target.trim_matches('/').split('/').collect();
        match (request.method.as_str(), steps.as_slice()) {
            ("GET", ["seen"]) => return json(&self.seen()),
            ("DELETE", ["seen"]) => return json(&self.take_seen()),
            ("POST", ["faults"]) => self.inject(serde_json::from_str::<Fault>(body()?)?),
            ("DELETE", ["faults"]) => self.clear_faults(),
            ("POST", ["nodes", host, "off"]) => self.stop_node(host)?,
            ("POST", ["nodes", host, "on"]) => self.start_node(host)?,
            ("PUT", ["users", id, "password"]) => self.set_password(id, body()?),
            ("PUT", ["tokens", token]) => self.add_token(token, body()?),
            ("DELETE", ["tokens", token]) => self.revoke_token(token),
            _ => return Ok(Answer::empty(StatusCode::NOT_FOUND)),
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }
}

fn json(value: &impl serde::Serialize) -> Result<Answer> {
    let text = serde_json::to_string(value)?;
    Ok(Answer::new(StatusCode::OK, "application/json", text))
}
