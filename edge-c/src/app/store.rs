//! What several edge-c share: opening the store, following it, and telling one another which edges are there.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use common::limits;
use common::net::Domain;
use common::redact::{self, Secret};
use common::runtime::admin::Condition;
use common::runtime::clock;
use common::runtime::exit::RunError;
use common::runtime::supervise::Supervisor;
use tokio::sync::watch;

use super::upkeep::renew_automatic_rules;
use super::{App, settings, unusable};
use crate::allow_list::LiveAllowList;
use crate::config::Config;
use crate::dial::InsideTls;
use crate::discovery::Discovery;
use crate::discovery::dns::Dns;
use crate::metrics::Metrics;
use crate::sessions::random::SystemRandom;
use crate::sessions::{NodeSink, Sessions, StoreState};

/// The sessions, and how their store is verified.
pub(super) fn open(
    config: &Config,
    dns: &Arc<Dns>,
    metrics: &Metrics,
    sink: NodeSink,
) -> Result<(Sessions, Option<InsideTls>), RunError> {
    let (sessions, tls) = settings::session_config(config, dns, metrics, sink).map_err(unusable)?;
    let random = Arc::new(SystemRandom);
    let sessions = Sessions::open(sessions, random, clock::unix_now()).map_err(unusable)?;
    // All nodes with this key, in all their lives, have the same hash for a name in their logs.
    let names = sessions.derived_key(b"edge-c names in logs 1");
    if !redact::set_key(&Secret::new(names.map_err(unusable)?)) {
        tracing::debug!("names in logs keep the hashes that they have had until now");
    }
    Ok((sessions, tls))
}

/// What other edge-c know of the nodes inside counts here before the sessions that need it.
pub(super) fn node_sink(discovery: &Arc<Discovery>, allow_list: &Arc<LiveAllowList>) -> NodeSink {
    let (discovery, allow_list) = (Arc::clone(discovery), Arc::clone(allow_list));
    NodeSink::new(move |named| {
        discovery.learn_until(named, clock::unix_now());
        let known = Arc::clone(&discovery.nodes().borrow());
        renew_automatic_rules(&allow_list, &known);
    })
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
        if self.sessions.is_shared() {
            let (sessions, discovery) = (self.sessions.clone(), Arc::clone(&self.discovery));
            drop(supervisor.spawn("shared_nodes", share_nodes(sessions, discovery)));
        }
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

/// Other edge-c know the nodes that this one knows, also between sign-ins and after a start.
async fn share_nodes(sessions: Sessions, discovery: Arc<Discovery>) {
    let mut nodes = discovery.nodes();
    loop {
        sessions.until_store_is_up().await;
        nodes.mark_unchanged();
        sessions
            .name_nodes(discovery.learned(clock::unix_now()))
            .await;
        let changed = tokio::time::timeout(limits::NODE_REFRESH_INTERVAL, nodes.changed());
        if let Ok(Err(_)) = changed.await {
            return;
        }
    }
}
