//! The nodes that share the store: each says every second that it is there and which edges it sees.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::id::CoreId;
use common::limits;
use common::net::Domain;
use common::runtime::clock;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;

use super::super::agreement::Nodes;
use super::super::store::StoreError;
use super::address::{self, unavailable};
use super::metrics::StoreOperation;
use super::{SharedStore, keys};

/// What a node says of itself. Nothing secret.
#[derive(Debug, Serialize, Deserialize)]
struct Words {
    name: String,
    lifetime_seconds: u64,
    edges: BTreeSet<Domain>,
}

impl SharedStore {
    pub(super) async fn keep_telling(
        self: &Arc<Self>,
        client: &mut MultiplexedConnection,
    ) -> Result<Infallible, StoreError> {
        let mut ticks = tokio::time::interval(limits::NODE_TELL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut own = self.own.subscribe();
        loop {
            // Both are cancel safe: a tick comes again, a change stays noted.
            tokio::select! {
                _ = ticks.tick() => {}
                // The sender lives as long as the store.
                changed = own.changed() => drop(changed),
            }
            self.tell_node(client).await?;
        }
    }

    /// Says that this node is there, and hears who else is.
    pub(super) async fn tell_node(
        self: &Arc<Self>,
        client: &mut MultiplexedConnection,
    ) -> Result<(), StoreError> {
        let began = clock::now();
        let told = self.try_tell(client).await;
        let metrics = &self.config.metrics;
        metrics.note(StoreOperation::Tell, began, told.is_ok());
        let (newest, nodes) = told?;
        // The store has forgotten more than it could: it was emptied.
        if newest < *self.position.borrow() {
            self.heard().process = None;
            return Err(unavailable("it has lost its news: reading everything anew"));
        }
        metrics
            .nodes
            .set(i64::try_from(nodes.live).unwrap_or(i64::MAX));
        self.nodes.send_if_modified(|known| {
            let is_news = **known != nodes;
            if is_news {
                *known = Arc::new(nodes);
            }
            is_news
        });
        Ok(())
    }

    async fn try_tell(
        &self,
        client: &mut MultiplexedConnection,
    ) -> Result<(u64, Nodes), StoreError> {
        let words = Words {
            name: self.config.name.to_string(),
            lifetime_seconds: self.me.lifetime.as_secs(),
            edges: self.own.borrow().edges.clone(),
        };
        let words = serde_json::to_string(&words).map_err(unavailable)?;
        let forget = u64::try_from(limits::SESSION_LIFETIME_MAX.as_millis()).unwrap_or(u64::MAX);
        let answer: Vec<String> = keys::TELL_NODE
            .key(keys::NEWS)
            .key(keys::NODES)
            .key(keys::TOMBSTONES)
            .arg(limits::STORE_NEWS_MAX)
            .arg(self.me.core.0)
            .arg(words)
            .arg(forget)
            .invoke_async(client)
            .await
            .map_err(address::failed)?;
        self.read(&answer)
    }

    fn read(&self, answer: &[String]) -> Result<(u64, Nodes), StoreError> {
        let strange = || unavailable("its list of nodes can't be read");
        let (newest, nodes) = answer.split_first().ok_or_else(strange)?;
        let newest = newest.parse().map_err(|_| strange())?;
        let mut seen = Nodes {
            cores: BTreeSet::from([self.me.core]),
            live: 1,
            edges: BTreeSet::new(),
            lifetime_max: self.me.lifetime,
        };
        for node in nodes.chunks_exact(3) {
            let [core, age, words] = node else {
                continue;
            };
            let (Ok(core), Ok(age)) = (core.parse().map(CoreId), age.parse()) else {
                continue;
            };
            let Ok(words) = serde_json::from_str::<Words>(words) else {
                continue;
            };
            let is_live = Duration::from_millis(age) < limits::NODE_GONE_AFTER;
            if core == self.me.core {
                if is_live && words.name != self.config.name.as_str() {
                    let name = words.name;
                    return Err(unavailable(format!(
                        "core_id {core} is used by {name} too: give each node one of its own"
                    )));
                }
                continue;
            }
            seen.cores.insert(core);
            let lifetime = Duration::from_secs(words.lifetime_seconds);
            let lifetime = lifetime.min(limits::SESSION_LIFETIME_MAX);
            seen.lifetime_max = seen.lifetime_max.max(lifetime);
            if is_live {
                seen.live += 1;
                seen.edges.extend(words.edges);
            }
        }
        Ok((newest, seen))
    }
}
