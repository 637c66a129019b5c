//! What several edge-c share: opening the store, following it, and telling one another which edges are there.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use common::limits;
use common::net::Domain;
use common::runtime::admin::Condition;
use common::runtime::clock;
use common::runtime::exit::RunError;
use common::runtime::supervise::Supervisor;
use tokio::sync::watch;

use super::{App, settings, unusable};
use crate::config::Config;
use crate::dial::InsideTls;
use crate::discovery::dns::Dns;
use crate::metrics::Metrics;
use crate::sessions::random::SystemRandom;
use crate::sessions::{Sessions, StoreState};

/// The sessions, and how their store is verified.
pub(super) fn open(
    config: &Config,
    dns: &Arc<Dns>,
    metrics: &Metrics,
) -> Result<(Sessions, Option<InsideTls>), RunError> {
    let (sessions, tls) = settings::session_config(config, dns, metrics).map_err(unusable)?;
    let random = Arc::new(SystemRandom);
    let sessions = Sessions::open(sessions, random, clock::unix_now()).map_err(unusable)?;
    Ok((sessions, tls))
}

impl App {
    pub(super) fn spawn_store(&self, supervisor: &Supervisor) {
        let (sessions, over) = (self.sessions.clone(), supervisor.drain().signal());
        drop(supervisor.spawn_vital("session_store", async move {
            tokio::select! {
                never = sessions.follow_store() => match never {},
                () = over.over() => Ok::<(), Infallible>(()),
            }
        }));
        let own = self.own_edges.subscribe();
        let sharing = share_edges(self.sessions.clone(), own, self.live_edges.clone());
        drop(supervisor.spawn("shared_edges", sharing));
    }

    /// Revocations of other nodes must be known before requests are answered, as far as the store can be asked.
    pub(super) async fn know_store(&self) {
        let up = self.sessions.until_store_is_up();
        let waited = tokio::time::timeout(limits::STORE_FIRST_SYNC_MAX, up).await;
        if waited.is_err() {
            tracing::warn!(
                side = "upstream",
                reason = self.sessions.store_trouble(),
                remedy = "look at the server that [session.redis] names",
                "linking with the sessions of the snapshot alone"
            );
        }
    }

    /// Sets the gauges of the store.
    pub(super) fn count_store(&self) {
        let state = self.sessions.store_state();
        let store = &self.metrics.store;
        store.up.set(i64::from(state == StoreState::Up));
        store
            .read_only
            .set(i64::from(state == StoreState::ReadOnly));
    }

    pub(super) fn note_store(&self, stored: &Condition) {
        match self.sessions.store_trouble() {
            Some(why) => stored.unmet(
                format!("{why}: nobody new can sign in"),
                "look at the server that [session.redis] names, and at the network to it",
            ),
            None => stored.met(),
        }
    }
}

/// Clients are told of every edge that any node sees.
async fn share_edges(
    sessions: Sessions,
    mut own: watch::Receiver<Arc<BTreeSet<Domain>>>,
    live: watch::Sender<Arc<BTreeSet<Domain>>>,
) {
    let mut nodes = sessions.nodes();
    loop {
        let mut edges = own.borrow_and_update().as_ref().clone();
        sessions.tell_edges(edges.clone());
        edges.extend(nodes.borrow_and_update().edges.iter().cloned());
        live.send_if_modified(|known| {
            let is_news = **known != edges;
            if is_news {
                *known = Arc::new(edges);
            }
            is_news
        });
        // Both are cancel safe: a change stays noted.
        let changed = tokio::select! {
            changed = own.changed() => changed,
            changed = nodes.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
