//! Which inner nodes can be reached: what requests found out, and when each is probed next. Opens no connection.

use std::collections::BTreeMap;
use std::time::Duration;

use common::limits;
use common::net::HostPort;
use tokio::time::Instant;

/// Whether a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The last attempt failed.
    Down {
        /// Failures in a row, the probes included.
        failures: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// The last attempt worked, or there was none yet.
    Up,
}

impl NodeState {
    /// Whether the node can be reached as far as is known.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}

/// How a node is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// A TCP connection.
    Tcp,
    /// `/cucm-uds/version` over verified TLS.
    Uds,
}

/// The nodes that are watched.
#[derive(Debug, Default)]
pub(super) struct Health {
    nodes: BTreeMap<HostPort, Watched>,
}

#[derive(Debug)]
struct Watched {
    probe: Probe,
    state: NodeState,
    next_probe: Instant,
}

impl Health {
    /// Watches exactly `targets` from now on; what is known of those that stay is kept.
    pub(super) fn watch(&mut self, targets: &BTreeMap<HostPort, Probe>, now: Instant) {
        self.nodes.retain(|node, _| targets.contains_key(node));
        for (node, probe) in targets.iter().take(limits::NODES_MAX) {
            self.nodes.entry(node.clone()).or_insert_with(|| Watched {
                probe: *probe,
                state: NodeState::Up,
                next_probe: now,
            });
        }
    }

    /// Notes that `node` worked; gives whether it was down.
    pub(super) fn succeeded(&mut self, node: &HostPort, now: Instant) -> bool {
        let Some(watched) = self.nodes.get_mut(node) else {
            return false;
        };
        watched.next_probe = now + limits::NODE_PROBE_INTERVAL;
        let was_down = !watched.state.is_up();
        watched.state = NodeState::Up;
        was_down
    }

    /// Notes that `node` failed; gives whether it was up.
    pub(super) fn failed(&mut self, node: &HostPort, reason: String, now: Instant) -> bool {
        let Some(watched) = self.nodes.get_mut(node) else {
            return false;
        };
        let before = match &watched.state {
            NodeState::Down { failures, .. } => *failures,
            NodeState::Up => 0,
        };
        let failures = before.saturating_add(1);
        // Requests that fail while a probe is due must not push that probe further away.
        let next_probe = now + backoff(failures);
        if before == 0 || watched.next_probe <= now || next_probe < watched.next_probe {
            watched.next_probe = next_probe;
        }
        watched.state = NodeState::Down { failures, reason };
        before == 0
    }

    /// The next node whose probe is due; it isn't due again until the probe's result, or a lost probe's time, has come.
    pub(super) fn start_probe(&mut self, now: Instant) -> Option<(HostPort, Probe)> {
        let (node, watched) = self
            .nodes
            .iter_mut()
            .find(|(_, watched)| watched.next_probe <= now)?;
        watched.next_probe = now + limits::NODE_PROBE_TIMEOUT + limits::NODE_PROBE_BACKOFF_MAX;
        Some((node.clone(), watched.probe))
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.nodes.values().map(|watched| watched.next_probe).min()
    }

    pub(super) fn is_up(&self, node: &HostPort) -> bool {
        self.nodes.get(node).is_none_or(|w| w.state.is_up())
    }

    pub(super) fn snapshot(&self) -> BTreeMap<HostPort, NodeState> {
        self.nodes
            .iter()
            .map(|(node, watched)| (node.clone(), watched.state.clone()))
            .collect()
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    limits::NODE_PROBE_BACKOFF_MIN
        .saturating_mul(1 << doublings)
        .min(limits::NODE_PROBE_BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_fails_is_down_at_once_and_up_after_one_success() {
        let (mut health, now) = watching(&["a:8443"]);

        assert!(health.failed(&node("a:8443"), "refused".to_owned(), now));
        assert!(!health.is_up(&node("a:8443")));
        assert!(!health.failed(&node("a:8443"), "refused".to_owned(), now));

        assert!(health.succeeded(&node("a:8443"), now));
        assert!(health.is_up(&node("a:8443")));
        assert!(!health.succeeded(&node("a:8443"), now));
    }

    #[test]
    fn a_node_that_is_down_is_probed_after_one_two_four_and_then_every_five_seconds() {
        let (mut health, mut now) = watching(&["a:8443"]);
        let mut waits = Vec::new();

        for _ in 0..5 {
            health.failed(&node("a:8443"), String::new(), now);
            let due = health.next_probe().unwrap();
            assert_eq!(health.start_probe(due - Duration::from_millis(1)), None);
            waits.push((due - now).as_secs());
            now = due;
            assert!(health.start_probe(now).is_some());
        }

        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn failing_requests_do_not_put_the_probe_off() {
        let (mut health, now) = watching(&["a:8443"]);
        health.failed(&node("a:8443"), String::new(), now);
        let due = health.next_probe().unwrap();

        for _ in 0..10 {
            health.failed(
                &node("a:8443"),
                String::new(),
                now + Duration::from_millis(900),
            );
        }

        assert_eq!(health.next_probe(), Some(due));
    }

    #[test]
    fn a_node_that_is_up_is_probed_every_interval_and_once_at_a_time() {
        let (mut health, now) = watching(&["a:8443"]);

        assert_eq!(health.start_probe(now), Some((node("a:8443"), Probe::Uds)));
        assert_eq!(health.start_probe(now), None);
        health.succeeded(&node("a:8443"), now);

        assert_eq!(health.next_probe(), Some(now + limits::NODE_PROBE_INTERVAL));
    }

    #[test]
    fn nodes_that_are_no_longer_named_are_forgotten_and_the_others_keep_their_state() {
        let (mut health, now) = watching(&["a:8443", "b:8443"]);
        health.failed(&node("b:8443"), String::new(), now);

        health.watch(&targets(&["b:8443", "c:8443"]), now);

        let watched: Vec<_> = health.snapshot().into_keys().collect();
        assert_eq!(watched, [node("b:8443"), node("c:8443")]);
        assert!(!health.is_up(&node("b:8443")));
    }

    #[test]
    fn a_node_that_is_not_watched_counts_as_up_and_takes_no_memory() {
        let (mut health, now) = watching(&[]);

        assert!(!health.failed(&node("x:1"), String::new(), now));
        assert!(health.is_up(&node("x:1")));
        assert!(health.snapshot().is_empty());
    }

    fn node(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    fn targets(nodes: &[&str]) -> BTreeMap<HostPort, Probe> {
        nodes.iter().map(|text| (node(text), Probe::Uds)).collect()
    }

    fn watching(nodes: &[&str]) -> (Health, Instant) {
        let now = Instant::now();
        let mut health = Health::default();
        health.watch(&targets(nodes), now);
        (health, now)
    }
}
