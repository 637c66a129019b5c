//! The names by which clients find the edges of this cluster, and which edges the answers lead to. An edge that drains or
//! has lost its links leaves the answers; of the others the edge-c tell that they share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::config::name_server::NameServer;
use common::config::pem::FileError;
use common::limits;
use common::net::Domain;
use common::runtime::clock;
use common::runtime::dns::{DnsServer, ZoneServer};
use common::runtime::drain::Signal;

use crate::cores::Cores;
use crate::metrics::Names as Metrics;

/// The zones of this edge.
#[derive(Debug)]
pub struct Names {
    own: Domain,
    zones: ZoneServer,
    metrics: Metrics,
}

impl Names {
    /// Reads the zones and makes a server for them, for the edge `own`.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used.
    pub fn new(own: &Domain, config: &NameServer, metrics: Metrics) -> Result<Self, FileError> {
        let names = Self {
            own: own.clone(),
            zones: ZoneServer::new(config, metrics.server.clone())?,
            metrics,
        };
        names.count();
        Ok(names)
    }

    /// The server.
    pub const fn server(&self) -> &DnsServer {
        self.zones.server()
    }

    /// Reads everything again, for a new configuration.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used; everything stays as it was.
    pub fn apply(&self, config: &NameServer) -> Result<(), FileError> {
        self.zones.take_over(self.zones.open(config)?);
        self.count();
        Ok(())
    }

    /// Follows the state of the edges until the drain is over.
    pub async fn keep(self: Arc<Self>, cores: Arc<Cores>, drain: Signal) {
        let mut last_linked = None;
        let watching = async {
            loop {
                let now = clock::now();
                if cores.is_any_available() {
                    last_linked = Some(now);
                }
                let is_linked = last_linked.is_some_and(|last| {
                    now.saturating_duration_since(last) < limits::DNS_LINK_GONE_AFTER
                });
                let mut gone = cores.edges_gone();
                // What the cores say of this edge it knows better itself.
                if is_linked && !drain.is_draining() {
                    gone.remove(&self.own);
                } else {
                    gone.insert(self.own.clone());
                }
                self.look(gone, now);
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = drain.over() => {}
        }
    }

    fn look(&self, gone: BTreeSet<Domain>, now: Instant) {
        if self.zones.look(gone, now) {
            self.count();
        }
    }

    fn count(&self) {
        let answered = self.zones.edges_answered();
        let answered = i64::try_from(answered).unwrap_or(i64::MAX);
        self.metrics.edges_answered.set(answered);
    }
}

/// How often the state of the edges is looked at: a resolver that asks right after a change may get the old answer.
const INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
