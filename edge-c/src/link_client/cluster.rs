//! What each edge is told of the others: which of them are in use. Edges know nothing of each other but this.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::link::control::message::{Command, EdgeState};
use common::net::Domain;
use tokio::sync::watch;

/// The edges that this core dials, and which of them are live.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// All of them.
    pub edges: Arc<[Domain]>,
    /// Those with a link that do not drain.
    pub live: watch::Receiver<Arc<BTreeSet<Domain>>>,
}

impl Cluster {
    /// How they are now.
    pub(super) fn command(&mut self) -> Command {
        let live = Arc::clone(&self.live.borrow_and_update());
        let state = |name: &Domain| EdgeState {
            name: name.clone(),
            is_live: live.contains(name),
        };
        Command::Edges {
            edges: self.edges.iter().map(state).collect(),
        }
    }

    /// How they are when that changes; never without others. Cancel safe: a change stays noted.
    pub(super) async fn next(cluster: Option<&mut Self>) -> Command {
        if let Some(cluster) = cluster
            && cluster.live.changed().await.is_ok()
        {
            return cluster.command();
        }
        std::future::pending().await
    }
}
