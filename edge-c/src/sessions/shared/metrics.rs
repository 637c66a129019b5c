//! What is counted about the shared store.

use std::time::Instant;

use common::runtime::clock;
use common::telemetry::{self, ByLabel};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

common::label! {
    /// What the store was asked to do.
    pub enum StoreOperation as "operation" {
        /// To have an address refused.
        Ban = "ban",
        /// To count a login.
        Count = "count",
        /// To find a session.
        Find = "find",
        /// To keep a session.
        Insert = "insert",
        /// To say which nodes are inside.
        Name = "name",
        /// To hold or pass on a refresh.
        Refresh = "refresh",
        /// To end sessions.
        Revoke = "revoke",
        /// To replace the filter keys.
        Roll = "roll",
        /// To say who is there.
        Tell = "tell",
    }
}

/// Numbers of the shared store; without one, it is up and nothing is counted.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// 1 while it answers, or none is configured.
    pub up: Gauge,
    /// 1 while known sessions go on without it.
    pub read_only: Gauge,
    /// Nodes that share it, this one included.
    pub nodes: Gauge,
    /// How long it took to answer.
    pub seconds: ByLabel<StoreOperation, Histogram>,
    /// Questions that it did not answer.
    pub failures: ByLabel<StoreOperation, Counter>,
    /// Times that everything was read anew.
    pub reloads: Counter,
}

impl StoreMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let up = telemetry::gauge(registry, "store_up", "Whether the session store answers");
        up.set(1);
        Self {
            up,
            read_only: telemetry::gauge(
                registry,
                "store_read_only",
                "Whether known sessions go on while the session store is silent",
            ),
            nodes: telemetry::gauge(
                registry,
                "store_nodes",
                "Nodes that share the session store",
            ),
            seconds: ByLabel::register_with(
                registry,
                "store_seconds",
                "How long the session store took to answer",
                telemetry::seconds,
            ),
            failures: ByLabel::register(
                registry,
                "store_failures",
                "Questions that the session store did not answer",
            ),
            reloads: telemetry::counter(
                registry,
                "store_reloads",
                "Times that everything was read anew from the session store",
            ),
        }
    }

    pub(super) fn note(&self, operation: StoreOperation, began: Instant, is_ok: bool) {
        if is_ok {
            let took = clock::elapsed(began).as_secs_f64();
            self.seconds.of(operation).observe(took);
        } else {
            self.failures.of(operation).inc();
        }
    }
}

impl Default for StoreMetrics {
    /// Numbers that nobody reads.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}
