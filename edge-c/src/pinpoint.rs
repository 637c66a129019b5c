//! The zones by which clients inside find their services, where edge-c serves them. What they say is configuration: nothing
//! of it comes from edge-e.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::config::name_server::NameServer;
use common::config::pem::FileError;
use common::limits;
use common::runtime::clock;
use common::runtime::dns::{Metrics, Opened, Sockets, ZoneServer};
use common::runtime::drain::Signal;
use common::runtime::exit::RunError;
use common::runtime::supervise::Supervisor;

/// The name server inside. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Pinpoint(Arc<ZoneServer>);

impl Pinpoint {
    /// Reads the zones.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used.
    pub fn new(config: &NameServer, metrics: Metrics) -> Result<Self, FileError> {
        ZoneServer::new(config, metrics).map(|zones| Self(Arc::new(zones)))
    }

    /// Binds its addresses.
    ///
    /// # Errors
    /// [`RunError`] if one can't be had.
    pub fn bind(config: &NameServer) -> Result<Vec<Sockets>, RunError> {
        let bind = |at: &std::net::SocketAddr| {
            Sockets::bind(*at).map_err(|error| RunError::bind("pinpoint.listen", *at, &error))
        };
        config.listen.iter().map(bind).collect()
    }

    /// Serves until the drain is over.
    pub fn spawn(&self, sockets: Vec<Sockets>, supervisor: &Supervisor) {
        let drain = supervisor.drain();
        for sockets in sockets {
            let serving = self.0.server().clone().serve(sockets, drain.signal());
            drop(supervisor.spawn_vital("pinpoint", serving));
        }
        drop(supervisor.spawn("pinpoint_keys", self.clone().keep(drain.signal())));
    }

    /// Reads everything again, for a new configuration; nothing changes yet.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used.
    pub fn open(&self, config: &NameServer) -> Result<Opened, FileError> {
        self.0.open(config)
    }

    /// Serves what was read.
    pub fn take_over(&self, opened: Opened) {
        self.0.take_over(opened);
    }

    /// Rolls the own keys of cookies.
    async fn keep(self, drain: Signal) {
        let keeping = async {
            loop {
                tokio::time::sleep(limits::TIDY_INTERVAL).await;
                self.0.look(BTreeSet::new(), clock::now());
            }
        };
        tokio::select! {
            () = keeping => {}
            () = drain.over() => {}
        }
    }
}
