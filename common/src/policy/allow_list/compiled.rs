//! All rules, arranged so that a verdict costs a few comparisons and no allocation, however many rules there are.
//!
//! Origin by hash, deployment by binary search, then rules for one whole path by hash and prefixes by binary search.
//! Prefixes that contain one another are chained, so that all prefixes of a path are found from the longest one.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::{Deployment, Origin};
use crate::policy::allow_list::{Denial, DenyReason, Match, MethodSet, Request, Rule, Verdict};
use crate::time::UnixTime;

/// How often a rule allowed a request, and when it last did.
#[derive(Debug, Default)]
pub struct Usage {
    hits: AtomicU64,
    /// Unix seconds; 0 is never.
    last: AtomicU64,
}

impl Usage {
    /// Requests that the rule allowed since it first was loaded.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// When the rule last allowed a request.
    #[must_use]
    pub fn last(&self) -> Option<UnixTime> {
        Some(self.last.load(Ordering::Relaxed))
            .filter(|last| *last != 0)
            .map(UnixTime)
    }

    fn count(&self, now: UnixTime) {
        // Nothing is ordered by these counters.
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
    }
}

/// The compiled allow list.
#[derive(Debug, Default)]
pub struct AllowList {
    entries: Vec<Entry>,
    origins: HashMap<Origin, Box<[Partition]>>,
}

impl AllowList {
    /// Compiles `rules`; their order has no meaning but for which of several is named.
    #[must_use]
    pub fn compile(rules: impl IntoIterator<Item = Arc<Rule>>) -> Self {
        Self::compile_after(rules, &Self::default())
    }

    /// Like [`AllowList::compile`]; rules that `previous` had too go on counting where they were.
    #[must_use]
    pub fn compile_after(rules: impl IntoIterator<Item = Arc<Rule>>, previous: &Self) -> Self {
        let known: HashMap<Scope<'_>, &Arc<Usage>> = previous
            .entries
            .iter()
            .map(|entry| (Scope::of(&entry.rule), &entry.usage))
            .collect();
        let entries: Vec<Entry> = rules
            .into_iter()
            .map(|rule| {
                let usage = known
                    .get(&Scope::of(&rule))
                    .map_or_else(Arc::default, |usage| Arc::clone(usage));
                Entry { rule, usage }
            })
            .collect();

        let mut sorted: BTreeMap<&Origin, BTreeMap<&Deployment, Vec<&Entry>>> = BTreeMap::new();
        for entry in &entries {
            sorted
                .entry(&entry.rule.url.origin)
                .or_default()
                .entry(&entry.rule.deployment)
                .or_default()
                .push(entry);
        }
        let origins = sorted
            .into_iter()
            .map(|(origin, deployments)| {
                let partitions = deployments
                    .into_iter()
                    .map(|(deployment, entries)| Partition::new(deployment, &entries));
                (origin.clone(), partitions.collect())
            })
            .collect();
        Self { entries, origins }
    }

    /// Decides about `request` and counts the rule that allows it.
    #[must_use]
    pub fn verdict<'a>(&'a self, request: &Request<'a>) -> Verdict<'a> {
        match self.decide(request) {
            Ok(entry) => {
                entry.usage.count(request.now);
                Verdict::Allow(&entry.rule)
            }
            Err(reason) => Verdict::Deny(Denial {
                reason,
                request: *request,
            }),
        }
    }

    /// Decides like [`AllowList::verdict`], but counts nothing: for tests and explanations.
    #[must_use]
    pub fn trial<'a>(&'a self, request: &Request<'a>) -> Verdict<'a> {
        match self.decide(request) {
            Ok(entry) => Verdict::Allow(&entry.rule),
            Err(reason) => Verdict::Deny(Denial {
                reason,
                request: *request,
            }),
        }
    }

    /// Every rule with its counters, in the order given.
    #[must_use]
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (&Arc<Rule>, &Usage)> {
        self.entries
            .iter()
            .map(|entry| (&entry.rule, entry.usage.as_ref()))
    }

    fn decide<'a>(&'a self, request: &Request<'_>) -> Result<&'a Entry, DenyReason<'a>> {
        let partitions = self
            .origins
            .get(request.origin)
            .ok_or(DenyReason::NoRuleForOrigin)?;
        let partition = partitions
            .binary_search_by(|partition| partition.deployment.cmp(request.deployment))
            .ok()
            .and_then(|at| partitions.get(at))
            .ok_or(DenyReason::OtherDeployment)?;

        let mut nearest = DenyReason::NoRuleForPath;
        for entry in partition.candidates(request.target.path()) {
            let rule = &entry.rule;
            if !rule.matches_target(request.target) {
                continue;
            }
            let miss = if !rule.methods.contains(request.method) {
                DenyReason::Method(rule)
            } else if rule.has_expired(request.now) {
                DenyReason::Expired(rule)
            } else {
                return Ok(entry);
            };
            if nearest.nearest().is_none() {
                nearest = miss;
            }
        }
        Err(nearest)
    }
}

/// What makes two rules the same rule for counting: everything that decides, but neither words nor dates.
#[derive(PartialEq, Eq, Hash)]
struct Scope<'a> {
    origin: &'a Origin,
    target: &'a crate::http::target::Target<'static>,
    matching: Match,
    methods: &'a MethodSet,
    deployment: &'a Deployment,
}

impl<'a> Scope<'a> {
    fn of(rule: &'a Rule) -> Self {
        Self {
            origin: &rule.url.origin,
            target: &rule.url.target,
            matching: rule.matching,
            methods: &rule.methods,
            deployment: &rule.deployment,
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    rule: Arc<Rule>,
    usage: Arc<Usage>,
}

/// The rules for one origin in one deployment.
#[derive(Debug)]
struct Partition {
    deployment: Deployment,
    /// Rules that want a path to be equal: exact ones, and prefixes that reach into the query.
    whole: HashMap<Box<str>, Box<[Entry]>>,
    /// Sorted by path.
    prefixes: Box<[Prefix]>,
}

#[derive(Debug)]
struct Prefix {
    path: Box<str>,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
    entries: Box<[Entry]>,
}

impl Partition {
    fn new(deployment: &Deployment, entries: &[&Entry]) -> Self {
        let mut whole: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
        let mut prefixes: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            let target = &entry.rule.url.target;
            let map = match entry.rule.matching {
                Match::Prefix if target.query().is_none() => &mut prefixes,
                Match::Exact | Match::Prefix => &mut whole,
            };
            map.entry(target.path()).or_default().push((*entry).clone());
        }
        Self {
            deployment: deployment.clone(),
            whole: whole
                .into_iter()
                .map(|(path, entries)| (path.into(), entries.into()))
                .collect(),
            prefixes: chain(prefixes),
        }
    }

    /// Every rule whose path matches `path`, the most specific first.
    fn candidates<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let whole = self.whole.get(path).into_iter().flatten();
        let prefixes = iter::successors(self.longest_prefix(path), |prefix| {
            prefix.parent.and_then(|parent| self.prefixes.get(parent))
        });
        whole.chain(prefixes.flat_map(|prefix| &prefix.entries))
    }

    /// The last prefix that doesn't sort behind `path` begins with every prefix of `path`: what sorts between a prefix of
    /// `path` and `path` itself begins with that prefix. So all of them are on its chain.
    fn longest_prefix(&self, path: &str) -> Option<&Prefix> {
        let behind = self
            .prefixes
            .partition_point(|prefix| prefix.path.as_ref() <= path);
        let mut candidate = self.prefixes.get(behind.checked_sub(1)?)?;
        while !path.starts_with(candidate.path.as_ref()) {
            candidate = self.prefixes.get(candidate.parent?)?;
        }
        Some(candidate)
    }
}

/// Links each prefix to the longest other one it begins with.
fn chain(sorted: BTreeMap<&str, Vec<Entry>>) -> Box<[Prefix]> {
    let mut prefixes: Vec<Prefix> = Vec::with_capacity(sorted.len());
    for (path, entries) in sorted {
        // Of the prefix before and all it begins with, the first that this one begins with too.
        let mut parent = prefixes.len().checked_sub(1);
        while let Some(prefix) = parent.and_then(|at| prefixes.get(at)) {
            if path.starts_with(prefix.path.as_ref()) {
                break;
            }
            parent = prefix.parent;
        }
        prefixes.push(Prefix {
            path: path.into(),
            parent,
            entries: entries.into(),
        });
    }
    prefixes.into()
}

#[cfg(test)]
mod tests;
