//! Nodes that sign-ins named, kept over a restart: sessions outlive it, and their requests come before the next sign-in
//! names the nodes again. Sealed like everything in the state directory: a node in it is a rule of the allow list.

use std::path::Path;

use common::limits;
use common::time::UnixTime;

use super::Discovery;
use crate::sessions::{NamedNode, NodeEntry, SealedFile, SealedFileError};

const FILE: &str = "nodes.sealed";
const LABEL: &[u8] = b"edge-c learned nodes 1";

/// The file, and what was written to it last.
#[derive(Debug)]
pub struct Remembered {
    file: SealedFile,
    written: Vec<NamedNode>,
}

/// Why nodes are not kept or were not found again.
#[derive(Debug, thiserror::Error)]
pub enum RememberedError {
    /// The file can't be read or written.
    #[error(transparent)]
    File(#[from] SealedFileError),
    /// It is genuine, and of another version.
    #[error("the nodes in {FILE} can't be read: {0}")]
    Contents(#[from] serde_json::Error),
}

impl Remembered {
    /// Opens the file in `state_dir` under the state key in `key_file`.
    ///
    /// # Errors
    /// [`RememberedError::File`] if the key can't be had.
    pub fn open(state_dir: &Path, key_file: &Path) -> Result<Self, RememberedError> {
        let most = limits::NODES_FILE_BYTES_MAX;
        Ok(Self {
            file: SealedFile::open(state_dir, key_file, FILE, LABEL, most)?,
            written: Vec::new(),
        })
    }

    /// Tells `discovery` of the nodes that are still to be kept at `now`.
    ///
    /// # Errors
    /// [`RememberedError`] if there is a file that can't be read; nothing is told then.
    pub fn recall(&mut self, discovery: &Discovery, now: UnixTime) -> Result<(), RememberedError> {
        let Some(plain) = self.file.read()? else {
            return Ok(());
        };
        let entries: Vec<NodeEntry> = serde_json::from_slice(&plain)?;
        let entries = entries.into_iter().take(limits::NODES_MAX);
        self.written = entries.filter_map(NodeEntry::read).collect();
        discovery.learn_until(self.written.iter().cloned(), now);
        Ok(())
    }

    /// Writes what `discovery` has learned, if that has changed since the last time.
    ///
    /// # Errors
    /// [`RememberedError`] if it can't be written; it is tried again the next time.
    pub fn keep(&mut self, discovery: &Discovery, now: UnixTime) -> Result<(), RememberedError> {
        let learned = discovery.learned(now);
        if is_near(&self.written, &learned) {
            return Ok(());
        }
        let entries: Vec<NodeEntry> = learned.iter().map(NodeEntry::from).collect();
        self.file.write(&serde_json::to_vec(&entries)?)?;
        self.written = learned;
        Ok(())
    }
}

/// The same nodes, for about as long: a sign-in that only renews a node is not worth a write at once.
fn is_near(one: &[NamedNode], other: &[NamedNode]) -> bool {
    let same = |(a, b): (&NamedNode, &NamedNode)| {
        a.node == b.node && a.until.0.abs_diff(b.until.0) < limits::NODES_FILE_AGE_SECONDS
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::net::{Deployment, Host};

    use super::super::{Node, NodeKind};
    use super::*;
    use crate::testing::World;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn node(name: &str) -> Node {
        Node {
            kind: NodeKind::ImPresence,
            host: Host::parse(name).unwrap(),
            port: None,
            deployment: Deployment::standard(),
        }
    }

    async fn knowing_nothing() -> std::sync::Arc<Discovery> {
        World::start(&[]).await.discovery(Vec::new())
    }

    fn open(folder: &Path) -> Remembered {
        Remembered::open(folder, &folder.join("key")).unwrap()
    }

    #[tokio::test]
    async fn what_a_sign_in_named_is_known_after_a_restart_until_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let before = knowing_nothing().await;
        before.learn([node("imp1.example.com")]);
        open(folder.path()).keep(&before, NOW).unwrap();

        let soon = knowing_nothing().await;
        open(folder.path()).recall(&soon, NOW).unwrap();
        assert_eq!(soon.nodes().borrow().to_vec(), [node("imp1.example.com")]);

        let late = knowing_nothing().await;
        let later = NOW.plus(limits::NODE_LEARNED_KEPT + Duration::from_secs(1));
        open(folder.path()).recall(&late, later).unwrap();
        assert_eq!(late.nodes().borrow().to_vec(), []);
    }

    #[tokio::test]
    async fn a_sign_in_that_names_a_node_again_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let discovery = knowing_nothing().await;
        let mut remembered = open(folder.path());
        discovery.learn([node("imp1.example.com")]);
        remembered.keep(&discovery, NOW).unwrap();
        std::fs::remove_file(folder.path().join(FILE)).unwrap();

        discovery.learn([node("imp1.example.com")]);
        remembered
            .keep(&discovery, NOW.plus(Duration::from_secs(60)))
            .unwrap();
        assert!(!folder.path().join(FILE).exists());

        discovery.learn([node("imp2.example.com")]);
        remembered
            .keep(&discovery, NOW.plus(Duration::from_secs(60)))
            .unwrap();
        assert!(folder.path().join(FILE).exists());
    }
}
