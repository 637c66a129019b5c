//! Notices that files have changed or that somebody sent SIGHUP, and applies what loads; what doesn't load leaves the
//! last good state in place and says so.
//!
//! Contents are compared every two seconds instead of watching inotify events: those are about directory entries, so
//! they miss a change behind a symbolic link (how certbot and Kubernetes swap certificates), on network file systems
//! and on bind mounts, and they need a watch set anew after every rename. Hashing a few files costs microseconds.
//! Decides nothing about the contents.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Settings, pem};
use crate::limits;

/// What made a reload happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This file has other contents, or appeared, or went away.
    Changed(PathBuf),
    /// SIGHUP.
    Hangup,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(path) => write!(f, "{} changed", path.display()),
            Self::Hangup => f.write_str("SIGHUP"),
        }
    }
}

/// Counts SIGHUPs for everybody who reloads. Clones see every one of them.
#[derive(Clone, Debug)]
pub struct Hangups(watch::Receiver<u64>);

impl Hangups {
    /// Takes SIGHUP over from now on; without this it would end the process.
    ///
    /// # Errors
    /// If the process may not handle signals.
    pub fn listen() -> std::io::Result<Self> {
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, receiver) = watch::channel(0_u64);
        // Ends when nobody reloads any more; not supervised, as it has nothing that can fail.
        drop(tokio::spawn(async move {
            while hangup.recv().await.is_some() && !sender.is_closed() {
                sender.send_modify(|count| *count = count.wrapping_add(1));
            }
        }));
        Ok(Self(receiver))
    }

    /// A pair for tests and for callers with another trigger: increase the number to ask for a reload.
    #[must_use]
    pub fn manual() -> (watch::Sender<u64>, Self) {
        let (sender, receiver) = watch::channel(0);
        (sender, Self(receiver))
    }

    async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

type Fingerprint = Option<[u8; 32]>;

/// Files whose contents are compared with what they were.
#[derive(Debug)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    seen: Vec<Fingerprint>,
    hangups: Hangups,
}

impl FileWatch {
    /// Remembers what `paths` contain now.
    pub async fn new(paths: Vec<PathBuf>, hangups: Hangups) -> Self {
        Self {
            seen: fingerprints(paths.clone()).await,
            paths,
            hangups,
        }
    }

    /// Resolves when one of the files has other contents, or at a SIGHUP. A change counts once the files have been
    /// at rest for [`limits::RELOAD_SETTLE`], so that a certificate and its key written one after the other make one
    /// reload. Cancel safe: a change that was not returned is found again.
    pub async fn changed(&mut self) -> Cause {
        loop {
            // Both branches are cancel safe: a sleep is just begun anew, a hang-up stays noted.
            tokio::select! {
                () = self.hangups.next() => {
                    self.seen = fingerprints(self.paths.clone()).await;
                    return Cause::Hangup;
                }
                () = tokio::time::sleep(limits::RELOAD_POLL_INTERVAL) => {}
            }
            let now = self.at_rest().await;
            let changed = self.paths.iter().zip(self.seen.iter().zip(&now));
            let first = changed
                .filter(|(_, (old, new))| old != new)
                .map(|(path, _)| path.clone());
            if let Some(path) = first.min() {
                self.seen = now;
                return Cause::Changed(path);
            }
        }
    }

    /// Watches `paths` from now on. What it watches already keeps its last contents, so no change is lost.
    pub async fn follow(&mut self, paths: Vec<PathBuf>) {
        if paths == self.paths {
            return;
        }
        let fresh = fingerprints(paths.clone()).await;
        let known = |path: &PathBuf| self.paths.iter().position(|known| known == path);
        let seen = paths.iter().zip(fresh).map(|(path, fresh)| {
            let before = known(path).and_then(|index| self.seen.get(index));
            before.copied().unwrap_or(fresh)
        });
        self.seen = seen.collect();
        self.paths = paths;
    }

    /// Contents that stay the same for a moment; after a few tries, what there is.
    async fn at_rest(&self) -> Vec<Fingerprint> {
        let mut before = fingerprints(self.paths.clone()).await;
        for _ in 0..limits::RELOAD_SETTLE_TRIES_MAX {
            if before == self.seen {
                break;
            }
            tokio::time::sleep(limits::RELOAD_SETTLE).await;
            let now = fingerprints(self.paths.clone()).await;
            if now == before {
                break;
            }
            before = now;
        }
        before
    }
}

/// Reads off the executor's threads: a file may be on a disk that has to spin up, or on a network.
async fn fingerprints(paths: Vec<PathBuf>) -> Vec<Fingerprint> {
    let count = paths.len();
    let hashed = tokio::task::spawn_blocking(move || {
        let hash = |path: &PathBuf| {
            let bytes = pem::read_file(path, limits::WATCHED_FILE_BYTES_MAX).ok()?;
            let hash = digest::digest(&digest::SHA256, &bytes);
            <[u8; 32]>::try_from(hash.as_ref()).ok()
        };
        paths.iter().map(hash).collect()
    });
    hashed.await.unwrap_or_else(|_| vec![None; count])
}

/// How a reload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum ReloadOutcome {
    #[expect(non_camel_case_types, reason = "label values are in lower case")]
    applied,
    #[expect(non_camel_case_types, reason = "label values are in lower case")]
    refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: &'static str,
    outcome: ReloadOutcome,
}

/// Counts reloads by what was reloaded and how it went. Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics(Family<ReloadLabels, Counter>);

impl ReloadMetrics {
    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "reloads",
            "Reloads of files by outcome; a refused one leaves the last good state in place",
            self.0.clone(),
        );
    }

    fn count(&self, what: &'static str, outcome: ReloadOutcome) {
        self.0.get_or_create(&ReloadLabels { what, outcome }).inc();
    }
}

/// Calls `apply` whenever a file of `watch` changes, for ever. `apply` loads, puts in place and returns the files to
/// watch from then on, or returns why it left everything as it was. It runs where it may block.
pub async fn keep_current<F, E>(
    what: &'static str,
    mut watch: FileWatch,
    metrics: ReloadMetrics,
    apply: F,
) where
    F: Fn() -> Result<Vec<PathBuf>, E> + Send + Sync + 'static,
    E: fmt::Display + Send + 'static,
{
    let apply = Arc::new(apply);
    // Both label sets exist from the start: an alert on an increase needs a first value.
    for outcome in [ReloadOutcome::applied, ReloadOutcome::refused] {
        drop(metrics.0.get_or_create(&ReloadLabels { what, outcome }));
    }
    loop {
        let cause = watch.changed().await;
        let apply = Arc::clone(&apply);
        let applied = tokio::task::spawn_blocking(move || apply()).await;
        match applied {
            Ok(Ok(paths)) => {
                watch.follow(paths).await;
                metrics.count(what, ReloadOutcome::applied);
                tracing::info!(what, %cause, "reloaded");
            }
            Ok(Err(error)) => refused(what, &metrics, &cause, &error),
            Err(panic) => refused(what, &metrics, &cause, &panic),
        }
    }
}

/// Says which settings of a file were changed but are not read again before the next start: those of `newer` that differ
/// from `started` and are not in `live` (keys, or tables with all that is in them).
pub fn tell_waiting(started: &Settings, newer: &Settings, live: &[&str]) {
    let waiting = started.changed_but(newer, live);
    if !waiting.is_empty() {
        tracing::warn!(
            side = "local",
            settings = %waiting.join(", "),
            reason = "these settings are read at the start only, and differ from what is in force",
            remedy = "restart when it suits; the rest of the file is in force",
            "settings wait for a restart"
        );
    }
}

fn refused(what: &'static str, metrics: &ReloadMetrics, cause: &Cause, why: &dyn fmt::Display) {
    metrics.count(what, ReloadOutcome::refused);
    let remedy = "correct the file; it is read again by itself";
    tracing::warn!(what, %cause, reason = %why, remedy, "reload refused: the last good state stays");
}

#[cfg(test)]
mod tests;
