//! The allow list in force: the rules of the file and those that the nodes bring along, compiled anew when either changes
//! and swapped without a lock on the read side. A file that can't be used leaves the last good rules in force.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use common::limits;
use common::policy::allow_list::{
    AllowList, AllowListFile, Node, OAuth, Problems, Rule, automatic_rules,
};

/// Why the rules in force stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum AllowListError {
    /// The file says something wrong, or one of its tests fails. Every problem is on a line of its own.
    #[error("{0}")]
    Invalid(#[from] Problems),
    /// The file can't be read.
    #[error("can't read {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// More automatic rules than [`limits::ALLOW_LIST_RULES_MAX`].
    #[error("the nodes bring {count} rules, over the bound of {max}", max = limits::ALLOW_LIST_RULES_MAX)]
    TooManyNodes {
        /// How many.
        count: usize,
    },
}

/// What is in force after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Rules of the file.
    pub file_rules: usize,
    /// Rules of the nodes.
    pub automatic_rules: usize,
    /// Whether anything is different from before.
    pub is_changed: bool,
}

/// The allow list in force.
#[derive(Debug)]
pub struct LiveAllowList {
    current: ArcSwap<AllowList>,
    /// What `current` was compiled from; locked only while it changes.
    parts: Mutex<Parts>,
    path: Option<PathBuf>,
    oauth: OAuth,
}

#[derive(Debug, Default)]
struct Parts {
    file: Vec<Arc<Rule>>,
    automatic: Vec<Arc<Rule>>,
}

impl LiveAllowList {
    /// A list without a file: only automatic rules allow anything.
    #[must_use]
    pub fn without_file(oauth: OAuth) -> Self {
        Self {
            current: ArcSwap::default(),
            parts: Mutex::default(),
            path: None,
            oauth,
        }
    }

    /// Reads `path` and runs its tests. Blocks for as long as the file takes.
    ///
    /// # Errors
    /// [`AllowListError`] if the file can't be used: at the start there is no good state to keep.
    pub fn load(path: &Path, oauth: OAuth) -> Result<Self, AllowListError> {
        let list = Self {
            path: Some(path.to_owned()),
            ..Self::without_file(oauth)
        };
        list.reload()?;
        Ok(list)
    }

    /// The compiled list, to be held for one request.
    pub fn current(&self) -> Guard<Arc<AllowList>> {
        self.current.load()
    }

    /// The file that [`LiveAllowList::reload`] reads.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the file again. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`AllowListError`] if the file can't be used; the rules in force stay.
    pub fn reload(&self) -> Result<InForce, AllowListError> {
        let Some(path) = &self.path else {
            return Ok(self.compile(&self.lock(), false));
        };
        let text = read(path).map_err(|error| AllowListError::Unreadable {
            path: path.clone(),
            error,
        })?;
        Ok(self.replace_file(&path.display().to_string(), &text)?)
    }

    /// Takes `text` for what the file says; `name` is for the messages.
    ///
    /// # Errors
    /// [`Problems`] if it can't be used; the rules in force stay.
    pub fn replace_file(&self, name: &str, text: &str) -> Result<InForce, Problems> {
        let file = AllowListFile::parse(name, text)?;
        let mut parts = self.lock();
        let is_changed = parts.file != file.rules;
        parts.file = file.rules;
        Ok(self.compile(&parts, is_changed))
    }

    /// Replaces the automatic rules by those that `nodes` bring along.
    ///
    /// # Errors
    /// [`AllowListError::TooManyNodes`]; the rules in force stay.
    pub fn set_nodes(&self, nodes: &[Node]) -> Result<InForce, AllowListError> {
        let rules = nodes
            .iter()
            .flat_map(|node| automatic_rules(node, self.oauth));
        self.set_automatic(rules)
    }

    /// Replaces the automatic rules.
    ///
    /// # Errors
    /// [`AllowListError::TooManyNodes`]; the rules in force stay.
    pub fn set_automatic(
        &self,
        rules: impl IntoIterator<Item = Rule>,
    ) -> Result<InForce, AllowListError> {
        let automatic: Vec<Arc<Rule>> = rules
            .into_iter()
            .take(limits::ALLOW_LIST_RULES_MAX.saturating_add(1))
            .map(Arc::new)
            .collect();
        if automatic.len() > limits::ALLOW_LIST_RULES_MAX {
            let count = automatic.len();
            return Err(AllowListError::TooManyNodes { count });
        }
        let mut parts = self.lock();
        let is_changed = parts.automatic != automatic;
        parts.automatic = automatic;
        Ok(self.compile(&parts, is_changed))
    }

    /// The caller holds the lock, so that of two changes at once the later one is in force.
    fn compile(&self, parts: &Parts, is_changed: bool) -> InForce {
        if is_changed {
            let rules = parts.automatic.iter().chain(&parts.file).cloned();
            let list = AllowList::compile_after(rules, &self.current.load());
            self.current.store(Arc::new(list));
        }
        InForce {
            file_rules: parts.file.len(),
            automatic_rules: parts.automatic.len(),
            is_changed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        // Nothing that can panic happens between two writes to the parts.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads at most one octet more than a file may have: enough for the reader to refuse it.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let bytes_max = u64::try_from(limits::ALLOW_LIST_FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use common::net::{Deployment, Host};
    use common::policy::allow_list::{NodeKind, Request, Url};
    use common::time::UnixTime;

    use super::*;

    const PHOTOS: &str =
        "[[rule]]\nurl = \"https://photos.example.com/thumbs/\"\nmatch = \"prefix\"\n";

    #[test]
    fn a_changed_file_is_in_force_after_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow-list.toml");
        std::fs::write(&path, "").unwrap();
        let list = LiveAllowList::load(&path, OAuth::Off).unwrap();
        assert!(!allows(&list, "https://photos.example.com/thumbs/a"));

        std::fs::write(&path, PHOTOS).unwrap();
        let in_force = list.reload().unwrap();

        assert_eq!(
            in_force,
            InForce {
                file_rules: 1,
                automatic_rules: 0,
                is_changed: true
            }
        );
        assert!(allows(&list, "https://photos.example.com/thumbs/a"));
        assert!(!list.reload().unwrap().is_changed);
    }

    #[test]
    fn a_bad_or_missing_file_leaves_the_last_good_rules_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow-list.toml");
        std::fs::write(&path, PHOTOS).unwrap();
        let list = LiveAllowList::load(&path, OAuth::Off).unwrap();

        let failing =
            "[[test]]\nurl = \"https://photos.example.com/thumbs/a\"\nexpected = \"allow\"\n";
        for text in ["[[rule]]\n", "rule = ", failing] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(list.reload(), Err(AllowListError::Invalid(_))));
            assert!(allows(&list, "https://photos.example.com/thumbs/a"));
        }
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(matches!(
            list.reload(),
            Err(AllowListError::Unreadable { .. })
        ));
        std::fs::remove_file(&path).unwrap();
        let error = list.reload().unwrap_err().to_string();
        assert!(error.contains("allow-list.toml"), "{error}");
        assert!(allows(&list, "https://photos.example.com/thumbs/a"));
    }

    #[test]
    fn a_bad_file_at_the_start_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow-list.toml");

        assert!(LiveAllowList::load(&path, OAuth::Off).is_err());
        std::fs::write(&path, "[[rule]]\n").unwrap();
        assert!(LiveAllowList::load(&path, OAuth::Off).is_err());
    }

    #[test]
    fn automatic_rules_come_and_go_with_their_nodes_and_leave_the_file_alone() {
        let list = LiveAllowList::without_file(OAuth::Off);
        list.replace_file("f", PHOTOS).unwrap();
        let version = "https://ucm.example.com:8443/cucm-uds/version";

        let node = Node {
            kind: NodeKind::Ucm,
            host: Host::parse("ucm.example.com").unwrap(),
            port: None,
            deployment: Deployment::standard(),
        };
        assert!(
            list.set_nodes(std::slice::from_ref(&node))
                .unwrap()
                .is_changed
        );
        assert!(allows(&list, version));
        assert!(!list.set_nodes(&[node]).unwrap().is_changed);

        list.replace_file("f", "").unwrap();
        assert!(allows(&list, version));
        assert!(!allows(&list, "https://photos.example.com/thumbs/a"));

        list.set_nodes(&[]).unwrap();
        assert!(!allows(&list, version));
    }

    #[test]
    fn counters_survive_a_reload() {
        let list = LiveAllowList::without_file(OAuth::Off);
        list.replace_file("f", PHOTOS).unwrap();
        assert!(allows(&list, "https://photos.example.com/thumbs/a"));

        let other = PHOTOS.replace("photos.", "other.");
        list.replace_file("f", &format!("{other}{PHOTOS}")).unwrap();

        let hits: Vec<u64> = list
            .current()
            .rules()
            .map(|(_, usage)| usage.hits())
            .collect();
        assert_eq!(hits, [0, 1]);
    }

    fn allows(list: &LiveAllowList, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        let deployment = Deployment::standard();
        list.current()
            .verdict(&Request {
                method: "GET",
                origin: &url.origin,
                target: &url.target,
                deployment: &deployment,
                now: UnixTime(1_800_000_000),
            })
            .is_allowed()
    }
}
