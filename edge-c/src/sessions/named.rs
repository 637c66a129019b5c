//! Nodes inside that sign-ins named. A session that one edge-c began is used through another, which must know its nodes too:
//! they are rules of the allow list. Decides about nothing: discovery and the allow list do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::limits;
use common::net::{Deployment, Host};
use common::policy::allow_list::{Node, NodeKind};
use common::time::UnixTime;
use serde::{Deserialize, Serialize};

/// A node, and until when it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNode {
    /// Which.
    pub node: Node,
    /// From this second on it is forgotten, unless it is named again.
    pub until: UnixTime,
}

/// The same as it is written: to the state directory and the shared store, sealed in both.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeEntry {
    kind: String,
    host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    deployment: String,
    /// Unix seconds.
    until: u64,
}

impl From<&NamedNode> for NodeEntry {
    fn from(NamedNode { node, until }: &NamedNode) -> Self {
        Self {
            kind: node.kind.as_str().to_owned(),
            host: node.host.to_string(),
            port: node.port,
            deployment: node.deployment.to_string(),
            until: until.0,
        }
    }
}

impl NodeEntry {
    /// `None` if it is of a kind that is not known here.
    pub(crate) fn read(self) -> Option<NamedNode> {
        let node = Node {
            kind: NodeKind::parse(&self.kind)?,
            host: Host::parse(&self.host).ok()?,
            port: self.port,
            deployment: Deployment(self.deployment.into()),
        };
        Some(NamedNode {
            node,
            until: UnixTime(self.until),
        })
    }
}

/// Who hears of nodes that other edge-c know. Called before the sessions that need them are there.
#[derive(Clone, Default)]
pub struct NodeSink(Option<Arc<dyn Fn(Vec<NamedNode>) + Send + Sync>>);

impl NodeSink {
    /// Calls `learn`, which must not wait for anything.
    #[must_use]
    pub fn new(learn: impl Fn(Vec<NamedNode>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(learn)))
    }

    pub(super) fn tell(&self, named: Vec<NamedNode>) {
        if let Some(learn) = self.0.as_ref().filter(|_| !named.is_empty()) {
            learn(named);
        }
    }
}

impl fmt::Debug for NodeSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeSink").field(&self.0.is_some()).finish()
    }
}

/// What all who share the store have been told, at most [`limits::NODES_MAX`].
#[derive(Debug, Default)]
pub(super) struct NamedNodes(Mutex<BTreeMap<Node, UnixTime>>);

impl NamedNodes {
    /// Those of `named` that are worth telling: others know nothing of them, or forget them long before.
    pub(super) fn untold(&self, named: Vec<NamedNode>, now: UnixTime) -> Vec<NamedNode> {
        let mut known = self.known();
        known.retain(|_, until| *until > now);
        let room = limits::NODES_MAX.saturating_sub(known.len());
        let is_new = |named: &NamedNode| !known.contains_key(&named.node);
        let is_worth = |named: &NamedNode| {
            let left = named.until.since(now);
            let told = known.get(&named.node).map(|until| until.since(now));
            !left.is_zero() && told.is_none_or(|told| told.saturating_mul(2) < left)
        };
        let worth = named.into_iter().filter(is_worth);
        let (new, renewed): (Vec<_>, Vec<_>) = worth.partition(is_new);
        renewed
            .into_iter()
            .chain(new.into_iter().take(room))
            .collect()
    }

    /// Remembers that all know them.
    pub(super) fn note(&self, named: &[NamedNode]) {
        let mut known = self.known();
        for NamedNode { node, until } in named {
            let is_known = known.contains_key(node);
            if is_known || known.len() < limits::NODES_MAX {
                let kept = known.entry(node.clone()).or_insert(*until);
                *kept = (*kept).max(*until);
            }
        }
    }

    /// All that last beyond `now`.
    pub(super) fn all(&self, now: UnixTime) -> Vec<NamedNode> {
        let known = self.known();
        let lasting = known.iter().filter(|(_, until)| **until > now);
        lasting
            .map(|(node, until)| NamedNode {
                node: node.clone(),
                until: *until,
            })
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Node, UnixTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn named(name: &str, seconds: u64) -> NamedNode {
        NamedNode {
            node: Node {
                kind: NodeKind::ImPresence,
                host: Host::parse(name).unwrap(),
                port: Some(9443),
                deployment: Deployment::standard(),
            },
            until: UnixTime(NOW.0 + seconds),
        }
    }

    #[test]
    fn an_entry_reads_back_as_written() {
        let one = named("imp1.example.com", 60);

        assert_eq!(NodeEntry::from(&one).read(), Some(one));
    }

    #[test]
    fn a_node_is_told_once_and_again_when_half_of_its_time_is_over() {
        let nodes = NamedNodes::default();
        let first = named("imp1.example.com", 600);
        let all = [first.clone()];
        assert_eq!(nodes.untold(all.to_vec(), NOW), all);
        nodes.note(&all);

        assert_eq!(
            nodes.untold(vec![named("imp1.example.com", 1_200)], NOW),
            []
        );
        let much_later = named("imp1.example.com", 1_201);
        assert_eq!(nodes.untold(vec![much_later.clone()], NOW), [much_later]);
        assert_eq!(nodes.untold(vec![named("imp1.example.com", 0)], NOW), []);
        assert_eq!(nodes.all(UnixTime(first.until.0 - 1)), all);
        assert_eq!(nodes.all(first.until), []);
    }

    #[test]
    fn the_list_is_bounded() {
        let nodes = NamedNodes::default();
        let many = (0..limits::NODES_MAX + 10).map(|number| named(&format!("n{number}"), 60));

        let told = nodes.untold(many.clone().collect(), NOW);
        nodes.note(&many.collect::<Vec<_>>());

        assert_eq!(told.len(), limits::NODES_MAX);
        assert_eq!(nodes.all(NOW).len(), limits::NODES_MAX);
        assert_eq!(nodes.untold(vec![named("more", 60)], NOW), []);
    }
}
